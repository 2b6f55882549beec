"""Each cause of deleting nothing is named in the log, in status, in STATUS and in a metric."""

from __future__ import annotations

import json
import socket
import urllib.request
from asyncio import to_thread
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.cli.command import sweep_table
from tests.conftest import TestDatabase
from tests.daemon.control import request, socket_of
from tests.daemon.process import DaemonProcess

ROWS = (
    "CREATE TABLE t (id int PRIMARY KEY, expires_at timestamptz); "
    "INSERT INTO t SELECT g, now() + (g - 50) * interval '1 hour' FROM generate_series(1, 100) g;"
)
REFUSING = (
    "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;"
    "CREATE TRIGGER keep BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION keep();"
)
DISABLED = 'mode="disabled"'
NEVER = '[databases.app.health]\nquery = "SELECT false"\n'
HANGS = '[databases.app.health]\nquery = "SELECT pg_sleep(60) IS NULL"\n'


@dataclass(frozen=True)
class Cause:
    """A cause: what brings it about, and the word that names it."""

    word: str
    sql: str = ""
    keys: str = ""
    database: str = ""
    role: bool = False
    metric: str = ""


CAUSES = {
    "row security": Cause(
        "row", "ALTER TABLE t ENABLE ROW LEVEL SECURITY;", role=True, metric="failed"
    ),
    "lost grant": Cause("DELETE", "REVOKE DELETE ON t FROM {role};", role=True, metric="failed"),
    "table moved": Cause("does not exist", "CREATE SCHEMA x; ALTER TABLE t SET SCHEMA x;",
                         metric="failed"),
    "column renamed": Cause("expires_at", "ALTER TABLE t RENAME expires_at TO ends_at;",
                            metric="failed"),
    "type changed": Cause("text", "ALTER TABLE t ALTER expires_at TYPE text;", metric="failed"),
    "wrong unit": Cause(
        "epoch_s",
        "ALTER TABLE t DROP expires_at; ALTER TABLE t ADD expires_at bigint DEFAULT 1700000000000;",
        keys='unit = "epoch_s"\n',
        metric="",
    ),
    "trigger that returns NULL": Cause("suppresses", REFUSING, metric="incomplete"),
    "read-only database": Cause(
        "read-only", "ALTER DATABASE {database} SET default_transaction_read_only = on;",
        metric="throttled",
    ),
    "the operator's query": Cause("health query answers false", database=NEVER, metric="throttled"),
    "a query that hangs": Cause("health query failed", database=HANGS, metric="throttled"),
    "window closed": Cause("outside its window", keys='window = "{window}"\n'),
    "disabled": Cause("disabled", keys="enabled = false\n", metric=DISABLED),
    "dry run": Cause("dry_run", keys="dry_run = true\n", metric='mode="dry_run"'),
}  # fmt: skip
OUTCOMES = {"failed", "incomplete", "throttled"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def read(url: str) -> str:
    with urllib.request.urlopen(url) as answer:  # noqa: S310 - our own address
        return str(answer.read().decode())


def closed_window() -> str:
    """Return a window of an hour that opens in ten hours."""
    opens = datetime.now(UTC) + timedelta(hours=10)
    return f"{opens:%H}:00-{opens + timedelta(hours=1):%H}:00"


@pytest.mark.parametrize("name", CAUSES)
async def test_a_cause_of_nothing_is_named_wherever_an_operator_looks(
    database: TestDatabase, tmp_path: Path, name: str
) -> None:
    cause, role = CAUSES[name], await database.role()
    await database.execute(f"{ROWS} GRANT SELECT, DELETE ON t TO {role};")
    if cause.sql:
        await database.execute(cause.sql.format(role=role, database=f'"{database.name}"'))
    sweep = sweep_table(interval="1h", timeout="2s") + cause.keys.format(window=closed_window())
    dsn = database.dsn_for(role) if cause.role else database.dsn
    daemon, port = DaemonProcess(tmp_path, dsn, ""), free_port()
    daemon.write(cause.database + sweep, f'metrics_listen = "127.0.0.1:{port}"')
    async with daemon:
        line = await daemon.notify.until("STATUS=", cause.word)
        if cause.metric and cause.metric != DISABLED:
            await daemon.when(lambda: any("outcome" in one for one in daemon.events), name)
        answer = await request(socket_of(daemon), "status")
        metrics = await to_thread(read, f"http://127.0.0.1:{port}/metrics")
        assert await daemon.end() == 0

    assert cause.word in line
    (status,) = answer["result"]["sweeps"]
    assert cause.word in f"{status['state']} {status['reason']}"
    assert cause.metric in metrics
    if cause.metric in OUTCOMES:
        assert f'sweeperd_runs_total{{outcome="{cause.metric}",sweep="s"}} 1.0' in metrics
        loud = [one for one in daemon.events if one["level"] in {"warning", "error"}]
        assert cause.word in json.dumps(loud)
