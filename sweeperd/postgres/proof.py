"""What a batch's last look tells: what it counted, what its tables are, and how to ask its fate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import asyncpg

from sweeperd.postgres.copy_out import copied
from sweeperd.postgres.sql.slices import Tid

_COUNTS: Final = 8  # columns before those of a table
_NULL: Final = "\\N"  # COPY's text format


@dataclass(frozen=True)
class TableIdentity:
    """What makes a table the one that was surveyed. Digests are the server's.

    Attributes:
        oid: Its OID.
        heap_file: Its file (relfilenode), which a rewrite changes; None for a table without one.
        ancestry: Digest of the tables above it, with bounds and pending detaches.
        columns: Digest of number, type and name of the columns that decide.
        column_count: How many columns it has.
        reactions: Digest of its foreign keys' triggers and its rules.
    """

    oid: str
    heap_file: str | None
    ancestry: str | None
    columns: str | None
    column_count: str
    reactions: str


@dataclass(frozen=True)
class Epoch:
    """Between which crashes of a server a transaction id was given: after one it may be again.

    Attributes:
        started: When the postmaster started, microseconds.
        stats_reset: When the statistics were reset, microseconds: a crash of a backend resets them.
    """

    started: str
    stats_reset: str | None


@dataclass(frozen=True)
class Proof:
    """One look at a transaction from inside.

    Attributes:
        xid: The transaction's id; None when it wrote nothing.
        epoch: In which that id was given.
        deleted: Rows that each counted DELETE took.
        skipped: Expired rows that were there all the same, by slice.
        kept: Rows that an archive took, by slice.
        stayed: Which of the rows that a file archive has are in the table all the same, by slice.
        left: Places of skipped rows, by slice; None where they are many.
        tables: The tables asked for, in that order; None for one that is not there.
    """

    xid: str | None
    epoch: Epoch
    deleted: tuple[int, ...]
    skipped: tuple[int, ...]
    kept: tuple[int, ...]
    stayed: tuple[tuple[int, ...], ...]
    left: tuple[tuple[Tid, ...] | None, ...]
    tables: tuple[TableIdentity | None, ...]


async def read_proof(connection: asyncpg.Connection, query: str) -> Proof:
    """Look at the transaction under way, in one message.

    Args:
        connection: In a transaction whose settings say what to look at.
        query: Of ``sql.batch``.
    """
    rows = [
        [None if field == _NULL else field for field in line.split("\t")]
        for line in (await copied(connection, query)).decode().splitlines()
    ]
    xid, started, stats_reset, deleted, skipped, kept, stayed, left = rows[0][:_COUNTS]
    return Proof(
        xid,
        Epoch(started or "", stats_reset),
        _numbers(deleted),
        _numbers(skipped),
        _numbers(kept),
        tuple(_numbers(one) for one in (stayed or "").split(";")[:-1]),
        tuple(_tids(one) for one in (left or "").split(";")[:-1]),
        tuple(_table(row[_COUNTS:]) for row in rows if row[_COUNTS] is not None),
    )


def _numbers(text: str | None) -> tuple[int, ...]:
    return tuple(int(number) for number in (text or "").split())


def _tids(text: str) -> tuple[Tid, ...] | None:
    """Return places such as ``(0,1) (7,2)``."""
    pairs = (place.strip("()").split(",") for place in text.split())
    return tuple((int(block), int(offset)) for block, offset in pairs) or None


def _table(row: list[str | None]) -> TableIdentity | None:
    _, oid, heap_file, ancestry, columns, count, reactions = row
    if oid is None:
        return None
    return TableIdentity(oid, heap_file, ancestry, columns, count or "", reactions or "")
