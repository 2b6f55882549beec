"""State that an earlier version kept in one JSON file: read, migrated, imported once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from sweeperd.daemon.state.found import StateUnreadableError, read_records
from sweeperd.daemon.state.json_file import IMPORTED, STATE_FILE
from sweeperd.daemon.state.memory import memory_from_json
from sweeperd.daemon.state.record import Loaded, SweepRecord
from sweeperd.daemon.state.runs import read_runs
from sweeperd.daemon.state.store import StateStore
from sweeperd.sweep.outcome.facts import Facts
from sweeperd.sweep.outcome.memory import SweepMemory
from sweeperd.sweep.outcome.progress import LeafProgress, PassHeader, Stretch
from sweeperd.sweep.outcome.usual_load import Day, UsualLoad
from tests.memory_file import memory_to_json

if TYPE_CHECKING:
    from pathlib import Path

VERSION = 2
MEMORY = SweepMemory(
    facts=Facts("print", 7, 1.5, "boot-1", 12, None, 3, 16384, 800, 799),
    usual_load=UsualLoad(5, 3, 0.25, 7, (Day(1, 0.5, 2), Day(2))),
    pass_header=PassHeader("print", 7, "2"),
    leaves={
        "1": LeafProgress("at a position", None, "a", "c", "9", "index", "é"),
        "2": LeafProgress(
            "at a position", None, "a", "c", "9", "heap", None, 9, (Stretch(0, 0, 4, 2),)
        ),
        "3": LeafProgress("set aside", "it is locked", left_rows=True),
        "4": LeafProgress("done", strategy="index", value=1.5),
    },
    batch_sizes={"heap": 291},
    deleted_since_vacuum={'"public"."t"': 5},
)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\xff",
        b"[]",
        b"{}",
        b'{"version": 1}',
        b"[" * 100_000,
        b'{"version": ' + b"9" * 6_000 + b"}",
    ],
)
def test_a_damaged_file_is_kept_aside_and_the_daemon_goes_on(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / STATE_FILE).write_bytes(content)
    with pytest.raises(StateUnreadableError):
        read_records(tmp_path)

    store = StateStore(tmp_path)
    with capture_logs() as logs:
        assert store.load().unusable
        assert logs == []
        store.settle()
        store.close()
    assert [log["event"] for log in logs] == ["state_set_aside"]
    assert (tmp_path / "state.json.damaged").read_bytes() == content
    assert read_records(tmp_path) == Loaded()


@pytest.mark.parametrize(
    "record",
    [
        "5",
        '{"last_start": 5}',
        '{"last_start": "yesterday"}',
        '{"last_start": "2026-01-01T00:00:00"}',
        '{"history": [1]}',
        '{"memory": {"guard": 7}}',
        '{"memory": {"guard": {"fingerprint": "x"}}}',
        '{"memory": {"gone": []}}',
        '{"memory": {"lanes": []}}',
        '{"memory": {"sizes": {"heap": "a"}}}',
        '{"memory": {"drained": {"drained_at": "x"}}}',
        '{"memory": {"drained": {"drained_at": 1, "rates": ["x"]}}}',
        '{"memory": {"drained": {"drained_at": 1, "runs": 3, "share": 0, "rows": 0, "days": [7]}}}',
    ],
)
def test_a_damaged_record_leaves_the_others(tmp_path: Path, record: str) -> None:
    text = f'{{"version": 1, "sweeps": {{"a": {record}, "b": {{}}}}}}'
    (tmp_path / STATE_FILE).write_text(text)

    loaded = StateStore(tmp_path).load()

    assert loaded.records == {"b": SweepRecord()}
    assert set(loaded.damaged) == {"a"}
    assert loaded.unusable is None


def stored(path: Path, memory: object, version: int = VERSION) -> Loaded:
    content = {"version": version, "sweeps": {"a": {"memory": memory}}}
    (path / STATE_FILE).write_text(json.dumps(content))
    return read_records(path)


def paths(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*path, key)
            yield from paths(inner, (*path, key))


@pytest.mark.parametrize("path", [*paths(json.loads(json.dumps(memory_to_json(MEMORY))))], ids=str)
@pytest.mark.parametrize("change", ["missing", "other"])
def test_a_memory_in_which_anything_is_missing_or_of_another_kind_is_damaged(
    tmp_path: Path, path: tuple[str, ...], change: str
) -> None:
    memory = json.loads(json.dumps(memory_to_json(MEMORY)))
    inner = memory
    for key in path[:-1]:
        inner = inner[key]
    if change == "missing":
        del inner[path[-1]]
    else:
        inner[path[-1]] = {"x": [True]}

    is_named = path[0] in {"leaves", "batch_sizes", "deleted_since_vacuum"} and len(path) == 2
    expected = set() if is_named and change == "missing" else {"a"}
    assert set(stored(tmp_path, memory).damaged) == expected


@pytest.mark.parametrize("record", [{}, {"memory": {}}])
def test_a_record_without_its_memory_is_damaged(tmp_path: Path, record: dict[str, object]) -> None:
    (tmp_path / STATE_FILE).write_text(json.dumps({"version": VERSION, "sweeps": {"a": record}}))

    assert set(read_records(tmp_path).damaged) == {"a"}


def test_a_memory_of_the_former_version_is_migrated(tmp_path: Path) -> None:
    day = {"day": 1, "share": 0.5, "rows": 2, "total_share": 0.0, "total_rows": 0.0}
    guard = {"fingerprint": "print", "cutoff": 7, "elapsed": 1.5, "boot": "boot-1", "wal": 3}
    former = {
        "guard": {**guard, "system_identifier": 12, "timeline": None, "oid": 16384},
        "drained": {"drained_at": 5, "runs": 3, "share": 0.25, "rows": 7, "days": [day]},
        "lanes": {
            "1:index": "é",
            "1:heap:0/1": [4, 0],
            "1:heap:1/2": [4, 1, 2],
            "leaves:heap:0/1": ["1:heap:0/1", [1, 2], "abc"],
            "leaves:heap:1/2": ["1:heap:0/1", None, "abc"],
            "3:index": None,
        },
        "sizes": {"heap": 291},
        "gone": {'"public"."t"': 5},
        "held_for": ["jump"],
    }

    loaded = stored(tmp_path, former, version=1)

    assert loaded.damaged == {}
    record = loaded.records["a"]
    assert record.held_kinds == ("jump",)
    assert record.memory == SweepMemory(
        facts=Facts("print", 7, 1.5, "boot-1", 12, None, 3, 16384),
        usual_load=UsualLoad(5, 3, 0.25, 7, (Day(1, 0.5, 2),)),
        batch_sizes={"heap": 291},
        deleted_since_vacuum={'"public"."t"': 5},
    )


@pytest.mark.parametrize("cursors", [{}, {"1:heap 5:0/1": {"block": 4, "offset": 0}}])
def test_cursors_of_a_former_version_are_forgotten_and_the_guards_facts_are_kept(
    tmp_path: Path, cursors: dict[str, object]
) -> None:
    memory = json.loads(json.dumps(memory_to_json(MEMORY))) | {"version": 2, "cursors": cursors}
    del memory["pass_header"], memory["leaves"]

    record = stored(tmp_path, memory).records["a"]

    assert record.memory == replace(MEMORY, pass_header=None, leaves={})
    del memory["cursors"]
    assert set(stored(tmp_path, memory).damaged) == {"a"}


def test_a_memory_that_lost_its_version_is_not_taken_for_a_former_one(tmp_path: Path) -> None:
    memory = memory_to_json(MEMORY)
    del memory["version"]

    for version in (1, VERSION):
        assert set(stored(tmp_path, memory, version).damaged) == {"a"}


def test_a_run_has_a_memory_of_its_own() -> None:
    before = MEMORY.copy()
    mine = before.copy()
    mine.leaves["1"] = LeafProgress()
    mine.add_deleted({'"public"."t"': 3, '"public"."u"': 1})
    mine.batch_sizes["heap"] = 1

    assert before == MEMORY
    assert mine.leaves["1"] == LeafProgress()
    assert mine.deleted_since_vacuum == {'"public"."t"': 8, '"public"."u"': 1}


@pytest.mark.parametrize("version", [0, 1, 2, 4, True, None, "3"])
def test_a_memory_of_no_version_that_is_known_is_damaged(tmp_path: Path, version: object) -> None:
    assert set(stored(tmp_path, memory_to_json(MEMORY) | {"version": version}).damaged) == {"a"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=6,
)
FORMER_KEYS = ["guard", "drained", "lanes", "sizes", "gone", "held_for"]


@settings(suppress_health_check=[HealthCheck.too_slow])  # on a machine that does other things
@given(st.dictionaries(st.sampled_from(FORMER_KEYS), json_values))
def test_whatever_a_former_memory_holds_is_migrated_or_damaged_and_never_a_crash(
    memory: dict[str, object],
) -> None:
    try:
        read = memory_from_json(json.loads(json.dumps(memory)))
    except ValueError:
        return
    assert memory_from_json(json.loads(json.dumps(memory_to_json(read)))) == read


def test_a_newer_versions_file_is_kept_aside(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / STATE_FILE).write_text(
            json.dumps({"version": VERSION + 1 + number, "sweeps": []})
        )
        store = StateStore(tmp_path)
        with capture_logs() as logs:
            assert store.load().unusable
            store.settle()
            store.close()
        assert "version" in logs[0]["reason"]

    assert (tmp_path / "state.json.newer").exists()
    assert (tmp_path / "state.json.newer.2").exists()


def test_fields_of_an_older_version_may_be_missing(tmp_path: Path) -> None:
    (tmp_path / STATE_FILE).write_text('{"version": 1, "sweeps": {"a": {}}}')

    assert read_records(tmp_path).records == {"a": SweepRecord()}


def settled(directory: Path) -> Loaded:
    store = StateStore(directory, lambda: datetime(2026, 1, 20, tzinfo=UTC))
    loaded = store.load()
    store.settle()
    store.close()
    return loaded


def test_an_earlier_versions_state_is_imported_once_with_its_runs(tmp_path: Path) -> None:
    run = {"started_at": "2026-01-15T12:00:00+00:00", "outcome": "drained"}
    memory = memory_to_json(MEMORY)
    record = {
        "last_start": "2026-01-15T12:00:00+00:00", "memory": memory, "history": [run, {"odd": 1}],
        "held": "legal", "held_by": "operator", "policy": "app|t",
    }  # fmt: skip
    text = json.dumps({"version": 2, "sweeps": {"a": record, "b": {"memory": 5}}})
    (tmp_path / STATE_FILE).write_text(text)

    before = settled(tmp_path)

    assert before.records["a"].memory == MEMORY
    assert (before.records["a"].held, before.records["a"].policy) == ("legal", "app|t")
    assert set(before.damaged) == {"b"}
    assert (tmp_path / IMPORTED).read_text() == text
    assert not (tmp_path / STATE_FILE).exists()
    after = settled(tmp_path)
    assert after.records["a"].memory == MEMORY
    assert after.records["a"].held == "legal"
    assert after.damaged == before.damaged, "what was damaged before the import still holds"
    assert read_runs(tmp_path, "a") == [run]


def test_an_import_that_was_cut_short_is_taken_up_and_a_later_start_wins(tmp_path: Path) -> None:
    def text(day: int) -> str:
        run = {"started_at": f"2026-01-{day}T12:00:00+00:00"}
        record = {"last_start": run["started_at"], "history": [run], "last_outcome": f"{day}"}
        return json.dumps({"version": 1, "sweeps": {"a": record}})

    for day, runs in ((15, 1), (15, 1), (14, 1), (16, 2)):
        (tmp_path / STATE_FILE).write_text(text(day))
        settled(tmp_path)
        assert len(read_runs(tmp_path, "a")) == runs
    assert read_records(tmp_path).records["a"].last_outcome == "16"
