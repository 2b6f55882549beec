"""Whose functions, operators, types and relations an operator's text may use.

What it uses runs as the sweeping role, at each run. So nobody may be able to put something else in
its place but those who could have the rows anyway: superusers, the owners of the database, of the
table and of its schema, and whoever is a member of these roles.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import asyncpg

from sweeperd.errors import SweepError
from sweeperd.postgres.catalog import Relation, quote_if_needed
from sweeperd.postgres.sql import trust as sql
from sweeperd.postgres.sql.target import Table
from sweeperd.postgres.sqlstate import describe
from sweeperd.postgres.transaction import (
    PINNED,
    Connection,
    own_search_path,
    savepoint,
    set_search_path,
)
from sweeperd.sweep.survey.parsed_expression import ParsedExpression, parse

_SYSTEM: Final = frozenset({"pg_catalog", "information_schema"})
_NOT_FOUND: Final = (
    asyncpg.UndefinedFunctionError,
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedObjectError,
    asyncpg.InvalidSchemaNameError,
)


@dataclass(frozen=True)
class Schema:
    """A schema and who may create objects in it.

    Attributes:
        name: Its name.
        owner: OID of its owner.
        owner_name: Its owner.
        owner_trusted: Whether a sweep trusts its owner.
        strangers: Further roles, quoted, that may create objects in it and are not trusted.
    """

    name: str
    owner: int
    owner_name: str
    owner_trusted: bool
    strangers: tuple[str, ...]

    @property
    def trusted(self) -> bool:
        """Whether a bare name may be looked up in it."""
        return self.name in _SYSTEM or (self.owner_trusted and not self.strangers)

    @property
    def creators(self) -> str:
        """Those who may create objects in it and are not trusted, for a sentence."""
        owner = () if self.owner_trusted else (f"its owner {quote_if_needed(self.owner_name)}",)
        return " and ".join((*owner, *self.strangers))

    @property
    def revoke(self) -> str:
        """The statement that closes it to all but its owner."""
        name = quote_if_needed(self.name)
        return f"REVOKE CREATE ON SCHEMA {name} FROM {', '.join(self.strangers)}"


@dataclass(frozen=True)
class TrustedPath:
    """The part of the role's search_path in which an operator's text is evaluated.

    Attributes:
        schemas: What search_path is set to.
        left_out: Schemas of the role's path in which strangers may create objects.
        role: The sweeping role.
    """

    schemas: tuple[str, ...]
    left_out: tuple[Schema, ...]
    role: str

    def warnings(self) -> Iterator[str]:
        """Say which schemas are left out."""
        for schema in self.left_out:
            yield (
                f"search_path is without schema {quote_if_needed(schema.name)} while where or "
                "condition is evaluated and the table's triggers run, for "
                f"{schema.creators} may create objects there; {self.cure(schema)}"
            )

    def cure(self, schema: Schema) -> str:
        """Return the statement that closes a schema, or takes it off the role's path."""
        if schema.owner_trusted:
            return schema.revoke
        path = ", ".join(map(quote_if_needed, self.schemas))
        return f"ALTER ROLE {quote_if_needed(self.role)} SET search_path = {path}"


async def trusted_path(connection: Connection, table: Relation) -> TrustedPath:
    """Return the part of the role's search_path in which no stranger may create objects."""
    path = [name for name in await own_search_path(connection) if not name.startswith("pg_temp_")]
    known = await _schemas(connection, table, path)
    return TrustedPath(
        tuple(name for name in path if name in known and known[name].trusted),
        tuple(known[name] for name in path if name in known and not known[name].trusted),
        table.role,
    )


async def parse_trusted(
    connection: Connection, relation: Relation, table: Table, pieces: tuple[str, ...]
) -> tuple[ParsedExpression, TrustedPath]:
    """Parse an operator's text under its trusted path, and prove that it uses nobody else's code.

    The path stays set for the rest of the transaction.

    Args:
        connection: In a `reading`.
        relation: The swept table.
        table: The same as the statements name it.
        pieces: The text cut at each ``:cutoff``.

    Raises:
        SweepError: It uses something that a stranger may replace.
        asyncpg.PostgresError: The text is wrong.
    """
    path = await trusted_path(connection, relation)
    await set_search_path(connection, path.schemas)
    try:
        async with savepoint(connection):
            parsed = await parse(connection, table, pieces)
    except _NOT_FOUND as error:
        if not path.left_out:
            raise
        open_ = path.left_out[0]
        raise SweepError(
            f"where or condition: {describe(error)}; schema {quote_if_needed(open_.name)} is left "
            f"out of search_path, for {open_.creators} may create objects there",
            cure=f"{path.cure(open_)}; or write the name with its schema",
        ) from error
    await set_search_path(connection, PINNED)
    await _prove(connection, relation, parsed)
    await set_search_path(connection, path.schemas)
    return parsed, path


async def _prove(connection: Connection, table: Relation, parsed: ParsedExpression) -> None:
    """Look at each function, operator, type and relation of a text.

    Raises:
        SweepError: A stranger may replace one of them.
    """
    rows = await connection.fetch(sql.RELATIONS, sorted(parsed.relations))
    code = [("function", f.name, f.schema, f.owner) for f in parsed.functions.values()]
    code += [("operator", o.shown, o.schema, o.owner) for o in parsed.operators.values()]
    kept = [("type", t.shown, t.schema, t.owner) for t in parsed.types.values()]
    kept += [("relation", row["name"], row["schema"], row["owner"]) for row in rows]
    owners = [owner for _, _, _, owner in code + kept]
    strangers = {
        row["oid"]: row["name"]
        for row in await connection.fetch(sql.STRANGERS, table.oid, sorted(set(owners)))
    }
    known = await _schemas(connection, table, {schema for _, _, schema, _ in code + kept})
    for kind, name, schema, owner in code + kept:
        if schema not in known:  # a type of this very session
            continue
        if owner in strangers and owner != known[schema].owner:
            raise SweepError(
                f"where or condition uses the {kind} {name} of schema {quote_if_needed(schema)}, "
                f"which {quote_if_needed(strangers[owner])} owns and may replace",
                cure=f"let the owner of {table.shown} own it",
            )
    for kind, name, schema, _ in code:
        if known[schema].strangers and schema not in _SYSTEM:
            # a function of the same name with nearer argument types would be called instead
            raise SweepError(
                f"where or condition uses the {kind} {name} of schema {quote_if_needed(schema)}, "
                f"in which {' and '.join(known[schema].strangers)} may create objects",
                cure=known[schema].revoke,
            )


async def _schemas(
    connection: Connection, table: Relation, names: Iterable[str]
) -> dict[str, Schema]:
    rows = await connection.fetch(sql.SCHEMAS, table.oid, sorted(names))
    return {
        row["name"]: Schema(
            row["name"], row["owner"], row["owner_name"], row["owner_trusted"],
            tuple(row["strangers"]),
        )
        for row in rows
    }  # fmt: skip
