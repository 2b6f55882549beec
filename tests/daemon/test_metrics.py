"""Metrics: what is counted, for whom, and how they are served."""

from __future__ import annotations

import socket
import stat
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from sweeperd.config.models import Config, DaemonConfig, DatabaseConfig
from sweeperd.daemon.metrics.listener import MetricsListener
from sweeperd.daemon.metrics.metrics import Metrics
from sweeperd.daemon.metrics.now import SweepNow
from sweeperd.daemon.metrics.pulse import Pulse
from sweeperd.daemon.metrics.textfile import MetricsTextfile
from sweeperd.daemon.state.record import SweepRecord
from sweeperd.host.clock import SystemClock
from sweeperd.log.daemon_events import (
    ConfigRejected,
    ConfigReloaded,
    DatabaseBack,
    DatabaseLost,
)
from sweeperd.log.event import emit, observed
from sweeperd.log.events import SweepStarted
from sweeperd.log.metrics_events import MetricsNotServed, MetricsNotWritten, MetricsWrittenAgain
from sweeperd.log.run_events import BatchCommitted, BatchRolledBack, Surveyed, Waited
from sweeperd.sweep.outcome.report import Report
from tests.sweep.engine import Heard, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sweeperd.sweep.outcome.report import Outcome

DATABASE = DatabaseConfig(name="app", dsn="postgresql:///app")


def config(*names: str, database: str = "app", **given: Any) -> Config:
    return Config(
        databases={database: DATABASE.model_copy(update={"name": database})},
        sweeps={name: settings(name=name, database=database, **given) for name in names},
    )


def ended(sweep: str, outcome: Outcome, **counts: Any) -> None:
    report = Report(sweep, "id", **counts)
    report.finish(outcome)
    emit(report.ended())


def no_past(_name: str) -> SweepRecord:
    return SweepRecord()


@contextmanager
def metrics(of: Config, *now: SweepNow) -> Iterator[Metrics]:
    shown = Metrics(lambda: now, SystemClock())
    shown.apply(of, no_past)
    with shown.shown(DaemonConfig()):
        yield shown


def value(shown: Metrics, name: str, **labels: str) -> float | None:
    return shown.registry.get_sample_value(name, labels)


def test_batches_waits_and_ends_are_counted_by_sweep() -> None:
    with metrics(config("a", archive_to="file:a")) as shown:
        emit(SweepStarted("a", "id"))
        emit(Surveyed("a", 0.5, 100.0))
        emit(BatchCommitted("a", "1:heap", 60, seconds=0.3, commit_seconds=0.1, archived=60))
        emit(BatchRolledBack("a", 0.7, "deadlock detected"))
        emit(Waited("a", "rate_limit", 2.0))
        assert value(shown, "sweeperd_backlog_rows", sweep="a") == 40
        ended("a", "timed_out", deleted_count=60, skipped_count=3)

        for name, labels, wanted in (
            ("rows_deleted_total", {}, 60),
            ("rows_archived_total", {}, 60),
            ("rows_skipped_total", {}, 3),
            ("runs_total", {"outcome": "timed_out"}, 1),
            ("last_run_outcome", {"outcome": "timed_out"}, 1),
            ("phase_seconds_total", {"phase": "survey"}, 0.5),
            ("phase_seconds_total", {"phase": "delete"}, pytest.approx(0.2)),
            ("phase_seconds_total", {"phase": "commit"}, 0.1),
            ("phase_seconds_total", {"phase": "rolled_back"}, 0.7),
            ("wait_seconds_total", {"reason": "rate_limit"}, 2.0),
            ("backlog_rows", {}, 40),
        ):
            assert value(shown, f"sweeperd_{name}", sweep="a", **labels) == wanted, name
        assert value(shown, "sweeperd_batch_rows_sum", database="app") == 60
        bucket = {"database": "app", "le": "0.5"}
        assert value(shown, "sweeperd_batch_duration_seconds_bucket", **bucket) == 1
        assert value(shown, "sweeperd_last_success_timestamp_seconds", sweep="a") is not None

        ended("a", "drained")
        assert value(shown, "sweeperd_backlog_rows", sweep="a") == 0
        gone = value(shown, "sweeperd_last_run_outcome", sweep="a", outcome="timed_out")
        assert gone is None


def test_a_run_that_failed_held_or_timed_out_without_a_row_is_no_success() -> None:
    with metrics(config("a")) as shown:
        for outcome in ("failed", "held", "timed_out", "throttled"):
            ended("a", outcome)

        assert value(shown, "sweeperd_last_success_timestamp_seconds", sweep="a") is None


def test_rows_of_a_batch_that_was_not_told_are_counted_at_the_end_of_the_run() -> None:
    with metrics(config("a")) as shown:
        emit(BatchCommitted("a", "1:heap", 5, 0.1))
        ended("a", "drained", deleted_count=7)
        ended("a", "drained", deleted_count=1)

        assert value(shown, "sweeperd_rows_deleted_total", sweep="a") == 8


def test_labels_are_those_of_the_configuration_in_force() -> None:
    now = [SweepNow(name, held=True, running=False, next_run=1.0) for name in ("a", "b")]
    with metrics(config("a", "b"), *now) as shown:
        for name in ("a", "b", "x"):
            emit(BatchCommitted(name, "1:heap", 1, 0.1))
            emit(Waited(name, "table t is locked", 1.0))
        emit(DatabaseLost("x", "no such thing"))
        shown.apply(config("a", database="web"), no_past)
        emit(BatchCommitted("b", "1:heap", 1, 0.1))  # its run had begun before

        text = generate_latest(shown.registry).decode()
        assert 'sweep="a"' in text
        assert 'reason="other"' in text
        for gone in ('sweep="b"', 'sweep="x"', 'database="app"', 'database="x"', "is locked"):
            assert gone not in text


