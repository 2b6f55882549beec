"""Rows of a table that refer to rows of the same: a slice and all that lies below it, as SQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sweeperd.postgres.sql.expired import Args
from sweeperd.postgres.sql.references import ForeignKey
from sweeperd.postgres.sql.slices import Slice
from sweeperd.postgres.sql.target import Statement, Target

# Names that no operator's text has: it is read inside the same query.
_TREE: Final = '"sweeperd tree"'
_PLACE: Final = '"sweeperd place"'
_PARENT: Final = '"sweeperd parent"'
_GOES: Final = '"sweeperd goes"'


def read_tree(target: Target, part: Slice, keys: Sequence[ForeignKey], *, limit: int) -> Statement:
    """Return each row of a slice that would go, and each row below one of these.

    One row of the answer is a place, the place of a row that it refers to (none for the slice's
    own rows) and whether it would go by itself. Below one that stays nothing is looked for.

    Args:
        target: What goes from where.
        part: The slice.
        keys: By which rows of the table refer to each other.
        limit: Rows of the answer at most.
    """
    args = Args()
    row = target.table.reference
    columns = sorted({pair.column for key in keys for pair in key.columns})
    names = {column: f'"sweeperd {number}"' for number, column in enumerate(columns)}
    values = ", ".join(target.table.column(column) for column in columns)
    matches = " OR ".join(
        f"({key.match_values([f'{_TREE}.{names[pair.column]}' for pair in key.columns], row)})"
        for key in keys
    )
    goes = f"({target.condition(args)}) IS TRUE{target.unreferenced}"
    return Statement(
        f"WITH RECURSIVE {_TREE}({_PLACE}, {_PARENT}, {_GOES}, {', '.join(names.values())}) AS ("
        f"SELECT {row}.ctid, NULL::pg_catalog.tid, true, {values} "
        f"FROM {target.table.source} WHERE {part.narrow(target, args)} "
        f"UNION SELECT {row}.ctid, {_TREE}.{_PLACE}, ({goes}), {values} "
        f"FROM {_TREE} JOIN {target.table.source} ON {_TREE}.{_GOES} AND ({matches})) "
        f"SELECT {_PLACE} AS place, {_PARENT} AS parent, {_GOES} AS goes FROM {_TREE} "
        f"LIMIT {args.add(limit, 'bigint')}",
        tuple(args),
    )
