"""How the server fares, beside what the operator allows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import asyncpg

from sweeperd.config.models import HealthConfig
from sweeperd.config.values.sizes import format_size
from sweeperd.postgres.catalog import quote_if_needed
from sweeperd.postgres.sql import health as sql
from sweeperd.postgres.sqlstate import Fault, classify, describe
from sweeperd.postgres.transaction import Connection, Frame, reading

_TIMEOUT_MS: Final = 1_000
# A limit that was passed counts as passed until the value is this share of it.
_RELEASE_SHARE: Final = 0.8


@dataclass(frozen=True)
class Signal:
    """One thing that is looked at.

    Attributes:
        name: One of replication, slots, wait_queue, health_query: what the wait is called.
        reason: Why sweeps must wait, as a sentence; None while all is well.
        unknown: Why it cannot be told, with the cure; None where it can.
        is_asked_for: Whether the operator configured it: then sweeps wait where it is unknown.
    """

    name: str
    reason: str | None = None
    unknown: str | None = None
    is_asked_for: bool = True

    @property
    def stops(self) -> str | None:
        """Why sweeps must wait, if they must."""
        return self.reason or (self.unknown if self.is_asked_for else None)


async def look_at_health(
    connection: Connection, limits: HealthConfig, passed: frozenset[str] = frozenset()
) -> list[Signal]:
    """Look at each signal, in a read-only transaction with a timeout of its own.

    Args:
        connection: In no transaction.
        limits: The operator's.
        passed: Signals that were beyond their limit at the last look; these must fall clearly
            below it.

    Raises:
        asyncpg.PostgresError: The server could not be asked.
    """
    frame = Frame(statement_timeout_ms=_TIMEOUT_MS)
    async with reading(connection, frame):
        (row,) = await connection.fetch(sql.SIGNALS)
        role = await connection.fetchval("SELECT current_user::text") if row["hidden"] else ""
    signals = [
        _replication(row, limits, role, passed),
        _slots(row, limits, passed),
        _wait_queue(row, limits, passed),
    ]
    if limits.query is not None:
        signals.append(await _ask(connection, limits.query, frame))
    return signals


def _beyond(value: int | None, limit: int | None, *, passed: bool) -> bool:
    if value is None or limit is None:
        return False
    return value > (limit * _RELEASE_SHARE if passed else limit)


def _replication(
    row: asyncpg.Record, limits: HealthConfig, role: str, passed: frozenset[str]
) -> Signal:
    signal = Signal("replication", is_asked_for="max_replication_bytes" in limits.model_fields_set)
    limit = limits.max_replication_bytes
    if _beyond(row["replica_bytes"], limit, passed=signal.name in passed):
        name = row["replica"] or "a replica"
        reason = f"{name} is more than {format_size(limit)} behind (max_replication_bytes)"
        return replace(signal, reason=reason)
    if row["hidden"]:
        return replace(
            signal,
            unknown="this role cannot see how far replicas are behind (max_replication_bytes): "
            f"GRANT pg_read_all_stats TO {quote_if_needed(role)}",
        )
    return signal


def _slots(row: asyncpg.Record, limits: HealthConfig, passed: frozenset[str]) -> Signal:
    limit = limits.max_slot_bytes
    if limit is None or not _beyond(row["slot_bytes"], limit, passed="slots" in passed):
        return Signal("slots")
    return Signal(
        "slots",
        f"replication slot {row['slot']} retains more than {format_size(limit)} of WAL "
        "(max_slot_bytes)",
    )


def _wait_queue(row: asyncpg.Record, limits: HealthConfig, passed: frozenset[str]) -> Signal:
    limit = limits.max_wait_queue
    if limit is None or not _beyond(row["waiting"], limit, passed="wait_queue" in passed):
        return Signal("wait_queue")
    return Signal("wait_queue", f"more than {limit} sessions wait for locks (max_wait_queue)")


async def _ask(connection: Connection, query: str, frame: Frame) -> Signal:
    """Ask the operator's question; names in it are those of pg_catalog, or have their schema."""
    try:
        async with reading(connection, frame):
            answer = await connection.fetchval(sql.operators_question(query))
    except asyncpg.PostgresError as error:
        if classify(error) is Fault.LOST:
            raise
        return Signal(
            "health_query",
            unknown=f"the health query failed: {describe(error)}; correct query in "
            "[databases.NAME.health], with the schema of each table",
        )
    return Signal("health_query", None if answer else "the health query answers false")
