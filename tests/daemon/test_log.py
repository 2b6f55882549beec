from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import tempfile
from dataclasses import fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from sweeperd.log import journal
from sweeperd.log import setup as log
from sweeperd.log.daemon_events import DatabaseLost, StateSetAside
from sweeperd.log.event import Event, Level, emit
from sweeperd.log.journal import is_journal
from sweeperd.log.run_events import BatchCommitted, RowSkipped, Waiting
from sweeperd.log.safe_text import redact
from sweeperd.log.sentence import EVENTS as KINDS
from sweeperd.log.sentence import sentence
from sweeperd.log.setup import Format, configure, run_context
from sweeperd.sweep.outcome.report import Report

if TYPE_CHECKING:
    from collections.abc import Iterator

EVENTS = [
    "daemon_started",
    "daemon_stopping",
    "config_reloaded",
    "config_rejected",
    "sweep_scheduled",
    "sweep_started",
    "sweep_ran",
    "sweep_timed_out",
    "sweep_failed",
    "sweep_throttled",
    "sweep_held",
    "sweep_released",
    "row_skipped",
    "database_lost",
    "database_back",
    "batch_committed",
    "waiting",
]


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    former = structlog.get_config()
    yield
    structlog.configure(**former)
    logging.getLogger().handlers = [
        handler
        for handler in logging.getLogger().handlers
        if not isinstance(handler, log._Forwarder)
    ]


def written(fmt: Format, event: str, **fields: Any) -> str:
    stream = io.StringIO()
    configure("info", fmt, stream=stream)
    structlog.get_logger().info(event, **fields)
    return stream.getvalue()


def test_elsewhere_than_on_a_terminal_each_event_is_one_line_of_json() -> None:
    text = written(
        "auto", "sweep_ran", deleted_count=3, cutoff_time=datetime(2026, 1, 1, tzinfo=UTC)
    )
    line = json.loads(text)

    assert text.count("\n") == 1
    assert list(line)[:3] == ["timestamp", "level", "event"]
    assert line["event"] == "sweep_ran"
    assert line["deleted_count"] == 3
    assert line["cutoff_time"] == "2026-01-01T00:00:00+00:00"


