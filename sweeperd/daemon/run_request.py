"""A run that somebody asked for, until its report is there."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweeperd.daemon.status import JsonObject


@dataclass(frozen=True)
class RunRequest:
    """A run that somebody asked for.

    Attributes:
        correlation_id: Its id; None for a new one.
        done: Gets the report once it has ended; None when it did not run.
    """

    correlation_id: str | None
    done: asyncio.Future[JsonObject | None]

    def answer(self, report: JsonObject | None) -> None:
        """Tell whoever waits; nobody may."""
        if not self.done.done():
            self.done.set_result(report)


class RunRequests:
    """The one request that a sweep's loop has not taken up yet."""

    def __init__(self) -> None:
        self._waiting: RunRequest | None = None
        self._has_ended = False

    @property
    def is_waiting(self) -> bool:
        """Whether there is one."""
        return self._waiting is not None

    def put(self, correlation_id: str | None) -> asyncio.Future[JsonObject | None]:
        """Ask for a run; there must be no request already.

        Returns:
            What gets the report; None when it did not run.
        """
        done: asyncio.Future[JsonObject | None] = asyncio.get_running_loop().create_future()
        self._waiting = RunRequest(correlation_id, done)
        if self._has_ended:
            self.refuse()
        return done

    def take(self) -> RunRequest | None:
        """Take it, to run it."""
        request, self._waiting = self._waiting, None
        return request

    def refuse(self) -> None:
        """Tell whoever asked that there will be no run."""
        if (request := self.take()) is not None:
            request.answer(None)

    def end(self) -> None:
        """Refuse it, and whatever comes later."""
        self._has_ended = True
        self.refuse()
