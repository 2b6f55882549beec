"""Reads the text form of PostgreSQL's node trees (``nodeToString`` in outfuncs.c).

A node is ``{TAG :field value :field value}``, a value is a node, a list in parentheses, or
words; ``<>`` is NULL. A datum is its length and its bytes: ``5 [ 20 0 0 0 97 ]``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

# A word may hold any character behind a backslash; one alternative fits each first character.
_TOKEN: Final = re.compile(r'[{}()]|"(?:[^"\\]|\\.)*"|(?:[^\s{}()\\]|\\.)+', re.DOTALL)

Value = list["Item"]


@dataclass
class Node:
    """One node.

    Attributes:
        tag: Its type in upper case, such as ``OPEXPR``.
        fields: Each field's values, in the order of the text.
    """

    tag: str
    fields: dict[str, Value] = field(default_factory=dict)

    def word(self, name: str) -> str:
        """Return a field's only word; empty when the field is NULL or absent."""
        value = self.fields.get(name, [])
        return value[0] if value and isinstance(value[0], str) and value[0] != "<>" else ""

    def number(self, name: str) -> int:
        """Return a field that is a number; 0 when the field is absent."""
        word = self.word(name)
        return int(word) if word.lstrip("-").isascii() and word.lstrip("-").isdigit() else 0

    def nodes(self, name: str) -> list[Node]:
        """Return the nodes of a field, those of a list in its order."""
        return [
            one
            for item in self.fields.get(name, [])
            for one in (item if isinstance(item, list) else [item])
            if isinstance(one, Node)
        ]

    def numbers(self, name: str) -> list[int]:
        """Return a list of numbers, such as ``(o 97 98)``."""
        words = [
            one
            for item in self.fields.get(name, [])
            for one in (item if isinstance(item, list) else [item])
            if isinstance(one, str)
        ]
        return [int(word) for word in words if word.isascii() and word.isdigit()]

    def datum(self) -> bytes | None:
        """Return the bytes of a CONST; None for NULL."""
        words = [word for word in self.fields.get("constvalue", []) if isinstance(word, str)]
        if "[" not in words:
            return None
        numbers = words[words.index("[") + 1 : -1]
        return bytes(int(number) & 0xFF for number in numbers)

    def walk(self) -> Iterator[Node]:
        """Yield this node and each below it."""
        left: list[Item] = [self]
        while left:
            item = left.pop()
            if isinstance(item, Node):
                yield item
                for value in item.fields.values():
                    left.extend(value)
            elif isinstance(item, list):
                left.extend(item)


Item = str | Node | list["Item"]


def read_nodes(text: str) -> Value:
    """Return the values that a node tree's text holds.

    Raises:
        ValueError: Its brackets do not match.
    """
    top: Value = []
    open_: list[tuple[str, Value, Node | None]] = [("", top, None)]
    for found in _TOKEN.finditer(text):
        mark = found.group()
        kind, value, node = open_[-1]
        if mark == "{":
            made = Node("")
            value.append(made)
            open_.append(("}", made.fields.setdefault("", []), made))
        elif mark == "(":
            inner: Value = []
            value.append(inner)
            open_.append((")", inner, None))
        elif mark in {"}", ")"}:
            if mark != kind:
                raise ValueError(f"a node tree closes {mark} where it must not")
            open_.pop()
        elif node is not None and not node.tag:
            node.tag = mark
        elif node is not None and mark.startswith(":"):
            open_[-1] = (kind, node.fields.setdefault(mark[1:], []), node)
        else:
            value.append(mark)
    if len(open_) != 1:
        raise ValueError("a node tree ends too early")
    return top
