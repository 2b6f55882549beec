"""A setting's time as PostgreSQL reads it."""

from __future__ import annotations

import re
from typing import Final

_MILLISECONDS: Final = {
    "us": 0.001,
    "ms": 1.0,
    "s": 1_000.0,
    "min": 60_000.0,
    "h": 3_600_000.0,
    "d": 86_400_000.0,
    "": 1.0,
}
_TIME: Final = re.compile(r"\s*\+?(\d++(?:\.\d*+)?|\.\d++)\s*+(us|ms|s|min|h|d|)\s*+", re.ASCII)
_OCTAL: Final = re.compile(r"\s*\+?0\d", re.ASCII)


def milliseconds(text: str) -> float | None:
    """Return the milliseconds of a setting whose unit is ms, as ``ALTER ROLE ... SET`` keeps it.

    None for what is written in a way that nobody uses (octal, hexadecimal, with an exponent).
    """
    found = _TIME.fullmatch(text)
    if found is None or _OCTAL.match(text):
        return None
    return float(found[1]) * _MILLISECONDS[found[2]]
