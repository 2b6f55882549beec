"""The journal explains each event, and the document says the same."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from sweeperd.log.event import Event
from sweeperd.log.sentence import EVENTS
from tests.parts import need

ROOT = Path(__file__).resolve().parents[2]
CATALOG = ROOT / "etc" / "journal" / "sweeperd.catalog"
TEXT = re.sub(r"(?m)^#.*\n", "", CATALOG.read_text())
ENTRIES = {entry[:32]: entry for entry in re.split(r"(?m)^-- ", TEXT)[1:]}
COMMON = {"SWEEP", "CORRELATION_ID", "EXCEPTION"}  # of any line of a run


@pytest.mark.parametrize("kind", EVENTS.values(), ids=lambda kind: kind.name)
def test_each_event_has_an_entry_that_names_its_fields_only(kind: type[Event]) -> None:
    assert re.fullmatch(r"[0-9a-f]{32}", kind.message_id)
    entry = ENTRIES.get(kind.message_id)

    assert entry is not None, f"{CATALOG} has no entry for {kind.name}: {kind.message_id}"
    known = {field.name.upper() for field in fields(kind)} | COMMON
    assert set(re.findall(r"@(\w+)@", entry)) <= known
    needs_nothing = "Nothing needs to be done" in entry
    assert not needs_nothing or kind.level in {"debug", "info"} or "unless" in entry


def test_no_entry_is_without_an_event_and_no_two_events_share_one() -> None:
    assert sorted(ENTRIES) == sorted(kind.message_id for kind in EVENTS.values())


@need("journalctl")
def test_the_journal_takes_the_whole_catalog(tmp_path: Path) -> None:
    folder = tmp_path / "usr/lib/systemd/catalog"
    folder.mkdir(parents=True)
    (tmp_path / "var/lib/systemd/catalog").mkdir(parents=True)
    (folder / CATALOG.name).write_bytes(CATALOG.read_bytes())

    made = journalctl(f"--root={tmp_path}", "--update-catalog")
    listed = journalctl(f"--root={tmp_path}", "--list-catalog")

    assert made == ""
    assert sorted(line[:32] for line in listed.splitlines()) == sorted(ENTRIES)


def journalctl(*args: str) -> str:
    done = subprocess.run(["journalctl", *args], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_the_page_of_events_is_that_of_the_catalog() -> None:
    made = subprocess.run(
        [sys.executable, str(ROOT / "packaging" / "events.py")],
        capture_output=True,
        text=True,
        check=True,
    )

    assert made.stdout == (ROOT / "docs" / "events.md").read_text(), "make docs"
