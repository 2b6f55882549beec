"""What a foreground run reads of the state, and what it saves: its memory and its report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from sweeperd.daemon.state.database import DATABASE
from sweeperd.daemon.state.json_file import STATE_FILE
from sweeperd.daemon.state.lock import running_pid
from sweeperd.daemon.state.record import Loaded, SweepRecord
from sweeperd.daemon.state.rows import Snapshot
from sweeperd.daemon.state.run_lock import run_lock
from sweeperd.daemon.state.runs import Run
from sweeperd.daemon.state.store import Changes, StateStore
from sweeperd.host.files import make_directory


@dataclass(frozen=True)
class ForegroundRun:
    """One run of a sweep in the foreground.

    Attributes:
        record: The sweep's past.
        obstacle: Why nothing of the run can be saved; None when it can.
        store: Where it is saved.
    """

    record: SweepRecord
    obstacle: str | None
    store: StateStore

    def save(self, record: SweepRecord, run: Run) -> bool:
        """Save what the run left; where that fails it is logged. Tell whether it is saved.

        Args:
            record: The sweep's; only its memory is saved where the daemon has a record of it.
            run: The run's report.
        """
        if self.obstacle is not None:
            return False
        sweep = Snapshot.of(run.sweep, record, keeps_schedule=True)
        return self.store.write(Changes([sweep], [run]))


@contextmanager
def foreground_run(store: StateStore, loaded: Loaded, name: str) -> Iterator[ForegroundRun]:
    """Take the lock of a sweep's run, if it is free, for one run in the foreground.

    Args:
        store: Of the state directory.
        loaded: What the command found there.
        name: The sweep's.
    """
    known = loaded.records.get(name, SweepRecord())
    with ExitStack() as stack:
        obstacle = _obstacle(store, loaded, name)
        try:
            make_directory(store.directory)
            if obstacle is None and not stack.enter_context(run_lock(store.directory, name)):
                pid = running_pid(store.directory)
                obstacle = (
                    f"the daemon (pid {pid}) sweeps it now" if pid else "another run of it goes on"
                )
        except OSError as error:
            obstacle = str(error)
        if obstacle is None:
            # the daemon may have run it since the command began
            known = store.reread(name) or known
        yield ForegroundRun(known, obstacle, store)


def _obstacle(store: StateStore, loaded: Loaded, name: str) -> str | None:
    why = loaded.unusable or loaded.damaged.get(name)
    if why is not None:
        return f"the state of earlier runs cannot be read: {why}"
    files = store.directory / STATE_FILE, store.directory / DATABASE
    if files[0].exists() and not files[1].exists():
        return f"{files[0]} is of an earlier version; the daemon imports it when it starts"
    return None
