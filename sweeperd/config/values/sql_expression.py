"""Proves that a text the operator wrote is, to PostgreSQL's lexer, one balanced expression.

It is put between parentheses into our statements, so it must not be able to leave them. The
rules are those of the lexer ("Lexical Structure" in PostgreSQL's manual); where they depend on
a server setting or version, the text is refused rather than guessed at.
"""

from __future__ import annotations

import re
from typing import Final

_OPENING: Final = {"(": ")", "[": "]"}
_CLOSING: Final = {")": "(", "]": "["}
# to the lexer every character outside ASCII is a letter, blanks included
_WORD: Final = re.compile(r"[A-Za-z_\u0080-\U0010ffff][A-Za-z0-9_$\u0080-\U0010ffff]*")
_DOLLAR: Final = re.compile(r"\$([A-Za-z_\u0080-\U0010ffff][A-Za-z0-9_\u0080-\U0010ffff]*)?\$")
# words that no expression begins with
_BEGINS: Final = re.compile(
    r"\s{0,99}(where|select|with|create|delete\s+from|insert\s+into|drop\s+table"
    r"|truncate\s+(?:table|only)|update\s+\S{1,200}\s+set)\b",
    re.IGNORECASE | re.ASCII,
)
# a placeholder stands where an operand must: an operator "?" has something behind it
_QUESTION: Final = re.compile(r"\?\s*(?:$|[),]|(?:and|or)\b)", re.IGNORECASE | re.ASCII)
_PERCENT: Final = re.compile(r"%(?:\(\w{1,99}\)s\b|s\b)", re.ASCII)
_NULL: Final = re.compile(r"(?:=|<>|!=)\s*null\b", re.IGNORECASE | re.ASCII)
_NAMED: Final = re.compile(r":([A-Za-z_]\w{0,62})", re.ASCII)
_OPERATOR: Final = frozenset("+-*/<>=~!@#%^&|`?:")
_PARAMETERS: Final = "the only parameter is :cutoff, in condition; write the value itself"
_ODD_BACKSLASHES: Final = re.compile(r"(?<!\\)(?:\\\\)*\\$")


def check_expression(text: str) -> str | None:
    """Return why the text is not one balanced SQL expression; None when it is.

    This is lexical: the server still judges grammar, names and types.
    """
    if "\0" in text:
        return "contains a NUL character; take it out"
    if not text.strip():
        return "is empty; write an SQL condition or leave the key out"
    begins = _BEGINS.match(text)
    if begins is not None:
        return _begins_wrongly(begins)
    try:
        _Scan(text).run()
    except ValueError as error:
        return str(error)
    return None


def _begins_wrongly(begins: re.Match[str]) -> str:
    word = begins[1].split()[0].upper()
    if word == "WHERE":
        return "begins with WHERE; write only the condition that follows it"
    return f"begins with {word}; write only a condition, as it follows WHERE, not a statement"


