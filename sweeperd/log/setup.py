"""Logging: structured events, shown as lines of JSON, as coloured text, or in the journal.

All logs go to stderr, of the daemon and of foreground commands alike, so that stdout
belongs to what a command prints; systemd sends both to the journal.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any, Literal, TextIO, cast

import structlog

from sweeperd.host.clock import SystemClock
from sweeperd.log.events import sentence

_journal: Any = None
# without the extra "journal" its line form is used
with suppress(ImportError):
    from cysystemd import journal as _journal

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "console", "json", "journal"]

_IDENTIFIER = "sweeperd"
_PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
_LEVELS = {name: getattr(logging, name.upper()) for name in _PRIORITIES}

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
_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")

Event = MutableMapping[str, Any]
Processor = Callable[[Any, str, Event], Any]


def configure(level: Level, fmt: Format, *, stream: TextIO | None = None) -> None:
    """Set up logging; may be called again at any time, a reload does.

    Args:
        level: The least level shown.
        fmt: How; ``auto`` is the journal's protocol when ``stream`` is the journal,
            coloured text when it is a terminal, JSON lines elsewhere.
        stream: Where to; stderr by default.
    """
    target = stream or sys.stderr
    shown = _resolve(fmt, target)
    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,
        _plain,
        _redact,
    ]
    if shown == "journal":
        processors.append(_to_journal)
    elif shown == "console":
        processors += [_stamp("%H:%M:%S"), _escape]
        processors.append(structlog.dev.ConsoleRenderer(colors=target.isatty(), pad_event_to=18))
    else:
        processors += [_stamp(None), _to_json]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", _Sink(target))),
        # a reload changes level and format under loggers that exist already
        cache_logger_on_first_use=False,
    )
    _forward_libraries()


@contextmanager
def run_context(sweep: str, correlation_id: str) -> Iterator[None]:
    """Put both on each log line of this task, and take them off again."""
    with structlog.contextvars.bound_contextvars(sweep=sweep, correlation_id=correlation_id):
        yield


def redact(text: str) -> str:
    """Hide passwords in what looks like a DSN, URI or key=value; the last line of defence."""
    text = _URI_SECRET.sub(rf"\1:{_HIDDEN}@", text)
    return _KEY_SECRET.sub(rf"\1\2{_HIDDEN}", text)


def one_line(text: str) -> str:
    """Escape what could end a line or steer a terminal."""
    return _UNSAFE.sub(_escaped, text)


def is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Tell whether the stream is connected to the journal (systemd.exec(5), JOURNAL_STREAM)."""
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(stream.fileno())
        return (int(device), int(inode)) == (status.st_dev, status.st_ino)
    except (OSError, ValueError):
        return False


def _resolve(fmt: Format, stream: TextIO) -> str:
    if fmt != "auto":
        return fmt
    if is_journal(stream, os.environ):
        return "journal"
    return "console" if stream.isatty() else "json"


def _plain(_logger: object, _method: str, event: Event) -> Event:
    """Turn values into what JSON knows, before anything looks at their text."""
    return {key: _plain_value(value) for key, value in event.items()}


def _plain_value(value: object) -> Any:  # noqa: ANN401 - JSON's own types
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping):
        return {str(key): _plain_value(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain_value(item) for item in value]
    return None if value is None else str(value)


def _redact(_logger: object, _method: str, event: Event) -> Event:
    return {
        key: _HIDDEN if key.lower() in _SECRET_KEYS else _each_text(value, redact)
        for key, value in event.items()
    }


def _escape(_logger: object, _method: str, event: Event) -> Event:
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


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match.group()):04x}"


def _stamp(pattern: str | None) -> Processor:
    clock = SystemClock()

    def stamp(_logger: object, _method: str, event: Event) -> Event:
        now = clock.now()
        event["timestamp"] = (
            now.astimezone().strftime(pattern)
            if pattern
            else now.isoformat(timespec="microseconds")
        )
        return event

    return stamp


def _to_json(_logger: object, _method: str, event: Event) -> str:
    first = {key: event.pop(key) for key in ("timestamp", "level", "event") if key in event}
    text = json.dumps({**first, **event}, ensure_ascii=False, default=str)
    return _UNSAFE_IN_JSON.sub(_escaped, text)


def _to_journal(_logger: object, _method: str, event: Event) -> str:
    """Send an event to the journal, or return it in the journal's line form, sd-daemon(3)."""
    level, name = event.pop("level", "info"), str(event.pop("event", ""))
    message = one_line(sentence(name, event))
    priority = _PRIORITIES.get(level, _PRIORITIES["info"])
    if _sent(_journal_fields(name, priority, message, event)):
        raise structlog.DropEvent
    rest = " ".join(f"{key}={_word(value)}" for key, value in event.items() if value is not None)
    return f"<{priority}>{message} [event={name}{' ' if rest else ''}{rest}]"


def _sent(fields: dict[str, Any]) -> bool:
    if _journal is None:
        return False
    try:
        _journal.send(**fields)
    except Exception:  # noqa: BLE001 - whatever the library meets, the line must get out
        return False
    return True


def _journal_fields(name: str, priority: int, message: str, event: Event) -> dict[str, Any]:
    fields = {
        _field_name(key): _field_text(value) for key, value in event.items() if value is not None
    }
    own = {
        "MESSAGE": message,
        "PRIORITY": priority,
        "SYSLOG_IDENTIFIER": _IDENTIFIER,
        "EVENT": name,
    }
    return {**{key: text for key, text in fields.items() if key}, **own}


def _field_name(key: str) -> str:
    """Only A-Z, 0-9 and _ may be in a field's name, a letter first; others are dropped."""
    return re.sub(r"[^A-Z0-9_]", "_", key.upper()).lstrip("_0123456789")[:64]


def _field_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _word(value: object) -> str:
    text = one_line(_field_text(value))
    return json.dumps(text, ensure_ascii=False) if " " in text else text


class _Sink:
    """A stream whose end does not end the sweeps: a line that cannot be written is lost."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


class _Forwarder(logging.Handler):
    """Hands what libraries log (asyncio's lost exceptions) to our own log."""

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelname.lower()
        write = getattr(structlog.get_logger(), level if level in _PRIORITIES else "info")
        write(
            "library_message",
            logger=record.name,
            text=record.getMessage(),
            exc_info=record.exc_info or None,
        )


def _forward_libraries() -> None:
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _Forwarder)]:
        root.removeHandler(handler)
    root.addHandler(_Forwarder())
    root.setLevel(logging.WARNING)
