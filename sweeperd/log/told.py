"""What needs a person is loud once for each change of state, and again after a day."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sweeperd.log.event import Event, emit

_REMINDER_SECONDS: Final = 86_400.0
_MOST_TOPICS: Final = 1_000  # of one sweep; then the oldest is forgotten


class Told:
    """Remembers what was said of one sweep since the daemon started.

    Args:
        elapsed: Returns seconds that never step.
    """

    def __init__(self, elapsed: Callable[[], float]) -> None:
        self._elapsed = elapsed
        self._said: dict[tuple[object, ...], tuple[tuple[object, ...], float]] = {}

    def is_news(self, event: Event) -> bool:
        """Take an event; tell whether its state has changed, or was last told a day ago."""
        if event.level == "debug":
            return True
        topic, news, now = event.topic(), event.news(), self._elapsed()
        said = self._said.get(topic)
        if said is not None and said[0] == news and now - said[1] < _REMINDER_SECONDS:
            return False
        self._said.pop(topic, None)
        self._said[topic] = news, now
        if len(self._said) > _MOST_TOPICS:
            del self._said[next(iter(self._said))]
        return True

    def emit(self, event: Event) -> None:
        """Log an event as loudly as it is news."""
        emit(event, is_news=self.is_news(event))
