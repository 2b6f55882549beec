"""What a batch costs: a fixed part and a part for each unit, both estimated from what was seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# What an older batch still weighs when a newer one is seen.
_MEMORY: Final = 0.6
# Sizes closer together than this share of them tell nothing of the two parts.
_LEAST_SPREAD: Final = 0.02
_LEAST_SECONDS: Final = 1e-9


@dataclass
class CostModel:
    """Seconds of a batch of n units as a + b n, by least squares that forget.

    Before sizes differed, all of the cost is taken for the units': so a first batch that was slow
    makes the next one smaller, which then tells the two parts apart.
    """

    _weight: float = 0.0
    _units: float = 0.0
    _seconds: float = 0.0
    _units_squared: float = 0.0
    _product: float = 0.0

    def take(self, units: int, seconds: float) -> None:
        """Take what a batch of ``units`` cost."""
        for name, value in (
            ("_weight", 1.0),
            ("_units", float(units)),
            ("_seconds", seconds),
            ("_units_squared", float(units) ** 2),
            ("_product", units * seconds),
        ):
            setattr(self, name, getattr(self, name) * _MEMORY + value)

    @property
    def fixed(self) -> float:
        """Seconds that any batch costs."""
        return max((self._seconds - self.per_unit * self._units) / max(self._weight, 1.0), 0.0)

    @property
    def per_unit(self) -> float:
        """Seconds that each unit costs."""
        if not self._units:
            return _LEAST_SECONDS
        proportional = self._seconds / self._units
        spread = self._weight * self._units_squared - self._units**2
        if spread <= _LEAST_SPREAD * self._units**2:
            return max(proportional, _LEAST_SECONDS)
        slope = (self._weight * self._product - self._units * self._seconds) / spread
        return min(max(slope, _LEAST_SECONDS), max(proportional, _LEAST_SECONDS))

    def units_in(self, seconds: float) -> float:
        """Return how many units a batch of that duration has.

        Where the fixed part alone is longer than half of it, the units take as long as that part:
        smaller batches would cost more than they save.
        """
        return max(seconds - self.fixed, self.fixed) / self.per_unit

    def forget(self) -> None:
        """Begin again: what was seen is no measure of what comes."""
        self._weight = self._units = self._seconds = 0.0
        self._units_squared = self._product = 0.0
