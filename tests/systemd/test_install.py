"""`sweeperd install` and `uninstall`, from a wheel in a virtualenv outside of every home."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.cli.command import sweep_table
from tests.parts import need
from tests.systemd.box import ROOT, Box, package

pytestmark = [need("systemd_box"), need("debian_build")]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    package()  # leaves the libraries' wheels, for the system's Python
    libraries = max(ROOT.glob("build/wheels-*"), key=lambda path: path.stat().st_mtime)
    own = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(own), str(ROOT)],
        check=True,
        capture_output=True,
    )
    box = Box("install")
    try:
        box.up(("--bind-ro", f"{libraries}:/opt/libraries"), ("--copy", f"{own}:/opt/own"))
        box.start_postgres()
        box.shell(
            "/usr/bin/python3 -m venv /opt/sweeperd",
            "/opt/sweeperd/bin/pip install -q --no-index --find-links /opt/libraries"
            " --find-links /opt/own 'sweeperd[journal]'",
        )
        yield box
    finally:
        box.down()


async def test_install_makes_a_service_that_works_and_uninstall_takes_it_away(
    machine: Box,
) -> None:
    machine.sql(
        "CREATE TABLE t AS SELECT now() - interval '1 h' AS expires_at"
        " FROM generate_series(1, 8); INSERT INTO t VALUES (now() + interval '1 h');"
        "GRANT SELECT, UPDATE, DELETE ON t TO sweeperd"
    )
    said = machine.shell("/opt/sweeperd/bin/sweeperd install").stdout
    assert "wrote /etc/systemd/system/sweeperd.service" in said
    assert machine.show("ActiveState") == "inactive"
    machine.configure(sweep_table("a"))

    again = machine.shell("/opt/sweeperd/bin/sweeperd install").stdout
    assert "kept /etc/sweeperd/sweeperd.toml" in again
    machine.shell("systemctl start sweeperd")
    entry = await machine.journal("SWEEP=a", "EVENT=sweep_ran")
    assert entry["DELETED_COUNT"] == "8"

    gone = machine.shell("/opt/sweeperd/bin/sweeperd uninstall").stdout
    assert "kept /var/lib/sweeperd" in gone
    assert machine.show("LoadState") == "not-found"
    machine.shell("test -e /var/lib/sweeperd/state.db", "test -e /etc/sweeperd/sweeperd.toml")


def test_an_image_gets_all_files_and_its_own_user(machine: Box) -> None:
    machine.shell("mkdir -p /srv/image/etc", "/opt/sweeperd/bin/sweeperd install --root /srv/image")

    found = machine.shell("cd /srv/image; find . -type f | sort").stdout.split()
    wanted = {
        "./etc/systemd/system/sweeperd.service",
        "./etc/systemd/system/sweeperd@.service",
        "./etc/sweeperd/sweeperd.toml",
        "./etc/sysusers.d/sweeperd.conf",
        "./etc/tmpfiles.d/sweeperd.conf",
        "./usr/lib/systemd/catalog/sweeperd.catalog",
        "./var/lib/systemd/catalog/database",
    }
    assert wanted <= set(found)
    machine.shell("grep -q ^sweeperd: /srv/image/etc/passwd")
    machine.shell("systemctl --root=/srv/image is-enabled sweeperd | grep -qx disabled")


def test_a_virtualenv_in_a_home_is_refused_with_the_line_that_works(machine: Box) -> None:
    machine.shell("cp -a /opt/sweeperd /root/sweeperd")

    done = machine.shell("/root/sweeperd/bin/python -m sweeperd install", check=False)

    assert done.returncode == 1
    assert "PIPX_HOME=/opt/pipx PIPX_BIN_DIR=/usr/local/bin pipx install" in done.stderr
