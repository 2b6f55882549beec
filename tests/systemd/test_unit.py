"""The unit on a real systemd: start, journal, reload, watchdog, stop."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from sweeperd.demo.server import Installation, Server
from tests.cli.command import sweep_table
from tests.parts import need
from tests.systemd.box import Box, python_outside_homes

pytestmark = [
    need("systemd_box"),
    pytest.mark.skipif(python_outside_homes() is None, reason="no Python outside of homes"),
]
ROWS = (
    "DROP TABLE IF EXISTS t; CREATE TABLE t AS SELECT g AS id, now() - interval '1 hour' "
    "AS expires_at FROM generate_series(1, {}) g; "
    "INSERT INTO t VALUES (0, now() + interval '1 hour');"
)
SLOW = (
    "CREATE OR REPLACE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN PERFORM pg_sleep(0.01); RETURN OLD; END $$;"
    "CREATE TRIGGER slow BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION slow();"
)


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    server = Server(Installation.find())
    server.create()
    server.start()
    box = Box(server)
    try:
        box.up()
        # the service's user, known in the box only, must reach the server; others must not
        group = int(box.shell("id -g sweeperd").stdout)
        os.chown(server.directory, server.data.stat().st_uid, group)
        server.directory.chmod(0o770)
        yield box
    finally:
        box.down()
        server.stop(immediate=True)
        server.remove()


@pytest.fixture
async def app(box: Box) -> AsyncIterator[asyncpg.Connection]:
    box.shell("systemctl stop sweeperd", "rm -rf /var/lib/sweeperd", check=False)
    box.shell("journalctl --rotate", "journalctl --vacuum-time=1s", check=False)
    connection = await asyncpg.connect(box.server.dsn())
    yield connection
    box.shell("systemctl stop sweeperd", check=False)
    connection.terminate()


async def test_the_unit_is_sound(box: Box) -> None:
    done = box.shell("systemd-analyze verify /etc/systemd/system/sweeperd.service 2>&1")

    assert "sweeperd" not in done.stdout


async def test_start_is_ready_rows_go_and_the_journal_has_fields(
    box: Box, app: asyncpg.Connection
) -> None:
    await app.execute(ROWS.format(123))
    box.configure(sweep_table("session_cleanup", interval="6h"))

    box.shell("systemctl start sweeperd")
    entry = await box.journal("SWEEP=session_cleanup", "EVENT=sweep_ran")

    assert box.show("ActiveState") == "active"
    assert entry["DELETED_COUNT"] == "123"
    assert entry["OUTCOME"] == "drained"
    assert entry["PRIORITY"] == "6"
    assert len(entry["CORRELATION_ID"]) == 36
    assert entry["MESSAGE"].startswith("Sweep session_cleanup drained: 123 rows deleted")
    assert await app.fetchval("SELECT count(*) FROM t") == 1
    assert "1 sweep" in box.show("StatusText")
    assert box.shell("ps -o user= -p $(systemctl show -P MainPID sweeperd)").stdout == "sweeperd\n"
    assert box.shell("stat -c %U /var/lib/sweeperd/state.json").stdout == "sweeperd\n"


async def test_reload_good_and_bad(box: Box, app: asyncpg.Connection) -> None:
    await app.execute(ROWS.format(1))
    box.configure(sweep_table("a"))
    box.shell("systemctl start sweeperd")

    box.configure(sweep_table("a") + sweep_table("b", column="id", unit="epoch_s"))
    box.shell("systemctl reload sweeperd")
    entry = await box.journal("EVENT=config_reloaded")
    assert '"b"' in entry["ADDED"]

    box.configure(sweep_table("a", interval="6m"))
    box.shell("systemctl reload sweeperd")
    entry = await box.journal("EVENT=config_rejected")
    assert "sweeperd.toml:3" in entry["MESSAGE"] or "sweeps.a.interval" in entry["MESSAGE"]
    assert box.show("ActiveState") == "active"
    assert "configuration rejected" in box.show("StatusText")


async def test_a_bad_configuration_ends_with_78_and_is_not_restarted(
    box: Box, app: asyncpg.Connection
) -> None:
    box.configure(sweep_table("a", interval="6m"))

    assert box.shell("systemctl start sweeperd", check=False).returncode != 0

    assert box.show("ExecMainStatus") == "78"
    assert box.show("NRestarts") == "0"
    await box.journal(until=lambda entry: "sweeps.a.interval" in str(entry["MESSAGE"]))
    box.shell("systemctl reset-failed sweeperd")


async def test_a_process_that_hangs_is_restarted_by_the_watchdog(
    box: Box, app: asyncpg.Connection
) -> None:
    await app.execute(ROWS.format(1))
    box.configure(sweep_table("a"))
    box.shell("systemctl start sweeperd")
    first = box.show("MainPID")

    box.shell(f"kill -STOP {first}")
    started = await box.journal("EVENT=daemon_started", until=lambda entry: entry["_PID"] != first)

    assert started["_PID"] != first
    assert int(box.show("NRestarts")) >= 1


async def test_stop_in_a_batch_ends_in_order(box: Box, app: asyncpg.Connection) -> None:
    await app.execute(ROWS.format(3000) + SLOW)
    box.configure(sweep_table("a", timeout="10min"))
    box.shell("systemctl start sweeperd")
    while await app.fetchval("SELECT count(*) FROM t") == 3001:
        pass

    box.shell("systemctl stop sweeperd")

    assert box.show("Result") == "success"
    entry = await box.journal("EVENT=sweep_ran")
    assert entry["OUTCOME"] == "stopped"
    left = await app.fetchval("SELECT count(*) FROM t")
    assert int(entry["DELETED_COUNT"]) == 3001 - left
