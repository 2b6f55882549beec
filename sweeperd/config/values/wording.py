"""How values of the configuration are shown in messages: short, on one line, quoted."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from sweeperd.log.safe_text import bounded, redact

_LONGEST: Final = 60
_MOST_NAMES: Final = 60
_FIRST_LONG: Final = 0x10000

ValueT = TypeVar("ValueT")


def shown(value: object) -> str:
    """Return the value as TOML would write it, cut to one short line.

    Nothing in it can break a line or a terminal: control characters are escaped. A password in
    what looks like a connection string is hidden, for it may stand in any key by mistake.
    """
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list | tuple):
        return _cut("[" + ", ".join(shown(item) for item in value[:_LONGEST]) + "]")
    if isinstance(value, str):
        return quoted(_cut(redact(bounded(value))))
    if isinstance(value, bool):
        return "true" if value else "false"
    try:
        return _cut(str(value))
    except ValueError:  # Python writes no number of more than 4300 digits
        return "a number of thousands of digits"


def quoted(text: str) -> str:
    """Return the text as a whole TOML string on one line."""
    escaped = json.dumps(text, ensure_ascii=False)
    return "".join(
        character if character.isprintable() else _escape(character) for character in escaped
    )


def _escape(character: str) -> str:
    """TOML escapes whole code points, not halves of them as JSON does."""
    code = ord(character)
    return f"\\u{code:04x}" if code < _FIRST_LONG else f"\\U{code:08x}"


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return a question that names the nearest known name, or the list of all."""
    names = list(known)
    short = name[:_LONGEST].lower().replace("-", "_")
    near = difflib.get_close_matches(short, names, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]}?"
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"known are {', '.join(names[:_MOST_NAMES])}{more}" if names else "there is none"


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
