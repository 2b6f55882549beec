"""All metrics of the daemon: it hears every event, and shows what it heard to Prometheus."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from prometheus_client import (
    CollectorRegistry,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

from sweeperd.daemon.metrics.counts import Counts
from sweeperd.daemon.metrics.families import Families
from sweeperd.daemon.metrics.listener import MetricsListener
from sweeperd.daemon.metrics.pulse import Pulse
from sweeperd.daemon.metrics.textfile import MetricsTextfile
from sweeperd.log.event import emit, observed
from sweeperd.log.metrics_events import MetricsNotServed
from sweeperd.log.run_events import BatchCommitted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sweeperd.config.models import Config, DaemonConfig
    from sweeperd.daemon.metrics.now import Connections, SweepNow
    from sweeperd.daemon.state.record import SweepRecord
    from sweeperd.host.clock import Clock
    from sweeperd.log.event import Event

_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5)
_ROWS: Final = (1, 10, 100, 1_000, 5_000, 10_000, 50_000)


class Metrics:
    """What is counted, and where it is shown.

    Args:
        now: Returns what the sweeps' loops do; called in other threads.
        clock: The host's.

    Attributes:
        pulse: Whether the watchdog would be fed.
        connections: By database; who makes a database's connections enters it.
    """

    def __init__(self, now: Callable[[], Iterable[SweepNow]], clock: Clock) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # each would double its series
        self.pulse = Pulse()
        self.connections: dict[str, Connections] = {}
        self._counts = Counts(clock)
        self.registry = CollectorRegistry()
        self.registry.register(Families(self._counts, now, self.connections))
        # node_exporter, which may show these beside its own, has a process of its own
        ProcessCollector(namespace="sweeperd", registry=self.registry)
        self._seconds = Histogram(
            "sweeperd_batch_duration_seconds",
            "Batches, by the time from BEGIN to the answer to COMMIT.",
            ["database"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._rows = Histogram(
            "sweeperd_batch_rows",
            "Batches, by the rows that they deleted.",
            ["database"],
            buckets=_ROWS,
            registry=self.registry,
        )

    def apply(self, config: Config, record: Callable[[str], SweepRecord]) -> None:
        """Show the sweeps and databases of a configuration, and no others.

        Args:
            config: The one in force.
            record: Returns the past of a sweep.
        """
        for gone in self._counts.databases.keys() - config.databases.keys():
            self.connections.pop(gone, None)
            self._seconds.remove(gone)
            self._rows.remove(gone)
        self._counts.apply(config, record)
        for name in config.databases:
            self._seconds.labels(name)
            self._rows.labels(name)

    @contextmanager
    def shown(self, settings: DaemonConfig) -> Iterator[None]:
        """Hear the events, and serve and write what they tell, as far as that is asked for."""
        with ExitStack() as stack:
            stack.enter_context(observed(self._hear))
            if settings.metrics_listen is not None:
                try:
                    listener = MetricsListener(
                        settings.metrics_listen, self.registry, self.pulse.problems
                    )
                except OSError as error:
                    reason = error.strerror or str(error)
                    emit(MetricsNotServed(settings.metrics_listen, reason))
                else:
                    stack.callback(listener.close)
            if settings.metrics_textfile is not None:
                textfile = MetricsTextfile(settings.metrics_textfile, self.registry)
                stack.callback(textfile.close)
            yield

    def _hear(self, event: Event) -> None:
        self._counts.hear(event)
        if isinstance(event, BatchCommitted):
            counts = self._counts.sweeps.get(event.sweep)
            if counts is not None:
                self._seconds.labels(counts.config.database).observe(event.seconds)
                self._rows.labels(counts.config.database).observe(event.rows)
