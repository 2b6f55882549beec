"""The types of values in the configuration: how each is read from TOML and checked.

A reader turns text into its value and leaves everything else to the type check; its ValueError
is the message an operator sees, so it shows the value and says what to write instead.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, InstanceOf, WithJsonSchema

from sweeperd.config.values.dsn import check_dsn
from sweeperd.config.values.durations import LONGEST, format_duration, parse_duration
from sweeperd.config.values.sizes import parse_size
from sweeperd.config.values.sql_expression import check_expression
from sweeperd.config.values.window import Window, find_zone
from sweeperd.config.values.wording import shown

NAME: Final = re.compile(r"[a-z0-9_-]{1,40}", re.ASCII)
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_CREDENTIAL: Final = re.compile(r"[A-Za-z0-9_.@-]{1,255}", re.ASCII)
_LISTEN: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]*):(\d{1,5})", re.ASCII)
_SPAN: Final = r"^\s*(\d+(\.\d+)?\s*(ms|s|min|h|d|w)\s*)+$"
# lock_timeout is a whole number of milliseconds to the server, and 0 of them means for ever
_SHORTEST: Final = timedelta(milliseconds=1)
_LONGEST_SERVER_TIMEOUT: Final = timedelta(milliseconds=2**31 - 1)
_HIGHEST_PORT: Final = 65535


def _from_text(read: Callable[[str], Any], example: str) -> Callable[[object], Any]:
    """Return a reader for text that insists on text; values already read pass."""

    def reader(value: object) -> object:
        if isinstance(value, str):
            return read(value)
        if isinstance(value, bool | int | float | list | dict):
            raise ValueError(  # noqa: TRY004 - pydantic turns only ValueError into a complaint
                f"{shown(value)} must be text in quotes, {example}"
            )
        return value

    return reader


def _duration(value: object) -> object:
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, timedelta):
        return value
    is_number = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    if is_number and not isinstance(value, bool):
        seen = shown(value)
        raise ValueError(
            f'{seen} is a bare number; write it in quotes with its unit: "{seen}s" for'
            " seconds (units are ms, s, min, h, d, w)"
        )
    raise ValueError(f'{shown(value)} is not a duration; write text such as "30s" or "6h"')


def _not_negative(value: timedelta) -> timedelta:
    if value < timedelta(0):
        raise ValueError("a duration is 0s or more")
    return value


def _above_zero(value: timedelta) -> timedelta:
    if value < _SHORTEST:
        raise ValueError(f'"{format_duration(value)}" is too short; it must be 1ms or more')
    return value


def _server_timeout(value: timedelta) -> timedelta:
    if value > _LONGEST_SERVER_TIMEOUT:
        raise ValueError(f'"{format_duration(value)}" is too long; the server allows 24d at most')
    return value


def _dsn(value: str) -> str:
    problem = check_dsn(value)
    if problem is not None:
        raise ValueError(problem)
    return value


def _expression(value: str) -> str:
    problem = check_expression(value)
    if problem is not None:
        raise ValueError(f"{shown(value)} {problem}")
    return value


def _question(value: str) -> str:
    """Check an expression that may be a SELECT: each bracket of its own must be closed."""
    problem = check_expression(f"([{value}])")
    if problem is not None:
        raise ValueError(f"{shown(value)} {problem}")
    return value


def _zone(value: str) -> str:
    find_zone(value)
    return value


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("is empty; write a name or leave the key out")
    return value


def _absolute(value: str) -> Path:
    if not value.startswith("/"):
        raise ValueError(f"{shown(value)} is not an absolute path; begin it with /")
    if "\0" in value:
        raise ValueError(f"{shown(value)} holds a NUL character, which no path can")
    return Path(value)


def _absolute_text(value: str) -> str:
    return str(_absolute(value))


def _variable(value: str) -> str:
    if _VARIABLE.fullmatch(value) is None:
        raise ValueError(
            f"{shown(value)} is not the name of an environment variable; "
            'write one such as "PGPASSWORD"'
        )
    return value


def _credential(value: str) -> str:
    if _CREDENTIAL.fullmatch(value) is None or value in {".", ".."}:
        raise ValueError(
            f"{shown(value)} is not the name of a credential; "
            "write the ID that LoadCredential= gives it"
        )
    return value


def _listen(value: str) -> str:
    found = _LISTEN.fullmatch(value)
    if found is None or not 0 < int(found.group(2)) <= _HIGHEST_PORT:
        raise ValueError(f'{shown(value)} is not an address; write host:port, "127.0.0.1:9187"')
    return value


def _jump(value: object) -> object:
    if value == "off":
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and 1 < value < math.inf:
        return float(value)
    raise ValueError(f'{shown(value)} must be a number above 1, or "off"')


def _names(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


Duration = Annotated[
    timedelta,
    Field(le=LONGEST),
    AfterValidator(_not_negative),
    BeforeValidator(_duration),
    WithJsonSchema({"type": "string", "pattern": _SPAN}),
]
PositiveDuration = Annotated[Duration, AfterValidator(_above_zero)]
ServerTimeout = Annotated[PositiveDuration, AfterValidator(_server_timeout)]
Size = Annotated[
    int,
    Field(ge=1),
    BeforeValidator(
        lambda value: (
            value
            if isinstance(value, int) and not isinstance(value, bool)
            else _from_text(parse_size, '"64MB"')(value)
        )
    ),
    WithJsonSchema({"type": "string", "pattern": r"^\d+\s*([kKMGT]?B)$"}),
]
Dsn = Annotated[str, AfterValidator(_dsn)]
Expression = Annotated[str, AfterValidator(_expression)]
Question = Annotated[str, AfterValidator(_not_blank), AfterValidator(_question)]
Zone = Annotated[str, AfterValidator(_zone)]
NamedText = Annotated[str, AfterValidator(_not_blank)]
AbsolutePath = Annotated[
    Path,
    BeforeValidator(_from_text(_absolute, '"/run/sweeperd/socket"')),
    WithJsonSchema({"type": "string", "pattern": "^/"}),
]
PathText = Annotated[str, AfterValidator(_absolute_text)]
Variable = Annotated[str, AfterValidator(_variable)]
Credential = Annotated[str, AfterValidator(_credential)]
Listen = Annotated[str, AfterValidator(_listen)]
Names = Annotated[tuple[NamedText, ...], BeforeValidator(_names)]
Jump = Annotated[
    float | Literal["off"],
    BeforeValidator(_jump),
    WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 1}, {"const": "off"}]}),
]
Hours = Annotated[
    InstanceOf[Window],
    BeforeValidator(_from_text(Window.parse, '"01:00-05:00 Europe/Berlin"')),
    WithJsonSchema({"type": "string", "examples": ["01:00-05:00 Europe/Berlin"]}),
]