class _Scan:
    """One walk over the text; raises ValueError with the first fault."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.open: list[str] = []

    def run(self) -> None:
        while self.at < len(self.text):
            self._step()
        if self.open:
            raise ValueError(
                f'leaves "{self.open[-1]}" open; close it with "{_OPENING[self.open[-1]]}"'
            )

    def _step(self) -> None:
        character = self.text[self.at]
        if self.text.startswith(("--", "/*"), self.at):
            raise ValueError("contains a comment; write comments with # in the TOML file")
        if character == "'":
            self._plain_string()
        elif character == '"':
            self._quoted_name()
        elif character == "$":
            self._dollar_string()
        elif word := _WORD.match(self.text, self.at):
            self.at = word.end()
            if word.group().lower() == "e" and self.text.startswith("'", self.at):
                self._escape_string()
        else:
            self._punctuation(character)
            self.at += 1

    def _punctuation(self, character: str) -> None:
        if character in _OPENING:
            self.open.append(character)
        elif character in _CLOSING:
            if not self.open or self.open.pop() != _CLOSING[character]:
                raise ValueError(
                    f'closes "{character}" without "{_CLOSING[character]}" before it; it must be'
                    " one expression"
                )
        elif character == ";" and not self.text[self.at + 1 :].strip():
            raise ValueError('ends with ";"; take it out')
        elif character == ";":
            raise ValueError('contains ";"; it must be one expression, not a statement')
        elif character == "\\":
            raise ValueError("contains a backslash outside a string; take it out")
        elif character == "," and not self.open:
            raise ValueError('contains "," outside parentheses; combine conditions with AND or OR')
        elif character in _OPERATOR:
            self._operator()

    def _operator(self) -> None:
        before = self.text[self.at - 1] if self.at else " "
        if before in _OPERATOR:
            return  # in the middle of one
        if _QUESTION.match(self.text, self.at):
            raise ValueError(f'contains the placeholder "?"; {_PARAMETERS}')
        percent = _PERCENT.match(self.text, self.at)
        if percent and (percent.group() != "%s" or self._operand_expected()):
            raise ValueError(f'contains a placeholder with "%"; {_PARAMETERS}')
        if _NULL.match(self.text, self.at):
            raise ValueError(
                "compares with NULL, which is never true; write IS NULL or IS NOT NULL"
            )
        named = _NAMED.match(self.text, self.at)
        if named and "[" not in self.open and named[1] != "cutoff":
            raise ValueError(f'contains ":" and a name, as a parameter; {_PARAMETERS}')

    def _operand_expected(self) -> bool:
        near = self.text[max(self.at - 99, 0) : self.at].rstrip()
        return near[-1:] in {"", "<", ">", "=", "(", ","}

    def _plain_string(self) -> None:
        end = self._find("'", self.at + 1)
        if _ODD_BACKSLASHES.search(self.text[self.at + 1 : end]):
            # standard_conforming_strings decides whether this quote ends the string
            raise ValueError(
                r"contains \' in a plain string, whose meaning depends on the server; double the"
                r" quote ('') or write E'...'"
            )
        # a doubled quote continues the string: the next step reads it as another one
        self.at = end + 1

    def _escape_string(self) -> None:
        self.at += 1
        while self.at < len(self.text):
            character = self.text[self.at]
            if character == "\\" or self.text.startswith("''", self.at):
                self.at += 2
            elif character == "'":
                self.at += 1
                return
            else:
                self.at += 1
        raise ValueError("leaves the quote ' open; close it")

    def _quoted_name(self) -> None:
        self.at = self._find('"', self.at + 1) + 1

    def _dollar_string(self) -> None:
        tag = _DOLLAR.match(self.text, self.at)
        if tag is None:
            raise ValueError(
                'contains "$" outside a string; parameters cannot be used here; ' + _PARAMETERS
            )
        end = self.text.find(tag.group(), tag.end())
        if end < 0:
            raise ValueError(f"leaves the quote {tag.group()} open; close it")
        self.at = end + len(tag.group())

    def _find(self, quote: str, start: int) -> int:
        end = self.text.find(quote, start)
        if end < 0:
            raise ValueError(f"leaves the quote {quote} open; close it")
        return end


# What may hold the letters ":cutoff" and not mean it, then what means it. A word may have "$" in
# it, so it is read whole: one there begins no string.
_CUTOFF = re.compile(
    rf"""[eE]'(?:[^'\\]|\\.|'')*'|{_WORD.pattern}+|'(?:[^']|'')*'|"(?:[^"]|"")*\""""
    rf"""|\$\$.*?\$\$|\$({_WORD.pattern.replace("$", "")})\$.*?\$\1\$|::|(:cutoff\b)""",
    re.DOTALL,
)


def expression_pieces(where: str | None, condition: str | None) -> tuple[str, ...] | None:
    """Return a sweep's expression cut at each ``:cutoff``; None for a sweep without one.

    In ``where`` there is no ``:cutoff``.
    """
    if condition is not None:
        return cut_at_cutoff(condition)
    return None if where is None else (where,)


def cut_at_cutoff(text: str) -> tuple[str, ...]:
    """Cut a condition at each ``:cutoff`` that stands outside strings and names."""
    pieces, start = [], 0
    for match in _CUTOFF.finditer(text):
        if match[2]:
            pieces.append(text[start : match.start()])
            start = match.end()
    return (*pieces, text[start:])
