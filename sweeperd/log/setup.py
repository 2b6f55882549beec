"""Logging: structured events, shown as lines of JSON, as coloured text, or in the journal.

All logs go to stderr, of the daemon and of foreground commands alike, so that stdout
belongs to what a command prints; systemd sends both to the journal.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Literal, TextIO, cast

import structlog

from sweeperd.host.clock import SystemClock
from sweeperd.log.event import Level
from sweeperd.log.journal import to_journal
from sweeperd.log.journal_stream import PRIORITIES, is_journal
from sweeperd.log.safe_text import (
    EventDict,
    Processor,
    escape_event,
    redact_event,
    safe_json,
)

Format = Literal["auto", "console", "json", "journal"]

_LEVELS = {name: getattr(logging, name.upper()) for name in PRIORITIES}


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
        redact_event,
    ]
    if shown == "journal":
        processors.append(to_journal)
    elif shown == "console":
        processors += [_stamp("%H:%M:%S"), escape_event]
        processors.append(
            structlog.dev.ConsoleRenderer(
                colors=target.isatty(),
                pad_event_to=18,
                # tracebacks are text by now, and none may show the values of variables
                exception_formatter=structlog.dev.plain_traceback,
            )
        )
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


def _resolve(fmt: Format, stream: TextIO) -> str:
    if fmt != "auto":
        return fmt
    if is_journal(stream, os.environ):
        return "journal"
    return "console" if stream.isatty() else "json"


def _plain(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Turn values into what JSON knows, before anything looks at their text."""
    return {key: _plain_value(value) for key, value in event.items()}


def _plain_value(value: object) -> object:
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


def _stamp(pattern: str | None) -> Processor:
    clock = SystemClock()

    def stamp(_logger: object, _method: str, event: EventDict) -> EventDict:
        now = clock.now()
        event["timestamp"] = (
            now.astimezone().strftime(pattern)
            if pattern
            else now.isoformat(timespec="microseconds")
        )
        return event

    return stamp


def _to_json(_logger: object, _method: str, event: EventDict) -> str:
    first = {key: event.pop(key) for key in ("timestamp", "level", "event") if key in event}
    return safe_json({**first, **event})


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
        write = getattr(structlog.get_logger(), level if level in PRIORITIES else "info")
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
