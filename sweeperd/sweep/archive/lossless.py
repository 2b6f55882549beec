"""Whether a column of an archive takes each value of a column as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_HEADER: Final = 4  # atttypmod of varchar, bpchar and numeric counts these bytes
_MOST_FRACTION: Final = 6  # digits of a second
_INTEGER_DIGITS: Final = {"int2": 5, "int4": 10, "int8": 19, "oid": 10}

# Assignments between types that keep each value, whatever the session's settings are. What is not
# here may lose: timestamptz for timestamp depends on TimeZone, jsonb drops what json has twice.
_WIDER: Final[Mapping[str, frozenset[str]]] = {
    "int2": frozenset({"int4", "int8", "numeric", "float4", "float8", "text", "varchar"}),
    "int4": frozenset({"int8", "numeric", "float8", "text", "varchar"}),
    "int8": frozenset({"numeric", "text", "varchar"}),
    "oid": frozenset({"int8", "text", "varchar"}),
    "numeric": frozenset({"text", "varchar"}),
    "float4": frozenset({"float8"}),
    "bool": frozenset({"text", "varchar"}),
    "varchar": frozenset({"text"}),
    "text": frozenset({"varchar"}),
    "name": frozenset({"text", "varchar"}),
    "enum": frozenset({"text", "varchar"}),
    "uuid": frozenset({"text", "varchar"}),
    "json": frozenset({"text", "varchar"}),
    "jsonb": frozenset({"json", "text", "varchar"}),
    "xml": frozenset({"text", "varchar"}),
    "date": frozenset({"timestamp"}),
    "cidr": frozenset({"inet"}),
    "bit": frozenset({"varbit"}),
}
_FRACTIONS: Final = frozenset({"time", "timetz", "timestamp", "timestamptz"})
_LENGTHS: Final = frozenset({"varchar", "varbit"})


@dataclass(frozen=True)
class ColumnType:
    """A column and the type below any domain.

    Attributes:
        relation: OID of its table.
        name: Its name.
        shown: Its type as the operator knows it.
        type: OID of the type below any domain.
        modifier: The type modifier (``atttypmod``); -1 for none.
        kind: Name of a built-in type, ``enum`` for any enum, or empty; of an array, its elements'.
        is_array: Whether it is an array.
        generated: Whether it computes itself.
        must_be_given: NOT NULL and without a default.
    """

    relation: int
    name: str
    shown: str
    type: int
    modifier: int
    kind: str
    is_array: bool
    generated: bool
    must_be_given: bool


def is_lossless(source: ColumnType, archive: ColumnType) -> bool:
    """Whether an assignment provably keeps each value."""
    if source.type == archive.type:
        return _keeps(source, archive)
    if source.is_array or archive.is_array:
        return False
    if source.kind == "bpchar" and archive.kind in {"text", "varchar"}:
        # without a length, blanks at the end would be lost; with one, they are known
        return source.modifier >= 0 and archive.modifier in {-1, source.modifier}
    if archive.kind not in _WIDER.get(source.kind, frozenset()):
        return False
    return archive.modifier < 0 or _fits(source, archive)


def _keeps(source: ColumnType, archive: ColumnType) -> bool:
    """Compare the modifiers of one type."""
    if archive.modifier in {-1, source.modifier}:
        return True
    if archive.kind in _FRACTIONS:
        has = _MOST_FRACTION if source.modifier < 0 else source.modifier
        return archive.modifier >= has
    if archive.kind in _LENGTHS:
        return 0 <= source.modifier <= archive.modifier
    if archive.kind == "numeric":
        return source.modifier >= 0 and _holds(archive, *_digits(source.modifier))
    return False


def _fits(source: ColumnType, archive: ColumnType) -> bool:
    """Whether another type's modifier leaves room for each value."""
    if archive.kind == "numeric":
        return _holds(archive, _INTEGER_DIGITS[source.kind], 0)
    if archive.kind == "varbit":
        return 0 <= source.modifier <= archive.modifier
    return archive.kind == "timestamp"  # a day has no fraction


def _digits(modifier: int) -> tuple[int, int]:
    """Return the digits before the point, and behind it; the scale has 11 bits and a sign."""
    bits = modifier - _HEADER
    scale = ((bits & 0x7FF) ^ 1024) - 1024
    return ((bits >> 16) & 0xFFFF) - scale, scale


def _holds(archive: ColumnType, before: int, behind: int) -> bool:
    room_before, room_behind = _digits(archive.modifier)
    return room_before >= before and room_behind >= behind
