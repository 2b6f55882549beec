"""One machine for the tests of the running service; those of the package make their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.systemd.box import Box


@pytest.fixture(scope="session")
def service_box() -> Iterator[Box]:
    box = Box("service")
    try:
        box.up()
        box.start_postgres()
        box.install()
        box.quicken()
        yield box
    finally:
        box.down()


@pytest.fixture
def box(service_box: Box) -> Iterator[Box]:
    """The machine with nothing of an earlier test: no rows, no state, an empty journal."""
    _stop(service_box)
    service_box.shell(
        "find /var/lib/sweeperd -mindepth 1 -delete",
        "journalctl --rotate",
        "journalctl --vacuum-time=1s",
    )
    service_box.sql(
        "DROP SCHEMA public CASCADE; CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO sweeperd"
    )
    yield service_box
    _stop(service_box)


def _stop(box: Box) -> None:
    box.shell("systemctl stop sweeperd", "systemctl reset-failed", check=False)
