"""The state database: what is written is read, and nothing missing or broken reads as fresh."""

from __future__ import annotations

import multiprocessing
import os
import pwd
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, get_args, get_type_hints

import pytest
from structlog.testing import capture_logs

from sweeperd.daemon.state.database import DATABASE, read_database
from sweeperd.daemon.state.found import StateUnreadableError, read_records
from sweeperd.daemon.state.lock import StateLockedError, locked_directory
from sweeperd.daemon.state.record import Loaded, SweepRecord
from sweeperd.daemon.state.rows import Snapshot
from sweeperd.daemon.state.runs import Run, read_known_sweeps, read_runs
from sweeperd.daemon.state.sequence import SEQUENCE
from sweeperd.daemon.state.store import Changes, StateStore
from sweeperd.sweep.outcome.memory import SweepMemory
from tests.daemon.test_earlier_state import MEMORY
from tests.parts import need

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
RECORD = SweepRecord(
    last_start=NOON,
    last_outcome="timed_out",
    left_over=True,
    memory=MEMORY,
    held="no sampled row would survive",
    held_by="guard",
    held_kinds=("survivors",),
    boot="boot-1",
    started_elapsed=12.5,
    policy="app|t",
)


def run_at(moment: datetime, **report: object) -> Run:
    return Run("a", {"started_at": moment.isoformat(), **report})


def changes(*runs: Run, **records: SweepRecord) -> Changes:
    return Changes([Snapshot.of(name, record) for name, record in records.items()], runs)


@contextmanager
def opened(directory: Path) -> Iterator[StateStore]:
    store = StateStore(directory, lambda: NOON)
    store.load()
    store.settle()
    yield store
    store.close()


def save(directory: Path, *runs: Run, **records: SweepRecord) -> None:
    with opened(directory) as store:
        assert store.write(changes(*runs, **records))


def tamper(directory: Path, *statements: str) -> None:
    with closing(sqlite3.connect(directory / DATABASE)) as connection, connection:
        for statement in statements:
            assert connection.execute(statement).rowcount, statement


def test_what_is_saved_is_loaded_and_a_reader_never_writes(tmp_path: Path) -> None:
    assert read_records(tmp_path) == Loaded()
    assert list(tmp_path.iterdir()) == []
    save(tmp_path, run_at(NOON, deleted_count=3), a=RECORD, b=SweepRecord())
    before = {path: path.stat() for path in tmp_path.iterdir()}

    found = read_records(tmp_path)

    run = run_at(NOON, deleted_count=3).report
    assert found == Loaded({"a": replace(RECORD, history=(run,)), "b": SweepRecord()})
    assert {path.name for path in before} == {DATABASE, SEQUENCE}
    assert {path: path.stat() for path in tmp_path.iterdir()} == before


