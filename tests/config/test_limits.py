"""A configuration of any size, depth or kind is refused in words, and soon."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from sweeperd.config.files.loading import load_config
from sweeperd.errors import ConfigError
from tests.config.test_loading import DATABASE, SWEEP, problems, write

MANY = 2**17
LINES = "x\n" * 40_000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{SWEEP}workers = {'9' * 5000}", ":7: holds a number that is too long"),
        (f"{SWEEP}workers = 0x{'f' * 5000}", "sweeps.x.workers: a number of thousands of digits"),
        (f"{SWEEP}max_rows = {'9' * 4000}", "sweeps.x.max_rows: 9999"),
        (f"{SWEEP}max_rows = 9223372036854775808", "must be 9223372036854775807 or less"),
        (f"{SWEEP}rate_limit = 1e400", "sweeps.x.rate_limit: inf must be"),
        (f"{SWEEP}interval = nan", "sweeps.x.interval: nan is not a duration"),
        (f"{SWEEP}interval = {'9' * 4000}", "sweeps.x.interval: 9999"),
        (f"{SWEEP}max_fraction = nan", "sweeps.x.max_fraction: nan"),
        (f"{SWEEP}max_fraction = inf", "sweeps.x.max_fraction: inf"),
        (f"{SWEEP}interval = 2026-01-01", "sweeps.x.interval: 2026-01-01 is not a duration"),
        (f"{SWEEP}enabled = 07:32:00", "sweeps.x.enabled: 07:32:00 must be true or false"),
        (f"{SWEEP}before = {'[' * MANY}{']' * MANY}", ":7: nests too deeply"),
        (f"{SWEEP}before = {'[' * 300}{']' * 300}", ":7: nests too deeply"),
        (f"{SWEEP}before = {'{a=' * MANY}1{'}' * MANY}", ":7: nests too deeply"),
        (f"{SWEEP}{'a.' * MANY}a = 1", ":7: nests too deeply"),
        (f"[{'a.' * MANY}a]", ":3: nests too deeply"),
        (f"[[{'a.' * 40}a]]", ":3: nests too deeply"),
        (f"x = {{{'a.' * 40}a = 1}}", ":3: nests too deeply"),
        (f"{SWEEP}before = [{'1,' * 20_000}]", "has more than 10,000 items"),
        (f"{SWEEP}where = '{'x' * 70_000}'", "is longer than 65,536 characters"),
        (f"{SWEEP}where = '''\n{LINES}'''", "is longer than 65,536 characters"),
        ("".join(f"k{number} = 1\n" for number in range(60_000)), "has more than 50,000 keys"),
        (f"['{'n' * MANY}']", "is not a known table"),
        (f"[sweeps.'{'n' * MANY}']", "is not a valid name; use 1 to 40"),
        (f"{SWEEP}{'n' * MANY} = 1", "is not a known key"),
    ],
)  # fmt: skip
def test_what_no_operator_writes_is_refused_in_one_short_line(
    tmp_path: Path, text: str, said: str
) -> None:
    found = problems(write(tmp_path, f"{DATABASE}{text}\n"))

    assert said in found[0]
    assert all(len(line) < 4000 and "\n" not in line for line in found)
    assert len(found) <= 101


@pytest.mark.parametrize(
    "content",
    [
        DATABASE.encode("utf-16"), DATABASE.encode("utf-16-be"), b"\xff\xfe\0\0", b"\0" * 1000,
        b"\xed\xa0\x80 = 1\n", b'[databases.app]\ndsn = "\\ud800"\n',
    ],
)  # fmt: skip
def test_what_is_no_utf8_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    assert len(problems(write(tmp_path, content))) == 1


def test_more_problems_than_anybody_reads_are_not_all_told(tmp_path: Path) -> None:
    text = "".join(f"[sweeps.s{number}]\nintervall = 1\n" for number in range(2000))

    found = problems(write(tmp_path, text))

    assert len(found) == 101
    assert "has more problems than these" in found[-1]


def test_a_large_and_good_configuration_is_read(tmp_path: Path) -> None:
    sweeps = "".join(
        f'[sweeps.s{number}]\ntable = "t{number}"\ncolumn = "c"\nkeep = "1d"\n'
        for number in range(2000)
    )

    assert len(load_config(write(tmp_path, DATABASE + sweeps)).sweeps) == 2000


def _limited() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (60, 61))


def test_a_file_of_four_megabytes_of_one_string_is_read_once(tmp_path: Path) -> None:
    """Trying each line as the end of the string would take hours."""
    lines = "a\n" * 2_000_000
    path = write(tmp_path, f'{DATABASE}{SWEEP}where = """\n{lines}"""\n')
    done = subprocess.run(
        [sys.executable, "-m", "sweeperd", "check", "--offline", f"--config={path}"],
        capture_output=True, text=True, check=False, preexec_fn=_limited,
    )  # fmt: skip

    assert done.returncode == 78, done
    assert "sweeps.x.where: is longer than" in done.stderr


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    for path in (pipe, Path("/dev/zero"), Path("/dev/tty"), tmp_path):
        with pytest.raises(ConfigError, match=r"cannot be read: .*; name a file"):
            load_config(path)

    config = write(tmp_path, DATABASE + SWEEP)
    (tmp_path / "conf.d").mkdir()
    os.mkfifo(tmp_path / "conf.d" / "10.toml")
    assert "conf.d/10.toml: cannot be read: it is not a regular file" in problems(config)[0]


def test_a_password_file_that_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    config = load_config(write(tmp_path, f'{DATABASE}password_file = "{pipe}"\n{SWEEP}'))

    with pytest.raises(ConfigError, match="it is not a regular file"):
        config.databases["app"].password()
