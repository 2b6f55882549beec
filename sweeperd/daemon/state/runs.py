"""Past runs: their reports, one row each."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from sweeperd.daemon.state.database import read_database
from sweeperd.daemon.state.memory import JsonObject
from sweeperd.daemon.state.record import parsed

# a shorter history takes effect over many writes, so that each stays short
_MOST_PRUNED: Final = 500
_MICROSECOND: Final = timedelta(microseconds=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LARGEST_REPORT: Final = 2**20


@dataclass(frozen=True)
class Run:
    """One finished run.

    Attributes:
        sweep: The sweep's name.
        report: Its report, with ``started_at``.
    """

    sweep: str
    report: JsonObject

    @property
    def started_at(self) -> datetime | None:
        """When it began; None where the report does not tell."""
        try:
            found = datetime.fromisoformat(str(self.report["started_at"]))
        except (KeyError, ValueError):
            return None
        return found if found.tzinfo is not None else None


def insert_run(connection: sqlite3.Connection, run: Run) -> None:
    """Keep a run; one that does not tell when it began is not kept."""
    if (started := run.started_at) is not None:
        connection.execute(
            "INSERT INTO run (sweep, started_at, report) VALUES (?, ?, ?)",
            (run.sweep, _microseconds(started), json.dumps(run.report)),
        )


def prune_runs(connection: sqlite3.Connection, now: datetime, history: timedelta) -> None:
    """Remove the runs that are older than the history, the oldest first, some at a time."""
    before = max(_microseconds(now) - history // _MICROSECOND, 0)
    connection.execute(
        "DELETE FROM run WHERE id IN "
        "(SELECT id FROM run WHERE started_at < ? ORDER BY started_at LIMIT ?)",
        (before, _MOST_PRUNED),
    )


def read_runs(
    directory: Path, sweep: str, *, since: datetime | None = None, newest: int | None = None
) -> list[JsonObject]:
    """Return the reports of a sweep's past runs, oldest first; the daemon may be at work.

    Args:
        directory: The state directory.
        sweep: The sweep's name.
        since: Only runs that began then or later.
        newest: Only so many of the newest.

    Raises:
        FileNotFoundError: There is no state.
        OSError: It cannot be opened.
        ValueError: It is damaged, or a later sweeperd's.
        StateBusyError: It cannot be read at this moment.
    """
    least = _microseconds(since) if since is not None else 0

    def look(connection: sqlite3.Connection) -> list[JsonObject]:
        rows = connection.execute(
            f"SELECT started_at, substr(report, 1, {_LARGEST_REPORT}) FROM run "
            "WHERE sweep = ? AND started_at >= ? ORDER BY started_at DESC, id DESC LIMIT ?",
            (sweep, least, -1 if newest is None else newest),
        )
        return [_report(sweep, *row) for row in rows]

    return list(reversed(read_database(directory, look)))


def read_known_sweeps(directory: Path) -> list[str]:
    """Return the names of all sweeps that have a past; see `read_runs` for what it raises."""
    return read_database(
        directory,
        lambda connection: [
            str(name) for (name,) in connection.execute("SELECT name FROM sweep ORDER BY name")
        ],
    )


def _report(sweep: str, started_at: int, text: object) -> JsonObject:
    """Return a stored report; one that is damaged tells only that."""
    why = "it is not an object"
    try:
        found = parsed(text, "it")
    except ValueError as error:
        why = str(error)
    else:
        if isinstance(found, dict):
            return found
    began = _EPOCH + started_at * _MICROSECOND
    damage = f"this run's report is damaged: {why:.200}"
    return {"started_at": began.isoformat(), "sweep": sweep, "error": damage}


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND
