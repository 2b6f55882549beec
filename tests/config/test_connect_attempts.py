"""The server a connection string means, and the time each host has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest

from sweeperd.config.values.dsn import connect_attempts
from sweeperd.postgres.sqlstate import Fault, classify

if TYPE_CHECKING:
    from pathlib import Path


def test_a_service_nobody_defines_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="reportng"):
        connect_attempts("service=reportng dbname=a", {"HOME": str(tmp_path)})


def test_a_service_completes_what_the_dsn_leaves_out(tmp_path: Path) -> None:
    path = tmp_path / "services"
    path.write_text("# ours\n[other]\nhost=x\n[report]\nhost=one\ndbname=first\n")
    (attempt,) = connect_attempts("service=report dbname=mine", {"PGSERVICEFILE": str(path)})
    assert "host=one" in attempt.dsn
    assert "dbname=mine" in attempt.dsn


@pytest.mark.parametrize("dsn", ["host=a", "postgresql://u@a", "postgresql://u@a/"])
def test_a_database_that_nobody_named_is_refused(dsn: str) -> None:
    with pytest.raises(ValueError, match="names no database"):
        connect_attempts(dsn, {})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PGSERVICE", "gone"),
        ("PGCHANNELBINDING", "require"),
        ("PGREQUIREPEER", "postgres"),
        ("PGGSSENCMODE", "require"),
        ("PGHOSTADDR", "127.0.0.1"),
    ],
)
def test_a_variable_that_cannot_be_honoured_is_refused(
    tmp_path: Path, variable: str, value: str
) -> None:
    named = value if variable == "PGSERVICE" else variable
    with pytest.raises(ValueError, match=named):
        connect_attempts("host=a dbname=b", {"HOME": str(tmp_path), variable: value})


def test_without_a_host_only_the_socket_directory_of_libpq_is_tried() -> None:
    (attempt,) = connect_attempts("dbname=b", {})
    assert "host=%2Fvar%2Frun%2Fpostgresql" in attempt.dsn


def test_a_plus_in_a_password_stays_a_plus_and_a_host_in_the_query_wins() -> None:
    (attempt,) = connect_attempts("postgresql://u@a/b?password=x+y&host=c", {})
    assert "password=x%2By" in attempt.dsn
    assert "host=c" in attempt.dsn


def test_prefer_standby_passes_over_the_hosts_twice() -> None:
    attempts = connect_attempts("host=a,b dbname=c target_session_attrs=prefer-standby", {})
    assert ["=standby" in attempt.dsn for attempt in attempts] == [True, True, False, False]


def test_a_session_that_the_server_ended_under_the_driver_is_lost() -> None:
    assert classify(asyncpg.InternalClientError("cannot switch to state 12")) is Fault.LOST


def test_hosts_are_tried_in_order_unless_load_balancing_is_random() -> None:
    listed = [f"h{number}" for number in range(20)]
    dsn = f"dbname=d host={','.join(listed)} load_balance_hosts="

    def tried(balance: str) -> list[str]:
        return [
            attempt.dsn.partition("host=")[2].partition("&")[0]
            for attempt in connect_attempts(dsn + balance, {})
        ]

    assert tried("disable") == listed
    assert sorted(tried("random")) == sorted(listed)
    assert any(tried("random") != listed for _ in range(3))
