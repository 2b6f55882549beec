"""What no value of a configuration is, whatever its key: endless, or with a NUL in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sweeperd.config.files.toml import KeyPath

_LONGEST_TEXT: Final = 65_536
_MOST_ITEMS: Final = 10_000


def oversized(value: object, key: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    """Yield each key whose value cannot be used, with the reason; files are not deep by now."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from oversized(inner, (*key, str(name)))
    elif isinstance(value, list):
        if len(value) > _MOST_ITEMS:
            yield key, f"has more than {_MOST_ITEMS:,} items"
        for inner in value[:_MOST_ITEMS]:
            yield from oversized(inner, key)
    elif isinstance(value, str):
        if "\0" in value:
            yield key, "contains a NUL character; take it out"
        elif len(value) > _LONGEST_TEXT:
            yield key, f"is longer than {_LONGEST_TEXT:,} characters; shorten it"
