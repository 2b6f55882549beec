"""The life of the Debian package: installed as the README says, upgraded, removed, purged."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import sweep_table
from tests.parts import need
from tests.systemd.box import ROOT, Box, package

pytestmark = [need("systemd_box"), need("debian_build")]
CONFIG = "/etc/sweeperd/sweeperd.toml"


@pytest.fixture
def machine() -> Iterator[Box]:
    box = Box("package")
    try:
        box.up()
        yield box
    finally:
        box.down()


def test_lintian_finds_no_error_and_nothing_is_overridden() -> None:
    found = output_of("lintian", "--fail-on", "error", str(package()))
    assert "E: " not in found
    assert "lintian/overrides" not in output_of("dpkg-deb", "-c", str(package()))


def output_of(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def test_the_readme_sets_it_up_on_a_new_machine(machine: Box) -> None:
    machine.start_postgres()
    machine.sql(
        "CREATE TABLE sessions AS SELECT now() - interval '1 h' AS expires_at"
        " FROM generate_series(1, 42); INSERT INTO sessions VALUES (now() + interval '1 h')"
    )
    machine.sql("DROP ROLE sweeperd")
    steps = (ROOT / "README.md").read_text().split("## Set it up")[1].split("\n## ")[0]

    for language, text in re.findall(r"(?s)```(sh|sql|toml)\n(.*?)```", steps):
        if language == "sql":
            machine.sql(text)
        elif language == "toml":
            machine.write(CONFIG, text)
            machine.shell("sweeperd check", "sweeperd sweep --dry-run")
        else:
            machine.shell("cd /root", text)

    await machine.journal("SWEEP=session_cleanup", "EVENT=sweep_ran")
    assert machine.sql("SELECT count(*) FROM sessions") == "1"
    assert machine.show("UnitFileState") == "enabled"


def test_installing_starts_nothing_and_the_sample_says_what_to_do(machine: Box) -> None:
    machine.install()

    assert machine.show("ActiveState") == "inactive"
    assert machine.show("UnitFileState") == "disabled"
    found = machine.shell(
        "stat -c '%n %U:%G %a' /etc/sweeperd/* /etc/sweeperd /var/lib/sweeperd"
    ).stdout.splitlines()
    assert sorted(found) == [
        "/etc/sweeperd root:sweeperd 750",
        "/etc/sweeperd/conf.d root:sweeperd 750",
        "/etc/sweeperd/credentials root:root 700",
        "/etc/sweeperd/sweeperd.toml root:sweeperd 640",
        "/var/lib/sweeperd sweeperd:sweeperd 750",
    ]
    machine.shell("systemctl start sweeperd", check=False)
    assert machine.show("ExecMainStatus") == "78"
    said = machine.shell("journalctl -u sweeperd -p err -o cat").stdout
    assert f"no sweeps configured: edit {CONFIG}, see sweeperd.toml(5)" in said
    explained = machine.shell("journalctl -u sweeperd -x -p err").stdout
    assert "Subject: The daemon cannot start" in explained
    machine.shell("test -e /usr/share/sweeperd/prometheus/alerts.yml")
    for page in ("8 sweeperd", "5 sweeperd.toml"):
        machine.shell(f"man -w {page}")


async def test_upgrade_remove_and_purge_keep_what_is_ours_to_keep(
    machine: Box, tmp_path: Path
) -> None:
    machine.start_postgres()
    machine.sql("CREATE TABLE t (expires_at timestamptz); GRANT SELECT ON t TO sweeperd")
    # the same package under an earlier version
    machine.shell(
        f"dpkg-deb -R /root/{package().name} /root/old",
        "sed -i 's/^Version: .*/Version: 0.0.1/' /root/old/DEBIAN/control",
        "dpkg-deb -Znone -b /root/old /root/old.deb",
        "dpkg -i /root/old.deb",
    )
    machine.configure(sweep_table("a"))
    machine.shell("echo '# mine' >> /etc/sweeperd/sweeperd.toml", "systemctl start sweeperd")
    first = machine.show("MainPID")
    machine.shell("sweeperd hold a", "rm -rf /root/old", "cp /root/old.deb /tmp")

    machine.install()
    assert machine.show("ActiveState") == "active"
    assert machine.show("MainPID") != first
    machine.shell("test -e /var/lib/sweeperd/holds/a", f"grep -q '# mine' {CONFIG}")
    machine.shell(f"test $(stat -c %U:%G:%a {CONFIG}) = root:sweeperd:640")

    machine.shell(
        "install -d -o sweeperd /var/lib/sweeperd/archives/a",
        "echo rows > /var/lib/sweeperd/archives/a/1.jsonl.gz",
        "echo secret > /etc/sweeperd/credentials/app",
    )
    machine.shell("dpkg -r sweeperd")
    assert machine.show("ActiveState") != "active"
    machine.shell(f"test -e {CONFIG}", "test -e /var/lib/sweeperd/holds/a")

    purged = machine.shell("dpkg -P sweeperd")
    kept = machine.shell("find /var/lib/sweeperd -type f").stdout.split()
    assert kept == ["/var/lib/sweeperd/archives/a/1.jsonl.gz"]
    assert "/var/lib/sweeperd/archives" in purged.stdout
    machine.shell("test -e /etc/sweeperd/credentials/app", f"test ! -e {CONFIG}")
    assert "kept /etc/sweeperd" in purged.stdout
