"""The last runs of a sweep, and what they say of its rates: inflow, drain, and time to the end."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final, Self

from sweeperd.log.safe_text import redacted
from sweeperd.sweep.outcome.report import WHOLE_PASS

_MOST_RUNS: Final = 20


@dataclass(frozen=True)
class RunFigures:
    """One run, in figures.

    Attributes:
        started_at: Wall time of its start.
        seconds: How long it took; so far, while it is under way.
        deleted: Rows deleted.
        backlog: Expired rows that it left, estimated; None where nobody knows.
        is_whole: Whether it ended with nothing more that it could delete.
        is_under_way: Whether it has not ended yet.
    """

    started_at: datetime
    seconds: float
    deleted: int
    backlog: float | None = None
    is_whole: bool = False
    is_under_way: bool = False

    @classmethod
    def of(cls, entry: Mapping[str, object]) -> Self | None:
        """Read a report; None where it lacks a figure, or was a dry run's."""
        if entry.get("expired_count") is not None:
            return None
        deleted, seconds = number(entry, "deleted_count"), number(entry, "duration_seconds")
        try:
            started_at = datetime.fromisoformat(str(entry.get("started_at")))
        except ValueError:
            return None
        if deleted is None or seconds is None or started_at.tzinfo is None:
            return None
        return cls(
            started_at,
            seconds,
            int(deleted),
            number(entry, "backlog_estimate"),
            is_whole=entry.get("outcome") in WHOLE_PASS,
        )

    @property
    def left(self) -> float | None:
        """Expired rows that it left; None where that is not known."""
        return 0.0 if self.backlog is None and self.is_whole else self.backlog

    @property
    def ended_at(self) -> datetime:
        """Wall time of its end."""
        return self.started_at + timedelta(seconds=self.seconds)


@dataclass(frozen=True)
class Rates:
    """How fast rows expire, and how fast they are deleted; rows per second of wall time.

    Attributes:
        backlog: Expired rows at the end of the newest run, or now while one is under way; None
            where nobody knows, as each of these.
        inflow: Rows that expire.
        drain: Rows deleted, the pauses between runs included.
    """

    backlog: float | None = None
    inflow: float | None = None
    drain: float | None = None

    @property
    def eta_seconds(self) -> float | None:
        """Seconds until nothing expired is left, at these rates; None also for never."""
        if self.backlog == 0:
            return 0.0
        if self.backlog is None or not self.drain or self.is_losing:
            return None
        return self.backlog / (self.drain - (self.inflow or 0.0))

    @property
    def is_losing(self) -> bool:
        """Whether rows expire as fast as they are deleted, or faster: the backlog never ends."""
        if not self.backlog or self.drain is None or self.inflow is None:
            return False
        return self.inflow >= self.drain


class RecentRuns:
    """What is known of a sweep's runs: the last report, the figures of a few, and the sums.

    Args:
        history: Earlier reports, oldest first.
    """

    def __init__(self, history: Iterable[Mapping[str, object]] = ()) -> None:
        self._last: Mapping[str, object] | None = None
        self._is_redacted = False
        self.count = 0
        self.deleted = 0
        self._figures: deque[RunFigures] = deque(maxlen=_MOST_RUNS)
        for entry in list(history)[-_MOST_RUNS:]:
            self._take(entry)

    def add(self, entry: Mapping[str, object]) -> None:
        """Take the report of a run that has ended."""
        self._take(entry)
        self.count += 1
        self.deleted += int(number(entry, "deleted_count") or 0)

    @property
    def last(self) -> Mapping[str, object] | None:
        """The newest report, without secrets; None before the first."""
        if self._last is not None and not self._is_redacted:
            self._last, self._is_redacted = redacted(self._last), True
        return self._last

    def rates(self, pause: float, under_way: RunFigures | None = None) -> Rates:
        """Return the rates of now.

        Args:
            pause: Seconds between a run that left rows and the next.
            under_way: The run that has not ended.
        """
        runs = [*self._figures, *([under_way] if under_way is not None else [])]
        if not runs:
            return Rates()
        inflow = _inflow(runs)
        return Rates(_backlog(runs, inflow), inflow, _drain(_stretch(runs), pause))

    def _take(self, entry: Mapping[str, object]) -> None:
        self._last, self._is_redacted = entry, False
        if (figures := RunFigures.of(entry)) is not None:
            self._figures.append(figures)


def number(entry: Mapping[str, object], key: str) -> float | None:
    """Return a number of a report; None where it has none of that name."""
    found = entry.get(key)
    return found if isinstance(found, int | float) and not isinstance(found, bool) else None


def _backlog(runs: list[RunFigures], inflow: float | None) -> float | None:
    """Return the rows that the newest run left; what one under way found, less what it deleted."""
    newest = runs[-1]
    if not newest.is_under_way:
        return newest.left
    left = runs[-2].left if len(runs) > 1 else None
    if left is None:
        return None
    since = (newest.started_at - runs[-2].ended_at).total_seconds() + newest.seconds
    return max(left + (inflow or 0.0) * max(since, 0.0) - newest.deleted, 0.0)


def _stretch(runs: list[RunFigures]) -> list[RunFigures]:
    """Return the newest runs that worked on one backlog: from behind the last whole one."""
    first = max((place for place, run in enumerate(runs[:-1]) if run.is_whole), default=-1)
    return runs[first + 1 :]


def _drain(stretch: list[RunFigures], pause: float) -> float | None:
    """Return the rows deleted per second of a stretch of runs, their pauses included."""
    seconds = [
        max((later.started_at - run.started_at).total_seconds(), run.seconds)
        for run, later in pairwise(stretch)
    ]
    last = stretch[-1]
    seconds.append(last.seconds + (0.0 if last.is_whole or last.is_under_way else pause))
    deleted = sum(run.deleted for run in stretch)
    # a run that found next to nothing says nothing of how fast it could be
    return deleted / sum(seconds) if deleted and sum(seconds) > 0 else None


def _inflow(runs: list[RunFigures]) -> float | None:
    """Return the rows that expire per second.

    Between the starts of two whole passes has expired what the later one deleted. Where there
    are no two, two estimates of the backlog and what was deleted between them say it.
    """
    whole = [place for place, run in enumerate(runs) if run.is_whole]
    if len(whole) > 1:
        former, newest = whole[-2:]
        # the pass began with the first run behind the former whole one
        begun = runs[former].started_at
        deleted = sum(run.deleted for run in runs[former + 1 : newest + 1])
        return _per_second(deleted, begun, runs[former + 1].started_at)
    known = [place for place, run in enumerate(runs) if run.left is not None]
    if len(known) > 1:
        first, last = runs[known[0]], runs[known[-1]]
        deleted = sum(run.deleted for run in runs[known[0] + 1 : known[-1] + 1])
        grown = (last.left or 0.0) - (first.left or 0.0) + deleted
        return _per_second(grown, first.ended_at, last.ended_at)
    return None


def _per_second(rows: float, begun: datetime, ended: datetime) -> float | None:
    seconds = (ended - begun).total_seconds()
    return max(rows, 0.0) / seconds if seconds > 0 else None
