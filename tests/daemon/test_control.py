"""The control socket of a real daemon: what it answers, and what it withstands."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from pathlib import Path
from typing import cast

import pytest
from structlog.testing import capture_logs

from sweeperd.daemon.control.endpoint import Endpoint, EndpointTakenError, default_socket
from sweeperd.daemon.control.server import Controlled, ControlServer
from tests.cli.command import sweep_table
from tests.conftest import TestDatabase
from tests.daemon.control import exchanged, opened, request, sent, socket_of
from tests.daemon.fake_clock import FakeClock
from tests.daemon.process import DaemonProcess

ROWS = (
    "CREATE TABLE t AS SELECT g AS id, now() - interval '1 hour' AS expires_at "
    "FROM generate_series(1, 50) g; INSERT INTO t VALUES (0, now() + interval '1 hour')"
)
STATUS = b'{"version": 1, "request": "status"}\n'
BAD = [
    (b"nonsense\n", "malformed"),
    (b"[]\n", "malformed"),
    (b"\xff\xfe\n", "malformed"),
    (b"[" * 30_000 + b"\n", "malformed"),
    (b'{"a":' * 10_000 + b"\n", "malformed"),
    (b'{"version": ' + b"9" * 5_000 + b"}\n", "malformed"),
    (b"{}\n", "unknown_version"),
    (b'{"version": true, "request": "status"}\n', "unknown_version"),
    (b'{"version": 2, "request": "status"}\n', "unknown_version"),
    (b'{"version": 1, "request": "shutdown"}\n', "unknown_request"),
    (b'{"version": 1, "request": ["status"]}\n', "unknown_request"),
    (b'{"version": 1, "request": "status", "swep": "s"}\n', "invalid"),
    (b'{"version": 1, "request": "status", "sweep": 5}\n', "invalid"),
    (b'{"version": 1, "request": "sweep"}\n', "invalid"),
    (b'{"version": 1, "request": "sweep", "sweep": "s", "correlation_id": "a b"}\n', "invalid"),
    (b'{"version": 1, "request": "status", "sweep": "zz"}\n', "unknown_sweep"),
    (b'{"version": 1, "request": "reload", "config": "/other.toml"}\n', "other_configuration"),
    (b"x" * 100_000 + b"\n", "too_long"),
]


async def test_whatever_comes_in_is_answered_or_bounded_and_the_daemon_goes_on(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(ROWS)
    async with DaemonProcess(tmp_path, database.dsn, sweep_table()) as daemon:
        await daemon.event("sweep_ran")
        path = socket_of(daemon)
        assert stat.S_IMODE(path.stat().st_mode) in {0o600, 0o660}

        for line, code in BAD:
            answer = await sent(path, line)
            assert answer["ok"] is False, line[:60]
            assert answer["error"]["code"] == code, line[:60]
        half = await sent(path, STATUS[:20], ends=True)
        assert half["error"]["code"] == "malformed"
        assert await sent(path, b"", ends=True) is None

        # one connection may ask more than once, and close its own end before the answers
        told = await asyncio.to_thread(exchanged, path, STATUS + b"nonsense\n" + STATUS, ends=True)
        assert [b'"ok": true' in line for line in told.splitlines()] == [True, False, True]

        idle = [opened(path) for _ in range(16)]
        flood = [await sent(path, STATUS) for _ in range(100)]
        assert {answer["error"]["code"] for answer in flood} == {"busy"}
        for connection in idle:
            connection.close()
        while not (answer := await sent(path, STATUS))["ok"]:
            assert answer["error"]["code"] == "busy"
        assert answer["result"]["sweeps"][0]["last_run"]["deleted_count"] == 50
        assert answer["result"]["daemon"]["pid"] == daemon.process.pid

        # the kernel says who asked
        await request(path, "reload")
        asked = await daemon.event("control_requested", request="reload")
        assert (asked["uid"], asked["pid"]) == (os.getuid(), os.getpid())
        assert await daemon.end() == 0
    assert not path.exists()


async def test_a_dead_daemons_socket_is_replaced_and_a_live_ones_never(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(ROWS)
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    named = f'socket = "{tmp_path}/s"'
    daemon = DaemonProcess(first, database.dsn, "")
    daemon.write(sweep_table(), named)
    async with daemon:
        await daemon.notify.until("READY=1")
        other = DaemonProcess(second, database.dsn, "")
        other.write(sweep_table(), named)
        async with other:
            told = await other.event("control_unavailable")
            assert "another process listens" in told["reason"]
            await other.event("sweep_ran")
            answer = await request(tmp_path / "s", "status")
            assert answer["result"]["daemon"]["pid"] == daemon.process.pid
            assert await other.end() == 0
        assert (tmp_path / "s").exists()

        await daemon.end(signal.SIGKILL)
        assert (tmp_path / "s").exists()
        await daemon.start()
        await daemon.notify.until("READY=1")
        answer = await request(tmp_path / "s", "status")
        assert answer["result"]["daemon"]["pid"] == daemon.process.pid
        assert await daemon.end() == 0


def test_what_is_no_socket_stays_and_long_paths_are_reached(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(EndpointTakenError):
        Endpoint(tmp_path / "file").listen()
    assert (tmp_path / "file").read_text() == "precious"

    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    endpoint = Endpoint(deep / "control.sock")
    with endpoint.listen():
        assert endpoint.is_ours()
    (deep / "control.sock").unlink()
    with Endpoint(deep / "control.sock").listen():
        endpoint.remove()
        assert (deep / "control.sock").exists(), "it removed what another had made"


def test_units_and_shells_find_one_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    assert default_socket(Path("/var/lib/sweeperd")) == Path("/run/sweeperd/control.sock")
    assert default_socket(Path("/var/lib/sweeperd/a")) == Path("/run/sweeperd/a/control.sock")
    assert default_socket(Path("/srv/ttl")) == Path("/srv/ttl/control.sock")
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/other")
    assert default_socket(Path("/var/lib/sweeperd")) == Path("/run/other/control.sock")


async def test_a_reload_is_answered_when_it_is_in_force_or_with_why_it_is_not(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(ROWS)
    async with DaemonProcess(tmp_path, database.dsn, sweep_table()) as daemon:
        await daemon.notify.until("READY=1")
        path = socket_of(daemon)
        daemon.write(sweep_table(interval="1h") + sweep_table("b", enabled="no"), "")
        bad = await request(path, "reload")
        assert bad["error"]["code"] == "rejected"
        assert bad["error"]["problems"][0].startswith(f"{tmp_path}/sweeperd.toml:")

        daemon.write(sweep_table(interval="1h"), 'socket = "/elsewhere"')
        daemon.notify.drain()
        good = await request(path, "reload")
        assert good["result"]["changed"] == ["s"]
        assert good["result"]["needs_restart"] == ["daemon.socket"]
        # systemd has heard of it before
        heard = "\n".join(daemon.notify.drain())
        assert heard.index("RELOADING=1") < heard.index("READY=1")

        # each of many at once is answered by a reload that began after it
        daemon.write(sweep_table(interval="2h"))
        answers = await asyncio.gather(*(request(path, "reload") for _ in range(10)))
        assert all(answer["ok"] for answer in answers)
        assert ["s"] in [answer["result"]["changed"] for answer in answers]
        assert await daemon.end() == 0


async def test_a_run_is_asked_for_queued_held_and_told_of_when_the_daemon_ends(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(
        ROWS + "; CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_sleep(0.02); RETURN OLD; END $$;"
        "CREATE TRIGGER slow BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION slow()"
    )
    sweeps = sweep_table(timeout="10min") + sweep_table("off", "u").replace(
        "keep", "enabled = false\nkeep"
    )
    async with DaemonProcess(tmp_path, database.dsn, sweeps) as daemon:
        path = socket_of(daemon)
        await daemon.event("sweep_started")
        queued = asyncio.ensure_future(request(path, "sweep", sweep="s", correlation_id="mine"))
        await daemon.event("control_requested", request="sweep")
        again = await request(path, "sweep", sweep="s")
        assert again["error"]["code"] == "already_requested"
        assert (await request(path, "sweep", sweep="off"))["error"]["code"] == "disabled"
        answer = await queued
        assert answer["result"]["correlation_id"] == "mine"
        assert answer["result"]["outcome"] == "drained"
        await daemon.event("sweep_ran", count=2)  # the answer may come before the log is read
        assert [one["correlation_id"] for one in daemon.named("sweep_ran")][1:] == ["mine"]

        await database.execute(
            "INSERT INTO t SELECT g, now() - interval '1 min' FROM generate_series(1, 2000) g"
        )
        cut = asyncio.ensure_future(request(path, "sweep", sweep="s"))
        await daemon.event("sweep_started", count=3)
        assert await daemon.end() == 0
        assert (await cut)["result"]["outcome"] == "stopped"


async def test_many_changes_are_few_statuses_and_one_answer(tmp_path: Path) -> None:
    names = [f"s{number}" for number in range(200)]

    def sweeps(interval: str) -> str:
        return "".join(sweep_table(name, f"t_{name}", interval=interval) for name in names)

    # nothing listens there
    daemon = DaemonProcess(tmp_path, "postgresql://u@127.0.0.1:1/d", sweeps("6h"))
    async with daemon:
        await daemon.notify.until("STATUS=", "waiting for database app (")
        end = asyncio.ensure_future(daemon.notify.until("STOPPING=1"))
        daemon.write(sweeps("7h"))
        reloaded = await request(socket_of(daemon), "reload")
        assert sorted(reloaded["result"]["changed"]) == sorted(names)
        found = await request(socket_of(daemon), "status")
        assert [one["sweep"] for one in found["result"]["sweeps"]] == sorted(names)
        assert {one["state"] for one in found["result"]["sweeps"]} <= {"waiting", "running"}
        assert "app" in found["result"]["daemon"]["databases_away"]
        # each sweep was announced twice and ran at least once
        await daemon.event("sweep_scheduled", count=400)
        assert await daemon.end() == 0
        await end
    statuses = [message for message in daemon.notify.heard if "STATUS=" in message]
    assert len(statuses) < 50


class Bug:
    """A daemon that meets a bug at each request."""

    config_path = Path("/etc/sweeperd/sweeperd.toml")

    async def status(self, sweep: str | None) -> dict[str, object]:
        raise KeyError(sweep)

    reload = look_at_holds = sweep = status


async def test_a_socket_that_was_removed_comes_back_and_a_bug_is_answered(
    tmp_path: Path, clock: FakeClock
) -> None:
    server = ControlServer(Endpoint(tmp_path / "s"), cast("Controlled", Bug()), clock)
    with capture_logs() as logs:
        await server.open()
        (tmp_path / "s").unlink()
        await server.open()
        answer = await sent(tmp_path / "s", STATUS)
        assert answer["error"]["code"] == "failed"
        (tmp_path / "s").unlink()
        (tmp_path / "s").write_text("in the way")
        for _ in range(3):
            await server.open()
        (tmp_path / "s").unlink()
        await server.open()
        assert (await sent(tmp_path / "s", STATUS))["error"]["code"] == "failed"
        server.begin_to_close()
        await server.close()
    assert not (tmp_path / "s").exists()
    assert [log["event"] for log in logs].count("control_unavailable") == 1
