"""A dry run: what a run would delete, counted in one read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sweeperd.config.models import SweepConfig
from sweeperd.postgres.sql import rows as sql
from sweeperd.postgres.transaction import Connection, Frame, fetchval, reading_rows
from sweeperd.sweep.outcome.report import Report
from sweeperd.sweep.survey.frame import table_frame
from sweeperd.sweep.survey.survey import Survey

_MOST_ROWS: Final = 1_000_000
_STATEMENT_MS: Final = 30_000


async def count_expired(
    connection: Connection,
    sweep: SweepConfig,
    found: Survey,
    report: Report,
    reasons: Mapping[str, str],
) -> None:
    """Count the expired rows of all leaves, up to a bound, and end the report with them.

    Args:
        connection: Outside a transaction.
        sweep: The sweep.
        found: What the survey found.
        report: The run's.
        reasons: Why a run would be held.
    """
    frame = table_frame(
        sweep,
        Frame(f"sweeperd:{sweep.name}", statement_timeout_ms=_STATEMENT_MS),
        search_path=found.search_path,
    )
    count = 0
    async with reading_rows(connection, frame):
        for leaf in found.leaves:  # and not the parent, which may have foreign partitions
            counting = sql.count(leaf.target, limit=_MOST_ROWS - count)
            count += await fetchval(connection, counting)
    report.expired_count = count
    for reason in reasons.values():
        report.warn(f"a run would be held: {reason}")
    more = " or more" if count == _MOST_ROWS else ""
    report.finish("drained", f"dry run: {count}{more} rows would go")
