"""How values of the configuration are shown in messages: short, on one line, quoted."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

_LONGEST: Final = 60

ValueT = TypeVar("ValueT")


def shown(value: object) -> str:
    """Return the value as TOML would write it, cut to one short line.

    Nothing in it can break a line or a terminal: control characters are escaped.
    """
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list | tuple):
        return _cut("[" + ", ".join(shown(item) for item in value) + "]")
    if isinstance(value, str):
        short = _cut(value)
        return json.dumps(short, ensure_ascii=not short.isprintable())
    if isinstance(value, bool):
        return "true" if value else "false"
    return _cut(str(value))


def quoted(text: str) -> str:
    """Return the text as a whole TOML string on one line."""
    escaped = json.dumps(text, ensure_ascii=not text.isprintable())
    return escaped.replace("\x7f", "\\u007f")


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return a question that names the nearest known name, or the list of all."""
    names = list(known)
    near = difflib.get_close_matches(name.lower().replace("-", "_"), names, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]}?"
    return f"known are {', '.join(names)}" if names else "there is none"


def blaming(text: str, read: Callable[[str], ValueT]) -> ValueT:
    """Read a text; a ValueError is told with the text in front of it.

    Raises:
        ValueError: What is wrong with which text.
    """
    try:
        return read(text)
    except ValueError as error:
        raise ValueError(f"{shown(text)} {error}") from None


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
