"""What the daemon tells systemd, by the protocol of sd_notify(3)."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Protocol

import sdnotify

from sweeperd.host.clock import monotonic_usec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

# systemd reads at most a page; a status is one line for a person
_LONGEST_STATUS = 1000
# a stalled manager must not stall the sweeps
_SEND_TIMEOUT_SECONDS = 1.0


class Notifier(Protocol):
    """The daemon's voice towards its service manager."""

    def ready(self, status: str) -> None:
        """Say that start or reload is done."""

    def reloading(self) -> None:
        """Say that a reload has begun, dated by CLOCK_MONOTONIC."""

    def stopping(self, status: str) -> None:
        """Say that shutdown has begun."""

    def status(self, text: str) -> None:
        """Show one line in ``systemctl status``."""

    def watchdog(self) -> None:
        """Say that all is well."""

    def extend_timeout(self, seconds: float) -> None:
        """Ask for that much more time from now on."""


class SystemdNotifier:
    """Sends each message with ``send``; one datagram a call.

    Args:
        send: Takes the text of one datagram.
    """

    def __init__(self, send: Callable[[str], None]) -> None:
        self._send = send

    def ready(self, status: str) -> None:
        """Send READY=1 and STATUS."""
        self._send(f"READY=1\nSTATUS={_one_line(status)}")

    def reloading(self) -> None:
        """Send RELOADING=1 with MONOTONIC_USEC, which Type=notify-reload requires."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={monotonic_usec()}")

    def stopping(self, status: str) -> None:
        """Send STOPPING=1 and STATUS."""
        self._send(f"STOPPING=1\nSTATUS={_one_line(status)}")

    def status(self, text: str) -> None:
        """Send STATUS."""
        self._send(f"STATUS={_one_line(text)}")

    def watchdog(self) -> None:
        """Send WATCHDOG=1."""
        self._send("WATCHDOG=1")

    def extend_timeout(self, seconds: float) -> None:
        """Send EXTEND_TIMEOUT_USEC."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")


@contextmanager
def connected_notifier(environ: Mapping[str, str]) -> Iterator[SystemdNotifier]:
    """Yield the notifier for this process; without NOTIFY_SOCKET it is silent.

    Args:
        environ: The process's own environment, from which sdnotify reads the address, too.
    """
    if not environ.get("NOTIFY_SOCKET"):
        yield SystemdNotifier(lambda _text: None)
        return
    notifier = sdnotify.SystemdNotifier()
    with notifier.socket or nullcontext():
        if notifier.socket is not None:
            notifier.socket.settimeout(_SEND_TIMEOUT_SECONDS)
        # sdnotify encodes as latin-1 and drops what that cannot hold; systemd reads UTF-8
        yield SystemdNotifier(
            lambda text: notifier.notify(text.encode("utf-8", "replace").decode("latin-1"))
        )


def watchdog_interval(environ: Mapping[str, str], pid: int) -> float | None:
    """Return the seconds between two beats: half of WATCHDOG_USEC.

    Args:
        environ: The process's environment.
        pid: This process; WATCHDOG_PID may name another that is meant instead.

    Returns:
        None when no watchdog waits for this process.
    """
    microseconds = environ.get("WATCHDOG_USEC", "")
    meant = environ.get("WATCHDOG_PID", "") or str(pid)
    if not microseconds.isascii() or not microseconds.isdigit() or int(microseconds) == 0:
        return None
    return int(microseconds) / 2_000_000 if meant == str(pid) else None


def _one_line(text: str) -> str:
    """A newline would begin another assignment of the protocol."""
    short = text[: 2 * _LONGEST_STATUS]
    plain = "".join(char if char.isprintable() else " " for char in short)
    return " ".join(plain.split())[:_LONGEST_STATUS]
