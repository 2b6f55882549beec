"""Whether sampled numbers can be times in the configured unit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

# Between these a number is believable as the time of a living application's row.
_PLAUSIBLE_FROM: Final = datetime(1990, 1, 1, tzinfo=UTC).timestamp()


_PLAUSIBLE_TO: Final = datetime(2200, 1, 1, tzinfo=UTC).timestamp()


# A value that is a believable time only in another unit proves a wrong unit.
_OTHER_FROM: Final = datetime(2000, 1, 1, tzinfo=UTC).timestamp()


_OTHER_TO: Final = datetime(2100, 1, 1, tzinfo=UTC).timestamp()


_PER_SECOND: Final = {"epoch_s": 1, "epoch_ms": 1_000, "epoch_us": 1_000_000}


_SENTINEL_ENDS: Final = frozenset({2**15 - 1, 2**31 - 1, 2**63 - 1})


def wrong_unit(unit: str, values: Sequence[Decimal]) -> str | None:
    """Return why sampled numbers are not times in the unit; None when they can be.

    A number that is a believable time only in another unit stops at once, for it may be a
    live row; numbers that are no time in any unit stop when they are the most.
    """
    if unit not in _PER_SECOND:
        return None
    scale = _PER_SECOND[unit]
    numbers = [float(v) for v in values if _may_be_time(v)]
    odd = [n for n in numbers if not _PLAUSIBLE_FROM <= n / scale < _PLAUSIBLE_TO]
    for other, other_scale in _PER_SECOND.items():
        alien = [
            n for n in odd if _OTHER_FROM <= n / other_scale < _OTHER_TO and other_scale < scale
        ]
        far = [n for n in odd if _OTHER_FROM <= n / other_scale < _OTHER_TO and other_scale > scale]
        if alien or len(far) * 2 > len(numbers):
            example = (alien or far)[0]
            return (
                f'values such as {example:.0f} are no times as unit = "{unit}"; '
                f'they are as unit = "{other}"'
            )
    if numbers and len(odd) * 2 > len(numbers):
        return f'values such as {odd[0]:.0f} are not plausible as times in unit = "{unit}"'
    return None


def _may_be_time(value: Decimal) -> bool:
    """Whether a value can be a time at all: sentinels are left out."""
    return value.is_finite() and value > 0 and value not in _SENTINEL_ENDS
