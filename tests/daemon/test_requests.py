from __future__ import annotations

import os
import pwd
from dataclasses import replace
from pathlib import Path

import pytest

from sweeperd.daemon.control import REQUESTS_DIRECTORY, Request, drop_request, take_requests
from sweeperd.errors import SweeperdError


def test_a_request_is_taken_once(tmp_path: Path) -> None:
    assert take_requests(tmp_path) == ()
    hold = Request("hold", "sessions", "audit\nin progress")
    drop_request(tmp_path, hold)
    drop_request(tmp_path, Request("release", "tokens"))

    taken = take_requests(tmp_path)
    assert {replace(one, user="") for one in taken} == {hold, Request("release", "tokens")}
    assert {one.user for one in taken} == {pwd.getpwuid(os.geteuid()).pw_name}
    assert take_requests(tmp_path) == ()


@pytest.mark.parametrize("name", ["", "../x", "A", "a b", "x" * 41, "a\n"])
def test_a_request_names_a_sweep(tmp_path: Path, name: str) -> None:
    with pytest.raises(SweeperdError, match="no sweep's name"):
        drop_request(tmp_path, Request("hold", name))


def test_other_files_and_links_are_let_be(tmp_path: Path) -> None:
    directory = tmp_path / REQUESTS_DIRECTORY
    directory.mkdir()
    (directory / "notes").write_text("x")
    (directory / ".half.hold.1").write_text("x")
    (directory / "a.hold").symlink_to(directory / "notes")

    assert take_requests(tmp_path) == ()
    assert len(list(directory.iterdir())) == 3


def test_a_request_without_sense_still_counts(tmp_path: Path) -> None:
    (tmp_path / REQUESTS_DIRECTORY).mkdir()
    (tmp_path / REQUESTS_DIRECTORY / "a.hold").write_bytes(b"\xff")

    assert [(one.action, one.sweep) for one in take_requests(tmp_path)] == [("hold", "a")]
