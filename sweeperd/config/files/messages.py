"""A value's fault in an operator's words: what was seen, and what to write instead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from sweeperd.config.files.toml import KeyPath
from sweeperd.config.values.wording import shown, suggestion

# a connection string may hold a password: its own reader says what is wrong without it
_SECRET: Final = frozenset({"dsn"})
_KINDS: Final = {
    "string_type": "text in quotes",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "a table",
    "tuple_type": 'a list such as ["a", "b"]',
}


def complaints(
    error: ValidationError, values: Mapping[str, Any], known: list[str]
) -> Iterator[tuple[KeyPath, str]]:
    """Yield each faulty key with what is wrong with it.

    Args:
        error: What validation found.
        values: What was validated.
        known: The keys an operator may write.
    """
    for fault in error.errors(include_url=False):
        key = tuple(str(part) for part in fault["loc"])
        value = _value(values, fault["loc"])
        yield key, _words(fault, key[-1], value, known)


def keys_of(model: type[BaseModel], without: tuple[str, ...] = ("name",)) -> list[str]:
    """Return the keys an operator may write into that model's table."""
    return [key for key in model.model_fields if key not in without]


def _words(  # noqa: PLR0911 - one sentence a kind of fault
    fault: ErrorDetails, key: str, value: object, known: list[str]
) -> str:
    kind, message, limits = fault["type"], str(fault["msg"]), fault.get("ctx") or {}
    if kind == "missing":
        return "is required; it is missing"
    if kind == "extra_forbidden":
        return f"is no known key; {suggestion(key, known)}"
    if kind == "value_error":
        return str(limits.get("error", message))
    if kind == "literal_error":
        choices = str(limits["expected"]).replace(" or ", ", ").replace("'", "").split(", ")
        near = suggestion(value, choices) if isinstance(value, str) else ""
        hint = f"; {near}" if near.startswith("did") else ""
        return f"{shown(value)} is not one of {', '.join(choices)}{hint}"
    seen = "it" if key in _SECRET else shown(value)
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


def _value(values: Any, path: tuple[Any, ...]) -> object:  # noqa: ANN401 - any TOML
    for part in path:
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            return None
    return values
