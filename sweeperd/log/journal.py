"""The journal's own protocol, and its line form."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TextIO

import structlog

from sweeperd.log.safe_text import EventDict, one_line
from sweeperd.log.sentence import EVENTS, sentence

_journal: Any = None
# without the extra "journal" its line form is used
with suppress(ImportError):
    from cysystemd import journal as _journal

_IDENTIFIER = "sweeperd"
PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}


def is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Tell whether the stream is connected to the journal (systemd.exec(5), JOURNAL_STREAM)."""
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(stream.fileno())
        return (int(device), int(inode)) == (status.st_dev, status.st_ino)
    except (OSError, ValueError):
        return False


def to_journal(_logger: object, _method: str, event: EventDict) -> str:
    """Send an event to the journal, or return it in the journal's line form, sd-daemon(3)."""
    level, name = event.pop("level", "info"), str(event.pop("event", ""))
    message = one_line(sentence(name, event))
    priority = PRIORITIES.get(level, PRIORITIES["info"])
    if _sent(_journal_fields(name, priority, message, event)):
        raise structlog.DropEvent
    rest = " ".join(f"{key}={_word(value)}" for key, value in event.items() if value is not None)
    return f"<{priority}>{message} [event={name}{' ' if rest else ''}{rest}]"


def _sent(fields: dict[str, object]) -> bool:
    if _journal is None:
        return False
    try:
        _journal.send(**fields)
    except Exception:  # noqa: BLE001 - whatever the library meets, the line must get out
        return False
    return True


def _journal_fields(name: str, priority: int, message: str, event: EventDict) -> dict[str, object]:
    fields = {
        _field_name(key): _field_text(value) for key, value in event.items() if value is not None
    }
    own = {
        "MESSAGE": message,
        "PRIORITY": priority,
        "SYSLOG_IDENTIFIER": _IDENTIFIER,
        "EVENT": name,
    }
    if name in EVENTS:
        own["MESSAGE_ID"] = EVENTS[name].message_id
    return {**{key: text for key, text in fields.items() if key}, **own}


def _field_name(key: str) -> str:
    """Only A-Z, 0-9 and _ may be in a field's name, a letter first; others are dropped."""
    return re.sub(r"[^A-Z0-9_]", "_", key.upper()).lstrip("_0123456789")[:64]


def _field_text(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return one_line(text)


def _word(value: object) -> str:
    text = _field_text(value)
    return json.dumps(text, ensure_ascii=False) if " " in text else text
