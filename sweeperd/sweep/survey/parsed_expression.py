"""How the server understands an operator's text: each function, operator, type and relation.

The text is parsed and neither planned nor run, so that nothing in it is executed. The server
tells the tree it made of it as a message (``debug_print_parse``), which any role may ask for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import asyncpg

from sweeperd.errors import SweepError
from sweeperd.postgres.node_tree import Node, read_nodes
from sweeperd.postgres.sql import parsed as sql
from sweeperd.postgres.sql.target import Table
from sweeperd.postgres.sqlstate import describe
from sweeperd.postgres.transaction import Connection, major_version, savepoint

_FUNCTION_FIELDS: Final = ("funcid", "opfuncid", "aggfnoid", "winfnoid", "elemfuncid", "tsmhandler")
_OPERATOR_FIELDS: Final = ("opno", "eqop", "sortop")
_TYPE_FIELDS: Final = (
    "vartype",
    "consttype",
    "paramtype",
    "funcresulttype",
    "opresulttype",
    "resulttype",
    "aggtype",
    "wintype",
    "casetype",
    "coalescetype",
    "minmaxtype",
    "array_typeid",
    "row_typeid",
    "refrestype",
    "typeId",
    "type",
)
_PARAMETER_PRIVILEGES: Final = 15
_MOST_VIEWS: Final = 1_000


@dataclass(frozen=True)
class Function:
    """A function that is called; by a name, an operator, a cast or an aggregate.

    Attributes:
        oid: In pg_proc.
        schema: Its schema.
        name: Its name.
        volatility: ``i`` (immutable), ``s`` (stable) or ``v`` (volatile).
        result: OID of the type it returns.
        arguments: OIDs of its declared argument types.
        owner: OID of the role that owns it.
        language: Name of its language.
        kind: ``f``, ``a`` (aggregate) or ``w`` (window function).
        own_time_zone: It sets TimeZone for itself.
    """

    oid: int
    schema: str
    name: str
    volatility: str
    result: int
    arguments: tuple[int, ...]
    owner: int
    language: str
    kind: str
    own_time_zone: bool


@dataclass(frozen=True)
class Operator:
    """An operator that is applied.

    Attributes:
        oid: In pg_operator.
        schema: Its schema.
        name: Its name.
        function: OID of the function behind it.
        owner: OID of the role that owns it.
        shown: With the types it takes, such as ``timestamp without time zone < date``.
    """

    oid: int
    schema: str
    name: str
    function: int
    owner: int
    shown: str


@dataclass(frozen=True)
class TypeFacts:
    """A type that a value in the expression has.

    Attributes:
        oid: In pg_type.
        schema: Its schema.
        name: Its name in the catalogue.
        owner: OID of the role that owns it.
        shown: As the server writes it, such as ``timestamp with time zone``.
        input: OID of its input function.
        output: OID of its output function.
        parts: OIDs of the types its values are made of, itself included.
    """

    oid: int
    schema: str
    name: str
    owner: int
    shown: str
    input: int
    output: int
    parts: frozenset[int]


@dataclass(frozen=True)
class ParsedExpression:
    """What an expression uses, views in its subqueries included.

    Attributes:
        pieces: What the operator wrote, cut at each ``:cutoff``.
        trees: The query as parsed, and the definition of each view in it.
        functions: By OID.
        operators: By OID.
        types: By OID.
        relations: OIDs of the relations it reads, the swept table's among them.
    """

    pieces: tuple[str, ...]
    trees: tuple[Node, ...]
    functions: dict[int, Function] = field(default_factory=dict)
    operators: dict[int, Operator] = field(default_factory=dict)
    types: dict[int, TypeFacts] = field(default_factory=dict)
    relations: frozenset[int] = frozenset()


async def parse(connection: Connection, table: Table, pieces: tuple[str, ...]) -> ParsedExpression:
    """Let the server parse an expression and look up what it uses.

    Args:
        connection: In a transaction, whose TimeZone and search_path are those of the sweep's
            statements.
        table: The table whose columns the expression names.
        pieces: The operator's text, cut at each ``:cutoff``.

    Raises:
        SweepError: The server does not tell how it understands the expression, or it is not one
            expression.
        asyncpg.PostgresError: It is wrong: the syntax, a column, a type.
    """
    trees = [await parse_tree(connection, table, pieces)]
    await prove_one_expression(connection, table, pieces)
    relations: set[int] = set()
    while new := _numbers(trees, ("relid",)) - relations:
        relations |= new
        if len(relations) > _MOST_VIEWS:
            raise SweepError(f"the expression reads more than {_MOST_VIEWS} relations")
        for row in await connection.fetch(sql.VIEWS, sorted(new)):
            if row["tree"] is not None:
                trees += nodes(row["tree"])
    return await look_up(connection, pieces, trees, frozenset(relations))


async def prove_one_expression(
    connection: Connection, table: Table, pieces: tuple[str, ...]
) -> None:
    """Prove that a text which can be parsed between parentheses does not leave them.

    A batch is a simple query, which may hold several commands; this is an extended Parse, which
    takes one. Together with `parse_tree` it shows one boolean expression.

    Raises:
        SweepError: It is no expression of its own.
    """
    try:
        await connection.prepare(sql.parse_between_brackets(table, pieces).text, name="")
    except asyncpg.PostgresSyntaxError as error:
        raise SweepError(
            "where or condition is not one expression: it is parsed between parentheses, but not "
            f"by itself ({describe(error)})",
            cure="write one boolean expression, whose parentheses are balanced",
        ) from error


async def parse_tree(connection: Connection, table: Table, pieces: tuple[str, ...]) -> Node:
    """Return the tree that the server makes of an expression under the TimeZone in force."""
    told: list[str] = []

    def listen(_: object, message: asyncpg.PostgresLogMessage) -> None:
        if message.message.startswith("parse tree") and message.detail:
            told.append(message.detail)

    quiet = major_version(connection) >= _PARAMETER_PRIVILEGES and await connection.fetchval(
        sql.MAY_QUIET
    )
    query = sql.parse_only(table, pieces).text
    connection.add_log_listener(listen)
    try:
        async with savepoint(connection, undone=True):
            # quietly, where the role may keep this out of the server's log
            await connection.execute(f"{sql.QUIET}; {sql.SHOW_TREES}" if quiet else sql.SHOW_TREES)
            await connection.prepare(query, name="")
    finally:
        connection.remove_log_listener(listen)
    for text in told:
        for node in nodes(text):
            if node.word("commandType") == "1":
                return node
    raise SweepError(
        "the server does not tell how it understands where and condition",
        cure="connect without a pooler that drops the server's messages",
    )


def nodes(text: str) -> list[Node]:
    """Return the nodes of a tree as the server writes it."""
    top = Node("LIST", {"": read_nodes(text)})
    return top.nodes("")


def _numbers(trees: list[Node], names: tuple[str, ...]) -> set[int]:
    found = {node.number(name) for tree in trees for node in tree.walk() for name in names}
    return found - {0}


async def look_up(
    connection: Connection, pieces: tuple[str, ...], trees: list[Node], relations: frozenset[int]
) -> ParsedExpression:
    """Look up the functions, operators and types that trees use; in a `reading`."""
    several = {
        oid
        for tree in trees
        for node in tree.walk()
        if node.tag in {"ROWCOMPAREEXPR", "ROWCOMPARE"}
        for oid in node.numbers("opnos")
    }
    operators = {
        row["oid"]: Operator(
            row["oid"], row["schema"], row["name"], row["function"], row["owner"], row["shown"]
        )
        for row in await connection.fetch(
            sql.OPERATORS, sorted(_numbers(trees, _OPERATOR_FIELDS) | several)
        )
    }
    types = {
        row["oid"]: TypeFacts(
            row["oid"], row["schema"], row["name"], row["owner"], row["shown"],
            row["input"], row["output"], frozenset(row["parts"]),
        )
        for row in await connection.fetch(sql.TYPES, sorted(_numbers(trees, _TYPE_FIELDS)))
    }  # fmt: skip
    called = _numbers(trees, _FUNCTION_FIELDS) | {one.function for one in operators.values()}
    functions = {
        row["oid"]: Function(
            row["oid"], row["schema"], row["name"], row["volatility"], row["result"],
            tuple(row["arguments"]), row["owner"], row["language"], row["kind"],
            row["own_time_zone"],
        )
        for row in await connection.fetch(sql.FUNCTIONS, sorted(called))
    }  # fmt: skip
    return ParsedExpression(pieces, tuple(trees), functions, operators, types, relations)
