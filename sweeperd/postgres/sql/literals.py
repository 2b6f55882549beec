"""Values as constants of an exact type, for messages that have no parameters.

A simple query carries its values in its text. Each constant here is read alike under every
setting: ``E'...'`` does not depend on ``standard_conforming_strings``, instants are Julian days
with a numeric zone, which neither DateStyle nor TimeZone touches, and every type names its
schema. The server makes a plain constant of each when it parses, as it does of a parameter.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from decimal import Decimal
from math import isfinite, isnan
from typing import Any, Final

from sweeperd.postgres.sql.expired import Args, builtin

_UTF8: Final = "UTF8"
_DAY: Final = 86_400_000_000  # microseconds
_EPOCH: Final = 2_451_545  # Julian day of 2000-01-01
_INSTANTS: Final = (-211_813_488_000_000_000, 9_223_371_331_200_000_000)  # the end is exclusive
_DAYS: Final = (-_EPOCH, 2_147_483_494 - _EPOCH)  # the end is exclusive
_INTEGER_BITS: Final = {"int2": 16, "int4": 32, "int8": 64}
_UNSIGNED: Final = 2**32
_LARGEST_OFFSET: Final = 2**16
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def quote_literal(text: str) -> str:
    """Return a text as a string constant, the same under each ``standard_conforming_strings``.

    Raises:
        ValueError: It has a NUL or half a surrogate pair, which no text of the server's has.
    """
    _check_characters(text)
    quoted = text.replace("'", "''")
    if "\\" not in text:
        return f"'{quoted}'"
    doubled = quoted.replace("\\", "\\\\")
    return f"E'{doubled}'"


def set_local(name: str, value: str) -> str:
    """Return a call that sets something for the rest of the transaction, for a SELECT."""
    return f"pg_catalog.set_config({quote_literal(name)}, {quote_literal(value)}, true)"


def text_of(value: object, type_name: str) -> str:
    """Return the text that a type reads as a value, under every setting.

    Raises:
        ValueError: The type cannot hold the value, or a message cannot carry it.
        TypeError: The value is of another kind, or constants of the type are not built.
    """
    name = builtin(type_name).removeprefix("pg_catalog.")
    element = name.removesuffix("[]")
    write = _WRITERS.get(element)
    if write is None:
        raise TypeError(f"no constants of type {type_name} are built")
    return write(value, element) if element == name else _array(value, element, write)


class Literals(Args):
    """Takes values as `Args` does, and returns constants; it stays empty.

    Args:
        client_encoding: The session's ``client_encoding``, as the server reports it.
    """

    def __init__(self, client_encoding: str = _UTF8) -> None:
        super().__init__()
        self._client_encoding = client_encoding

    def add(self, value: Any, type_name: str) -> str:  # noqa: ANN401 - as Args'
        """Return a value as a constant of its type.

        Raises:
            ValueError: The type cannot hold the value, or a message cannot carry it.
            TypeError: The value is of another kind, or constants of the type are not built.
        """
        qualified = builtin(type_name)
        if value is None:
            return f"NULL::{qualified}"
        text = text_of(value, type_name)
        self._check_carried(text)
        return f"E'{_escaped(text)}'::{qualified}"

    def _check_carried(self, text: str) -> None:
        """Refuse what another encoding may change on the way, as SJIS makes a backslash of a yen.

        Raises:
            ValueError: It may not arrive as it is.
        """
        if self._client_encoding.upper() != _UTF8 and not text.isascii():
            odd = next(character for character in text if not character.isascii())
            raise ValueError(
                f"the character U+{ord(odd):04X} cannot be sent safely under client_encoding "
                f"{self._client_encoding}; connect with client_encoding UTF8"
            )


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "''")


def _check_characters(text: str) -> None:
    if "\0" in text:
        raise ValueError("a text with a NUL character cannot be sent to PostgreSQL")
    lone = _SURROGATE.search(text)
    if lone:
        raise ValueError(
            f"a text with the lone surrogate U+{ord(lone.group()):04X} cannot be sent to PostgreSQL"
        )


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} takes a str, not {type(value).__name__}")
    _check_characters(value)
    return value


def _number(value: object, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} takes an int, not {type(value).__name__}")
    return value


def _within(value: object, name: str, low: int, end: int) -> int:
    number = _number(value, name)
    if not low <= number < end:
        raise ValueError(f"{number} is out of the range of {name}")
    return number


def _integer(value: object, name: str) -> str:
    half = 1 << (_INTEGER_BITS[name] - 1)
    return str(_within(value, name, -half, half))


def _oid(value: object, name: str) -> str:
    return str(_within(value, name, 0, _UNSIGNED))


def _numeric(value: object, name: str) -> str:
    if isinstance(value, Decimal):
        if value.is_nan():
            return "NaN"
        return str(value)
    return str(_number(value, name))


def _float8(value: object, name: str) -> str:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} takes a float, not {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(f"{value} is out of the range of {name}") from None
    if isnan(number):
        return "NaN"
    if not isfinite(number):
        return "Infinity" if number > 0 else "-Infinity"
    return repr(number)  # the shortest text that is read back as the same number


def _float4(value: object, name: str) -> str:
    text = _float8(value, name)
    number = float(text)
    if not isfinite(number):
        return text
    try:
        return repr(struct.unpack("<f", struct.pack("<f", number))[0])
    except OverflowError:
        raise ValueError(f"{value} is out of the range of {name}") from None


def _boolean(value: object, name: str) -> str:
    if not isinstance(value, bool):
        raise TypeError(f"{name} takes a bool, not {type(value).__name__}")
    return "true" if value else "false"


def _instant(value: object, name: str) -> str:
    """Write microseconds since 2000-01-01; the largest and the smallest int64 are infinities."""
    number = _number(value, name)
    if number in {2**63 - 1, -(2**63)}:
        return "infinity" if number > 0 else "-infinity"
    day, rest = divmod(_within(number, name, *_INSTANTS), _DAY)
    seconds, fraction = divmod(rest, 1_000_000)
    minutes, second = divmod(seconds, 60)
    zone = "+00" if name == "timestamptz" else ""
    clock = f"{minutes // 60:02}:{minutes % 60:02}:{second:02}.{fraction:06}"
    return f"J{day + _EPOCH} {clock}{zone}"


def _date(value: object, name: str) -> str:
    """Write days since 2000-01-01; the largest and the smallest int32 are infinities."""
    number = _number(value, name)
    if number in {2**31 - 1, -(2**31)}:
        return "infinity" if number > 0 else "-infinity"
    return f"J{_within(number, name, *_DAYS) + _EPOCH}"


def _tid(value: object, name: str) -> str:
    if not isinstance(value, tuple) or len(value) != 2:  # noqa: PLR2004 - block and offset
        raise TypeError(f"{name} takes a pair of int, not {type(value).__name__}")
    block = _within(value[0], name, 0, _UNSIGNED)
    return f"({block},{_within(value[1], name, 0, _LARGEST_OFFSET)})"


def _array(value: object, element: str, write: Callable[[object, str], str]) -> str:
    """Write a one-dimensional array; quoted, an element is never the null of ``array_nulls``."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise TypeError(f"{element}[] takes a sequence, not {type(value).__name__}")
    texts = (write(one, element).replace("\\", "\\\\").replace('"', '\\"') for one in value)
    return "{" + ",".join(f'"{text}"' for text in texts) + "}"


_WRITERS: Final[dict[str, Callable[[object, str], str]]] = {
    "int2": _integer,
    "int4": _integer,
    "int8": _integer,
    "oid": _oid,
    "numeric": _numeric,
    "float4": _float4,
    "float8": _float8,
    "bool": _boolean,
    "text": _text,
    "varchar": _text,
    "bpchar": _text,
    "name": _text,
    "timestamptz": _instant,
    "timestamp": _instant,
    "date": _date,
    "tid": _tid,
}
