"""What every log event is: a name, a level, typed fields, and a plain sentence."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, Field, dataclass, fields
from typing import ClassVar, Literal, Self

import structlog

Level = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True)
class Event(ABC):
    """Something that happened, as the log tells it.

    A field whose default is None is left out of the log while it is None; each other is always
    there.

    Attributes:
        name: What the log calls it.
        level: How much it matters: from warning on a person should look.
        message_id: By which the journal's catalog explains it, sd_journal_print(3). It never
            changes; ``systemd-id128 new`` makes one for a new event.
    """

    name: ClassVar[str]
    level: ClassVar[Level]
    message_id: ClassVar[str]

    @abstractmethod
    def sentence(self) -> str:
        """Return what ``journalctl -u sweeperd`` shows a person."""

    def as_fields(self) -> dict[str, object]:
        """Return the fields as the log has them, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        optional = {field.name for field in fields(self) if field.default is None}
        return {
            name: value
            for name, value in values.items()
            if value is not None or name not in optional
        }

    def topic(self) -> tuple[object, ...]:
        """Return what the event is news of; two events of one topic replace each other."""
        return self.news()

    def news(self) -> tuple[object, ...]:
        """Return what makes it news: its name and texts, for counts and times vary."""
        texts = [getattr(self, field.name) for field in fields(self)]
        return (self.name, *(text for text in texts if isinstance(text, str)))

    @classmethod
    def from_fields(cls, logged: Mapping[str, object]) -> Self:
        """Return the event of a log line, to be shown; what the line leaves out is None."""
        return cls(**{field.name: logged.get(field.name, _default(field)) for field in fields(cls)})


Listener = Callable[[Event], None]
_observers: list[Listener] = []


def emit(event: Event, *, error: BaseException | None = None, is_news: bool = True) -> None:
    """Log an event, and tell those who observe.

    Args:
        event: What happened.
        error: What caused it; its traceback is logged, too.
        is_news: False where a person knows already: the level is info at most.
    """
    cause = {} if error is None else {"exc_info": error}
    level = event.level if is_news or event.level == "debug" else "info"
    write = getattr(structlog.stdlib.get_logger(), level)
    write(event.name, **event.as_fields(), **cause)
    for observer in tuple(_observers):
        observer(event)


@contextmanager
def observed(listener: Listener) -> Iterator[None]:
    """Let a listener hear each event of this process, whatever level the log shows.

    Args:
        listener: Must neither wait nor fail; called in the thread of the event.
    """
    _observers.append(listener)
    try:
        yield
    finally:
        _observers.remove(listener)


def counted(number: int | None, noun: str) -> str:
    """Return a number with its noun in the right form: ``1 row``, ``2 rows``."""
    if number == 1:
        return f"1 {noun}"
    plural = f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return f"{number or 0} {plural}"


def because(reason: str | None) -> str:
    """Return a reason as the end of a sentence; nothing when there is none."""
    return f": {reason}" if reason else ""


def _default(field: Field[object]) -> object:
    return None if field.default is MISSING else field.default
