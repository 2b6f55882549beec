"""Whether an expression may look at other rows than the one it judges.

If it may, a row is locked before a statement with a newer snapshot judges it: within one statement,
the check after a wait for a lock would see the other rows as they were when the statement began.
"""

from __future__ import annotations

import re
from typing import Final

from sweeperd.postgres.node_tree import Node
from sweeperd.postgres.sql import row_security as sql
from sweeperd.postgres.transaction import Connection
from sweeperd.sweep.survey.parsed_expression import Function, ParsedExpression, look_up
from sweeperd.sweep.survey.parsed_expression import nodes as nodes_of

# A cast to a domain checks what the domain's constraints say, by any function.
_LOOKS_ELSEWHERE: Final = frozenset({"SUBLINK", "COERCETODOMAIN"})
_COMPILED: Final = frozenset({"c", "internal"})
# of pg_catalog, and not volatile: they run a query that they are given
_RUNS_A_QUERY: Final = re.compile(
    r"(query|table|schema|database|cursor)_to_xml\w*|ts_stat|ts_rewrite"
)


def reads_other_rows(parsed: ParsedExpression) -> bool:
    """Return False only if nothing in the expression can read a table."""
    if any(node.tag in _LOOKS_ELSEWHERE for tree in parsed.trees for node in tree.walk()):
        return True
    return any(_may_read(one) for one in parsed.functions.values())


def _may_read(function: Function) -> bool:
    if function.volatility == "v":
        return True
    if function.schema == "pg_catalog":
        return _RUNS_A_QUERY.fullmatch(function.name) is not None
    # what is written in SQL or a language of its own is often declared immutable, and reads
    return function.volatility != "i" or function.language not in _COMPILED


async def policies_read_other_rows(connection: Connection, oids: list[int]) -> bool:
    """Whether a policy of one of these tables may look at other rows."""
    rows = await connection.fetch(sql.POLICIES, oids)
    trees: list[Node] = [node for row in rows for node in nodes_of(row["tree"])]
    if not trees:
        return False
    return reads_other_rows(await look_up(connection, (), trees, frozenset()))
