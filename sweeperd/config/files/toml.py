"""One file of the configuration: its text, its TOML, and the line of each key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import tomli

from sweeperd.config.values.wording import shown
from sweeperd.errors import Problem

KeyPath = tuple[str, ...]
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
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
        UnreadableError: It is missing, unreadable, not UTF-8 or no TOML.
    """
    text = _text(path)
    try:
        tables = tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        raise UnreadableError(_syntax(path, text, error)) from None
    except RecursionError:
        raise UnreadableError(Problem(str(path), "", "nests too deeply to be read")) from None
    return Source(path, tables, _lines(text))


def dotted(key: KeyPath) -> str:
    """Return a key as TOML writes it."""
    return ".".join(part if _BARE.fullmatch(part) else shown(part) for part in key)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST + 1)
    except FileNotFoundError:
        raise UnreadableError(
            Problem(str(path), "", "there is no such file; write it, or name another with --config")
        ) from None
    except OSError as error:
        cure = "name a file" if path.is_dir() else "let the user sweeperd runs as read it"
        reason = error.strerror or type(error).__name__
        raise UnreadableError(Problem(str(path), "", f"cannot be read: {reason}; {cure}")) from None
    if len(content) > _LARGEST:
        raise UnreadableError(Problem(str(path), "", "is larger than 4 MB: that is no config"))
    try:
        return content.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UnreadableError(
            Problem(
                f"{path}:{line}",
                "",
                f"is not UTF-8 (byte 0x{content[error.start]:02x}); save the file as UTF-8",
            )
        ) from None


def _syntax(path: Path, text: str, error: tomli.TOMLDecodeError) -> Problem:
    line = error.lineno
    place = f"{path}:{line}"
    if "overwrite" in error.msg or "twice" in error.msg or "Duplicate" in error.msg:
        key, first = _given_twice(text, line)
        if key:
            message = f"is given twice, first in line {first}; keep one"
            return Problem(place, dotted(key), message)
    seen = text.splitlines()[line - 1 : line]
    what = error.msg[:1].lower() + error.msg[1:]
    # what stands in the line is not shown: it may be half a password
    hint = "" if seen and seen[0].strip() else " (the line is empty)"
    return Problem(place, "", f"is no valid TOML at column {error.colno}: {what}{hint}")


def _given_twice(text: str, line: int) -> tuple[KeyPath, int]:
    """Return the key that a line gives again, and the line of its first."""
    seen: dict[KeyPath, int] = {}
    for number, keys in _statements(text):
        for key, new in keys:
            if key in seen and number >= line - 1 and new:
                return key, seen[key]
            seen.setdefault(key, number)
    return (), 0


def _lines(text: str) -> dict[KeyPath, int]:
    lines: dict[KeyPath, int] = {}
    for number, keys in _statements(text):
        for key, _ in keys:
            lines.setdefault(key, number)
    return lines


def _statements(text: str) -> Iterator[tuple[int, list[tuple[KeyPath, bool]]]]:
    """Yield each statement's first line and its keys, each with whether it is defined there.

    A statement is the shortest run of lines that is TOML by itself: the parser, not a second
    grammar, decides where a string or an array over several lines ends.
    """
    table: KeyPath = ()
    start, pending = 0, ""
    for number, line in enumerate(text.split("\n"), 1):
        if not pending:
            start = number
        pending += line + "\n"
        try:
            parsed = tomli.loads(pending)
        except tomli.TOMLDecodeError:
            continue
        statement, pending = pending.strip(), ""
        if statement.startswith("["):
            table = _header(parsed)
            heads = (table[: length + 1] for length in range(len(table)))
            yield start, [(head, head == table) for head in heads]
        elif parsed:
            yield start, [((*table, *key), new) for key, new in _keys(parsed)]


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
