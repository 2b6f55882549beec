"""What the operator's `table` and `column` can mean: as SQL reads them, or literally."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_PART = r'(?:"(?:[^"]|"")+"|[^\W\d][\w$]*)'
_SQL_NAME = re.compile(rf"\s*({_PART})(?:\s*\.\s*({_PART}))?\s*")


def _fold(part: str) -> str:
    if part.startswith('"'):
        return part[1:-1].replace('""', '"')
    # PostgreSQL folds ASCII only in a multi-byte encoding (downcase_identifier in scansup.c)
    return "".join(c.lower() if c.isascii() else c for c in part)


def table_readings(text: str) -> list[tuple[str | None, str]]:
    """Return (schema, name) readings, SQL's first; a schema of None is the search path's."""
    readings: list[tuple[str | None, str]] = []
    if match := _SQL_NAME.fullmatch(text):
        first, second = match.groups()
        readings.append((_fold(first), _fold(second)) if second else (None, _fold(first)))
    schema, dot, name = text.partition(".")
    if dot:
        readings.append((schema, name))
    readings.append((None, text))
    return list(dict.fromkeys(readings))


def column_readings(text: str) -> list[str]:
    """Return the names a column may have, SQL's reading first."""
    match = _SQL_NAME.fullmatch(text)
    readings = [_fold(match[1])] if match and not match[2] else []
    return list(dict.fromkeys([*readings, text]))


def near(word: str, names: Iterable[str]) -> list[str]:
    """Return up to three names that look like the word."""
    known = {name.lower(): name for name in names}
    found = difflib.get_close_matches(word.lower().strip('"'), known, n=3, cutoff=0.6)
    return [known[name] for name in found]
