"""One file of the configuration: its text, its TOML, and the line of each key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import tomli

from sweeperd.config.files.statements import Statement, TooLargeError, statements
from sweeperd.config.values.secret_places import HIDDEN
from sweeperd.config.values.wording import shown
from sweeperd.errors import Problem
from sweeperd.host.permissions import read_file
from sweeperd.log.safe_text import bounded

KeyPath = tuple[str, ...]
_BARE: Final = re.compile(r"[A-Za-z0-9_-]{1,60}", re.ASCII)
_PLAIN_KEY: Final = re.compile(r"[a-z_]{1,40}", re.ASCII)
_QUOTED_KEY: Final = re.compile(r" \([^)]*\)?| '[^']{4,}'?")
_LONGEST_REASON: Final = 200
_LARGEST: Final = 4 * 2**20


class UnreadableError(ValueError):
    """The file cannot be used at all.

    Args:
        problem: What is wrong and where.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


@dataclass(frozen=True)
class Source:
    """A file that is valid TOML.

    Attributes:
        path: Where it is.
        tables: Its content.
        lines: The line of each table header and each key, from 1.
    """

    path: Path
    tables: dict[str, Any]
    lines: Mapping[KeyPath, int] = field(repr=False)

    def place(self, key: KeyPath) -> str:
        """Return ``file:line`` of the key, or of the nearest table around it."""
        for length in range(len(key), 0, -1):
            line = self.lines.get(key[:length])
            if line is not None:
                return f"{self.path}:{line}"
        return str(self.path)


def read_source(path: Path) -> Source:
    """Read a file.

    Raises:
        UnreadableError: It is missing, unreadable, not UTF-8, too large or too deep, or no TOML.
    """
    text = _text(path)
    try:
        parts = list(statements(text))
        tables = tomli.loads(text)
    except TooLargeError as error:
        raise UnreadableError(Problem(f"{path}:{error.line}", "", str(error))) from None
    except tomli.TOMLDecodeError as error:
        raise UnreadableError(_syntax(path, text, parts, error)) from None
    except RecursionError:
        raise UnreadableError(Problem(str(path), "", "nests too deeply to be read")) from None
    except ValueError:
        # a number of thousands of digits, which Python refuses to read
        place = f"{path}:{_first_unreadable(parts)}"
        raise UnreadableError(
            Problem(place, "", "holds a number that is too long to be read; write a shorter one")
        ) from None
    return Source(path, tables, _lines(parts))


def dotted(key: KeyPath) -> str:
    """Return a key as TOML writes it; below a database only what looks like a key is shown."""
    parts = [part if _BARE.fullmatch(part) else shown(part) for part in key]
    if key[:1] == ("databases",):
        parts[2:] = [part if _PLAIN_KEY.fullmatch(part) else HIDDEN for part in key[2:]]
    return ".".join(parts)


def _text(path: Path) -> str:
    try:
        content = read_file(path, _LARGEST)
    except FileNotFoundError:
        raise UnreadableError(
            Problem(str(path), "", "there is no such file; write it, or name another with --config")
        ) from None
    except OSError as error:
        cure = (
            "let the user sweeperd runs as read it"
            if isinstance(error, PermissionError)
            else "name a file"
        )
        reason = error.strerror or type(error).__name__
        raise UnreadableError(Problem(str(path), "", f"cannot be read: {reason}; {cure}")) from None
    except ValueError:  # a NUL in the path
        raise UnreadableError(Problem(shown(str(path)), "", "cannot be a file's name")) from None
    if len(content) > _LARGEST:
        raise UnreadableError(
            Problem(str(path), "", "is larger than 4 MB: that is not a configuration")
        )
    try:
        text = content.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UnreadableError(
            Problem(
                f"{path}:{line}",
                "",
                f"is not UTF-8 (byte 0x{content[error.start]:02x}); save the file as UTF-8",
            )
        ) from None
    return text.replace("\r\n", "\n")


def _syntax(path: Path, text: str, parts: list[Statement], error: tomli.TOMLDecodeError) -> Problem:
    line = error.lineno
    place = f"{path}:{line}"
    if "overwrite" in error.msg or "twice" in error.msg or "Duplicate" in error.msg:
        key, first = _given_twice(parts, line)
        if key:
            message = f"is given twice, first in line {first}; keep one"
            return Problem(place, dotted(key), message)
    seen = text.splitlines()[line - 1 : line]
    what = error.msg[:1].lower() + error.msg[1:]
    # what stands in the line is not shown, nor the keys that the parser quotes: it may be half
    # a password
    what = _QUOTED_KEY.sub("", bounded(what, _LONGEST_REASON))
    hint = "" if seen and seen[0].strip() else " (the line is empty)"
    return Problem(place, "", f"is not valid TOML at column {error.colno}: {what}{hint}")


def _given_twice(parts: list[Statement], line: int) -> tuple[KeyPath, int]:
    """Return the key that a line gives again, and the line of its first."""
    seen: dict[KeyPath, int] = {}
    for number, keys in _keys_by_line(parts):
        for key, new in keys:
            if key in seen and number >= line - 1 and new:
                return key, seen[key]
            seen.setdefault(key, number)
    return (), 0


def _first_unreadable(parts: list[Statement]) -> int:
    for part in parts:
        try:
            tomli.loads(part.text)
        except tomli.TOMLDecodeError:
            continue
        except ValueError:
            return part.line
    return 1


def _lines(parts: list[Statement]) -> dict[KeyPath, int]:
    lines: dict[KeyPath, int] = {}
    for number, keys in _keys_by_line(parts):
        for key, _ in keys:
            lines.setdefault(key, number)
    return lines


def _keys_by_line(parts: list[Statement]) -> Iterator[tuple[int, list[tuple[KeyPath, bool]]]]:
    """Yield each statement's first line and its keys, each with whether it is defined there."""
    table: KeyPath = ()
    for part in parts:
        try:
            parsed = tomli.loads(part.text)
        except (ValueError, RecursionError):
            continue
        if part.text.startswith("["):
            table = _header(parsed)
            heads = (table[: length + 1] for length in range(len(table)))
            yield part.line, [(head, head == table) for head in heads]
        elif parsed:
            yield part.line, [((*table, *key), new) for key, new in _keys(parsed)]


def _header(parsed: dict[str, Any]) -> KeyPath:
    path: list[str] = []
    inner: Any = parsed
    while isinstance(inner, dict) and inner:
        name, inner = next(iter(inner.items()))
        path.append(name)
    return tuple(path)


def _keys(parsed: dict[str, Any], prefix: KeyPath = ()) -> Iterator[tuple[KeyPath, bool]]:
    for name, value in parsed.items():
        inner = isinstance(value, dict) and bool(value)
        yield (*prefix, name), not inner
        if inner:
            yield from _keys(value, (*prefix, name))
