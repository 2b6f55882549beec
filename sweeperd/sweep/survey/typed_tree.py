"""The nodes of a parsed expression with what the catalogues say of them: types and functions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sweeperd.postgres.node_tree import Node
from sweeperd.sweep.survey.parsed_expression import Function, ParsedExpression

TEXT: Final = 25
INTERVAL: Final = 1186
TIMESTAMP: Final = 1114
TIMESTAMPTZ: Final = 1184
DATE: Final = 1082
TIME: Final = 1083
TIMETZ: Final = 1266

_RESULT_FIELDS: Final = {
    "VAR": "vartype",
    "CONST": "consttype",
    "PARAM": "paramtype",
    "FUNCEXPR": "funcresulttype",
    "OPEXPR": "opresulttype",
    "DISTINCTEXPR": "opresulttype",
    "NULLIFEXPR": "opresulttype",
    "AGGREF": "aggtype",
    "WINDOWFUNC": "wintype",
    "CASEEXPR": "casetype",
    "CASE": "casetype",
    "COALESCEEXPR": "coalescetype",
    "COALESCE": "coalescetype",
    "MINMAXEXPR": "minmaxtype",
    "MINMAX": "minmaxtype",
    "ARRAYEXPR": "array_typeid",
    "ARRAY": "array_typeid",
    "ROWEXPR": "row_typeid",
    "ROW": "row_typeid",
    "SUBSCRIPTINGREF": "refrestype",
    "CASETESTEXPR": "typeId",
    "SQLVALUEFUNCTION": "type",
}
_CALLS: Final = {
    "FUNCEXPR": "funcid",
    "OPEXPR": "opfuncid",
    "DISTINCTEXPR": "opfuncid",
    "NULLIFEXPR": "opfuncid",
    "SCALARARRAYOPEXPR": "opfuncid",
    "AGGREF": "aggfnoid",
    "WINDOWFUNC": "winfnoid",
}


class TypedTree:
    """Answers for the nodes of one parsed expression.

    Args:
        parsed: The expression.
    """

    def __init__(self, parsed: ParsedExpression) -> None:
        self.parsed = parsed

    def type_of(self, node: Node) -> int:
        """Return the OID of a node's type; 0 when it is not known."""
        if node.tag == "NAMEDARGEXPR":
            return self.type_of(node.nodes("arg")[0])
        if node.tag == "TARGETENTRY":
            return self.type_of(node.nodes("expr")[0])
        if node.tag == "SUBLINK":
            columns = [
                one for query in node.nodes("subselect") for one in query.nodes("targetList")
            ]
            return self.type_of(columns[0]) if columns else 0
        return node.number(_RESULT_FIELDS.get(node.tag, "resulttype"))

    def parts(self, oid: int) -> frozenset[int]:
        """Return the types that values of a type are made of, itself included."""
        found = self.parsed.types.get(oid)
        return found.parts if found else frozenset({oid})

    def shown(self, oid: int) -> str:
        """Return a type's name as the server writes it."""
        found = self.parsed.types.get(oid)
        return found.shown if found else f"type {oid}"

    def called(self, node: Node) -> list[Function]:
        """Return the functions that a node calls itself."""
        if node.tag in {"ROWCOMPAREEXPR", "ROWCOMPARE"}:
            operators = [self.parsed.operators.get(oid) for oid in node.numbers("opnos")]
            oids = [one.function for one in operators if one]
        else:
            oids = [node.number(_CALLS[node.tag])] if node.tag in _CALLS else []
        return [self.parsed.functions[oid] for oid in oids if oid in self.parsed.functions]

    def built_in(self, node: Node) -> str:
        """Return the name of the pg_catalog function that a node calls; empty for none."""
        found = self.called(node)
        return found[0].name if len(found) == 1 and found[0].schema == "pg_catalog" else ""


def arguments(node: Node) -> list[Node]:
    """Return what a function, operator or cast is applied to; names of arguments are left out."""
    found = [
        one
        for name in ("args", "arg", "largs", "rargs", "aggdirectargs")
        for one in node.nodes(name)
    ]
    return [_bare(one) for one in found]


def constant_text(node: Node) -> str | None:
    """Return the value of a constant of a text type; None for anything else."""
    if node.tag == "RELABELTYPE":
        return constant_text(node.nodes("arg")[0])
    if node.tag != "CONST" or node.number("constlen") != -1:
        return None
    datum = node.datum()
    return None if datum is None else datum[4:].decode("utf-8", "replace")  # behind its length


def constants(trees: tuple[Node, ...]) -> Iterator[Node]:
    """Yield the constants of an expression, always in the same order."""
    for tree in trees:
        yield from (node for node in tree.walk() if node.tag == "CONST")


def outermost(query: Node) -> set[int]:
    """Return the identities of the nodes of a query's own condition, subqueries left out."""
    found: set[int] = set()
    left = [quals for tree in query.nodes("jointree") for quals in tree.nodes("quals")]
    while left:
        node = left.pop()
        found.add(id(node))
        left += [one for name in node.fields if name != "subselect" for one in node.nodes(name)]
    return found


def _bare(node: Node) -> Node:
    if node.tag in {"NAMEDARGEXPR", "TARGETENTRY"}:
        return (node.nodes("arg") or node.nodes("expr"))[0]
    return node
