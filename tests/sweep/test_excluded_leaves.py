"""Leaves that the planner excludes hold no expired row, and are not gone through."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from sweeperd.sweep.survey import estimates
from tests.cli.command import configured, sweep_table, sweeperd
from tests.conftest import TestDatabase
from tests.sweep.engine import sweep

# six leaves of 30 days, of which two lie in the past and three in the future; 100 rows each
LEAVES = (
    "CREATE TABLE t (id int, expires_at timestamptz) PARTITION BY RANGE (expires_at);"
    "CREATE INDEX ON t (expires_at);"
    "DO $$ DECLARE d timestamptz := date_trunc('day', now() - interval '60 days'); BEGIN "
    "FOR i IN 0..5 LOOP EXECUTE format('CREATE TABLE t%s PARTITION OF t FOR VALUES FROM (%L) "
    "TO (%L)', i, d + i * interval '30 days', d + (i + 1) * interval '30 days'); END LOOP; END $$;"
    "INSERT INTO t SELECT g, date_trunc('day', now() - interval '60 days') "
    "+ interval '15 days' + (g % 6) * interval '30 days' FROM generate_series(1, 600) g"
)


@pytest.mark.every_server
@pytest.mark.parametrize("strategy", ["auto", "heap"])
async def test_only_leaves_that_may_hold_expired_rows_are_swept(
    database: TestDatabase, tmp_path: Path, strategy: str
) -> None:
    await database.execute(LEAVES)
    config = configured(tmp_path, database, sweep_table())

    checked = await sweeperd("check", config)
    planned = await sweeperd("plan", "--json", config)
    report = await sweep(database.dsn, strategy=strategy)

    assert (report.outcome, report.deleted_count) == ("drained", 200)
    assert [one.leaf for one in report.plan] == ["public.t0", "public.t1", "public.t2"]
    assert "3 partitions can hold none of them" in checked.out
    (plan,) = json.loads(planned.out)
    strategies = {leaf["table"]: leaf["strategy"] for leaf in plan["leaves"]}
    assert [strategies[f"public.t{number}"] for number in (3, 4, 5)] == ["none"] * 3
    assert (plan["expired_estimate"], plan["live_estimate"]) == (200, 400)


async def test_a_table_none_of_whose_leaves_may_hold_any_is_drained(
    database: TestDatabase,
) -> None:
    """A plan that names no leaf may also be that of an extension: then all are gone through."""
    await database.execute(LEAVES)

    report = await sweep(database.dsn, keep=timedelta(days=400))

    assert (report.outcome, report.deleted_count, len(report.plan)) == ("drained", 0, 6)


async def test_of_many_leaves_the_planner_is_asked_a_few_at_a_time(
    database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.execute(LEAVES + "; INSERT INTO t SELECT t.* FROM t, generate_series(1, 120)")
    await database.execute("ANALYZE t")
    monkeypatch.setattr(estimates, "_MOST_LEAVES", 5)
    monkeypatch.setattr(estimates, "_LEAVES_AT_ONCE", 1)

    report = await sweep(database.dsn)

    assert (report.outcome, report.deleted_count) == ("drained", 24_200)
    assert [one.strategy for one in report.plan] == ["heap"] * 2 + ["index"] * 4
