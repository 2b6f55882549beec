"""SQL that removes partitions as a whole, and proves that it may. Pure builders."""

from __future__ import annotations

from sweeperd.postgres.predicate import Args, Expired
from sweeperd.postgres.sql import Statement, Table


def wholly_expired(expired: Expired, low: str, high: str) -> Statement:
    """Ask whether every value from ``low`` (inclusive) to ``high`` (exclusive) is expired.

    Bounds come as the catalogue writes them. Where a local time could be read in two ways, only
    what lies before that counts.
    """
    args = Args()
    kind = expired.type_name
    sure = expired.hole[0] if expired.hole else expired.upper
    above = f"{args.add(low, 'text')}::{kind} > {expired.floor} AND " if expired.floor else ""
    below = f"{args.add(high, 'text')}::{kind} <= {args.add(sure, kind)}"
    return Statement(f"SELECT {above}{below}", tuple(args))


def detach(parent: Table, leaf: Table, *, finalize: bool = False) -> Statement:
    """Detach a partition; it lives on as a table of its own."""
    tail = " FINALIZE" if finalize else ""
    return Statement(f"ALTER TABLE {parent.quoted} DETACH PARTITION {leaf.quoted}{tail}")


def drop(leaf: Table) -> Statement:
    """Drop a partition with all its rows."""
    return Statement(f"DROP TABLE {leaf.quoted}")
