"""The metrics as a file for node_exporter's textfile collector."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, generate_latest

from sweeperd.host.files import open_directory, remove_small, write_small
from sweeperd.log.event import emit
from sweeperd.log.metrics_events import MetricsNotWritten, MetricsWrittenAgain

if TYPE_CHECKING:
    from pathlib import Path

_SECONDS: Final = 15.0  # as often as Prometheus asks, commonly
_MODE: Final = 0o644  # node_exporter is another user


class MetricsTextfile:
    """Writes the file again and again, in a thread of its own; a reader never sees a part of it.

    Args:
        path: The file; its directory must exist.
        registry: What it shows.
        seconds: From one write to the next.
    """

    def __init__(
        self, path: Path, registry: CollectorRegistry, *, seconds: float = _SECONDS
    ) -> None:
        self._path = path
        self._registry = registry
        self._seconds = seconds
        self._failure: str | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write_on, name="metrics file", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write no longer, and take the file away: what it told is no longer so."""
        self._ended.set()
        self._thread.join()
        with suppress(OSError), open_directory(self._path.parent) as directory:
            remove_small(directory, self._path.name)

    def _write_on(self) -> None:
        while True:
            self._write()
            if self._ended.wait(self._seconds):
                return

    def _write(self) -> None:
        try:
            with open_directory(self._path.parent) as directory:
                write_small(directory, self._path.name, generate_latest(self._registry), _MODE)
        except OSError as error:
            if self._failure is None:
                reason = error.strerror or str(error)
                emit(MetricsNotWritten(str(self._path), f"{reason}; {self._cure(error)}"))
            self._failure = str(error)
            return
        if self._failure is not None:
            emit(MetricsWrittenAgain(str(self._path)))
        self._failure = None

    def _cure(self, error: OSError) -> str:
        folder = self._path.parent
        if isinstance(error, FileNotFoundError):
            return f"make the directory {folder}"
        return (
            f"let the daemon's user write {folder}, and add ReadWritePaths={folder} to the unit "
            "(systemctl edit sweeperd)"
        )
