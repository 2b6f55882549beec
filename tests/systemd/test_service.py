"""The packaged service on a real systemd: start, journal, reload, watchdog, stop, hardening."""

from __future__ import annotations

import json

import pytest

from tests.cli.command import sweep_table
from tests.parts import need
from tests.systemd.box import Box

pytestmark = [need("systemd_box"), need("debian_build")]
SLOW = (
    "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN PERFORM pg_sleep(0.01); RETURN OLD; END $$;"
    "CREATE TRIGGER slow BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION slow();"
)


def fill(box: Box, rows: int, more: str = "") -> None:
    """Make a table of that many expired rows and one that lives."""
    box.sql(
        "CREATE TABLE t AS SELECT g AS id, now() - interval '1 hour' AS expires_at"
        f" FROM generate_series(1, {rows}) g; INSERT INTO t VALUES (0, now() + interval '1 hour');"
        f"GRANT SELECT, UPDATE, DELETE ON t TO sweeperd; {more}"
    )


def left(box: Box) -> int:
    return int(box.sql("SELECT count(*) FROM t"))


def test_the_units_are_sound_and_hardened(box: Box) -> None:
    done = box.shell("systemd-analyze verify sweeperd.service sweeperd@app.service 2>&1")
    assert "sweeperd" not in done.stdout
    for unit in ("sweeperd.service", "sweeperd@app.service"):
        # in tenths: 15 is an exposure level of 1.5
        box.shell(f"systemd-analyze security --threshold=15 {unit}")


async def test_start_is_ready_rows_go_and_the_journal_has_fields(box: Box) -> None:
    fill(box, 123)
    box.configure(sweep_table("session_cleanup", interval="6h"))

    box.shell("systemctl start sweeperd")
    entry = await box.journal("SWEEP=session_cleanup", "EVENT=sweep_ran")

    assert box.show("ActiveState") == "active"
    assert entry["DELETED_COUNT"] == "123"
    assert entry["OUTCOME"] == "drained"
    assert entry["PRIORITY"] == "6"
    assert len(entry["CORRELATION_ID"]) == 36
    assert entry["MESSAGE"].startswith("Sweep session_cleanup drained: 123 rows deleted")
    assert left(box) == 1
    assert "1 sweep" in box.show("StatusText")
    assert box.shell("ps -o user= -p $(systemctl show -P MainPID sweeperd)").stdout == "sweeperd\n"
    assert box.shell("stat -c %U /var/lib/sweeperd/state.db").stdout == "sweeperd\n"


async def test_an_instance_has_a_configuration_and_a_state_of_its_own(box: Box) -> None:
    fill(box, 5)
    text = '[databases.app]\ndsn = "postgresql://sweeperd@/app?host=/run/postgresql"\n'
    box.write("/etc/sweeperd/billing.toml", text + sweep_table("invoices"))
    try:
        box.shell("systemctl start sweeperd@billing")
        box.shell("test -e /var/lib/sweeperd/billing/lock", "test ! -e /var/lib/sweeperd/lock")
        box.shell("systemctl reload sweeperd@billing")
    finally:
        box.shell("systemctl stop sweeperd@billing")
    box.shell("test -e /var/lib/sweeperd/billing/state.db")


async def test_reload_good_and_bad(box: Box) -> None:
    fill(box, 1)
    box.configure(sweep_table("a"))
    box.shell("systemctl start sweeperd")

    box.configure(sweep_table("a"), sweep_table("b", column="id", unit="epoch_s"))
    box.shell("systemctl reload sweeperd")
    entry = await box.journal("EVENT=config_reloaded")
    assert '"b"' in entry["ADDED"]

    # the command returned once it was in force
    found = json.loads(box.shell("sweeperd status --json", check=False).stdout)
    assert [one["sweep"] for one in found] == ["a", "b"]
    pid = box.show("MainPID")

    box.configure(sweep_table("a", interval="6m"))
    reload = box.shell("systemctl reload sweeperd", check=False)
    assert reload.returncode != 0
    entry = await box.journal("EVENT=config_rejected")
    assert "sweeps.a.interval" in entry["MESSAGE"]
    said = "/etc/sweeperd/sweeperd.toml:8: sweeps.a.interval: "
    line = await box.journal(until=lambda entry: str(entry["MESSAGE"]).startswith(said))
    assert line["PRIORITY"] == "3"
    assert (box.show("ActiveState"), box.show("MainPID")) == ("active", pid)
    assert "configuration rejected" in box.show("StatusText")
    told = box.shell("sweeperd status", check=False)
    assert told.returncode == 1
    assert "is rejected" in told.stderr

    # and so it goes on
    box.configure(sweep_table("a"))
    box.shell("systemctl reload sweeperd", "sweeperd status")
    assert "configuration rejected" not in box.show("StatusText")


def test_root_and_the_group_may_use_the_socket_and_nobody_else(box: Box) -> None:
    fill(box, 1)
    box.configure(sweep_table("a"))
    box.shell("systemctl start sweeperd", "sweeperd sweep --daemon a", "sweeperd status")
    found = box.shell("stat -c '%U:%G %a' /run/sweeperd/control.sock").stdout
    assert found == "sweeperd:sweeperd 660\n"
    try:
        box.shell("useradd outsider", "useradd -G sweeperd insider")
        box.shell("runuser -u insider -- sweeperd reload")
        refused = box.shell("runuser -u outsider -- sweeperd reload", check=False)
    finally:
        box.shell("userdel outsider", "userdel insider", check=False)
    assert refused.returncode == 1
    assert "run this as root or as a member of the group sweeperd" in refused.stderr


