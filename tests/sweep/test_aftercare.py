"""After a large run: whether autovacuum will come is worked out, said, and made up for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest

from sweeperd.demo.server import Installation, Server
from sweeperd.log.vacuum_events import (
    AutovacuumExpected,
    AutovacuumNotDue,
    TableVacuumed,
    VacuumAdvised,
)
from sweeperd.sweep.outcome.memory import SweepMemory
from tests.conftest import TestDatabase
from tests.parts import need
from tests.sweep.engine import Heard, sweep

ROWS = (
    "CREATE TABLE t WITH ({options}) AS SELECT g AS id, now() + (g - {expired}.5) * "
    "interval '1 minute' AS expires_at FROM generate_series(1, 10000) g; ANALYZE t;"
)
DEFAULTS = "fillfactor = 100"
VACUUMED = "SELECT vacuum_count FROM pg_stat_user_tables WHERE relname = 't'"


@pytest.fixture(
    scope="module", params=["wheel", pytest.param("system15", marks=need("postgres15"))]
)
def vacuuming(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server whose autovacuum is on and never comes: the sums are what is tested."""
    found = Installation.wheel() if request.param == "wheel" else Installation.system(15)
    server = Server(
        found or Installation.find(), {"autovacuum": "on", "autovacuum_naptime": "1000000"}
    )
    server.create()
    server.start()
    yield server
    server.stop(immediate=True)
    server.remove()


@pytest.fixture
async def admin(vacuuming: Server) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(vacuuming.dsn())
    yield connection
    await connection.execute("DROP TABLE IF EXISTS t")
    await connection.close()


@pytest.mark.parametrize(
    ("expired", "options", "kind", "said"),
    [
        (2000, DEFAULTS, AutovacuumNotDue, "2000 dead rows, its threshold is 2050"),
        (2100, DEFAULTS, AutovacuumExpected, "2100 dead rows, its threshold is 2050"),
        (2100, "autovacuum_enabled = off", VacuumAdvised, "the table has autovacuum_enabled = off"),
        (2100, "autovacuum_vacuum_threshold = 9000", AutovacuumNotDue, "its threshold is 11000"),
        (1100, "autovacuum_vacuum_scale_factor = 0.1", AutovacuumExpected, "threshold is 1050"),
    ],
)
async def test_the_thresholds_are_the_servers_and_the_tables(
    vacuuming: Server,
    admin: Any,
    expired: int,
    options: str,
    kind: type[AutovacuumExpected | AutovacuumNotDue | VacuumAdvised],
    said: str,
) -> None:
    await admin.execute(ROWS.format(expired=expired, options=options))
    heard = Heard()

    report = await sweep(vacuuming.dsn(), heard=heard)

    assert report.deleted_count == expired
    told = heard.of(kind)
    assert len(told) == 1
    assert said in told[0].reason
    advised = "VACUUM (ANALYZE) public.t;" in "".join(report.warnings)
    assert advised is (kind is not AutovacuumExpected)


async def test_a_run_that_its_cap_ended_is_looked_after_too(vacuuming: Server, admin: Any) -> None:
    await admin.execute(ROWS.format(expired=4000, options="autovacuum_enabled = off"))

    report = await sweep(vacuuming.dsn(), vacuum="auto", max_rows=2000)

    assert (report.outcome, report.deleted_count) == ("capped", 2000)
    assert await admin.fetchval(VACUUMED) == 1


async def test_a_backlog_of_many_runs_is_looked_after_at_its_end(
    vacuuming: Server, admin: Any
) -> None:
    await admin.execute(ROWS.format(expired=2000, options="autovacuum_enabled = off"))
    await admin.execute("ALTER ROLE postgres SET statement_timeout = '1ms'")
    memory = SweepMemory(deleted_since_vacuum={'"public"."t"': 5000})  # of runs that timed out

    report = await sweep(vacuuming.dsn(), vacuum="auto", memory=memory, max_rows=500)

    await admin.execute("ALTER ROLE postgres RESET statement_timeout")
    assert (report.outcome, report.deleted_count) == ("capped", 500), report
    assert await admin.fetchval(VACUUMED) == 1, report
    assert not memory.deleted_since_vacuum


async def test_no_word_after_a_small_run(vacuuming: Server, admin: Any) -> None:
    await admin.execute(ROWS.format(expired=900, options="autovacuum_enabled = off"))
    heard = Heard()

    report = await sweep(vacuuming.dsn(), heard=heard, vacuum="auto")

    assert report.deleted_count == 900
    assert not any("vacuum" in event.name for event in heard.events)


async def test_vacuum_auto_does_it_where_autovacuum_will_not_come(
    vacuuming: Server, admin: Any
) -> None:
    await admin.execute(ROWS.format(expired=2000, options=DEFAULTS))
    heard = Heard()

    report = await sweep(vacuuming.dsn(), heard=heard, vacuum="auto")

    assert (report.outcome, report.warnings) == ("drained", [])
    assert heard.of(TableVacuumed)[0].table == "public.t"
    assert await admin.fetchval(VACUUMED) == 1
    await admin.execute("DROP TABLE t;" + ROWS.format(expired=2100, options=DEFAULTS))
    await sweep(vacuuming.dsn(), vacuum="auto")
    assert await admin.fetchval(VACUUMED) == 0, "autovacuum will come"


async def test_autovacuum_turned_off_is_told(database: TestDatabase) -> None:
    await database.execute(ROWS.format(expired=5000, options=DEFAULTS))

    report = await sweep(database.dsn)

    assert "autovacuum or track_counts is off; run VACUUM (ANALYZE) public.t;" in "".join(
        report.warnings
    )


async def test_who_may_not_vacuum_or_finds_it_locked_is_told_and_the_run_stands(
    database: TestDatabase,
) -> None:
    await database.execute(ROWS.format(expired=5000, options=DEFAULTS))
    role = await database.role()
    await database.execute(f'GRANT SELECT, UPDATE, DELETE ON t TO "{role}"')

    report = await sweep(database.dsn_for(role), vacuum="auto")

    assert (report.outcome, report.deleted_count) == ("drained", 5000)
    assert "permission denied to vacuum" in "".join(report.warnings)
    assert f"GRANT MAINTAIN ON public.t TO {role}" in "".join(report.warnings)

    await database.execute("DROP TABLE t;" + ROWS.format(expired=5000, options=DEFAULTS))
    holder = await database.connect()
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("LOCK TABLE t IN SHARE UPDATE EXCLUSIVE MODE")  # lets deletes pass
    report = await sweep(database.dsn, vacuum="auto")
    await transaction.rollback()
    assert report.outcome == "drained"
    assert "lock not available" in "".join(report.warnings)


async def test_a_stop_cancels_the_vacuum_and_the_run_stays_drained(
    database: TestDatabase,
) -> None:
    await database.execute(
        "CREATE TABLE t (id int, expires_at timestamptz, pad text);"
        "INSERT INTO t SELECT g, now() + (g - 50000.5) * interval '1 min', repeat('x', 900) "
        "FROM generate_series(1, 100000) g; ANALYZE t;"
    )
    stop = asyncio.Event()
    running = asyncio.ensure_future(sweep(database.dsn, vacuum="auto", stop=stop))
    progress = "SELECT count(*) FROM pg_stat_progress_vacuum"
    while not running.done() and not await database.fetchval(progress):
        pass

    stop.set()
    report = await running

    assert (report.outcome, report.deleted_count) == ("drained", 50000)
    assert "asked to stop" in "".join(report.warnings)
    await database.gone_quiet()
