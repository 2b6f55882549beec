"""Finds what a sweep deletes from: the heaps of a table, or the table as a whole."""

from __future__ import annotations

from dataclasses import replace

from sweeperd.errors import SweepError
from sweeperd.postgres import catalog
from sweeperd.postgres.catalog import Column, Index, Relation, quote_if_needed
from sweeperd.postgres.catalog_reads import CatalogReads
from sweeperd.postgres.sql.target import Target
from sweeperd.sweep.survey.inheritance import refuse_children
from sweeperd.sweep.survey.target import Leaf, table_of


async def find_leaves(
    reads: CatalogReads,
    root: Relation,
    column: Column | None,
    target: Target,
    warnings: list[str],
    *,
    obey: bool,
) -> list[Leaf]:
    """Return what is swept: the heaps, or the table as a whole where they cannot be.

    Args:
        reads: Of the transaction.
        root: The sweep's own table.
        column: The sweep's column; None where it has a condition.
        target: What goes from the table.
        warnings: What the operator should know is added here.
        obey: Whether row security may hide rows.

    Raises:
        SweepError: A rule, row security, inheritance or a missing privilege forbids the sweep.
    """
    _refuse_rule(root)
    if root.kind != "p":
        await refuse_children(reads, root)
        _mind_row_security(root, warnings, obey=obey)
        return [await _single(reads, root, column, target)]
    _mind_row_security(root, warnings, obey=obey)
    heaps, foreign, in_the_way = await _partitions(reads, root)
    if in_the_way:
        _refuse_foreign(root, foreign, in_the_way)
        return [await _through_parent(reads, target, (root, heaps), column, in_the_way)]
    if foreign and not heaps:
        raise SweepError(
            f"every partition of {root.shown} is a foreign table, and none is swept",
            cure="write the sweep on the server that holds the rows",
        )
    warnings += [f"{name} is a foreign table and is not swept" for name in foreign]
    for relation in heaps:
        _mind_row_security(relation, warnings, obey=obey)
    indexes = await _indexes(reads, heaps, column)
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


async def _partitions(
    reads: CatalogReads, root: Relation
) -> tuple[list[Relation], list[str], list[str]]:
    """Return a partitioned table's heaps, its foreign tables, and why heaps cannot be swept.

    Raises:
        SweepError: A rule forbids the sweep.
    """
    heaps, foreign, in_the_way = [], [], []
    if root.statement_trigger:
        in_the_way.append(f"{root.shown} has statement triggers of its own")
    if root.row_security:
        in_the_way.append(f"{root.shown} has row security of its own")
    for relation in await catalog.read_partitions(reads, root.oid):
        _refuse_rule(relation)
        if relation.kind == "p":
            continue
        if relation.kind != "r":
            foreign.append(relation.shown)
            continue
        if not (relation.deletable and relation.readable and relation.usable):
            in_the_way.append(relation.grant("SELECT, UPDATE, DELETE"))
        heaps.append(relation)
    return heaps, foreign, in_the_way


def _refuse_rule(relation: Relation) -> None:
    """Refuse a rule ON DELETE, wherever in a partitioned table: it may do anything instead.

    Raises:
        SweepError: There is one that fires.
    """
    if relation.delete_rule is not None:
        rule = quote_if_needed(relation.delete_rule)
        raise SweepError(
            f"{relation.shown} has a rule ON DELETE, {rule}, which may do anything instead of a "
            "delete",
            cure=f"DROP RULE {rule} ON {relation.shown}, or sweep the table that it writes to",
        )


def _mind_row_security(relation: Relation, warnings: list[str], *, obey: bool) -> None:
    """Refuse row security that would hide rows, or say that it does.

    Raises:
        SweepError: Rows would be hidden, and the sweep does not obey policies.
    """
    if not relation.row_security:
        return
    if obey:
        warnings.append(
            f"row security applies to {relation.shown}: only rows that its policies show to "
            f"{quote_if_needed(relation.role)} are swept; how many expired rows they hide is "
            "unknown"
        )
        return
    raise SweepError(
        f"row security would hide rows of {relation.shown} from {quote_if_needed(relation.role)}",
        cure=f"ALTER ROLE {quote_if_needed(relation.role)} BYPASSRLS, or write "
        'row_security = "obey" to sweep only what its policies show',
    )


def _refuse_foreign(root: Relation, foreign: list[str], reasons: list[str]) -> None:
    """Refuse foreign partitions where a delete in the parent would reach them.

    Raises:
        SweepError: There is one.
    """
    if foreign:
        raise SweepError(
            f"{root.shown} must be swept through the parent ({'; '.join(reasons[:3])}), and a "
            f"delete there would reach the foreign table {foreign[0]}",
            cure=f"remove the reason, or ALTER TABLE {root.shown} DETACH PARTITION {foreign[0]}",
        )


async def _single(
    reads: CatalogReads,
    root: Relation,
    column: Column | None,
    target: Target,
) -> Leaf:
    _must_delete(root)
    indexes = (await _indexes(reads, [root], column))[root.oid]
    if await catalog.is_distributed(reads, root.oid):
        whole = replace(target, table=replace(target.table, only=False))
        return Leaf(root, whole, 0, indexes, one_heap=False)
    return Leaf(root, target, root.blocks, indexes, one_heap=root.access_method == "heap")


async def _through_parent(
    reads: CatalogReads,
    target: Target,
    heaps: tuple[Relation, list[Relation]],
    column: Column | None,
    reasons: list[str],
) -> Leaf:
    """Sweep a partitioned table as a whole, because its leaves must not be touched directly."""
    root, leaves = heaps
    _must_delete(root)
    indexes: tuple[Index, ...] = ()
    held = await _indexes(reads, leaves, column)
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
            cure=f"GRANT USAGE ON SCHEMA {quote_if_needed(root.schema)} "
            f"TO {quote_if_needed(root.role)}",
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
    reads: CatalogReads, relations: list[Relation], column: Column | None
) -> dict[int, tuple[Index, ...]]:
    oids = [relation.oid for relation in relations]
    if column is None:
        return dict.fromkeys(oids, ())
    return await catalog.read_indexes(reads, oids, column.name)
