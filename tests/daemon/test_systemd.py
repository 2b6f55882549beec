from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from sweeperd.host.clock import monotonic_usec
from sweeperd.host.systemd import connected_notifier, watchdog_interval

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["path", "abstract"])
def manager(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        if request.param == "abstract":
            listening.bind("\0" + name)
            monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        else:
            listening.bind(name)
            monkeypatch.setenv("NOTIFY_SOCKET", name)
        listening.settimeout(10)
        yield listening


def test_each_message_is_one_datagram(manager: socket.socket) -> None:
    with connected_notifier(os.environ) as notifier:
        notifier.ready("2 sweeps")
        notifier.watchdog()
        notifier.status("sweeping")
        notifier.extend_timeout(5)
        notifier.stopping("bye")

    assert [manager.recv(4096) for _ in range(5)] == [
        b"READY=1\nSTATUS=2 sweeps",
        b"WATCHDOG=1",
        b"STATUS=sweeping",
        b"EXTEND_TIMEOUT_USEC=5000000",
        b"STOPPING=1\nSTATUS=bye",
    ]


def test_a_reload_is_dated_by_the_monotonic_clock(manager: socket.socket) -> None:
    before = monotonic_usec()
    with connected_notifier(os.environ) as notifier:
        notifier.reloading()
    first, second = manager.recv(4096).decode().split("\n")

    assert first == "RELOADING=1"
    name, _, value = second.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(value) <= monotonic_usec()


def test_a_status_cannot_forge_a_message(manager: socket.socket) -> None:
    with connected_notifier(os.environ) as notifier:
        notifier.status("table \u2028 Ünï \U0001f600\nREADY=1\x00" + "x" * 5000)
    text = manager.recv(8192).decode("utf-8")

    assert text.startswith("STATUS=table Ünï \U0001f600 READY=1 xxx")
    assert len(text) < 1100


def test_without_a_manager_it_is_silent() -> None:
    with connected_notifier({}) as notifier:
        notifier.ready("x")
        notifier.watchdog()


# sdnotify drops the socket that it could not connect without closing it
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_manager_that_is_gone_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    with connected_notifier(os.environ) as notifier:
        notifier.ready("x")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "42"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "43"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
    ],
)
def test_beats_come_at_half_the_time_allowed(
    environ: dict[str, str], expected: float | None
) -> None:
    assert watchdog_interval(environ, 42) == expected
