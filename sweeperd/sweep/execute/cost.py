"""What a batch costs: a fixed part and a part for each unit, both estimated from what was seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# What an older batch still weighs when a newer one is seen.
_MEMORY: Final = 0.7
# How much sizes must differ, as the square of their coefficient of variation, to tell the two
# parts apart as well as what was known before does. Times vary by a tenth and more: sizes that
# differ by a twentieth would tell of nothing but that.
_TELLING_SPREAD: Final = 0.1
_LEAST_SECONDS: Final = 1e-9


@dataclass(frozen=True)
class CostModel:
    """Seconds of a batch of n units as a + b n, by least squares that forget.

    Where sizes were alike, they tell how dear batches are, but not why: both parts change in
    the proportion that they were known in. At first all of the cost is taken for the units'.

    Attributes:
        fixed: Seconds that any batch costs.
        per_unit: Seconds that each unit costs; above 0.
        is_told_apart: Whether sizes differed enough to tell one part from the other.
        weight: Batches seen, the older the less they count; this and what follows are sums.
        units: Their mean size.
        seconds: Their mean cost.
        variance: Of the sizes.
        covariance: Of sizes and costs.
    """

    fixed: float = 0.0
    per_unit: float = _LEAST_SECONDS
    is_told_apart: bool = False
    weight: float = 0.0
    units: float = 0.0
    seconds: float = 0.0
    variance: float = 0.0
    covariance: float = 0.0

    def take(self, units: int, seconds: float) -> CostModel:
        """Return what is known after a batch of ``units``."""
        weight = self.weight * _MEMORY + 1.0
        share = 1.0 / weight
        more_units, more_seconds = units - self.units, seconds - self.seconds
        mean_units = self.units + share * more_units
        mean_seconds = self.seconds + share * more_seconds
        variance = (1.0 - share) * (self.variance + share * more_units**2)
        covariance = (1.0 - share) * (self.covariance + share * more_units * more_seconds)
        # Least squares, drawn towards the slope that was known as if sizes had told of it.
        doubt = _TELLING_SPREAD * mean_units**2
        all_units = max(mean_seconds / mean_units, _LEAST_SECONDS)
        slope = (covariance + doubt * self._known_slope(mean_units, mean_seconds)) / (
            variance + doubt
        )
        slope = min(max(slope, _LEAST_SECONDS), all_units)
        return CostModel(
            fixed=max(mean_seconds - slope * mean_units, 0.0),
            per_unit=slope,
            is_told_apart=self.is_told_apart or variance >= doubt,
            weight=weight,
            units=mean_units,
            seconds=mean_seconds,
            variance=variance,
            covariance=covariance,
        )

    def _known_slope(self, units: float, seconds: float) -> float:
        """Return the slope, if both parts changed alike since it was known."""
        if not self.weight:
            return seconds / units
        return self.per_unit * seconds / max(self.fixed + self.per_unit * units, _LEAST_SECONDS)

    def units_in(self, target: float, most: float) -> float:
        """Return how many units a batch should have.

        It takes ``target`` seconds; but where most of that is the fixed part, the units take as
        long as that part, for smaller batches would cost more than they save, and never more than
        half of what is left of ``most``.

        Args:
            target: Seconds a batch should take.
            most: Seconds after which it would be cancelled.
        """
        worth = min(self.fixed, (most - self.fixed) / 2)
        return max(target - self.fixed, worth, 0.0) / self.per_unit
