"""The exported metrics of sweeps, databases and the configuration, by name."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

from sweeperd import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client import Metric

    from sweeperd.daemon.metrics.counts import Counts, SweepCounts
    from sweeperd.daemon.metrics.now import Connections, SweepNow

# metric, its words, and the value of one sweep; None where nobody knows it
_ROWS: Final[tuple[tuple[str, str, Callable[[SweepCounts], float]], ...]] = (
    ("deleted", "Rows deleted and committed.", lambda one: one.deleted),
    (
        "skipped",
        "Expired rows that a run left, refused or locked; counted in each run.",
        lambda one: one.skipped,
    ),
    ("archived", "Rows that an archive took before they were deleted.", lambda one: one.archived),
)
_GAUGES: Final[tuple[tuple[str, str, Callable[[SweepCounts], float | None]], ...]] = (
    (
        "sweeperd_interval_seconds",
        "From start to start; at least a day where the sweep has a window.",
        lambda one: one.interval,
    ),
    (
        "sweeperd_timeout_seconds",
        "How long a run may take.",
        lambda one: one.config.timeout.total_seconds(),
    ),
    (
        "sweeperd_since_timestamp_seconds",
        "When this process took up the sweep.",
        lambda one: one.since,
    ),
    (
        "sweeperd_last_start_timestamp_seconds",
        "When the newest run started.",
        lambda one: one.last_start,
    ),
    (
        "sweeperd_last_success_timestamp_seconds",
        "When a run last drained its table, or deleted rows until its limits ended it.",
        lambda one: one.last_success,
    ),
    (
        "sweeperd_last_deletion_timestamp_seconds",
        "When a batch of this process last deleted rows.",
        lambda one: one.last_deletion,
    ),
    (
        "sweeperd_backlog_rows",
        "Expired rows that are left, as the newest run estimated from a sample.",
        lambda one: one.expired_rows,
    ),
)
_LOOP_GAUGES: Final[tuple[tuple[str, str, Callable[[SweepNow], float | None]], ...]] = (
    ("sweeperd_held", "1 while a hold is in force: nothing is deleted.", lambda one: one.held),
    ("sweeperd_running", "1 while a run is under way.", lambda one: one.running),
    (
        "sweeperd_retention_lag_seconds",
        "Age of the oldest expired row at the last look; missing where that could not tell.",
        lambda one: one.retention_lag_seconds,
    ),
    (
        "sweeperd_behind",
        "1 while expired rows stay for longer than max_retention_lag.",
        lambda one: one.behind,
    ),
    (
        "sweeperd_next_run_timestamp_seconds",
        "When the next run starts.",
        lambda one: one.next_run,
    ),
)


class Families(Collector):
    """Makes the metrics from what was counted, whenever they are read.

    It runs in the thread that serves or writes them: whatever grows is copied first.

    Args:
        counts: What was counted.
        now: Returns what the sweeps' loops do; safe to be called in another thread.
        connections: The databases' connections, by name.
    """

    def __init__(
        self,
        counts: Counts,
        now: Callable[[], Iterable[SweepNow]],
        connections: Mapping[str, Connections],
    ) -> None:
        self._counts = counts
        self._now = now
        self._connections = connections

    def describe(self) -> Iterable[Metric]:
        """Name nothing beforehand: what a registry would look at are the daemon's own names."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield each metric."""
        sweeps = dict(self._counts.sweeps)
        enabled = {name: one for name, one in sweeps.items() if one.config.enabled}
        yield InfoMetricFamily(
            "sweeperd_build",
            "The version that runs.",
            {"version": __version__, "python": platform.python_version()},
        )
        yield from _of_configuration(self._counts)
        yield from _of_databases(dict(self._counts.databases), dict(self._connections))
        yield _sweeps(sweeps)
        yield from _counters(sweeps)
        yield from _times(enabled)
        yield from _states(enabled, self._now())