def test_a_reader_sees_what_the_open_daemon_has_written(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        for outcome in ("drained", "timed_out"):
            store.write(changes(a=SweepRecord(last_outcome=outcome)))
            assert read_records(tmp_path).records["a"].last_outcome == outcome


def rows(directory: Path) -> dict[tuple[object, ...], object]:
    def look(connection: sqlite3.Connection) -> dict[tuple[object, ...], object]:
        query = "SELECT sweep, part, '', value FROM memory UNION ALL SELECT * FROM memory_entry"
        return {row[:-1]: row[-1] for row in connection.execute(query)}

    return read_database(directory, look)


def test_a_commit_writes_one_row_however_many_sweeps_and_leaves_there_are(tmp_path: Path) -> None:
    memory = SweepMemory(batch_sizes={str(number): number for number in range(100)})
    records = {f"s{number}": SweepRecord(memory=memory.copy()) for number in range(20)}
    with opened(tmp_path) as store:
        store.write(changes(**records))
        before = rows(tmp_path)
        written: list[str] = []
        store._open(make=False).connection.set_trace_callback(written.append)
        records["s7"].memory.batch_sizes["3"] = 1_000
        store.write(changes(s7=records["s7"]))
        assert sum("memory" in statement for statement in written) == 1
        records["s7"].memory.batch_sizes.pop("5")
        store.write(changes(s7=records["s7"]))
    after = rows(tmp_path)

    assert before.keys() - after.keys() == {("s7", "batch_sizes", "5")}
    assert {key for key in after if after[key] != before.get(key)} == {("s7", "batch_sizes", "3")}
    assert read_records(tmp_path).records["s7"].memory == records["s7"].memory


def test_every_value_of_a_memory_is_frozen() -> None:
    """The writer compares values while the run goes on: one that changed in place is not seen."""
    todo: list[object] = [*get_type_hints(SweepMemory).values()]
    while todo:
        one = todo.pop()
        todo += get_args(one)
        if isinstance(one, type) and is_dataclass(one):
            assert one.__dataclass_params__.frozen, one  # type: ignore[attr-defined]
            hints = get_type_hints(one)
            todo += [hints[each.name] for each in fields(one)]
            for each in fields(one):
                assert not str(hints[each.name]).startswith(("dict", "list")), (one, each.name)


def test_runs_are_kept_for_the_history_and_read_from_the_newest(tmp_path: Path) -> None:
    days = [run_at(NOON - timedelta(days=age), age=age) for age in (120, 91, 89, 10, 0)]
    with opened(tmp_path) as store:
        store.write(changes(*days, Run("a", {"started_at": "?"}), a=SweepRecord()))
        assert [run["age"] for run in read_runs(tmp_path, "a")] == [89, 10, 0]
        assert [run["age"] for run in read_runs(tmp_path, "a", newest=1)] == [0]
        since = NOON - timedelta(days=10)
        assert [run["age"] for run in read_runs(tmp_path, "a", since=since)] == [10, 0]
        store.history = timedelta(days=5)
        store.write(Changes())
        assert [run["age"] for run in read_runs(tmp_path, "a")] == [0]
        store.history = timedelta.max
        assert store.write(Changes())
    assert read_known_sweeps(tmp_path) == ["a"]


def test_a_report_that_is_damaged_is_told_and_hides_no_other(tmp_path: Path) -> None:
    save(tmp_path, run_at(NOON - timedelta(hours=1)), run_at(NOON), a=SweepRecord())
    tamper(tmp_path, "UPDATE run SET report = '{' WHERE id = 1")

    first, second = read_runs(tmp_path, "a")

    assert "damaged" in str(first["error"])
    assert second == run_at(NOON).report


def test_what_another_process_saved_is_read_again_and_replaced_as_a_whole(tmp_path: Path) -> None:
    ours = SweepMemory(batch_sizes={"1": 1, "2": 2})
    theirs = SweepMemory(batch_sizes={"1": 9, "3": 3})
    with opened(tmp_path) as store, closing(StateStore(tmp_path)) as other:
        store.write(changes(a=SweepRecord(last_outcome="drained", memory=ours)))
        assert store.reread("a") is None
        assert store.reread("unknown") is None
        found = other.reread("a")
        assert found is not None
        saved = Snapshot.of("a", SweepRecord(memory=theirs), keeps_schedule=True)
        other.write(Changes([saved]))
        mixed = read_records(tmp_path).records["a"]
        assert (mixed.last_outcome, mixed.memory) == ("drained", theirs)

        again = store.reread("a")
        assert again is not None
        assert again.memory == theirs
        other.write(Changes([Snapshot.of("a", SweepRecord(memory=ours), keeps_schedule=True)]))
        again.memory.batch_sizes["3"] = 4
        store.write(changes(a=again))
        assert read_records(tmp_path).records["a"].memory == again.memory


def replace_by(path: Path, what: str) -> None:
    path.rename(path.with_name("former"))
    if what == "directory":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "link":
        path.symlink_to("former")
    elif what == "circle":
        path.symlink_to(path)


BROKEN: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(b"\x00\xff" * 5000),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:5000]),
    "no pages": lambda path: path.write_bytes(path.read_bytes()[:4096] + b"\xaa" * 30_000),
    "missing": lambda path: replace_by(path, "nothing"),
    "directory": lambda path: replace_by(path, "directory"),
    "fifo": lambda path: replace_by(path, "fifo"),
    "link": lambda path: replace_by(path, "link"),
    "circle": lambda path: replace_by(path, "circle"),
    "writable by all": lambda path: path.chmod(0o666),
    "another's": lambda path: os.chown(path, pwd.getpwnam("nobody").pw_uid, -1),
    "another program's": lambda path: tamper_pragma(path.parent, "PRAGMA application_id = 7"),
    "no version": lambda path: tamper_pragma(path.parent, "PRAGMA user_version = 0"),
    "no table": lambda path: tamper_pragma(path.parent, "DROP TABLE memory"),
    "no sequence": lambda path: path.with_name(SEQUENCE).write_bytes(b""),
    "a row of no sweep": lambda path: tamper(path.parent, "UPDATE sweep SET name = x'ff'"),
    "gone back": lambda path: tamper(path.parent, "UPDATE meta SET commits = 0"),
}