@pytest.mark.parametrize("fmt", ["json", "console", "journal"])
def test_no_value_can_forge_a_line_or_steer_a_terminal(
    fmt: Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_journal", None)
    evil = 'x\n{"event": "sweep_ran"}\r\x1b[2J\x85\u2028\x9b2J\udc80'
    text = written(fmt, "sweep_failed", error=evil, sweep="a", more={"k": [evil]})

    assert len(text.splitlines()) == 1
    assert not set("\r\x1b\x85\u2028\x9b\udc80") & set(text)


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u:hunter2@h/db",
        "postgresql://:hunter2@h/db",
        "postgres://u:hun@hunter2@h1,h2/db?x=y",
        "cannot use 'postgresql://u:hunter2@h/db': refused",
        "host=h password=hunter2 user=u",
        "host=h PASSWORD = 'hun ter\\' hunter2' user=u",
        "postgresql://h/db?user=u&password=hunter2&x=y",
        "sslpassword=hunter2",
        '{"password": "hunter2"}',
    ],
)
@pytest.mark.parametrize("fmt", ["json", "console", "journal"])
def test_a_password_in_a_dsn_is_never_shown(
    text: str, fmt: Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_journal", None)

    assert "hunter2" not in redact(text)
    assert "hunter2" not in written(fmt, "x", error=text, deep={"a": [text]}, password="hunter2")


def test_a_password_in_a_traceback_is_not_shown_either() -> None:
    stream = io.StringIO()
    configure("info", "json", stream=stream)
    try:
        int("postgresql://u:hunter2@h/db")
    except ValueError:
        structlog.get_logger().exception("sweep_failed")

    assert "hunter2" not in stream.getvalue()
    assert "Traceback" in stream.getvalue()


def test_what_is_no_secret_stays() -> None:
    text = "postgresql://u@h:5432/db: password authentication failed for user u"

    assert redact(text) == text


def test_each_field_is_a_journal_field(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict[str, Any]] = []

    class Journal:
        @staticmethod
        def send(**fields: Any) -> None:
            sent.append(fields)

    monkeypatch.setattr(journal, "_journal", Journal)
    with run_context("session_cleanup", "abc"):
        text = written("journal", "sweep_ran", deleted_count=2, batches=1, outcome="drained", _x=1)

    assert text == ""
    assert sent == [
        {
            "SWEEP": "session_cleanup",
            "CORRELATION_ID": "abc",
            "DELETED_COUNT": "2",
            "BATCHES": "1",
            "OUTCOME": "drained",
            "X": "1",
            "EVENT": "sweep_ran",
            "MESSAGE": "Sweep session_cleanup drained: 2 rows deleted in 1 batch",
            "PRIORITY": 6,
            "SYSLOG_IDENTIFIER": "sweeperd",
            "MESSAGE_ID": KINDS["sweep_ran"].message_id,
        }
    ]


def test_without_the_library_the_journal_gets_priorities_and_all_fields(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(journal, "_journal", None)
    stream = io.StringIO()
    configure("info", "journal", stream=stream)
    structlog.get_logger().error("sweep_failed", sweep="a", error="no such table", batches=0)

    assert stream.getvalue() == (
        "<3>Sweep a failed: no such table (0 rows deleted in 0 batches) "
        '[event=sweep_failed sweep=a error="no such table" batches=0]\n'
    )


def test_the_journal_is_known_by_its_stream() -> None:
    with tempfile.TemporaryFile("w") as stream:
        status = os.fstat(stream.fileno())
        meant = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        assert is_journal(stream, meant)
        assert not is_journal(stream, {"JOURNAL_STREAM": f"{status.st_dev}:1"})
        assert not is_journal(stream, {})
        assert not is_journal(stream, {"JOURNAL_STREAM": "x"})
    assert not is_journal(io.StringIO(), meant)


async def test_two_runs_at_once_never_mix_their_ids() -> None:
    stream = io.StringIO()
    configure("info", "json", stream=stream)
    barrier = [asyncio.Event() for _ in range(4)]

    async def run(number: int) -> None:
        with run_context(f"s{number}", f"id{number}"):
            for _ in range(5):
                structlog.get_logger().info("sweep_started", number=number)
                barrier[(number + 1) % 4].set()
                await barrier[number].wait()
                barrier[number].clear()
                await asyncio.sleep(0)
            for event in barrier:
                event.set()

    await asyncio.gather(*(asyncio.create_task(run(number)) for number in range(4)))
    structlog.get_logger().info("after")

    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(lines) == 21
    assert "correlation_id" not in lines.pop()
    assert all(
        line["correlation_id"] == f"id{line['number']}" and line["sweep"] == f"s{line['number']}"
        for line in lines
    )


def test_level_and_format_change_under_loggers_that_exist() -> None:
    stream = io.StringIO()
    logger = structlog.get_logger()
    configure("error", "json", stream=stream)
    logger.info("x")
    assert stream.getvalue() == ""

    configure("debug", "console", stream=stream)
    logger.debug("x", a=1)
    assert "a=1" in stream.getvalue()


def test_what_libraries_log_comes_out_in_the_same_form() -> None:
    stream = io.StringIO()
    configure("info", "json", stream=stream)
    configure("info", "json", stream=stream)
    logging.getLogger("asyncio").error("lost %s", "postgresql://u:hunter2@h/db")

    (line,) = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert line["level"] == "error"
    assert line["logger"] == "asyncio"
    assert line["text"] == "lost postgresql://u:***@h/db"


def test_a_log_that_cannot_be_written_does_not_end_the_sweeps() -> None:
    stream = io.StringIO()
    configure("info", "json", stream=stream)
    stream.close()

    structlog.get_logger().info("x")


def test_a_dry_run_does_not_tell_of_a_drained_table() -> None:
    report = Report("s", "id", expired_count=7)
    report.finish("drained", "dry run: 7 rows would go")

    assert report.ended().sentence() == "Sweep s deleted nothing, dry run: 7 rows would go"


def test_what_the_design_lists_and_more_is_an_event() -> None:
    assert set(EVENTS) <= KINDS.keys()
    assert KINDS["row_skipped"] is RowSkipped
    assert all(kind.name == name for name, kind in KINDS.items())


@pytest.mark.parametrize("level", ["debug", "info"])
def test_batches_and_waits_are_seen_at_debug_only(level: Level) -> None:
    stream = io.StringIO()
    configure(level, "json", stream=stream)
    emit(BatchCommitted("s", "1:heap:0/1", 7, 0.1))
    emit(Waiting("s", "rate_limit", 1.5))

    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == (
        ["batch_committed", "waiting"] if level == "debug" else []
    )


def test_a_skipped_row_a_lost_database_and_a_damaged_state_are_told_with_their_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(journal, "_journal", None)
    stream = io.StringIO()
    configure("info", "journal", stream=stream)
    emit(RowSkipped("s", "t", "id=7", "violates foreign key"))
    emit(DatabaseLost("app", "connection reset"))
    emit(StateSetAside("/state.json", "no version", kept="/state.json.damaged"))
    emit(StateSetAside("/state.json", "no version", error="read-only"))

    told = [line.partition(" [")[0] for line in stream.getvalue().splitlines()]
    assert told == [
        "<4>Sweep s steps over a row id=7: violates foreign key",
        "<3>Database app is lost: connection reset",
        "<4>The state /state.json cannot be used: no version; kept as /state.json.damaged",
        "<4>The state /state.json cannot be used: no version; it cannot be renamed: read-only",
    ]
    assert "kept" not in stream.getvalue().splitlines()[3]


@pytest.mark.parametrize("kind", KINDS.values(), ids=str)
def test_each_event_comes_back_from_its_log_line(kind: type[Event]) -> None:
    event = kind.from_fields({})
    stream = io.StringIO()
    configure("debug", "json", stream=stream)
    emit(event)
    line = json.loads(stream.getvalue())

    assert kind.from_fields(line) == event
    assert line["level"] == kind.level
    assert {field.name for field in fields(kind) if field.default is not None} <= line.keys()


@pytest.mark.parametrize("event", EVENTS)
def test_each_event_of_the_design_has_a_sentence(event: str) -> None:
    bare = sentence(event, {})
    full = sentence(
        event,
        {"sweep": "s", "database": "d", "reason": "why", "error": "bad", "deleted_count": 1},
    )

    assert bare[0].isupper() or bare.startswith("sweeperd")
    assert event not in full
