"""A distributed table is swept through its coordinator, by slices of its index."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from sweeperd.log.vacuum_events import VacuumAdvised
from tests.parts import SHARED, need
from tests.sweep.engine import Heard, sweep

TABLE = (
    "DROP TABLE IF EXISTS t; CREATE TABLE t (id int PRIMARY KEY, expires_at timestamptz, "
    "note text); {index} SELECT create_distributed_table('t', 'id');"
    "INSERT INTO t SELECT g, now() + CASE WHEN g % 4 = 0 THEN 1 ELSE -1 END * interval '1 hour' "
    "* (1 + g % {values}) FROM generate_series(1, 20000) g"
)
INDEX = "CREATE INDEX ON t (expires_at);"
pytestmark = need("citus")


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Yield the coordinator's DSN."""
    command = str(SHARED / "citus" / "citus-cluster")
    with tempfile.TemporaryDirectory(prefix="swp-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        directory = str(Path(name) / "cluster")
        # three ports, beside those of another worker's cluster
        port = str(55470 + 3 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]))
        up = subprocess.run(
            [command, "up", directory, port], capture_output=True, text=True, check=True
        )
        try:
            yield up.stdout.strip().splitlines()[-1]
        finally:
            subprocess.run([command, "down", directory], check=True)


@pytest.fixture
async def admin(cluster: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(cluster)
    yield connection
    await connection.close()


@pytest.mark.parametrize("workers", [1, 2])
async def test_shards_share_ctids_and_no_live_row_goes(
    cluster: str, admin: Any, workers: int
) -> None:
    await admin.execute(TABLE.format(index=INDEX, values=1999))
    heard = Heard()

    report = await sweep(cluster, heard=heard, max_batch_rows=2500, workers=workers)

    assert (report.outcome, report.strategy, report.deleted_count) == ("drained", "index", 15_000)
    left = await admin.fetch("SELECT id FROM t")
    assert {row["id"] for row in left} == set(range(4, 20_001, 4))
    assert report.batches >= 6
    assert not heard.of(VacuumAdvised)


async def test_block_ranges_are_refused_with_the_index_to_make(cluster: str, admin: Any) -> None:
    await admin.execute(TABLE.format(index="", values=1))

    report = await sweep(cluster)

    assert report.outcome == "failed"
    assert "CREATE INDEX CONCURRENTLY ON public.t" in (report.error or "")
    assert await admin.fetchval("SELECT count(*) FROM t") == 20_000


@pytest.mark.parametrize(
    ("keys", "outcome", "cure"),
    [
        ({}, "failed", "raise max_batch_rows"),
        ({"max_rows": 2000}, "failed", "raise max_rows"),
        ({"rate_limit": 2000}, "failed", "raise rate_limit"),
        ({"max_batch_rows": 20_000}, "drained", ""),
    ],
)
async def test_a_value_shared_by_more_rows_than_a_batch_may_hold_ends_the_run(
    cluster: str, admin: Any, keys: dict[str, Any], outcome: str, cure: str
) -> None:
    await admin.execute(TABLE.format(index=INDEX, values=1))

    report = await sweep(cluster, **({"max_batch_rows": 2500} | keys))

    assert (report.outcome, cure in (report.end_reason or "")) == (outcome, True), report.end_reason
    assert report.deleted_count == (15_000 if outcome == "drained" else 0)
