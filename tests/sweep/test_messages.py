"""A batch is three messages; stopped at any of them it lets go of its locks within two seconds."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TestDatabase
from tests.sweep.engine import sweep
from tests.sweep.messages import MessageWire

ROWS = (
    "CREATE TABLE t (id int, expires_at timestamptz);"
    "INSERT INTO t SELECT g, now() - g * interval '1 minute' FROM generate_series(1, 400) g;"
    "CREATE INDEX ON t (expires_at);"
)
WRITES = "BEGIN ISOLATION LEVEL READ COMMITTED; "
LOCKED = """
SELECT max(extract(epoch FROM clock_timestamp() - a.xact_start))::float8
FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.mode = 'RowExclusiveLock' AND l.granted AND l.relation = 't'::regclass
"""


def socket(database: TestDatabase) -> Path:
    return Path(database.server.directory) / f".s.PGSQL.{database.server.port}"


def batches(sent: list[str]) -> list[list[str]]:
    """Return the messages of each transaction that may write."""
    found: list[list[str]] = []
    inside = False
    for message in sent:
        if message.startswith(WRITES):
            found.append([])
            inside = True
        if inside:
            found[-1].append(message)
        if message.rstrip().endswith("COMMIT"):
            inside = False
    return found


@pytest.mark.every_server
@pytest.mark.other_versions
@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({"strategy": "heap"}, 3),
        ({"strategy": "index"}, 3),
        ({"strategy": "heap", "where": "EXISTS (SELECT FROM public.other o WHERE o.id = t.id)"}, 3),
    ],
)
async def test_a_batch_is_three_messages(
    database: TestDatabase, options: dict[str, Any], most: int
) -> None:
    await database.execute(ROWS + "CREATE TABLE other AS SELECT id FROM t")
    async with MessageWire(socket(database)) as wire:
        report = await sweep(wire.dsn(database.name), max_batch_rows=150, **options)

    assert (report.outcome, report.deleted_count) == ("drained", 400), report.end_reason
    sent = batches(wire.sent)
    assert len(sent) >= 3
    assert {len(batch) for batch in sent} == {most}, sent
    assert not any(message.startswith("extended") for batch in sent for message in batch)


@pytest.mark.every_server
@pytest.mark.other_versions
@pytest.mark.parametrize("rows", [400, 100_000])
async def test_a_plain_table_is_surveyed_in_twelve_messages(
    database: TestDatabase, rows: int
) -> None:
    """A larger one has a choice between its index and block ranges, which the planner is asked."""
    await database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, expires_at timestamptz);"
        f"INSERT INTO t SELECT g, now() + (g - {rows} / 500) * interval '1 minute' "
        f"FROM generate_series(1, {rows}) g; CREATE INDEX ON t (expires_at); ANALYZE t"
    )
    async with MessageWire(socket(database)) as wire:
        report = await sweep(wire.dsn(database.name), strategy="auto")

    assert report.outcome == "drained", report
    first = next(i for i, message in enumerate(wire.sent) if message.startswith(WRITES))
    login = wire.sent.index("COMMIT") + 1
    survey = wire.sent[login:first]
    if rows > 400:  # the slices of the index are cut before the first batch
        assert report.strategy == "index", (report.strategy_reason, report.plan)
        survey = survey[: len(survey) - 1 - survey[::-1].index("COMMIT", 1)]
    # an extended query is sent in two parts, for the driver waits for the first one's answer
    assert sum(2 if message.startswith("extended") else 1 for message in survey) <= 12, survey


async def test_the_second_and_third_message_are_the_same_text_in_each_batch(
    database: TestDatabase,
) -> None:
    await database.execute(ROWS)
    async with MessageWire(socket(database)) as wire:
        await sweep(wire.dsn(database.name), max_batch_rows=50)
        await sweep(wire.dsn(database.name), where="id > 0", max_batch_rows=50)

    assert len({tuple(batch[1:]) for batch in batches(wire.sent)}) == 1


@pytest.mark.every_server
@pytest.mark.other_versions
@pytest.mark.parametrize("message", [1, 2])
async def test_a_batch_that_is_cut_off_lets_go_of_its_locks(
    database: TestDatabase, message: int
) -> None:
    await database.execute(ROWS)
    async with MessageWire(socket(database)) as wire:
        await sweep(wire.dsn(database.name), strategy="heap", max_rows=1, max_batch_rows=1)
        first = max(i for i, message in enumerate(wire.sent) if message.startswith(WRITES))
        wire.sent.clear()
        wire.hold_at = first + message
        running = asyncio.create_task(
            sweep(wire.dsn(database.name), strategy="heap", timeout=timedelta(seconds=10))
        )
        await wire.held.wait()
        ages = [await database.fetchval(LOCKED)]
        assert ages[0] is not None
        async with asyncio.timeout(10):
            while ages[-1] is not None:
                ages.append(await database.fetchval(LOCKED))
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    assert max(age for age in ages if age is not None) < 2
