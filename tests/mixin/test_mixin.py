"""The mixin: alerts, dashboard and documents speak of metrics that the daemon has."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest

from tests.cli.command import sweep_table
from tests.conftest import TestDatabase
from tests.daemon.process import DaemonProcess
from tests.daemon.test_metrics import asked, free_port
from tests.mixin.prometheus import ALERTS, DASHBOARD, ROOT, Prometheus, promtool
from tests.parts import need

ROWS = (
    "CREATE TABLE t AS SELECT g AS id, now() - interval '1 hour' AS expires_at "
    "FROM generate_series(1, 50) g; INSERT INTO t VALUES (0, now() + interval '1 hour');"
)


def queries() -> list[str]:
    """Return the dashboard's expressions, as Grafana would send them."""
    board = json.loads(DASHBOARD.read_text())
    found = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    for name in ("job", "instance", "sweep"):
        found = [expression.replace(f'"${name}"', '".*"') for expression in found]
    for name in ("$__rate_interval", "$__interval"):
        found = [expression.replace(name, "1m") for expression in found]
    assert not [expression for expression in found if "$" in expression]
    return found


def names(text: str) -> set[str]:
    return set(re.findall(r"\bsweeperd_\w+", text))


@need("prometheus")
def test_each_alert_fires_for_its_cause_and_is_silent_without_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(Path(__file__).parent)

    promtool("test", "rules", "alerts_test.yml")

    alerts = set(re.findall(r"alert: (\w+)", ALERTS.read_text()))
    tested = set(re.findall(r"alertname: (\w+)", Path("alerts_test.yml").read_text()))
    assert alerts == tested
    documented = (ROOT / "docs" / "metrics.md").read_text()
    assert not [alert for alert in alerts if f"`{alert}`" not in documented]


@need("prometheus")
async def test_a_real_prometheus_reads_the_daemon_and_answers_each_query_of_the_mixin(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(ROWS)
    port, file = free_port(), tmp_path / "sweeperd.prom"
    daemon = DaemonProcess(tmp_path, database.dsn, "")
    daemon.write(
        sweep_table("a"), f'metrics_listen = "127.0.0.1:{port}"\nmetrics_textfile = "{file}"'
    )
    target = f"127.0.0.1:{port}"
    async with daemon, Prometheus(tmp_path, free_port(), target) as prometheus:
        await daemon.event("sweep_ran")
        (deleted,) = await prometheus.until('sweeperd_rows_deleted_total{sweep="a"} == 50')
        assert deleted["metric"]["job"] == "sweeperd"
        (success,) = await prometheus.query("sweeperd_last_success_timestamp_seconds > 1e9")
        assert success["metric"]["sweep"] == "a"
        assert len(await prometheus.query("sweeperd_next_run_timestamp_seconds > time()")) == 1

        for expression in queries():
            await prometheus.query(expression)  # a fault in it is an HTTP error
        rules = (await prometheus.get("rules"))["groups"][0]["rules"]
        assert not [rule for rule in rules if rule.get("lastError")]
        await prometheus.until("absent(ALERTS)")  # before the first scrape it was down

        status, text = asked(port, "/metrics")
        assert status == 200
        assert asked(port, "/healthz") == (200, "ok\n")
        assert "sweeperd_build_info" in file.read_text()

        daemon.write(sweep_table("b"), f'metrics_textfile = "{file}"')
        daemon.send(signal.SIGHUP)
        told = await daemon.event("config_needs_restart")
        assert told["keys"] == ["daemon.metrics_listen"]
        later = asked(port, "/metrics")[1]
        assert 'sweep="b"' in later
        assert 'sweep="a"' not in later
        await daemon.end()

    promtool("check", "metrics", given=text)
    exported = names(text)
    asked_for = names(" ".join(queries()) + ALERTS.read_text())
    assert asked_for <= exported
    documented = names((ROOT / "docs" / "metrics.md").read_text())
    families = set(re.findall(r"(?m)^# TYPE (\w+)", text))
    assert families == {name for name in documented if not name.endswith(("_bucket", "_sum"))}
    assert not file.exists()
