"""Counts what must not go on for ever: turns of a run's loops in which nothing happens.

Each loop of a run has a measure that falls, and ends by it. A mistake in one would otherwise
block the whole process, or keep the server busy without result, and nobody would be told.
"""

from __future__ import annotations

from typing import Final

from sweeperd.sweep.outcome.report import RunEndError

# The longest chain of turns that is meant: a slice of 1,000,000 rows is halved 20 times, for each
# of a run's lanes. What never suspends keeps the other lanes from their turns.
_MOST_IDLE: Final = 10_000
# A batch that is rolled back has a cause that goes: its size falls to 1, its slices are tried one
# by one, or the run waits. 17 halvings, 35 cuts by density and 1 batch per slice are meant.
_MOST_FRUITLESS: Final = 10_000


class SpinError(RunEndError):
    """A loop of the run spins, by a bug: the whole run ends, not one leaf."""


class Turns:
    """What all loops of one run have done since something last happened.

    Args:
        most_idle: Turns without a statement or a wait that are taken for a bug.
        most_fruitless: Rolled-back batches of one lane without a wait that are.
    """

    def __init__(self, most_idle: int = _MOST_IDLE, most_fruitless: int = _MOST_FRUITLESS) -> None:
        self._most_idle = most_idle
        self._most_fruitless = most_fruitless
        self._idle = 0
        self._fruitless: dict[str, int] = {}

    def turn(self, name: str, position: object = None) -> None:
        """Take the beginning of one turn of a loop.

        Args:
            name: The loop's lane, or what the loop does.
            position: Where it is, for the report.

        Raises:
            RunEndError: Too many went by without a statement or a wait.
        """
        self._idle += 1
        if self._idle > self._most_idle:
            raise _bug(f"{self._most_idle} turns without a statement or a wait", name, position)

    def statement(self) -> None:
        """Take a statement that is about to be sent."""
        self._idle = 0

    def wait(self) -> None:
        """Take a wait."""
        self._idle = 0
        self._fruitless.clear()

    def rolled_back(self, name: str, position: object) -> None:
        """Take a batch of a lane that did nothing.

        Raises:
            RunEndError: Too many did one after the other, without a wait between them.
        """
        self._fruitless[name] = self._fruitless.get(name, 0) + 1
        if self._fruitless[name] > self._most_fruitless:
            raise _bug(f"{self._most_fruitless} batches were rolled back in a row", name, position)

    def moved(self, name: str, before: object, after: object) -> None:
        """Take where a committed batch of a lane began and ended.

        Raises:
            RunEndError: The lane stayed where it was: the same batch would be repeated for ever.
        """
        self._fruitless.pop(name, None)
        if before == after:
            raise _bug("a committed batch did not move its lane", name, after)


def _bug(what: str, name: str, position: object) -> SpinError:
    return SpinError("failed", f"bug in sweeperd: {what} (lane {name}, position {position})")
