"""Print docs/events.md: each event of the log, as the journal's catalog explains it.

Usage: events.py >docs/events.md, with a Python that can import sweeperd.
"""

from __future__ import annotations

import re
import sys
from dataclasses import fields
from pathlib import Path

from sweeperd.log.event import Event
from sweeperd.log.sentence import EVENTS

CATALOG = Path(__file__).resolve().parents[1] / "etc" / "journal" / "sweeperd.catalog"
_INTRODUCTION = """# Events

Written by `make docs` from `etc/journal/sweeperd.catalog`.

Each line of the log is one of these. In the journal the name is the field `EVENT`, and each field
of the event is a field in capitals; `MESSAGE_ID` never changes, so it is what a program should look
for. `journalctl -u sweeperd -x` shows the same explanations beside the lines.

From `warning` on a person should look. Such an event is loud once for each change of state, and
again after a day; in between it has the level `info`. So `journalctl -u sweeperd -p warning` shows
what needs a person, and nothing else.
"""


def explanations() -> dict[str, tuple[str, str]]:
    """Return subject and text of each entry of the catalog, by MESSAGE_ID."""
    entries = re.split(r"(?m)^-- ", CATALOG.read_text())[1:]
    found = {}
    for entry in entries:
        head, _, text = entry.partition("\n\n")
        subject = re.search(r"(?m)^Subject: (.*)$", head)
        if subject is None:
            raise SystemExit(f"no subject: {head}")
        found[head.split("\n")[0]] = subject[1], re.sub(r"(?m)^# .*\n?", "", text).strip()
    return found


def page() -> str:
    """Return the whole page."""
    explained = explanations()
    parts = [_INTRODUCTION]
    for name, kind in sorted(EVENTS.items()):
        if kind.message_id not in explained:
            raise SystemExit(f"{CATALOG.name} has no entry {kind.message_id} for {name}")
        parts.append(_section(name, kind, *explained[kind.message_id]))
    return "\n".join(parts)


def _section(name: str, kind: type[Event], subject: str, text: str) -> str:
    named = ", ".join(f"`{field.name}`" for field in fields(kind))
    words = re.sub(r"@(\w+)@", lambda field: f"`{field[1].lower()}`", f"{subject}.\n\n{text}")
    return (
        f"## {name}\n\n{words}\n\nLevel {kind.level}, `MESSAGE_ID={kind.message_id}`. "
        f"Fields: {named}.\n"
    )


if __name__ == "__main__":
    sys.stdout.write(page())
