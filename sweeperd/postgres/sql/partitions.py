"""SQL that removes partitions as a whole, and proves that it may. Pure builders."""

from __future__ import annotations

from dataclasses import dataclass

from sweeperd.postgres.sql.expired import AT_MOST, EQUAL, GREATER, Args, Expired, builtin
from sweeperd.postgres.sql.target import Statement, Table


@dataclass(frozen=True)
class Above:
    """What a partition belongs to.

    Attributes:
        root: OID of the sweep's own table.
        parent: OID of the table that it is a partition of.
        key: Name of the column that its bounds are about.
    """

    root: int
    parent: int
    key: str


def wholly_expired(expired: Expired, low: str, high: str) -> Statement:
    """Ask whether every value from ``low`` (inclusive) to ``high`` (exclusive) is expired.

    Bounds come as the catalogue writes them. Where a local time could be read in two ways, only
    what lies before that counts.
    """
    args = Args()
    kind = builtin(expired.type_name)
    sure = expired.hole[0] if expired.hole else expired.upper
    above = (
        f"{args.add(low, 'text')}::{kind} {GREATER} {expired.floor} AND " if expired.floor else ""
    )
    below = f"{args.add(high, 'text')}::{kind} {AT_MOST} {args.add(sure, expired.type_name)}"
    return Statement(f"SELECT {above}{below}", tuple(args))


def lock(parent: Table, leaf: Table) -> Statement:
    """Lock a partition and its parent as removing it does, so that it can be looked at before."""
    return Statement(
        f"LOCK TABLE ONLY {parent.quoted}, ONLY {leaf.quoted} IN ACCESS EXCLUSIVE MODE"
    )


def same_leaf(leaf: Table, oid: int, bound: str, above: Above) -> Statement:
    """Ask whether a name still means that partition, with those bounds, of those tables."""
    args = Args()
    return Statement(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c "
        f"JOIN pg_catalog.pg_namespace n ON n.oid {EQUAL} c.relnamespace "
        f"JOIN pg_catalog.pg_inherits i ON i.inhrelid {EQUAL} c.oid AND NOT i.inhdetachpending "
        f"JOIN pg_catalog.pg_partitioned_table k ON k.partrelid {EQUAL} i.inhparent "
        f"JOIN pg_catalog.pg_attribute a ON a.attrelid {EQUAL} k.partrelid "
        f"AND a.attnum {EQUAL} k.partattrs[0] "
        f"WHERE n.nspname {EQUAL} {args.add(leaf.schema, 'text')} "
        f"AND c.relname {EQUAL} {args.add(leaf.name, 'text')} "
        f"AND c.oid {EQUAL} {args.add(oid, 'bigint')}::pg_catalog.oid "
        f"AND i.inhparent {EQUAL} {args.add(above.parent, 'bigint')}::pg_catalog.oid "
        f"AND pg_catalog.pg_partition_root(c.oid) {EQUAL} "
        f"{args.add(above.root, 'bigint')}::pg_catalog.oid "
        f"AND a.attname {EQUAL} {args.add(above.key, 'text')} "
        f"AND pg_catalog.pg_get_expr(c.relpartbound, c.oid) {EQUAL} {args.add(bound, 'text')})",
        tuple(args),
    )


def detach(parent: Table, leaf: Table, *, finalize: bool = False) -> Statement:
    """Detach a partition; it lives on as a table of its own."""
    tail = " FINALIZE" if finalize else ""
    return Statement(f"ALTER TABLE {parent.quoted} DETACH PARTITION {leaf.quoted}{tail}")


def drop(leaf: Table) -> Statement:
    """Drop a partition with all its rows."""
    return Statement(f"DROP TABLE {leaf.quoted}")
