"""What `plan` tells of expired rows: within 30 %, or 1 % of the table, whatever lies where."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from sweeperd.config.models import DatabaseConfig
from sweeperd.host.clock import SystemClock
from sweeperd.postgres.connect import Database
from sweeperd.sweep.preview import amount as amount_module
from sweeperd.sweep.preview.amount import Amount, Amounts, total
from sweeperd.sweep.preview.size import read_sizes
from sweeperd.sweep.survey.survey import survey
from tests.conftest import TestDatabase
from tests.sweep.engine import settings

# 75 MB, beyond what is read whole
FILLED = (
    "CREATE UNLOGGED TABLE t WITH (autovacuum_enabled = off) AS "
    "SELECT g AS id, now() + {offset} AS expires_at, repeat('x', {width}) AS filler "
    "FROM generate_series(1, 120000) g;"
)
MINUTES = "(g - {expired}) * interval '1 minute'"
SHUFFLED = "((g * 7919::bigint) % 120000 - {expired}) * interval '1 minute'"
# nine tenths share one of a few values
SKEWED = (
    "CASE WHEN g % 10 = 0 THEN (g % 1000 - 500) * interval '1 second' - interval '600 seconds' "
    "WHEN g % 120000 < {expired} THEN interval '-1 day' ELSE interval '1 day' END"
)
MODIFIED = "SELECT n_mod_since_analyze > 0 FROM pg_stat_user_tables WHERE relname = 't'"
INDEX = "CREATE INDEX ON t (expires_at);"


async def amounts_of(
    database: TestDatabase, *, exact: bool = False, **given: Any
) -> tuple[Amount, dict[int, Amount]]:
    one, config = settings(**given), DatabaseConfig(name="app", dsn=database.dsn)
    async with Database(config).connection() as connection:
        found = await survey(connection, one, config, SystemClock())
        sizes = await read_sizes(connection, found)
        looked = Amounts(connection, one, found, sizes)
        known = await (looked.exact() if exact else looked.estimated())
    return total(list(known.values())), known


async def truth(database: TestDatabase, column: str = "expires_at") -> tuple[int, int]:
    [row] = await database.fetch(
        f"SELECT count(*) AS rows, count(*) FILTER (WHERE {column} <= now()) AS expired FROM t"
    )
    return row["rows"], row["expired"]


def assert_near(amount: Amount, rows: int, expired: int) -> None:
    assert amount.rows is not None
    assert amount.expired is not None
    assert amount.rows == pytest.approx(rows, rel=0.15)
    assert abs(amount.expired - expired) <= max(0.3 * expired, 0.01 * rows), amount


@pytest.mark.parametrize("offset", [MINUTES, SHUFFLED, SKEWED])
async def test_estimates_are_near_on_correlated_shuffled_and_skewed_tables(
    database: TestDatabase, offset: str
) -> None:
    columns = {"half": 60_000, "tenth": 6_000, "few": 300}
    values = ", ".join(
        f"now() + {offset.format(expired=expired)} AS {name}" for name, expired in columns.items()
    )
    await database.execute(
        f"CREATE UNLOGGED TABLE t AS SELECT g AS id, {values}, repeat('x', 600) AS filler "
        "FROM generate_series(1, 120000) g; CREATE INDEX ON t (tenth)"
    )
    changes = {
        "fresh": "SELECT 1",
        "analyzed": "ANALYZE t",
        # a tenth is renewed: ANALYZE knows nothing of it
        "stale": "UPDATE t SET half = now() + '1 year', tenth = now() + '1 year' WHERE id % 10 = 3",
    }
    for state, change in changes.items():
        await database.execute(change)
        while state == "stale" and not await database.fetchval(MODIFIED):
            pass  # the server's statistics come late
        for column in columns:
            amount, _ = await amounts_of(database, column=column)

            assert_near(amount, *await truth(database, column))
            if column == "half":
                known = "statistics" if state == "analyzed" else "sampled"
                assert amount.method == known, (state, amount)


async def test_few_expired_rows_at_one_end_are_counted_by_the_index(database: TestDatabase) -> None:
    await database.execute(FILLED.format(offset=MINUTES.format(expired=17), width=600) + INDEX)

    amount, _ = await amounts_of(database)

    assert (amount.method, amount.expired) == ("counted", 17)


async def test_where_counts_and_rows_of_other_widths_do_not_mislead(database: TestDatabase) -> None:
    width = "CASE WHEN g < 100000 THEN 20 ELSE 4000 END"
    await database.execute(
        FILLED.format(offset=MINUTES.format(expired=110_000), width=width)
        + "ALTER TABLE t ALTER filler SET STORAGE PLAIN"
    )
    wide, _ = await amounts_of(database)
    odd, _ = await amounts_of(database, where="id % 4 = 0")

    assert_near(wide, *await truth(database))
    assert odd.expired == pytest.approx(27_500, rel=0.3)


async def test_each_leaf_has_its_share_and_the_sum_is_near(database: TestDatabase) -> None:
    await database.execute(
        "CREATE TABLE t (id int, expires_at timestamptz, filler text) PARTITION BY RANGE (id);"
        + "".join(
            f"CREATE TABLE t{low} PARTITION OF t FOR VALUES FROM ({low}) TO ({low + 30000});"
            for low in range(0, 120_000, 30_000)
        )
        + "INSERT INTO t SELECT g - 1, now() + (g - 45000) * interval '1 minute', "
        "repeat('x', 600) FROM generate_series(1, 120000) g"
    )

    amount, leaves = await amounts_of(database)

    assert_near(amount, *await truth(database))
    shares = sorted((leaf.expired or 0) / (leaf.rows or 1) for leaf in leaves.values())
    assert shares == [0.0, 0.0, pytest.approx(0.5, abs=0.15), 1.0]


async def test_exact_counts_within_its_time_and_says_when_it_could_not(
    database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.execute(FILLED.format(offset=MINUTES.format(expired=60_000), width=600))
    exact, _ = await amounts_of(database, exact=True)
    assert exact.method == "counted"
    assert exact.expired == pytest.approx(60_000, abs=5)

    monkeypatch.setattr(amount_module, "EXACT_SECONDS", 0.001)
    short, _ = await amounts_of(database, exact=True)
    assert short.method == "sampled"
    assert "not counted within" in (short.reason or "")
    assert_near(short, *await truth(database))


async def test_a_where_that_fails_for_a_row_is_told(database: TestDatabase) -> None:
    await database.execute(
        "CREATE TABLE t AS SELECT g AS id, now() - interval '1 day' AS expires_at "
        "FROM generate_series(0, 9) g"
    )

    amount, _ = await amounts_of(database, where="1 / id > 0", keep=timedelta(0))

    assert (amount.method, amount.expired) == ("unknown", None)
    assert "division by zero" in (amount.reason or "")
