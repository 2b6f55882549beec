"""Texts that may be shown: without secrets, on one line."""

from __future__ import annotations

import re
from collections.abc import Callable, MutableMapping
from typing import Any

# A password in a URI ends at the last @ before a blank: rather too much is hidden than too little.
_URI_SECRET = re.compile(r"(\w://[^\s:@/]*):\S*@")


_KEY_SECRET = re.compile(
    r"""\b((?:ssl)?password|passwd)(["']?\s*[=:]\s*)('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\s&]+)""",
    re.IGNORECASE,
)


_SECRET_KEYS = frozenset({"password", "passwd", "secret", "sslpassword"})


_HIDDEN = "***"


# C0, DEL, C1, line and paragraph separators, surrogates: what can end a line or steer a terminal
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")


Event = MutableMapping[str, Any]


Processor = Callable[[Any, str, Event], Any]


def redact(text: str) -> str:
    """Hide passwords in what looks like a DSN, URI or key=value; the last line of defence."""
    text = _URI_SECRET.sub(rf"\1:{_HIDDEN}@", text)
    return _KEY_SECRET.sub(rf"\1\2{_HIDDEN}", text)


def one_line(text: str) -> str:
    """Escape what could end a line or steer a terminal."""
    return _UNSAFE.sub(escaped, text)


def redact_event(_logger: object, _method: str, event: Event) -> Event:
    """Hide secrets in every value of an event."""
    return {
        key: _HIDDEN if key.lower() in _SECRET_KEYS else _each_text(value, redact)
        for key, value in event.items()
    }


def escape_event(_logger: object, _method: str, event: Event) -> Event:
    """Keep every value of an event on one line."""
    # a traceback keeps its lines; it is our own, below its event's line
    return {
        key: value if key == "exception" else _each_text(value, one_line)
        for key, value in event.items()
    }


def _each_text(value: Any, change: Callable[[str], str]) -> Any:  # noqa: ANN401 - JSON's types
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: _each_text(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_each_text(item, change) for item in value]
    return value


def escaped(match: re.Match[str]) -> str:
    """Return a character as JSON escapes it."""
    return f"\\u{ord(match.group()):04x}"
