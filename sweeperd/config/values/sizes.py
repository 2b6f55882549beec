"""Sizes in bytes, as PostgreSQL's own settings write them: ``64MB``."""

from __future__ import annotations

import re
from typing import Final

from sweeperd.config.values.wording import blaming

LARGEST: Final = 2**63 - 1

_BYTES: Final = {"B": 1, "kB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40}
_SIZE: Final = re.compile(r"(\d{1,20})\s*([A-Za-z]*)", re.ASCII)


def parse_size(text: str) -> int:
    """Read a size such as ``64MB``; the units are multiples of 1024.

    Args:
        text: A whole number with one of B, kB, MB, GB, TB.

    Returns:
        Bytes.

    Raises:
        ValueError: It is not such a size; the text shows it and says what to write instead.
    """
    return blaming(text, _parse)


def _parse(text: str) -> int:
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError('is not a size; write a whole number with B, kB, MB, GB or TB: "64MB"')
    number, unit = found.groups()
    if not unit:
        raise ValueError(f'has no unit; write "{number}B" for bytes, or use kB, MB, GB, TB')
    near = next((known for known in _BYTES if known.lower() == unit.lower()), None)
    if near is None:
        raise ValueError(f"uses the unknown unit {unit!r}; the units are B, kB, MB, GB, TB")
    size = int(number) * _BYTES[near]
    if size > LARGEST:
        raise ValueError("is too large; the largest is 8388607TB")
    return size


def format_size(size: int) -> str:
    """Write bytes with the largest unit that divides them, so that it reads back exactly."""
    for unit in ("TB", "GB", "MB", "kB"):
        if size and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return f"{size}B"
