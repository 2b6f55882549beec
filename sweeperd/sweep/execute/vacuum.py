"""After a large run: will autovacuum come for the dead rows? If not, say so, or do its work."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

import asyncpg

from sweeperd.log.vacuum_events import (
    AutovacuumExpected,
    AutovacuumNotDue,
    TableVacuumed,
    VacuumAdvised,
)
from sweeperd.postgres.catalog import quote_if_needed
from sweeperd.postgres.catalog_reads import CatalogReads, Row
from sweeperd.postgres.sql import vacuum as sql_vacuum
from sweeperd.postgres.sql.target import Table
from sweeperd.postgres.sqlstate import SERVER_ERRORS, describe
from sweeperd.postgres.transaction import Connection, reading
from sweeperd.sweep.execute.context import RunContext
from sweeperd.sweep.execute.session import Session
from sweeperd.sweep.outcome.report import RunEndError

# A run is large for a table when it deleted that many of its rows, and that share of them.
_LARGE_ROWS: Final = 1_000
_LARGE_SHARE: Final = 0.1
_RESET_SECONDS: Final = 2.0


@dataclass(frozen=True)
class DeadRows:
    """A table with dead rows.

    Attributes:
        table: The table.
        shown: Its name for a person.
        reason: Why autovacuum will or will not come.
        served: Whether it will.
        is_off: Whether it never will.
    """

    table: Table
    shown: str
    reason: str
    served: bool
    is_off: bool = False


async def vacuum_if_large(run: RunContext, session: Session) -> None:
    """Look at the tables that a run deleted much from; vacuum them where the sweep says so.

    Nothing that fails here fails the run: its rows are gone already.
    """
    # what is swept as a whole has its dead rows elsewhere: in leaves, or on other machines
    large = {
        table: rows
        for table, rows in run.counters.deleted_since_vacuum.items()
        if rows >= _LARGE_ROWS and table.only
    }
    run.memory.deleted_since_vacuum.clear()
    if not large:
        return
    try:
        connection = await session.get()
        async with reading(connection):
            found = await _dead(CatalogReads(connection), large)
        for dead in found:
            await _follow_up(run, connection, dead)
    except RunEndError as end:
        run.report.warn(f"no VACUUM: {end.reason}")
    except SERVER_ERRORS as error:
        run.report.warn(f"no VACUUM: {describe(error)}")


async def _dead(reads: CatalogReads, large: dict[Table, int]) -> list[DeadRows]:
    by_name = {(table.schema, table.name): table for table in large}
    names = tuple([one[part] for one in by_name] for part in (0, 1))
    await reads.ask_ahead((sql_vacuum.AUTOVACUUM, names))
    rows = await reads.rows(sql_vacuum.AUTOVACUUM, *names)
    found = []
    for row in rows:
        table = by_name[row["schema"], row["name"]]
        if large[table] >= _LARGE_SHARE * row["rows"]:
            found.append(_judge(table, row, large[table]))
    return found


def _judge(table: Table, row: Row, gone: int) -> DeadRows:
    # statistics come late: what this run deleted is dead, whatever they say
    dead = max(int(row["dead"]), gone)
    threshold = f"{dead} dead rows, its threshold is {row['threshold']:.0f}"
    shown = f"{quote_if_needed(table.schema)}.{quote_if_needed(table.name)}"
    if (off := why_off(row)) is not None:
        return DeadRows(table, shown, off, served=False, is_off=True)
    return DeadRows(table, shown, threshold, served=dead > row["threshold"])


def why_off(row: Row) -> str | None:
    """Return why autovacuum never comes to a table, by a row of its query; None when it may."""
    if not row["running"]:
        return "autovacuum or track_counts is off"
    return None if row["enabled"] else "the table has autovacuum_enabled = off"


async def _follow_up(run: RunContext, connection: Connection, dead: DeadRows) -> None:
    if dead.served:
        run.listener(AutovacuumExpected(run.sweep.name, dead.shown, dead.reason))
        return
    if run.sweep.vacuum == "auto":
        await _vacuum(run, connection, dead)
        return
    line = f"VACUUM (ANALYZE) {dead.shown};"
    advice = VacuumAdvised if dead.is_off else AutovacuumNotDue
    run.listener(advice(run.sweep.name, dead.shown, dead.reason, line))
    run.report.warn(f"autovacuum will not come to {dead.shown}: {dead.reason}; run {line}")


async def _vacuum(run: RunContext, connection: Connection, dead: DeadRows) -> None:
    """Vacuum within what is left of the run's time; a stop or the end of it cancels."""
    run.waits.check_time()
    said: list[str] = []

    def hear(_connection: object, message: asyncpg.PostgresLogMessage) -> None:
        said.append(message.message)

    begun = run.waits.clock.elapsed()
    connection.add_log_listener(hear)
    try:
        await connection.execute(sql_vacuum.THROTTLE)
        try:
            finished = await _until_stopped(run, connection, dead.table)
        finally:
            await connection.execute(sql_vacuum.UNTHROTTLE, timeout=_RESET_SECONDS)
    except asyncpg.PostgresError as error:
        run.report.warn(f"VACUUM of {dead.shown}: {describe(error)}")
        return
    except asyncio.CancelledError:
        run.report.warn(
            f"VACUUM of {dead.shown} was cut short by the run's timeout; raise timeout, or run "
            f"VACUUM (ANALYZE) {dead.shown};"
        )
        raise
    finally:
        connection.remove_log_listener(hear)
    if said or not finished:
        run.report.warn(f"VACUUM of {dead.shown}: {said[0] if said else 'asked to stop'}")
        return
    seconds = round(run.waits.clock.elapsed() - begun, 3)
    run.listener(TableVacuumed(run.sweep.name, dead.shown, dead.reason, seconds))


async def _until_stopped(run: RunContext, connection: Connection, table: Table) -> bool:
    """Run VACUUM; a stop cancels it. Return whether it ended by itself."""
    work = asyncio.ensure_future(connection.execute(sql_vacuum.vacuum(table).text, timeout=None))
    stop = asyncio.ensure_future(run.waits.stop.wait())
    try:
        await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
        finished: bool = work.done()
    finally:
        stop.cancel()
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
    if finished:
        work.result()
    return finished
