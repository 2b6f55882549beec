"""What hangs on a table and meets its deletes, each with its cure; what is fatal stops a sweep."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final, Literal

import asyncpg

from sweeperd.config.models import SweepConfig
from sweeperd.postgres.catalog import quote_if_needed
from sweeperd.postgres.sql import dependents as sql_surroundings
from sweeperd.postgres.sql.expired import functions_in
from sweeperd.postgres.transaction import Connection, reading
from sweeperd.sweep.survey.survey import Survey

_MAINTAIN_SINCE: Final = 17
_MOST_GRANTS: Final = 3


@dataclass(frozen=True)
class Finding:
    """One thing found, with its cure.

    Attributes:
        level: An error stops the sweep.
        text: What it is, and the cure.
        kind: What it is about.
    """

    level: Literal["ok", "warning", "error"]
    text: str
    kind: str = "table"


async def surroundings(connection: Connection, sweep: SweepConfig, found: Survey) -> list[Finding]:
    """Look at what hangs on a sweep's table: catalogue reads only, in one short transaction."""
    leaves = [leaf.relation.oid for leaf in found.leaves]
    oids = [found.root.oid, *leaves]
    names = sorted(functions_in(sweep.where) | functions_in(sweep.condition))
    # foreign keys are triggers, too, on the table that they refer to
    triggered = any(one.has_triggers for one in (found.root, *(i.relation for i in found.leaves)))
    triggers, keys, published, volatile = [], [], [], []
    async with AsyncExitStack() as stack:
        if triggered or found.server.publishes_deletes or names:
            await stack.enter_async_context(reading(connection))
        if triggered:
            triggers = await connection.fetch(sql_surroundings.TRIGGERS, oids)
            keys = await connection.fetch(sql_surroundings.REFERENCING, oids, found.root.oid)
        if found.server.publishes_deletes:
            query = sql_surroundings.without_identity(found.server.version)
            published = await connection.fetch(query, leaves)
        if names:
            volatile = await connection.fetch(sql_surroundings.VOLATILE, names)
    return [
        *(_published(row) for row in published),
        *_owner(sweep, found),
        *_triggers(found, triggers),
        *(finding for row in keys for finding in _key(found, row)),
        *(_volatile(row["name"]) for row in volatile),
        *_generated(found),
    ]


def _published(row: asyncpg.Record) -> Finding:
    name = f"{quote_if_needed(row['schema'])}.{quote_if_needed(row['name'])}"
    return Finding(
        "error",
        f"publication {row['publication']} publishes deletes of {name}, which has no replica "
        f"identity, so that no row of it can be deleted; give it a primary key, or "
        f"ALTER TABLE {name} REPLICA IDENTITY FULL",
        "publication",
    )


def _owner(sweep: SweepConfig, found: Survey) -> Iterator[Finding]:
    """Yield what only an owner may do and this role is asked to."""
    owned = all(leaf.relation.owned for leaf in found.leaves) and found.root.owned
    role, name = quote_if_needed(found.server.role), found.root.shown
    if sweep.partitions != "delete" and found.root.kind != "p":
        yield Finding("error", f'{name} is not partitioned; write partitions = "delete"')
    elif sweep.partitions != "delete" and not owned:
        yield Finding(
            "error",
            f'partitions = "{sweep.partitions}" needs the owner of {name} and of its leaves; '
            f'GRANT that role to {role}, or write partitions = "delete"',
        )
    closed = [leaf.relation for leaf in found.leaves if not leaf.relation.maintainable]
    if sweep.vacuum == "auto" and closed:
        cure = f"GRANT the owner's role to {role}"
        if found.server.version >= _MAINTAIN_SINCE:
            # a leaf's own privilege counts
            cure = "; ".join(one.grant("MAINTAIN") for one in closed[:_MOST_GRANTS])
            more = len(closed) - _MOST_GRANTS
            cure += f"; and {more} leaves more" if more > 0 else ""
        yield Finding("warning", f'vacuum = "auto": this role may not vacuum {name}; {cure}')


def _triggers(found: Survey, rows: list[asyncpg.Record]) -> Iterator[Finding]:
    for row in rows:
        at_parent = found.root.kind == "p" and row["oid"] == found.root.oid
        if row["for_row"]:
            what = "for each deleted row; batches shrink until it fits their time"
        elif at_parent:
            what = "for each statement on the parent; so it is swept as a whole, by slices"
        else:
            what = "for each statement, that is once or more a batch"
        yield Finding(
            "warning", f"trigger {row['name']} on {found.root.shown} fires {what}", "trigger"
        )


def _key(found: Survey, row: asyncpg.Record) -> Iterator[Finding]:
    child = f"{quote_if_needed(row['schema'])}.{quote_if_needed(row['table'])}"
    columns = ", ".join(quote_if_needed(name) for name in row["columns"])
    key = f"foreign key {row['name']} of {child} ({columns})"
    if not row["indexed"]:
        # a partitioned table's index cannot be made concurrently
        how = "CREATE INDEX" if row["kind"] == "p" else "CREATE INDEX CONCURRENTLY"
        yield Finding(
            "warning",
            f"{key} has no index: each deleted row reads all of {child}; "
            f"{how} ON {child} ({columns})",
            "index",
        )
    if row["on_delete"] == "c" and not row["refers_to_itself"]:
        yield Finding(
            "warning", f"{key} cascades: {_share(row)} go with each deleted row", "cascade"
        )
    elif row["on_delete"] in {"n", "d"}:
        yield Finding(
            "warning", f"{key} updates {_share(row)} with each deleted row", "foreign_key"
        )
    elif row["refers_to_itself"]:
        yield Finding(
            "warning",
            f"{key} refers to the table itself: a row goes with all rows below it, or stays where "
            "one of these is not expired",
            "foreign_key",
        )
    else:
        late = "; it is checked at COMMIT, which costs the batch" if row["deferred"] else ""
        yield Finding(
            "warning",
            f"{key} keeps rows of {found.root.shown} that it refers to: they are counted as "
            f"kept_referenced{late}; to delete them, sweep {child} first, with "
            'before = ["..."] in its sweep',
            "foreign_key",
        )


def _share(row: asyncpg.Record) -> str:
    """Return about how many rows of the child there are to one of the parent."""
    if row["rows"] < 0 or row["parent_rows"] <= 0:
        return "an unknown number of rows (ANALYZE tells)"
    return f"about {row['rows'] / row['parent_rows']:.1f} rows"


def _volatile(name: str) -> Finding:
    return Finding(
        "warning",
        f"{name}() in where or condition is volatile: it may answer differently for the same "
        "row; use what depends on the row alone, or :cutoff",
        "condition",
    )


def _generated(found: Survey) -> Iterator[Finding]:
    if found.column is not None and found.column.generated:
        yield Finding(
            "warning",
            f"{found.root.shown}.{found.column.name} is a generated column: whoever changes its "
            "expression changes which rows go",
        )
