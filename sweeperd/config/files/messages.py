"""A value's fault in an operator's words: what was seen, and what to write instead."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from sweeperd.config.files.toml import KeyPath
from sweeperd.config.models import HealthConfig
from sweeperd.config.values.durations import EXAMPLES
from sweeperd.config.values.wording import shown, suggestion

# What is said of a database's values that cannot be used. They are not shown, whatever they
# are: a password may stand in any of them by mistake. The reader of dsn shows none of it.
_SECRET: Final = {
    "password_file": "must be the absolute path of the file that holds the password",
    "password_credential": "must be the ID that LoadCredential= gives the password's file",
    "password_env": "must be the name of the environment variable that holds the password",
    "max_clock_skew": f"is not a duration; write text {EXAMPLES}",
    "max_replication_bytes": 'is not a size; write a whole number with its unit, such as "64MB"',
    "max_slot_bytes": 'is not a size; write a whole number with its unit, such as "64MB"',
}
_SHORT_SPAN: Final = re.compile(
    r"-?\d{0,6}(\.\d{1,3})? ?"
    r"(|m|ms|s|h|d|w|y|[kMGT]?B|(sec|second|min|minute|hour|day|week|month|year)s?)",
    re.IGNORECASE | re.ASCII,
)
_SMALL: Final = 1_000_000
_KINDS: Final = {
    "string_type": "text in quotes",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "a table",
    "tuple_type": 'a list such as ["a", "b"]',
}


def complaints(
    error: ValidationError, values: Mapping[str, Any], known: list[str], *, secret: bool = False
) -> Iterator[tuple[KeyPath, str]]:
    """Yield each faulty key with what is wrong with it.

    Args:
        error: What validation found.
        values: What was validated.
        known: The keys an operator may write.
        secret: Whether no value may be shown.
    """
    for fault in error.errors(include_url=False):
        key = tuple(str(part) for part in fault["loc"])
        value = _value(values, fault["loc"])
        choices = keys_of(HealthConfig) if key[0] == "health" and len(key) > 1 else known
        yield key, _words(fault, key[-1], value, choices, secret=secret)


def keys_of(model: type[BaseModel], without: tuple[str, ...] = ("name",)) -> list[str]:
    """Return the keys an operator may write into that model's table."""
    return [key for key in model.model_fields if key not in without]


def _words(  # noqa: PLR0911 - one sentence a kind of fault
    fault: ErrorDetails, key: str, value: object, known: list[str], *, secret: bool
) -> str:
    kind, message, limits = fault["type"], str(fault["msg"]), fault.get("ctx") or {}
    if kind == "missing":
        return "is required; it is missing"
    if kind == "extra_forbidden":
        return f"is not a known key; {suggestion(key, known)}"
    if kind == "value_error":
        if secret and key != "dsn" and not _is_harmless(value):
            return _SECRET.get(key, "cannot be used")
        return str(limits.get("error", message))
    if kind == "literal_error":
        choices = str(limits["expected"]).replace(" or ", ", ").replace("'", "").split(", ")
        near = suggestion(value, choices) if isinstance(value, str) else ""
        hint = f"; {near}" if near.startswith("did") else ""
        return f"{shown(value)} is not one of {', '.join(choices)}{hint}"
    seen = "it" if secret and not _is_harmless(value) else shown(value)
    if kind in _KINDS:
        return f"{seen} must be {_KINDS[kind]}"
    for name, words in (
        ("ge", "must be {} or more"),
        ("gt", "must be more than {}"),
        ("le", "must be {} or less"),
        ("lt", "must be less than {}"),
    ):
        if name in limits:
            return f"{seen} {words.format(limits[name])}"
    return f"{seen}: {message[:1].lower()}{message[1:]}"


def _is_harmless(value: object) -> bool:
    """Whether a database's value may be shown: a short number, alone or with one short unit."""
    if isinstance(value, str):
        return _SHORT_SPAN.fullmatch(value) is not None
    return isinstance(value, bool | int | float) and abs(value) < _SMALL


def _value(values: object, path: tuple[str | int, ...]) -> object:
    for part in path:
        if isinstance(values, Mapping):
            values = values.get(part)
        elif isinstance(values, list) and isinstance(part, int) and 0 <= part < len(values):
            values = values[part]
        else:
            return None
    return values
