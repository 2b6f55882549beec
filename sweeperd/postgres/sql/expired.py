"""What makes a row expired, as SQL: constants of the column's exact type, never a cast of it.

These statements run under the role's own search_path, as the operator's text and triggers know
it. So each operator, function, type and collation of ours names its schema: nothing that somebody
else creates in a schema of that path can be meant.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

Key = int | float | Decimal | str

_DAY = (
    "(?:(?!0000)[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    "|(?:[0-9][0-9](?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)-02-29)"
)
_TIME = "[T ](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:[.][0-9]+)?"
_ZONE = "(?:Z|[+]00(?::00)?)"
ISO8601_ZONED: Final = f"^{_DAY}{_TIME}{_ZONE}$"
ISO8601_ANY: Final = f"^{_DAY}{_TIME}{_ZONE}?$"


_CATALOG_NAMES: Final = {
    "smallint": "int2",
    "integer": "int4",
    "bigint": "int8",
    "real": "float4",
    "double precision": "float8",
    "boolean": "bool",
}
EQUAL: Final = "OPERATOR(pg_catalog.=)"
LESS: Final = "OPERATOR(pg_catalog.<)"
AT_MOST: Final = "OPERATOR(pg_catalog.<=)"
GREATER: Final = "OPERATOR(pg_catalog.>)"
AT_LEAST: Final = "OPERATOR(pg_catalog.>=)"
CONCATENATED: Final = "OPERATOR(pg_catalog.||)"
MATCHES: Final = "OPERATOR(pg_catalog.~)"
_CODE_POINTS: Final = 'COLLATE pg_catalog."C"'


def builtin(type_name: str) -> str:
    """Return a built-in type's name with its schema; a bare name could be somebody's domain."""
    if type_name.startswith("pg_catalog."):
        return type_name
    element = type_name.removesuffix("[]")
    brackets = type_name[len(element) :]
    return f"pg_catalog.{_CATALOG_NAMES.get(element, element)}{brackets}"


class Args(list[Any]):
    """Parameters in the order they are met; each is cast to an exact built-in type."""

    def add(self, value: Any, type_name: str) -> str:  # noqa: ANN401 - any parameter value
        """Append a value and return its placeholder."""
        self.append(value)
        return f"${len(self)}::{builtin(type_name)}"


def quote(identifier: str) -> str:
    """Quote an identifier (PostgreSQL manual, 4.1.1)."""
    return '"' + identifier.replace('"', '""') + '"'


@dataclass(frozen=True)
class TextBound:
    """The bound of an ISO 8601 text column.

    Attributes:
        second: ``YYYY-MM-DD HH:MM:SS`` of the bound, UTC.
        fraction: Digits of its fraction, trailing zeros cut.
        zone_needed: Whether text without a zone has the wrong shape.
        next_second: Text that every expired value sorts below, where the collation allows it.
    """

    second: str
    fraction: str
    zone_needed: bool
    next_second: str | None


@dataclass(frozen=True)
class Expired:
    """What makes a row expired, in constants of the column's exact type.

    Attributes:
        column: The column.
        type_name: Its base type.
        upper: Greatest expired value; None for text.
        floor: SQL constant that an expired value is greater than (never-expired sentinels); its
            type is qualified.
        hole: Open interval of values that are not past yet.
        text: The bound of a text column.
    """

    column: str
    type_name: str
    upper: Key | None
    floor: str | None = None
    hole: tuple[Key, Key] | None = None
    text: TextBound | None = None

    def range(self, args: Args, reference: str) -> str:
        """Return the part of the condition that an index on the column can serve."""
        column = f"{reference}.{quote(self.column)}"
        parts = [f"{column} {GREATER} {self.floor}"] if self.floor else []
        if self.upper is not None:
            parts.append(f"{column} {AT_MOST} {args.add(self.upper, self.type_name)}")
        if self.text and self.text.next_second:
            parts.append(f"{column} {LESS} {args.add(self.text.next_second, 'text')}")
        return " AND ".join(parts) or f"{column} IS NOT NULL"

    def condition(self, args: Args, reference: str) -> str:
        """Return the whole condition: TRUE for an expired row."""
        parts = [self.range(args, reference)]
        column = f"{reference}.{quote(self.column)}"
        if self.hole:
            low, high = (args.add(value, self.type_name) for value in self.hole)
            parts.append(f"NOT ({column} {GREATER} {low} AND {column} {LESS} {high})")
        if self.text:
            parts.append(_text_condition(column, self.text, args))
        return " AND ".join(parts)

    def unreadable(self, reference: str) -> str:
        """Return the condition that is TRUE for text in another form than a time in UTC.

        Raises:
            TypeError: The column is no text.
        """
        if self.text is None:
            raise TypeError("the column is no text")
        text = f"{reference}.{quote(self.column)}::pg_catalog.text"
        return f"NOT ({text} {_CODE_POINTS} {MATCHES} '{_shape(self.text)}')"


def _shape(bound: TextBound) -> str:
    return ISO8601_ZONED if bound.zone_needed else ISO8601_ANY


def _text_condition(column: str, bound: TextBound, args: Args) -> str:
    """Test shape, then compare seconds and fraction as text in code point order.

    Nothing is cast, so that no value can raise; the shape has fixed places, so that code
    point order is time order.
    """
    shape = _shape(bound)
    second = args.add(bound.second, "text")
    fraction = args.add(bound.fraction, "text")
    text = f"{column}::pg_catalog.text"
    read_second = f"pg_catalog.translate(pg_catalog.left({text}, 19), 'T', ' ')"
    read_fraction = f"coalesce(pg_catalog.substring({text}, '[.]([0-9]+)'), '')"
    return (
        f"CASE WHEN {text} {_CODE_POINTS} {MATCHES} '{shape}' THEN "
        f"({read_second} {_CODE_POINTS}, "
        f"pg_catalog.rtrim({read_fraction}, '0') {_CODE_POINTS}) "
        f"{AT_MOST} ({second}, {fraction}) ELSE false END"
    )


@dataclass(frozen=True)
class Condition:
    """A whole condition of the operator's, instead of column and keep.

    Attributes:
        pieces: The text cut at each ``:cutoff``.
        cutoff: Microseconds since 2000-01-01 UTC.
    """

    pieces: tuple[str, ...]
    cutoff: int

    def range(self, args: Args, reference: str) -> str:
        """Return the condition; no index is known to serve it."""
        return self.condition(args, reference)

    def condition(self, args: Args, reference: str) -> str:  # noqa: ARG002 - as Expired's
        """Return the condition, with the cutoff as a timestamptz."""
        return f"({self.text(args)}\n)"

    def text(self, args: Args) -> str:
        """Return what the operator wrote, with the cutoff as a timestamptz.

        A blank stands before it, so that no word before makes one token with it.
        """
        if len(self.pieces) == 1:
            return self.pieces[0]
        return f" {args.add(self.cutoff, 'timestamptz')}".join(self.pieces)


# A subquery, or a function that may hide one; words that only look like a function's name.
_WORD_BEFORE_PARENTHESIS = re.compile(r'(?<![\w"])([\w"]++)\s*+\(')
_NO_FUNCTIONS: Final = frozenset(
    {"and", "or", "not", "in", "any", "all", "some", "between", "like"}
)


def functions_in(text: str | None) -> set[str]:
    """Return the names in an expression that may be functions'."""
    words = {
        word.strip('"') if word.startswith('"') else word.lower()
        for word in _WORD_BEFORE_PARENTHESIS.findall(text or "")
    }
    return words - _NO_FUNCTIONS
