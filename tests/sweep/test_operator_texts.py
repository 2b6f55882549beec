"""An operator's text never leaves its parentheses: what is let through is one expression."""

from __future__ import annotations

import random
import re
from typing import Any, Final

import asyncpg
import pytest

from sweeperd.config.values.sql_expression import check_expression, cut_at_cutoff
from sweeperd.errors import SweepError
from sweeperd.postgres.sql.expired import Condition
from sweeperd.postgres.sql.literals import Literals
from sweeperd.postgres.sql.target import Table
from sweeperd.sweep.survey.parsed_expression import parse_tree, prove_one_expression
from tests.conftest import TestDatabase

TEXTS: Final = 100_000
ASKED: Final = 3_000  # of the server, for each standard_conforming_strings
HONEST: Final = (
    "a > 1", "t = 'x'", "b", "(a > 1 OR b)", "t LIKE '%''%'", "j ? 'k'", "a = ANY (ARRAY[1, 2])",
    "at < :cutoff", "t = $q$'$q$", "t = E'\\''", 't = "t"', "a BETWEEN 1 AND 2", "NOT b",
    "t = U&'\\0041'", "CASE WHEN b THEN true ELSE false END", "EXISTS (SELECT 1)", "a IN (1, 2)",
)  # fmt: skip
HOSTILE: Final = (
    "'", "''", '"', '""', "\\", "\\'", "\\\\'", "E'", "e'", "'\\", "U&'", 'U&"', "u&'\\0027'",
    " UESCAPE '!'", " UESCAPE '''", "U&'!0027' UESCAPE '!'", "N'", "B'1'", "X'", "$$", "$q$",
    "$Q$", "$1$", "$é$", "x$q$", "$1", "(", ")", "[", "]", ") OR (true", ") AND (b", "(true",
    "] OR [", ";", "; DROP TABLE t", "); DELETE FROM t; --", "; COPY t TO STDOUT", "/*", "*/",
    "/* /* */", "--", "\n", "\r", "\t", "\0", " UNION SELECT true", ") UNION SELECT (b",
    " ORDER BY 1", ", true", ":cutoff", "::text", ":x", "é", "\u00a0", "e\u00a0'", "'\n'", "' '",
    "'\n\\'", " RETURNING *", " FOR UPDATE", "1e'", "select true", "(select true)", "values (true)",
    "x'", "\u2019", "\uff07", "{", "}", "`", "?", "%s", "true) --", "true)\n; ROLLBACK; (",
)  # fmt: skip


class Reference:
    """The server's lexer (``scan.l``), as far as it tells what lies in parentheses."""

    NAME = re.compile(r"[A-Za-z_\u0080-\U0010ffff][A-Za-z0-9_$\u0080-\U0010ffff]*")
    TAG = re.compile(r"\$(?:[A-Za-z_\u0080-\U0010ffff][A-Za-z0-9_\u0080-\U0010ffff]*)?\$")
    CONTINUED = re.compile(r"[ \t\r\n\f\v]*[\r\n][ \t\r\n\f\v]*'")
    PREFIX = re.compile(r"(?i:(e|b|x|n|u&)?)'")

    def __init__(self, text: str, *, conforming: bool) -> None:
        self.text, self.conforming, self.at = text, conforming, 0

    def contained(self) -> bool:  # noqa: C901, PLR0911, PLR0912 - one case a token, as scan.l
        """Whether the text opens and closes, by itself, all that it opens or closes."""
        depth: list[str] = []
        while self.at < len(self.text):
            here = self.text[self.at]
            if self.text.startswith("--", self.at):
                return False  # a comment at the end would swallow what follows on its line
            if self.text.startswith("/*", self.at):
                if not self._comment():
                    return False
            elif prefix := self.PREFIX.match(self.text, self.at):
                self.at = prefix.end()
                if not self._string((prefix[1] or "").lower()):
                    return False
            elif here == '"':
                end = self.text.find('"', self.at + 1)
                if end < 0:
                    return False
                self.at = end + 1
            elif tag := self.TAG.match(self.text, self.at):
                end = self.text.find(tag.group(), tag.end())
                if end < 0:
                    return False
                self.at = end + len(tag.group())
            elif name := self.NAME.match(self.text, self.at):
                self.at = name.end()
            else:
                self.at += 1
                if here in "([":
                    depth.append(here)
                elif here in ")]":
                    if not depth or depth.pop() + here not in {"()", "[]"}:
                        return False
                elif here in ";\0":
                    return False
        return not depth

    def _comment(self) -> bool:
        depth = 0
        while self.at < len(self.text):
            if self.text.startswith("/*", self.at):
                depth, self.at = depth + 1, self.at + 2
            elif self.text.startswith("*/", self.at):
                depth, self.at = depth - 1, self.at + 2
                if not depth:
                    return True
            else:
                self.at += 1
        return False

    def _string(self, prefix: str) -> bool:
        escapes = prefix == "e" or (prefix in {"", "n"} and not self.conforming)
        while self.at < len(self.text):
            here = self.text[self.at]
            if here == "\\" and escapes:
                self.at += 2
            elif here == "'":
                self.at += 1
                if self.text.startswith("'", self.at):
                    self.at += 1
                elif continued := self.CONTINUED.match(self.text, self.at):
                    self.at = continued.end()
                else:
                    return True
            else:
                self.at += 1
        return False


