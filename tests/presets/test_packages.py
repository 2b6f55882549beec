"""Rows that the real packages wrote: after the sweeps their own cleaners find nothing left."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import configured, sweeperd
from tests.conftest import TestDatabase

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv-stores"
PROGRAMS = Path(__file__).parent / "packages"
PACKAGES = (
    "django>=5.2,<6",
    "django-oauth-toolkit>=3.4",
    "djangorestframework-simplejwt>=5.5",
    "django-celery-results>=2.6",
    "flask-session>=0.8",
    "flask-sqlalchemy>=3.1",
    "procrastinate>=3",
    "psycopg[binary]>=3.2",
)
NODE_PACKAGES = ("connect-pg-simple@10", "express-session@1", "pg@8")


@pytest.fixture(scope="session")
def python() -> Path:
    """Return the interpreter of a venv with the packages; made once, beside the project's own."""
    found = VENV / "bin" / "python"
    if not (VENV / ".installed").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
        install = [
            str(found),
            "-m",
            "pip",
            "install",
            "-q",
            "--disable-pip-version-check",
            *PACKAGES,
        ]
        done = subprocess.run(install, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip("the packages cannot be fetched: no registry")
        (VENV / ".installed").touch()
    return found


@pytest.fixture(scope="session")
def node() -> Path:
    """Return node, once its packages lie beside the venv."""
    found = shutil.which("node")
    if found is None or shutil.which("npm") is None:
        pytest.skip("needs node and npm")
    directory = VENV / "node"
    if not (directory / ".installed").exists():
        directory.mkdir(parents=True, exist_ok=True)
        install = ["npm", "install", "--silent", "--no-audit", "--no-fund", *NODE_PACKAGES]
        if subprocess.run(install, cwd=directory, capture_output=True, check=False).returncode:
            pytest.skip("the packages cannot be fetched: no registry")
        (directory / ".installed").touch()
    return Path(found)


async def run(program: Path, name: str, what: str, database: TestDatabase) -> str:
    process = await asyncio.create_subprocess_exec(
        str(program),
        str(PROGRAMS / name),
        what,
        database.dsn,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={
            "TZ": "America/New_York",
            "PATH": "/usr/bin:/bin",
            "NODE_PATH": str(VENV / "node" / "node_modules"),
        },
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("program", "presets", "left", "deleted"),
    [
        (
            "django_app.py",
            (
                "django-sessions",
                "django-cache",
                "django-oauth-refresh-tokens",
                "django-oauth-access-tokens",
                "django-oauth-id-tokens",
                "django-oauth-grants",
                "simplejwt-blacklisted-tokens",
                "simplejwt-outstanding-tokens",
                "django-celery-task-results",
            ),
            {"Session": 10, "OutstandingToken": 10, "Grant": 10, "TaskResult": 8},
            10,
        ),
        ("flask_app.py", ("flask-sessions",), {"Session": 10}, 10),
        ("procrastinate_app.py", ("procrastinate-jobs",), {"Job": 20}, 10),
    ],
)
async def test_the_packages_own_cleaner_finds_nothing_left(
    database: TestDatabase,
    tmp_path: Path,
    python: Path,
    program: str,
    presets: tuple[str, ...],
    left: dict[str, int],
    deleted: int,
) -> None:
    await run(python, program, "write", database)
    keep = {"django-celery-task-results": "1d", "procrastinate-jobs": "72h"}
    sweeps = [
        f'[sweeps.{name}]\npreset = "{name}"\n'
        + (f'keep = "{keep[name]}"\n' if name in keep else "")
        for name in presets
    ]
    option = configured(tmp_path, database, *sweeps)

    result = await sweeperd("sweep", "--json", option)

    outcomes = {one["sweep"]: one["outcome"] for one in result.reports}
    assert outcomes == dict.fromkeys(presets, "drained"), result
    assert max(one["deleted_count"] for one in result.reports) >= deleted
    cleaned = await run(python, program, "clean", database)
    counts = {line.split()[0]: line.split()[1:] for line in cleaned.splitlines() if line}
    for name, number in left.items():
        assert int(counts[name][0]) == number, cleaned
    assert {name: int(one[1]) for name, one in counts.items()} == dict.fromkeys(counts, 0)


@pytest.mark.timeout(600)
async def test_sessions_of_express_go_by_the_wall_clock_of_the_writers_time_zone(
    database: TestDatabase, tmp_path: Path, node: Path
) -> None:
    await database.execute(f"ALTER DATABASE {database.name} SET TimeZone = 'America/New_York'")
    await run(node, "connect_pg_simple.cjs", "write", database)
    keys = 'preset = "connect-pg-simple"\ncolumn_timezone = "America/New_York"\n'
    option = configured(tmp_path, database, f"[sweeps.s]\n{keys}")

    result = await sweeperd("sweep", "--json", option)

    (report,) = result.reports
    assert (report["outcome"], report["deleted_count"]) == ("drained", 10), result
    assert await run(node, "connect_pg_simple.cjs", "clean", database) == "Session 10 0\n"
