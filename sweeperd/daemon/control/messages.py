"""What goes over the control socket: one JSON object a line, each of a bounded form.

docs/control-socket.md describes it for other programs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, cast, get_args

from sweeperd.log.safe_text import bounded

VERSION: Final = 1
LONGEST_REQUEST: Final = 65_536
_LONGEST_TEXT: Final = 4_096
CORRELATION_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)

Kind = Literal["status", "reload", "sweep", "holds"]
ErrorCode = Literal[
    "malformed",
    "too_long",
    "unknown_version",
    "unknown_request",
    "invalid",
    "other_configuration",
    "unknown_sweep",
    "rejected",
    "held",
    "disabled",
    "already_requested",
    "busy",
    "stopping",
    "failed",
]
_FIELDS: Final[dict[Kind, frozenset[str]]] = {
    "status": frozenset({"config", "sweep"}),
    "reload": frozenset({"config"}),
    "sweep": frozenset({"config", "sweep", "correlation_id"}),
    "holds": frozenset(),
}

JsonObject = dict[str, object]


class RequestError(Exception):
    """Why a request is not answered with a result.

    Attributes:
        code: For programs.
        message: For people.
        more: Further fields of the answer.
    """

    def __init__(self, code: ErrorCode, message: str, more: Mapping[str, object] = {}) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.more = more


@dataclass(frozen=True)
class ControlRequest:
    """One request.

    Attributes:
        kind: What is asked for.
        sweep: Which sweep it is about; None for all.
        correlation_id: Of the run that is asked for; None for a new one.
        config: The configuration file of the daemon that is meant; None for whichever it has.
    """

    kind: Kind
    sweep: str | None = None
    correlation_id: str | None = None
    config: str | None = None

    def encoded(self) -> bytes:
        """Return its line."""
        plain: JsonObject = {"version": VERSION, "request": self.kind}
        for key in ("sweep", "correlation_id", "config"):
            if getattr(self, key) is not None:
                plain[key] = getattr(self, key)
        return json.dumps(plain).encode() + b"\n"


def decoded(line: bytes) -> ControlRequest:
    """Return the request of a line.

    Raises:
        RequestError: It is none.
    """
    try:
        plain = json.loads(line)
    except (ValueError, RecursionError):
        raise RequestError("malformed", "the line is not JSON") from None
    if not isinstance(plain, dict):
        raise RequestError("malformed", "the line is not a JSON object")
    version, kind = plain.pop("version", None), plain.pop("request", None)
    if type(version) is not int or version != VERSION:
        told = f"this daemon knows version {VERSION} of the protocol"
        raise RequestError("unknown_version", told, {"versions": [VERSION]})
    if kind not in get_args(Kind):
        known = ", ".join(get_args(Kind))
        raise RequestError("unknown_request", f"this daemon knows the requests {known}")
    for key, value in plain.items():
        if key not in _FIELDS[kind]:
            raise RequestError("invalid", f"{bounded(key, 60)} is not a field of a {kind} request")
        if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_TEXT:
            raise RequestError("invalid", f"{key} is not a text of 1 to {_LONGEST_TEXT} characters")
    if CORRELATION_ID.fullmatch(plain.get("correlation_id", "x")) is None:
        raise RequestError("invalid", "correlation_id is not 1 to 64 of A-Z a-z 0-9 . _ -")
    if kind == "sweep" and "sweep" not in plain:
        raise RequestError("invalid", "a sweep request names its sweep")
    return ControlRequest(cast("Kind", kind), **plain)


def answer(result: Mapping[str, object]) -> bytes:
    """Return the line that answers with a result."""
    return _line({"version": VERSION, "ok": True, "result": result})


def refusal(error: RequestError) -> bytes:
    """Return the line that answers with an error."""
    told = {**error.more, "code": error.code, "message": bounded(error.message)}
    return _line({"version": VERSION, "ok": False, "error": told})


def _line(plain: Mapping[str, object]) -> bytes:
    return json.dumps(plain, default=str).encode() + b"\n"
