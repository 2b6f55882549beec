"""What the last daemon left in its state directory, for `sweeperd status` without a daemon."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from sweeperd.cli.daemon_place import find_socket
from sweeperd.cli.status_page import Seen
from sweeperd.cli.terminal import safe
from sweeperd.config.files.loading import load_config
from sweeperd.config.values.wording import suggestion
from sweeperd.daemon.control.endpoint import NotRunningError
from sweeperd.daemon.recent_runs import RecentRuns, number
from sweeperd.daemon.state.holds import damage_holds, read_holds
from sweeperd.daemon.state.lock import running_pid
from sweeperd.daemon.status import Situation, SweepStatus
from sweeperd.errors import EXIT_NOT_RUNNING, ConfigError, SweeperdError
from sweeperd.host.clock import SystemClock
from sweeperd.host.owner import become_owner_of
from sweeperd.log.safe_text import redacted


def saved_status(config_path: Path, name: str | None, error: NotRunningError) -> Seen:
    """Return it; nothing is written.

    Args:
        config_path: The configuration.
        name: Only this sweep.
        error: How the daemon was missed.

    Raises:
        click.UsageError: No sweep is called so.
        SweeperdError: A daemon runs, without its socket.
    """
    try:
        config = load_config(config_path)
    except ConfigError as unusable:
        return Seen([], [str(error), *map(str, unusable.problems)], EXIT_NOT_RUNNING)
    if name is not None and name not in config.sweeps:
        raise click.UsageError(
            f"no sweep is called {safe(name)}: {suggestion(name, config.sweeps)}"
        )
    state_dir = config.daemon.state_dir
    become_owner_of(state_dir)
    if (pid := running_pid(state_dir)) is not None:
        raise SweeperdError(
            f"the daemon (pid {pid}) runs, but not with a control socket at "
            f"{find_socket(config_path)}",
            cure="its log has the reason: journalctl -u sweeperd EVENT=control_unavailable",
        )
    now = SystemClock().now
    loaded, holds = read_holds(state_dir, now, config.sweeps.keys())
    damaged = damage_holds(holds, loaded, config.sweeps)
    sweeps: list[SweepStatus] = []
    for one, sweep in sorted(config.sweeps.items()):
        if name not in {None, one}:
            continue
        runs = RecentRuns(loaded.records[one].history if one in loaded.records else ())
        lag = number(runs.last or {}, "retention_lag_seconds")
        situation = Situation(
            sweep,
            runs,
            holds.find(sweep) or damaged.get(one),
            aside="the daemon does not run",
            retention_lag_seconds=lag,
            behind=None if lag is None else lag > sweep.longest_retention_lag.total_seconds(),
        )
        sweeps.append(situation.status(now()))
    notes = [str(error), "this is what the last daemon saved"]
    notes += [loaded.unusable] if loaded.unusable is not None else []
    return Seen(_without_secrets(sweeps), notes, EXIT_NOT_RUNNING)


def _without_secrets(sweeps: Iterable[SweepStatus]) -> list[SweepStatus]:
    return [SweepStatus.from_json(redacted(sweep.as_json())) for sweep in sweeps]
