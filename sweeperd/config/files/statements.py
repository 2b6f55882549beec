"""Where each statement of a TOML file begins and ends, found in one pass over the text.

The parser alone cannot say: it gives values without places. This knows only what is needed to
find the ends: comments, the four kinds of strings, and brackets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

DEEPEST: Final = 32  # brackets in brackets, or parts of one key; a configuration needs three
MOST: Final = 50_000  # statements of one file

# Each alternative begins with another character and, once begun, cannot give back what it has
# read: the text is passed over once. A string that never ends is one token to the end.
_TOKEN: Final = re.compile(
    r'''
      (?P<text> """(?:[^"\\]|\\.|"(?!""))*+(?:"{3,5}|\Z|\\\Z)
              | \'\'\'(?:[^']|'(?!''))*+(?:'{3,5}|\Z)
              | "(?:[^"\\\n]|\\.)*+"?
              | '[^'\n]*+'?
      )
    | (?P<comment> \#[^\n]*+ )
    | (?P<mark> [\[\]{},=.\n] )
    | (?P<other> [^"'\#\[\]{},=.\n]++ )
    ''',
    re.VERBOSE | re.DOTALL,
)
_RESTARTS_A_KEY: Final = frozenset("[{,=\n")


class TooLargeError(ValueError):
    """The text is not one that an operator wrote.

    Args:
        line: Where that shows, from 1.
        message: What is wrong.
    """

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True)
class Statement:
    """One key with its value, or one table header.

    Attributes:
        line: Its first line, from 1.
        text: All of it, comments included.
    """

    line: int
    text: str


def statements(text: str) -> Iterator[Statement]:
    """Yield the statements of a TOML text; what no statement can be made of, the parser refuses.

    Raises:
        TooLargeError: It nests deeper than `DEEPEST` or has more than `MOST` statements.
    """
    line, count = 1, 0
    for start, end in _extents(text):
        piece = text[start:end]
        blanks = len(piece) - len(piece.lstrip())
        first = line + piece.count("\n", 0, blanks)
        line += piece.count("\n")
        if piece[blanks:] and piece[blanks] != "#":
            count += 1
            if count > MOST:
                raise TooLargeError(
                    first, f"has more than {MOST:,} keys; that is not a configuration"
                )
            yield Statement(first, piece[blanks:])


def _extents(text: str) -> Iterator[tuple[int, int]]:
    start = depth = dots = 0
    for token in _TOKEN.finditer(text):
        mark = token["mark"]
        if mark is None:
            continue
        depth += (mark in "[{") - (mark in "]}")
        dots = 0 if mark in _RESTARTS_A_KEY else dots + (mark == ".")
        if depth > DEEPEST or dots > DEEPEST:
            line = text.count("\n", 0, token.start()) + 1
            raise TooLargeError(line, "nests too deeply; a table in a table is the most it needs")
        if mark == "\n" and depth <= 0:
            yield start, token.end()
            start, depth = token.end(), 0
    yield start, len(text)
