"""A command's end of the control socket."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from sweeperd.daemon.control.endpoint import NotRunningError, connect
from sweeperd.errors import EXIT_FAILED, EXIT_NOT_RUNNING, EXIT_USAGE, SweeperdError

if TYPE_CHECKING:
    from pathlib import Path

    from sweeperd.daemon.control.messages import ControlRequest

# a daemon that turns answers at once
USUAL_SECONDS: Final = 10.0
_LONGEST_ANSWER: Final = 256 * 2**20
_EXIT_CODES: Final = {
    "unknown_sweep": EXIT_USAGE,
    "other_configuration": EXIT_NOT_RUNNING,
    "stopping": EXIT_NOT_RUNNING,
}


class RefusedError(SweeperdError):
    """The daemon answered with an error.

    Attributes:
        code: For programs; docs/control-socket.md lists them.
        answer: All fields of the error.
    """

    def __init__(self, answer: Mapping[str, object]) -> None:
        super().__init__(str(answer.get("message", "the daemon gave no reason")))
        self.code = str(answer.get("code"))
        self.exit_code = _EXIT_CODES.get(self.code, EXIT_FAILED)
        self.answer = answer


def ask(
    path: Path, request: ControlRequest, *, seconds: float | None = USUAL_SECONDS
) -> dict[str, object]:
    """Send a request and return the result.

    Args:
        path: The daemon's socket.
        request: What to ask.
        seconds: How long to wait for the answer; None for as long as it takes.

    Raises:
        NotRunningError: No daemon listens there, or it ended before it answered.
        RefusedError: It answered with an error.
        SweeperdError: It does not answer, or not as a daemon does.
    """
    with connect(path) as connection:
        try:
            with suppress(BrokenPipeError):  # it was refused before it was sent: that is told
                connection.sendall(request.encoded())
            connection.settimeout(seconds)
            with connection.makefile("rb") as stream:
                line = stream.readline(_LONGEST_ANSWER)
        except TimeoutError:
            raise SweeperdError(
                f"the daemon at {path} has not answered within {seconds:.0f} s",
                cure="look at it with: systemctl status sweeperd",
            ) from None
        except OSError:
            line = b""
    if not line.endswith(b"\n"):
        raise NotRunningError("the daemon ended before it answered")
    return _result(path, line)


def _result(path: Path, line: bytes) -> dict[str, object]:
    try:
        plain = json.loads(line)
        if plain["ok"] is True:
            return dict(plain["result"])
        error = dict(plain["error"])
    except (ValueError, TypeError, KeyError, RecursionError):
        raise SweeperdError(f"what answers at {path} is not sweeperd, or another version") from None
    raise RefusedError(error)
