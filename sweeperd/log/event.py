"""What every log event is: a name, a level, typed fields, and a plain sentence."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from typing import ClassVar, Literal, Self

import structlog

Level = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True)
class Event(ABC):
    """Something that happened, as the log tells it.

    A field whose default is None is left out of the log while it is None; each other is always
    there.
    """

    name: ClassVar[str]
    level: ClassVar[Level]

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

    @classmethod
    def from_fields(cls, logged: Mapping[str, object]) -> Self:
        """Return the event of a log line, to be shown; what the line leaves out is None."""
        return cls(**{field.name: logged.get(field.name, _default(field)) for field in fields(cls)})


Listener = Callable[[Event], None]


def emit(event: Event, *, error: BaseException | None = None) -> None:
    """Log an event, with the traceback of what caused it."""
    cause = {} if error is None else {"exc_info": error}
    write = getattr(structlog.stdlib.get_logger(), event.level)
    write(event.name, **event.as_fields(), **cause)


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