def tamper_pragma(directory: Path, statement: str) -> None:
    with closing(sqlite3.connect(directory / DATABASE)) as connection, connection:
        connection.execute(statement)


@pytest.mark.parametrize(
    "how",
    [pytest.param(how, marks=[need("root")] if how == "another's" else []) for how in BROKEN],
)
def test_a_database_that_cannot_be_used_is_kept_aside_and_the_daemon_goes_on(
    tmp_path: Path, how: str
) -> None:
    save(tmp_path, a=RECORD)
    BROKEN[how](tmp_path / DATABASE)
    with pytest.raises(StateUnreadableError, match=r"state\.db cannot be read"):
        read_records(tmp_path)

    store = StateStore(tmp_path)
    with capture_logs() as logs:
        assert store.load().unusable
        assert logs == []
        assert StateStore(tmp_path).load().unusable, "a crash before the holds are set"
        store.settle()
    store.write(changes(b=RECORD))
    store.close()

    assert [log["event"] for log in logs] == ["state_set_aside"]
    kept = os.path.lexists(tmp_path / "state.db.damaged")
    assert kept == (how != "missing")
    assert read_records(tmp_path) == Loaded({"b": RECORD})


def test_a_crash_right_after_the_file_was_set_aside_holds_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, a=RECORD)
    (tmp_path / DATABASE).write_bytes(b"")

    def crash(_directory: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sweeperd.daemon.state.store.create_database", crash)
    store = StateStore(tmp_path)
    store.load()
    with capture_logs(), pytest.raises(KeyboardInterrupt):
        store.settle()

    assert "missing" in str(StateStore(tmp_path).load().unusable)


def test_a_newer_versions_database_is_kept_aside(tmp_path: Path) -> None:
    save(tmp_path, a=RECORD)
    tamper_pragma(tmp_path, "PRAGMA user_version = 99")

    store = StateStore(tmp_path)
    assert "version 99" in str(store.load().unusable)
    with capture_logs():
        store.settle()
    store.close()

    assert (tmp_path / "state.db.newer").exists()


@pytest.mark.parametrize("damage", ["removed", "empty", "header", "middle"])
def test_a_write_ahead_log_that_lost_commits_holds(tmp_path: Path, damage: str) -> None:
    """SQLite itself passes over it, and has an older database."""
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    with opened(tmp_path) as store:
        for number in range(5):
            store.write(changes(a=SweepRecord(last_outcome=f"{number}")))
        for name in (DATABASE, f"{DATABASE}-wal", SEQUENCE):
            (crashed / name).write_bytes((tmp_path / name).read_bytes())
    assert read_records(crashed).records["a"].last_outcome == "4"

    wal = crashed / f"{DATABASE}-wal"
    content = bytearray(wal.read_bytes())
    place = 8 if damage == "header" else len(content) // 2
    content[place : place + 8] = b"\xff" * 8
    wal.unlink() if damage == "removed" else wal.write_bytes(b"" if damage == "empty" else content)
    (crashed / f"{DATABASE}-shm").unlink(missing_ok=True)

    with pytest.raises(StateUnreadableError, match="after its newest one are missing"):
        read_records(crashed)
    store = StateStore(crashed)
    assert store.load().unusable
    with capture_logs():
        store.settle()
    store.close()
    assert read_records(crashed) == Loaded()
    assert (crashed / "state.db.damaged").exists()


ROWS = {
    "record": "UPDATE sweep SET record = '{}' WHERE name = 'a'",
    "no JSON": "UPDATE sweep SET record = '{' WHERE name = 'a'",
    "not text": "UPDATE sweep SET record = x'00ff' WHERE name = 'a'",
    "not UTF-8": "UPDATE memory SET value = CAST(x'22ff22' AS TEXT) WHERE sweep = 'a'",
    "not ASCII": "UPDATE memory_entry SET value = '\"é\"' WHERE part = 'batch_sizes'",
    "deep": f"UPDATE memory SET value = '{'[' * 100_000}' WHERE sweep = 'a'",
    "huge": "UPDATE memory SET value = hex(zeroblob(9000000)) WHERE sweep = 'a'",
    "long number": f"UPDATE memory_entry SET value = '{'9' * 6000}' WHERE key = 'heap'",
    "no row": "DELETE FROM sweep WHERE name = 'a'",
    "no facts": "DELETE FROM memory WHERE part = 'facts' AND sweep = 'a'",
    "no version": "DELETE FROM memory WHERE part = 'version' AND sweep = 'a'",
    "no sizes": "DELETE FROM memory WHERE part = 'batch_sizes' AND sweep = 'a'",
    "another version": "UPDATE memory SET value = '99' WHERE part = 'version' AND sweep = 'a'",
    "another field": "UPDATE memory SET part = 'x' WHERE part = 'facts' AND sweep = 'a'",
    "a size": "UPDATE memory_entry SET value = '-1' WHERE part = 'batch_sizes'",
    "the report": "UPDATE run SET report = '['",
}


@pytest.mark.parametrize("how", ROWS)
def test_a_damaged_row_holds_its_sweep_and_no_other(tmp_path: Path, how: str) -> None:
    save(tmp_path, run_at(NOON), a=RECORD, b=SweepRecord())
    tamper(tmp_path, ROWS[how])

    store = StateStore(tmp_path)
    loaded = store.load()
    store.settle()

    assert loaded.records == {"b": SweepRecord()}
    assert set(loaded.damaged) == {"a"}
    assert loaded.unusable is None
    assert store.reread("a") is None
    store.write(changes(run_at(NOON), a=RECORD))
    store.close()
    assert read_records(tmp_path).damaged == {}, "a run that was released ends the damage"


@contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Lock the database as a tool that copies it might."""
    with closing(sqlite3.connect(directory / DATABASE, isolation_level=None)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE meta SET commits = commits")
        yield


def test_a_locked_database_holds_but_is_neither_set_aside_nor_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeperd.daemon.state.database._BUSY_SECONDS", 0.1)
    save(tmp_path, a=RECORD)
    store = StateStore(tmp_path)
    with exclusive(tmp_path):
        with pytest.raises(StateUnreadableError, match="locked"):
            read_records(tmp_path)
        with capture_logs() as logs:
            assert "locked" in str(store.load().unusable)
            store.settle()
            store.write(Changes())
        assert [log["event"] for log in logs] == ["state_set_aside", "state_not_saved"]
        assert "kept" not in logs[0]

    assert store.reread("a") == RECORD, "its guards are not blind once it can be read"
    with capture_logs() as logs:
        store.write(Changes())
    store.close()
    assert [log["event"] for log in logs] == ["state_saved_again"]
    assert read_records(tmp_path) == Loaded({"a": RECORD})


def test_a_writer_only_waits_for_a_backup_and_a_full_disk_is_told_once(tmp_path: Path) -> None:
    with opened(tmp_path) as store, closing(sqlite3.connect(tmp_path / DATABASE)) as backup:
        store.write(changes(a=RECORD))
        backup.execute("BEGIN")
        backup.execute("SELECT * FROM sweep").fetchall()  # as a backup reads
        assert store.write(changes(a=RECORD))
        backup.rollback()

        limit = store._open(make=False).connection
        (pages,) = limit.execute("PRAGMA page_count").fetchone()
        limit.execute(f"PRAGMA max_page_count = {pages}")
        large = replace(RECORD, policy="x" * 200_000)
        with capture_logs() as logs:
            assert not store.write(changes(a=large))
            store._open(make=False).connection.execute(f"PRAGMA max_page_count = {pages}")
            assert not store.write(changes(a=large))
            assert read_records(tmp_path).records == {"a": RECORD}
            assert store.write(changes(a=large))
            assert store.write(changes(a=large))
        assert [log["event"] for log in logs] == ["state_not_saved", "state_saved_again"]
        assert "full" in logs[0]["error"]
    assert read_records(tmp_path).records == {"a": large}


def _hold(directory: Path, pipe: Connection) -> None:
    with locked_directory(directory):
        pipe.send(os.getpid())
        pipe.recv()


def test_a_second_daemon_is_refused_with_the_firsts_pid(tmp_path: Path) -> None:
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    other = multiprocessing.get_context("spawn").Process(target=_hold, args=(tmp_path, theirs))
    other.start()
    try:
        pid = ours.recv()
        with (
            pytest.raises(StateLockedError, match=f"pid {pid}") as caught,
            locked_directory(tmp_path),
        ):
            pass
        assert caught.value.exit_code == 78
    finally:
        ours.send("go")
        other.join()
        ours.close()
        theirs.close()

    with locked_directory(tmp_path):  # free again, although the lock file stays
        pass


def test_a_directory_that_cannot_be_used_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with (
        pytest.raises(StateLockedError, match="cannot be used"),
        locked_directory(tmp_path / "file" / "state"),
    ):
        pass


def test_the_directory_is_made(tmp_path: Path) -> None:
    with locked_directory(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()
