"""Bounds of slices of a column, read ahead: 16 in one short transaction of their own."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from sweeperd.postgres.copy_out import copied
from sweeperd.postgres.sql import bounds as sql
from sweeperd.postgres.sql.expired import Key
from sweeperd.postgres.sql.target import Target
from sweeperd.postgres.transaction import Connection, Frame, fetch, fetchval, reading_rows

_LEAST_TIMEOUT_MS: Final = 2_000
# PostgreSQL manual, COPY, "Binary Format": signature, flags, length of an extension
_HEADER: Final = 11 + 4 + 4
_NO_MORE: Final = -1


@dataclass(frozen=True)
class Bound:
    """The end of a slice.

    Attributes:
        high: Its greatest value; None where one value alone has more rows than a slice, and in
            the last slice, which may have none.
        beyond: The value after it; None in the last slice.
    """

    high: Key | None
    beyond: Key | None

    @property
    def last(self) -> bool:
        """Whether it is the last slice, which reaches up to what is expired."""
        return self.beyond is None

    @property
    def shared(self) -> bool:
        """Whether the rows of ``beyond`` alone are more than a slice."""
        return self.high is None and self.beyond is not None


@dataclass(frozen=True)
class Ahead:
    """Bounds one after the other, as they were read.

    Attributes:
        start: The value that the first slice lies above; None for no limit.
        step: Rows of each slice.
        bounds: Their ends; only the last of them may be shared or the end of all.
    """

    start: Key | None = None
    step: int = 1
    bounds: tuple[Bound, ...] = ()

    def from_here(self, low: Key | None) -> tuple[Bound, ...]:
        """Return the bounds of the slices above a value; none when no slice begins there."""
        if low == self.start:
            return self.bounds
        for number, bound in enumerate(self.bounds, 1):
            if bound.high is not None and bound.high == low:
                return self.bounds[number:]
        return ()

    def joined(self, low: Key | None, size: int) -> int:
        """Return how many slices above a value are one of about ``size`` rows; 0 if none fit.

        What is taken has more than half of ``size`` rows, unless no more can be joined, and never
        a third more.
        """
        rest = self.from_here(low)
        if not rest or 3 * self.step > 4 * size:
            return 0
        if rest[0].shared:
            return 1 if self.step >= size else 0  # a larger slice may hold that value
        wanted = max(size // self.step, 1)
        usable = rest[:-1] if rest[-1].shared else rest
        taken = min(wanted, len(usable))
        ended = taken == len(usable) and (rest[-1].last or rest[-1].shared)
        return taken if ended or 2 * taken * self.step > size else 0


async def read_bounds(
    connection: Connection, frame: Frame, target: Target, low: Key | None, *, step: int, count: int
) -> Ahead:
    """Read the bounds of the next slices, in a transaction of three messages that may only read.

    Args:
        connection: In no transaction.
        frame: Of the run's batches.
        target: What is swept.
        low: Where the first slice begins; None for the first value.
        step: Rows of a slice.
        count: Slices, at most.

    Raises:
        asyncpg.PostgresError: The reading failed, or took too long.
    """
    further = sql.settings(target, low, step=step, count=count)
    async with reading_rows(connection, _patient(frame), further):
        query = sql.bounds(target, from_start=low is None)
        data = await copied(connection, query, form="binary")
    kind = target.column.type_name
    values = [None if one is None else _value(one, kind) for one in _fields(data)]
    pairs = zip(values[::2], values[1::2], strict=True)
    return Ahead(low, step, tuple(Bound(high, beyond) for high, beyond in pairs))


async def read_next_bound(
    connection: Connection, frame: Frame, target: Target, low: Key | None, *, step: int
) -> Ahead:
    """Read the bound of one slice of a table that is swept as a whole; see `read_bounds`."""
    further = sql.settings(target, low, step=step, count=1)
    async with reading_rows(connection, _patient(frame), further):
        values = [row[0] for row in await fetch(connection, sql.pair(target, low, step))]
        high, beyond = (*values, None, None)[:2]
        if beyond is None:
            high = None
        elif high == beyond:
            high = await fetchval(connection, sql.value_before(target, low, beyond))
    return Ahead(low, step, (Bound(high, beyond),))


def _patient(frame: Frame) -> Frame:
    """Return a frame for reading: it locks no row, so it may take longer than a batch."""
    patient = max(frame.statement_timeout_ms, _LEAST_TIMEOUT_MS)
    return replace(frame, statement_timeout_ms=patient)


def _fields(data: bytes) -> Iterator[bytes | None]:
    """Return the fields of a binary COPY one after the other."""
    at = _HEADER
    while (fields := struct.unpack_from(">h", data, at)[0]) != _NO_MORE:
        at += 2
        for _ in range(fields):
            (length,) = struct.unpack_from(">i", data, at)
            at += 4
            if length == _NO_MORE:
                yield None
            else:
                yield data[at : at + length]
                at += length


def _value(field: bytes, type_name: str) -> Key:
    """Return a value as the codecs of `connect` do: instants and days are integers."""
    if type_name in {"text", "varchar"}:
        return field.decode()
    if type_name == "numeric":
        return Decimal(field.decode())
    if type_name == "double precision":
        return float(struct.unpack(">d", field)[0])
    return int.from_bytes(field, "big", signed=True)
