"""Parts of the world that a test needs and a machine may lack."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support import postgres

SHARED = Path(__file__).resolve().parents[2] / "shared"


def _cgroup2() -> bool:
    mounts = Path("/proc/self/mounts")
    return mounts.exists() and " cgroup2 " in mounts.read_text()


def _missing(part: str) -> str | None:
    """Return why the part is absent, or None."""
    root = os.geteuid() == 0
    checks = {
        "root": (root, "needs root"),
        "postgres15": (
            postgres.installation(15) is not None,
            "no PostgreSQL 15: make apt",
        ),
        **{
            f"postgres{major}": (
                postgres.installation(major) is not None,
                f"no PostgreSQL {major}: make versions, where npm is present",
            )
            for major in postgres.NPM_VERSIONS
        },
        "pgbouncer": (shutil.which("pgbouncer") is not None, "no pgbouncer: make apt"),
        "shared": (SHARED.is_dir(), "no shared directory beside the checkout"),
        "systemd_box": (
            root
            and _cgroup2()
            and (SHARED / "systemd-box").exists()
            and Path("/lib/systemd/systemd").exists(),
            "needs root, cgroup2, systemd and the shared systemd-box",
        ),
        "debian_build": (
            root
            and all(map(shutil.which, ("dpkg-buildpackage", "dh", "lintian", "lowdown")))
            and Path("/usr/lib/postgresql/15/bin/postgres").exists(),
            "needs root, debhelper, lintian, lowdown and PostgreSQL 15: make apt",
        ),
        "citus": (
            root
            and (SHARED / "citus").is_dir()
            and Path("/usr/lib/postgresql/15/bin/postgres").exists(),
            "needs root, PostgreSQL 15 and the shared citus",
        ),
        "prometheus": (
            all(map(shutil.which, ("prometheus", "promtool"))),
            "no prometheus: make apt",
        ),
        "journalctl": (shutil.which("journalctl") is not None, "no journalctl: not on systemd"),
        "cysystemd": (importlib.util.find_spec("cysystemd") is not None, "no cysystemd: make apt"),
    }
    present, reason = checks[part]
    return None if present else reason


def need(part: str) -> pytest.MarkDecorator:
    """Skip a test with the reason where a part is absent."""
    reason = _missing(part)
    return pytest.mark.skipif(reason is not None, reason=f"{part}: {reason}")


def fail_skips_in_ci(report: Any) -> Any:
    """With CI=true a skip of something that `make apt` installs is a failure."""
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if os.geteuid() == 0 and "make apt" in reason:
            report.outcome = "failed"
            report.longrepr = f"skipped although this is CI: {reason}"
    return report