def attack(dice: random.Random) -> str:
    """Return a text that tries to leave its parentheses, or an honest one that was damaged."""
    if dice.random() < 0.3:
        return "".join(dice.choices(HOSTILE + HONEST, k=dice.randint(1, 8)))
    text = dice.choice((" AND ", " OR ", "\nAND ")).join(dice.choices(HONEST, k=dice.randint(1, 3)))
    for _ in range(dice.randint(0, 3)):
        at = dice.randint(0, len(text))
        text = text[:at] + dice.choice(HOSTILE) + text[at + dice.choice((0, 0, 1)) :]
    return text


def test_what_the_configuration_lets_through_is_balanced_to_every_lexer() -> None:
    dice = random.Random(13)
    let_through = 0
    for _ in range(TEXTS):
        text = attack(dice)
        if check_expression(text) is not None:
            continue
        let_through += 1
        sent = Condition(cut_at_cutoff(text), 0).text(Literals())
        for one in (text, sent):
            for conforming in (True, False):
                assert Reference(one, conforming=conforming).contained(), (text, conforming)
    assert let_through > TEXTS / 20


@pytest.mark.every_server
@pytest.mark.parametrize("conforming", ["on", "off"])
async def test_what_the_server_proves_is_one_expression_in_its_parentheses(
    database: TestDatabase, conforming: str
) -> None:
    """The proof stands without the configuration's check, on texts that never met it."""
    connection = await database.integer_times()
    await connection.execute("CREATE TABLE t (a int, b bool, t text, j jsonb, at timestamptz)")
    await connection.execute(
        f"SET standard_conforming_strings = {conforming}; SET escape_string_warning = off"
    )
    dice = random.Random(conforming)
    through = refused = 0
    for _ in range(ASKED):
        text = attack(dice)
        if "\0" in text:
            continue
        pieces = cut_at_cutoff(text)
        try:
            await proved(connection, pieces)
        except (asyncpg.PostgresError, SweepError):
            refused += 1
        else:
            through += 1
            await one_operand(connection, Condition(pieces, 0).text(Literals()), text)
    assert through > ASKED / 20
    assert refused > ASKED / 20


async def one_operand(connection: Any, sent: str, text: str) -> None:
    """Show that the text is the whole second operand of an AND, however it is written."""
    async with connection.transaction():
        tree = await parse_tree(connection, Table("public", "t"), (f"false AND ({sent}\n)",))
    (joined,) = tree.nodes("jointree")
    (top,) = joined.nodes("quals")
    assert (top.tag, top.word("boolop")) == ("BOOLEXPR", "and"), text
    first, *rest = top.nodes("args")
    assert first.tag == "CONST", text
    assert len(rest) == 1, text


@pytest.mark.parametrize(
    "text", ["true) OR (true", "true) --", "true; SELECT true", "true]) OR (ARRAY[b", "select true"]
)
async def test_a_text_that_leaves_its_parentheses_is_refused_by_the_survey_alone(
    database: TestDatabase, text: str
) -> None:
    connection = await database.integer_times()
    await connection.execute("CREATE TABLE t (b bool)")

    with pytest.raises((asyncpg.PostgresError, SweepError)):
        await proved(connection, (text,))


async def proved(connection: Any, pieces: tuple[str, ...]) -> None:
    """Parse as the survey does."""
    table = Table("public", "t")
    async with connection.transaction():
        await parse_tree(connection, table, pieces)
        await prove_one_expression(connection, table, pieces)