def test_held_next_run_mode_and_interval_are_told() -> None:
    now = SweepNow("a", held=True, running=True, next_run=123.0)
    some = config("a", window=None, interval=timedelta(hours=2))
    off = settings(name="off", enabled=False)
    some = some.model_copy(update={"sweeps": {**some.sweeps, "off": off}})
    with metrics(some, now) as shown:
        for name in ("held", "running"):
            assert value(shown, f"sweeperd_{name}", sweep="a") == 1
        assert value(shown, "sweeperd_next_run_timestamp_seconds", sweep="a") == 123
        assert value(shown, "sweeperd_interval_seconds", sweep="a") == 7200
        info = {"sweep": "off", "database": "app", "table": "public.t", "mode": "disabled"}
        assert value(shown, "sweeperd_sweep_info", **info) == 1
        assert value(shown, "sweeperd_interval_seconds", sweep="off") is None


def test_reloads_and_databases_are_told() -> None:
    with metrics(config("a")) as shown:
        assert value(shown, "sweeperd_config_last_reload_successful") == 1
        emit(ConfigRejected("no", ["no"]))
        emit(DatabaseLost("app", "refused"))
        assert value(shown, "sweeperd_config_last_reload_successful") == 0
        assert value(shown, "sweeperd_reloads_total", result="rejected") == 1
        assert value(shown, "sweeperd_database_up", database="app") == 0
        emit(ConfigReloaded([], [], []))
        emit(DatabaseBack("app"))
        assert value(shown, "sweeperd_config_last_reload_successful") == 1
        assert value(shown, "sweeperd_database_up", database="app") == 1

        emit(DatabaseLost("app", "refused"))
        shown.apply(config("a"), no_past)
        assert value(shown, "sweeperd_database_up", database="app") == 0
        mended = DATABASE.model_copy(update={"dsn": "postgresql:///mended"})
        shown.apply(config("a").model_copy(update={"databases": {"app": mended}}), no_past)
        assert value(shown, "sweeperd_database_up", database="app") == 1


def test_a_restart_does_not_forget_the_last_success() -> None:
    success, start = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    history = tuple(
        {"started_at": began.isoformat(), "outcome": outcome, "deleted_count": 1}
        for began, outcome in ((success, "timed_out"), (start, "failed"))
    )
    shown = Metrics(lambda: (), SystemClock())
    record = SweepRecord(last_start=start, last_outcome="failed", history=history)
    shown.apply(config("a"), lambda _: record)

    for name, at in (("start", start), ("success", success)):
        found = value(shown, f"sweeperd_last_{name}_timestamp_seconds", sweep="a")
        assert found == at.timestamp()


def test_the_pulse_is_that_of_the_watchdog(monkeypatch: pytest.MonkeyPatch) -> None:
    at = [100.0]
    monkeypatch.setattr("sweeperd.daemon.metrics.pulse.time.monotonic", lambda: at[0])
    pulse = Pulse()
    assert pulse.problems() == ("it is starting",)
    pulse.beat([], 15.0)
    assert pulse.problems() == ()
    at[0] += 31
    assert pulse.problems() == ("the event loop does not turn",)
    pulse.beat(["the loop of sweep a has died"], 15.0)
    assert pulse.problems() == ("the loop of sweep a has died",)
    pulse.stop()
    assert pulse.problems() == ("it is stopping",)


def asked(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, str]:
    connection = HTTPConnection(host, port, timeout=20)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def test_the_listener_answers_while_others_send_half_a_request() -> None:
    port, problems = free_port(), ["a run is late"]
    listener = MetricsListener(f":{port}", CollectorRegistry(), lambda: problems)
    flood = [socket.create_connection(("127.0.0.1", port)) for _ in range(12)]
    try:
        for one in flood:
            one.sendall(b"GET /metr")
        assert asked(port, "/healthz") == (503, "a run is late\n")
        problems.clear()
        assert asked(port, "/healthz") == (200, "ok\n")
        assert asked(port, "/metrics")[0] == 200
        assert asked(port, "/")[0] == 404
        workers = [one for one in threading.enumerate() if "process_request" in one.name]
        assert len(workers) <= 16
    finally:
        for one in flood:
            one.close()
        listener.close()


def test_a_port_in_use_is_told_and_the_daemon_goes_on() -> None:
    heard = Heard()
    with socket.create_server(("127.0.0.1", 0)) as server, observed(heard):
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with Metrics(lambda: (), SystemClock()).shown(DaemonConfig(metrics_listen=address)):
            (told,) = heard.of(MetricsNotServed)

    assert told.address == address
    assert "in use" in told.reason


def test_the_text_file_is_whole_readable_told_of_once_and_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, heard, written = tmp_path / "none" / "s.prom", Heard(), threading.Event()
    failed = threading.Event()

    def tell(event: Any) -> None:
        heard(event)
        (failed if isinstance(event, MetricsNotWritten) else written).set()

    monkeypatch.setattr("sweeperd.daemon.metrics.textfile.emit", tell)
    shown = Metrics(lambda: (), SystemClock())
    file = MetricsTextfile(path, shown.registry, seconds=0.01)
    try:
        assert failed.wait(20)
        path.parent.mkdir()
        assert written.wait(20)
        assert "sweeperd_build_info" in path.read_text()
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
    finally:
        file.close()

    assert list(path.parent.iterdir()) == []
    assert [type(event) for event in heard.events] == [MetricsNotWritten, MetricsWrittenAgain]
