"""Which archive a run uses: a table, a file, or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sweeperd.config.models import SweepConfig
from sweeperd.postgres.catalog import Column, Relation, Server
from sweeperd.postgres.transaction import Connection, reading
from sweeperd.sweep.archive.base import Archive, NoArchive
from sweeperd.sweep.archive.file import FileArchive
from sweeperd.sweep.archive.table import find_archive


@dataclass(frozen=True)
class ArchiveRun:
    """What an archive must know of the run that fills it.

    Attributes:
        root: The swept table.
        columns: Its columns.
        server: Where it is.
        cutoff: The run's.
    """

    root: Relation
    columns: Sequence[Column]
    server: Server
    cutoff: datetime


async def choose_archive(
    connection: Connection,
    sweep: SweepConfig,
    directory: Path,
    run: ArchiveRun,
    correlation_id: str,
) -> Archive:
    """Return what keeps the rows of a run.

    Args:
        connection: Outside of any transaction.
        sweep: The sweep.
        directory: Where file archives are.
        run: The run.
        correlation_id: The run's.

    Raises:
        SweepError: The archive table would not take each row as it is.
        RunEndError: The archive's directory cannot be used.
    """
    if sweep.archive_to is None:
        return NoArchive()
    if sweep.archive_file is not None:
        facts = {
            "sweep": sweep.name,
            "table": run.root.shown,
            "database": run.server.database,
            "correlation_id": correlation_id,
            "cutoff_time": run.cutoff.isoformat(),
        }
        return await FileArchive.opened(directory / sweep.archive_file, run.columns, facts)
    async with reading(connection):
        return await find_archive(connection, sweep, run.root, run.server.cutoff, correlation_id)
