"""Finds what a sweep deletes from: the heaps of a table, or the table as a whole."""

from __future__ import annotations

from dataclasses import replace

from sweeperd.errors import SweepError
from sweeperd.postgres import catalog
from sweeperd.postgres.catalog import Column, Index, Relation
from sweeperd.postgres.sql import catalog as sql_catalog
from sweeperd.postgres.sql.rows import Target
from sweeperd.postgres.transaction import Connection
from sweeperd.sweep.survey.target import Leaf, table_of


async def find_leaves(
    connection: Connection,
    root: Relation,
    column: Column | None,
    target: Target,
    warnings: list[str],
) -> list[Leaf]:
    """Return what is swept: the heaps, or the table as a whole where they cannot be."""
    if root.row_security:
        warnings.append(
            f"row security applies to {root.shown}: only rows that its policies show to this "
            "role are swept; GRANT a policy or BYPASSRLS to sweep all"
        )
    if root.kind != "p":
        return [await _single(connection, root, column, target, warnings)]
    heaps, in_the_way = [], []
    if root.statement_trigger or root.row_security:
        in_the_way.append(f"{root.shown} has statement triggers or row security of its own")
    for relation in await catalog.read_leaves(connection, root.oid):
        if relation.kind != "r":
            warnings.append(f"{relation.shown} is a foreign table and is not swept")
            continue
        if not (relation.deletable and relation.readable and relation.usable):
            in_the_way.append(relation.grant("SELECT, UPDATE, DELETE"))
        heaps.append(relation)
    if in_the_way:
        return [await _through_parent(connection, target, (root, heaps), column, in_the_way)]
    indexes = await _indexes(connection, heaps, column)
    return [
        Leaf(
            relation,
            replace(target, table=table_of(relation, root, whole=False)),
            relation.blocks,
            indexes[relation.oid],
            one_heap=relation.access_method == "heap",
        )
        for relation in heaps
    ]


async def _single(
    connection: Connection,
    root: Relation,
    column: Column | None,
    target: Target,
    warnings: list[str],
) -> Leaf:
    _must_delete(root)
    if root.delete_rule:
        raise SweepError(
            f"{root.shown} has a rule ON DELETE, which may do anything instead",
            cure="drop the rule, or sweep the table it writes to",
        )
    if root.has_children:
        names = [r["name"] for r in await connection.fetch(sql_catalog.CHILDREN, root.oid)]
        if names:
            warnings.append(
                f"{', '.join(names)} inherit from {root.shown} and are not swept unless named"
            )
    indexes = (await _indexes(connection, [root], column))[root.oid]
    if await catalog.is_distributed(connection, root.oid):
        whole = replace(target, table=replace(target.table, only=False))
        return Leaf(root, whole, 0, indexes, one_heap=False)
    return Leaf(root, target, root.blocks, indexes, one_heap=root.access_method == "heap")


async def _through_parent(
    connection: Connection,
    target: Target,
    heaps: tuple[Relation, list[Relation]],
    column: Column | None,
    reasons: list[str],
) -> Leaf:
    """Sweep a partitioned table as a whole, because its leaves must not be touched directly."""
    root, leaves = heaps
    _must_delete(root)
    indexes: tuple[Index, ...] = ()
    held = await _indexes(connection, leaves, column)
    for relation in leaves:
        serving = tuple(index for index in held[relation.oid] if column and index.serves(column))
        if not serving:
            raise SweepError(
                f"{root.shown} must be swept through the parent by slices, and "
                f"{relation.shown} has no index that serves them",
                cure="; or ".join([*reasons[:3], f"CREATE INDEX ON {root.shown}"]),
            )
        indexes = serving
    return Leaf(root, target, 0, indexes, one_heap=False)


def _must_delete(root: Relation) -> None:
    if not root.usable:
        raise SweepError(
            f"no privilege on schema {root.schema}",
            cure=f"GRANT USAGE ON SCHEMA {catalog.quote_if_needed(root.schema)} "
            f"TO {catalog.quote_if_needed(root.role)}",
        )
    missing = [
        name for name, has in (("SELECT", root.readable), ("DELETE", root.deletable)) if not has
    ]
    if missing:
        raise SweepError(
            f"no {' and '.join(missing)} privilege on {root.shown}",
            cure=root.grant("SELECT, UPDATE, DELETE"),
        )


async def _indexes(
    connection: Connection, relations: list[Relation], column: Column | None
) -> dict[int, tuple[Index, ...]]:
    oids = [relation.oid for relation in relations]
    if column is None:
        return dict.fromkeys(oids, ())
    return await catalog.read_indexes(connection, oids, column.name)