@pytest.mark.parametrize("mistake", ["interval", "nothing", "unreadable", "writable"])
async def test_a_configuration_that_cannot_be_used_ends_with_78_and_no_restart(
    box: Box, mistake: str
) -> None:
    box.configure(*([] if mistake == "nothing" else [sweep_table("a", interval="6m")]))
    path = "/etc/sweeperd/sweeperd.toml"
    mode = {"unreadable": "0600", "writable": "0666"}.get(mistake, "0640")
    box.shell(f"chmod {mode} {path}")
    said = {
        "interval": "sweeps.a.interval",
        "nothing": f"no sweeps configured: edit {path}, see sweeperd.toml(5)",
        "unreadable": "cannot be read",
        "writable": "can be written by every user",
    }[mistake]
    if mistake == "writable":
        box.configure(sweep_table("a"))
    try:
        assert box.shell("systemctl start sweeperd", check=False).returncode != 0
    finally:
        box.shell(f"chmod 0640 {path}")

    assert box.show("ExecMainStatus") == "78"
    assert box.show("NRestarts") == "0"
    entry = await box.journal("EVENT=start_failed", until=lambda one: said in one["MESSAGE"])
    assert entry["PRIORITY"] == "3"
    explained = box.shell("journalctl -u sweeperd -x EVENT=start_failed").stdout
    assert "Subject: The daemon cannot start" in explained


@pytest.mark.parametrize("name", ["STOP", "KILL"])
async def test_a_process_that_hangs_or_dies_is_restarted_and_goes_on(box: Box, name: str) -> None:
    fill(box, 300, SLOW)
    box.configure(sweep_table("a", timeout="10min", catch_up="1s"))
    box.shell("systemctl start sweeperd")
    first = box.show("MainPID")
    while left(box) == 301:
        pass

    box.shell(f"kill -{name} {first}")
    started = await box.journal("EVENT=daemon_started", until=lambda entry: entry["_PID"] != first)

    assert int(box.show("NRestarts")) >= 1
    await box.journal(
        "EVENT=sweep_ran",
        f"_PID={started['_PID']}",
        until=lambda entry: entry["OUTCOME"] == "drained",
    )
    assert left(box) == 1


async def test_stop_in_a_batch_ends_in_order(box: Box) -> None:
    fill(box, 3000, SLOW)
    box.configure(sweep_table("a", timeout="10min"))
    box.shell("systemctl start sweeperd")
    while left(box) == 3001:
        pass

    box.shell("systemctl stop sweeperd")

    assert box.show("Result") == "success"
    entry = await box.journal("EVENT=sweep_ran")
    assert entry["OUTCOME"] == "stopped"
    assert int(entry["DELETED_COUNT"]) == 3001 - left(box)


async def test_a_database_that_is_down_at_the_start_is_waited_for(box: Box) -> None:
    fill(box, 7)
    box.configure(sweep_table("a", catch_up="1s"))
    box.shell("systemctl stop postgresql@15-box", "systemctl start sweeperd")
    await box.journal("EVENT=database_lost")
    assert box.show("ActiveState") == "active"

    box.shell("systemctl start postgresql@15-box")
    await box.journal("EVENT=sweep_ran", until=lambda entry: entry["OUTCOME"] == "drained")

    assert left(box) == 1


async def test_a_credential_opens_tcp_with_tls_and_no_secret_is_seen(box: Box) -> None:
    secret = "S3cret-of-this-test"
    fill(box, 9)
    box.sql(f"CREATE ROLE outside LOGIN PASSWORD '{secret}'; GRANT sweeperd TO outside")
    box.shell(
        f"printf %s {secret} > /etc/sweeperd/credentials/app",
        "chmod 0600 /etc/sweeperd/credentials/app",
    )
    box.configure(
        sweep_table("a"),
        dsn="postgresql://outside@127.0.0.1:5432/app?sslmode=require",
        more='password_credential = "db_app"',
    )
    try:
        box.shell("systemctl start sweeperd")
        await box.journal("EVENT=sweep_ran", until=lambda entry: entry["OUTCOME"] == "drained")
        checked = box.shell("sweeperd check --json")
        seen = box.shell(
            "journalctl -u sweeperd -o export",
            "systemctl show sweeperd",
            "pid=$(systemctl show -P MainPID sweeperd)",
            "tr '\\0' '\\n' < /proc/$pid/cmdline",
            "tr '\\0' '\\n' < /proc/$pid/environ",
            "systemctl stop sweeperd",
            "cat /var/lib/sweeperd/state.db* | tr -c '[:print:]\\n' ' '",
        )
    finally:
        box.shell("rm -f /etc/sweeperd/credentials/app")
        box.sql("DROP OWNED BY outside; DROP ROLE outside", database="app")

    assert "role outside" in checked.stdout
    assert secret not in seen.stdout + checked.stdout


async def test_what_root_does_is_done_as_the_service(box: Box) -> None:
    fill(box, 4)
    box.configure(sweep_table("a"))
    box.shell("rm -rf /var/lib/sweeperd")

    checked = json.loads(box.shell("sweeperd check --json").stdout)
    box.shell("sweeperd sweep a", "sweeperd hold a", "sweeperd release a")

    assert any("role sweeperd" in line["text"] for line in checked)
    assert left(box) == 1
    owners = box.shell("find /var/lib/sweeperd -printf '%u\\n'").stdout.split()
    assert set(owners) == {"sweeperd"}
    box.shell("systemctl start sweeperd")
    assert box.show("ActiveState") == "active"