def _of_configuration(counts: Counts) -> Iterator[Metric]:
    reloads = CounterMetricFamily(
        "sweeperd_reloads", "Reloads of the configuration, by result.", labels=["result"]
    )
    for result, number in dict(counts.reloads).items():
        reloads.add_metric([result], number)
    yield reloads
    yield GaugeMetricFamily(
        "sweeperd_config_last_reload_successful",
        "0 while the files hold a configuration that was rejected, and an older one is in force.",
        value=0 if counts.is_rejected else 1,
    )
    yield GaugeMetricFamily(
        "sweeperd_config_last_reload_success_timestamp_seconds",
        "When the configuration in force was read.",
        value=counts.reloaded_at,
    )


def _of_databases(up: dict[str, bool], connections: dict[str, Connections]) -> Iterator[Metric]:
    reachable = GaugeMetricFamily(
        "sweeperd_database_up",
        "0 while the database cannot be reached, or refuses the login.",
        labels=["database"],
    )
    in_use = GaugeMetricFamily("sweeperd_connections", "Connections in use.", labels=["database"])
    waiting = GaugeMetricFamily(
        "sweeperd_connections_waiting",
        "Runs that wait for one of max_connections.",
        labels=["database"],
    )
    for name, is_up in up.items():
        reachable.add_metric([name], int(is_up))
        if name in connections:
            in_use.add_metric([name], connections[name].in_use)
            waiting.add_metric([name], connections[name].waiting)
    yield from (reachable, in_use, waiting)


def _sweeps(sweeps: dict[str, SweepCounts]) -> Metric:
    info = InfoMetricFamily(
        "sweeperd_sweep",
        "The sweeps of the configuration; mode is delete, dry_run or disabled.",
        labels=["sweep", "database", "table", "mode"],
    )
    for name, one in sweeps.items():
        info.add_metric([name, one.config.database, one.config.table, one.mode], {})
    return info


def _counters(sweeps: dict[str, SweepCounts]) -> Iterator[Metric]:
    runs = CounterMetricFamily(
        "sweeperd_runs", "Runs that ended, by outcome.", labels=["sweep", "outcome"]
    )
    seconds = CounterMetricFamily(
        "sweeperd_phase_seconds",
        "Time of runs: looking at the table, deleting, committing, and batches rolled back.",
        labels=["sweep", "phase"],
    )
    waits = CounterMetricFamily(
        "sweeperd_wait_seconds", "Time that runs waited, by reason.", labels=["sweep", "reason"]
    )
    for name, one in sweeps.items():
        for outcome, number in dict(one.runs).items():
            runs.add_metric([name, outcome], number)
        for phase, spent in dict(one.phases).items():
            seconds.add_metric([name, phase], spent)
        for cause, spent in dict(one.waits).items():
            waits.add_metric([name, cause], spent)
    yield from (runs, seconds, waits)
    for noun, words, value in _ROWS:
        yield _filled(
            CounterMetricFamily(f"sweeperd_rows_{noun}", words, labels=["sweep"]),
            {name: value(one) for name, one in sweeps.items()},
        )


def _times(sweeps: dict[str, SweepCounts]) -> Iterator[Metric]:
    for name, words, value in _GAUGES:
        yield _gauge(name, words, {sweep: value(one) for sweep, one in sweeps.items()})


def _states(sweeps: dict[str, SweepCounts], now: Iterable[SweepNow]) -> Iterator[Metric]:
    outcome = GaugeMetricFamily(
        "sweeperd_last_run_outcome",
        "1 for the outcome of the newest run.",
        labels=["sweep", "outcome"],
    )
    for name, one in sweeps.items():
        if one.last_outcome is not None:
            outcome.add_metric([name, one.last_outcome], 1)
    yield outcome
    loops = [one for one in now if one.name in sweeps]
    for name, words, value in _LOOP_GAUGES:
        yield _gauge(name, words, {one.name: value(one) for one in loops})


def _gauge(name: str, words: str, values: Mapping[str, float | None]) -> Metric:
    return _filled(GaugeMetricFamily(name, words, labels=["sweep"]), values)


def _filled(
    family: CounterMetricFamily | GaugeMetricFamily, values: Mapping[str, float | None]
) -> Metric:
    """Add the values by sweep; one that nobody knows is left out."""
    for sweep, value in values.items():
        if value is not None:
            family.add_metric([sweep], value)
    return family
