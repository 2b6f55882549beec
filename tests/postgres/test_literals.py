"""Constants, asked of a real server: a value comes back as it was, with its exact type."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any, Final, TypeVar

import asyncpg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sweeperd.config.models import DatabaseConfig
from sweeperd.demo.server import Server
from sweeperd.postgres.connect import Database
from sweeperd.postgres.sql.literals import Literals, quote_literal
from sweeperd.postgres.transaction import Connection
from tests.conftest import TestDatabase

T = TypeVar("T")
quick = hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
INFINITY: Final = 2**63 - 1
DAYS_INFINITY: Final = 2**31 - 1
TEXTS: Final = st.text(
    st.one_of(st.sampled_from("'\\\"${}(),;-/*EU&\n\t¥ é"), st.characters(codec="utf-8"))
).map(lambda text: text.replace("\0", ""))
TIDS: Final = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**16 - 1))
FIRST: Final = -211_813_488_000_000_000
LAST: Final = 9_223_371_331_199_999_999
ENDS: Final = (FIRST, LAST, INFINITY, -INFINITY - 1, -1, 0, -63_113_904_000_000_001)
INSTANTS: Final = st.one_of(st.integers(FIRST, LAST), st.sampled_from(ENDS))
DAYS: Final = (-2_451_545, 2_147_483_493 - 2_451_545)
VALUES: Final[dict[str, st.SearchStrategy[Any]]] = {
    "smallint": st.integers(-(2**15), 2**15 - 1),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "oid": st.integers(0, 2**32 - 1),
    "numeric": st.decimals(allow_nan=False, allow_infinity=False, places=6),
    "double precision": st.floats(),
    "real": st.floats(width=32),
    "boolean": st.booleans(),
    "text": TEXTS,
    "varchar": TEXTS,
    "timestamptz": INSTANTS,
    "timestamp": INSTANTS,
    "date": st.one_of(
        st.integers(*DAYS), st.sampled_from((*DAYS, DAYS_INFINITY, -DAYS_INFINITY - 1))
    ),
    "tid": TIDS,
    "tid[]": st.lists(TIDS, max_size=5),
    "text[]": st.lists(TEXTS, max_size=5),
    "oid[]": st.lists(st.integers(0, 2**32 - 1), max_size=5),
    "int8[]": st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5),
}
STYLES: Final = (
    "SET standard_conforming_strings = on; SET DateStyle = 'ISO, MDY'; SET TimeZone = 'UTC'",
    "SET standard_conforming_strings = off; SET backslash_quote = on; SET escape_string_warning "
    "= on; SET DateStyle = 'German, DMY'; SET TimeZone = 'Pacific/Apia'; SET array_nulls = off; "
    "SET IntervalStyle = 'sql_standard'; SET extra_float_digits = -15",
    "SET standard_conforming_strings = off; SET backslash_quote = off; "
    "SET DateStyle = 'SQL, YMD'; SET TimeZone = 'America/St_Johns'; "
    "SET IntervalStyle = 'iso_8601'; SET timezone_abbreviations = 'Australia'",
)


def same(value: Any, back: Any) -> bool:
    if isinstance(value, float) and isinstance(back, float):
        if math.isnan(value):
            return math.isnan(back)
        return struct.pack("d", value) == struct.pack("d", back)
    return bool(value == back)


def drawn_from(strategy: st.SearchStrategy[T]) -> list[T]:
    drawn: list[T] = []

    @quick
    @given(strategy)
    def gather(one: T) -> None:
        drawn.append(one)

    gather()
    return drawn


@pytest.mark.every_server
@pytest.mark.parametrize("style", range(len(STYLES)))
async def test_a_value_comes_back_as_it_was_with_its_type(
    database: TestDatabase, style: int
) -> None:
    connection = await database.integer_times()
    await connection.execute(STYLES[style])
    drawn = [(name, value) for name, strategy in VALUES.items() for value in drawn_from(strategy)]
    for start in range(0, len(drawn), 200):
        part = drawn[start : start + 200]
        literals = Literals()
        columns = [literals.add(value, name) for name, value in part]
        assert not literals
        row = await connection.fetchrow("SELECT " + ", ".join(columns))
        types = await connection.fetchrow(
            "SELECT "
            + ", ".join(
                f"pg_typeof({column})::oid = '{name}'::regtype::oid"
                for column, (name, _) in zip(columns, part, strict=True)
            )
        )
        assert all(types)
        for (name, value), back in zip(part, row, strict=True):
            assert same(value, back), (name, value, back)


@pytest.mark.parametrize("conforming", ["on", "off"])
async def test_a_quoted_text_is_that_text_under_each_standard_conforming_strings(
    database: TestDatabase, conforming: str
) -> None:
    connection = await database.connect()
    await connection.execute(f"SET standard_conforming_strings = {conforming}")
    for text in ["\\", "\\'", "'\\", "\\\\''", "\\x41", *drawn_from(TEXTS)]:
        assert await connection.fetchval(f"SELECT {quote_literal(text)}") == text


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "x\udfff"])
def test_a_text_that_no_message_can_carry_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"NUL|lone surrogate"):
        Literals().add(text, "text")
    with pytest.raises(ValueError, match=r"NUL|lone surrogate"):
        quote_literal(text)


def test_only_utf8_carries_more_than_ascii() -> None:
    assert Literals("SJIS").add("\\'", "text") == r"E'\\'''::pg_catalog.text"
    with pytest.raises(ValueError, match=r"U\+00A5 .*SJIS"):
        Literals("SJIS").add("¥", "text")


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (2**15, "smallint"),
        (2**63, "bigint"),
        (1e39, "real"),
        (10**400, "double precision"),
        (9_223_371_331_200_000_000, "timestamptz"),
        (-211_813_488_000_000_001, "timestamp"),
        (-1, "oid"),
        ((0, 2**16), "tid"),
        (Decimal("NaN"), "bigint"),
        ("1", "bigint"),
        (True, "integer"),
        (1, "text"),
        ("x", "text[]"),
        ([None], "text[]"),
        ("x", "jsonb"),
    ],
)
def test_a_value_that_its_type_cannot_hold_is_refused(value: Any, name: str) -> None:
    with pytest.raises((TypeError, ValueError)):
        Literals().add(value, name)


ALPHABETS: Final = {
    "UTF8": TEXTS,
    "SQL_ASCII": TEXTS,
    "LATIN1": st.text(st.sampled_from("a'\\é¥ÿ€漢")),
    "WIN1252": st.text(st.sampled_from("a'\\é¥ÿ€漢")),
    "EUC_JP": st.text(st.sampled_from("a'\\é¥あ漢表ソ能")),
    "EUC_KR": st.text(st.sampled_from("a'\\é한글漢")),
}
CLIENT_ENCODINGS: Final = (
    "SJIS", "BIG5", "GBK", "UHC", "GB18030", "SHIFT_JIS_2004", "JOHAB", "LATIN1", "WIN1252",
    "KOI8R", "EUC_JP", "SQL_ASCII",
)  # fmt: skip


@pytest.fixture
async def encoded(
    server: Server, request: pytest.FixtureRequest
) -> AsyncIterator[tuple[str, Connection]]:
    """A connection as the engine's to a database of one encoding, and that encoding."""
    encoding: str = request.param
    name = f"in_{encoding.lower()}"
    admin = await asyncpg.connect(server.dsn())
    await admin.execute(f"DROP DATABASE IF EXISTS {name}")
    await admin.execute(
        f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 LOCALE 'C'"
    )
    # what a role or a database sets is never in force: the driver asks for its own
    await admin.execute(f"ALTER DATABASE {name} SET client_encoding = 'SQL_ASCII'")
    connection = await Database(DatabaseConfig(name="app", dsn=server.dsn(name))).connect()
    try:
        yield encoding, connection
    finally:
        await connection.close()
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


@pytest.mark.parametrize("encoded", list(ALPHABETS), indirect=True)
async def test_a_text_comes_back_from_a_database_of_another_encoding_or_is_refused(
    encoded: tuple[str, Connection],
) -> None:
    encoding, connection = encoded
    assert connection.get_settings().client_encoding == "UTF8"
    same_texts = 0
    for text in ["", "a\\'", "'\\", *drawn_from(ALPHABETS[encoding])]:
        literal = Literals(connection.get_settings().client_encoding).add(text, "text")
        try:
            back = await connection.fetchval(f"SELECT {literal}")
        except asyncpg.UntranslatableCharacterError as error:
            assert encoding in str(error)  # noqa: PT017 - one of two ends
        else:
            assert back == text
            same_texts += 1
    assert same_texts > 2


@pytest.mark.parametrize("encoded", ["UTF8", "SQL_ASCII", "EUC_JP"], indirect=True)
async def test_under_a_client_encoding_of_somebody_else_a_text_is_sent_right_or_not_at_all(
    encoded: tuple[str, Connection],
) -> None:
    _, connection = encoded
    tried = 0
    for name in CLIENT_ENCODINGS:
        try:
            await connection.execute(f"SET client_encoding = '{name}'")
            reported = connection.get_settings().client_encoding
            for text in ("", "a'\\", "\\'; DROP TABLE t; --", "~`|"):
                literal = Literals(reported).add(text, "text")
                assert await connection.fetchval(f"SELECT {literal}") == text
        except (LookupError, asyncpg.PostgresError):  # the driver or the server lacks it
            await connection.execute("SET client_encoding = 'UTF8'")
            continue
        tried += 1
        for text in ("¥'", "表", "é"):
            with pytest.raises(ValueError, match="client_encoding"):
                Literals(reported).add(text, "text")
    assert tried >= 2


@pytest.mark.every_server
@pytest.mark.parametrize(
    ("name", "value"),
    [("timestamptz", 7), ("date", 7), ("bigint", 7), ("numeric", 7), ("text", "a'\\"),
     ("double precision", 0.1), ("tid", (3, 4)), ("timestamp", 7)],
)  # fmt: skip
async def test_an_index_serves_a_constant_as_it_serves_a_parameter(
    database: TestDatabase, name: str, value: Any
) -> None:
    """The planner sees one constant, whose statistics it can look up, and no call."""
    connection = await database.integer_times()
    literal = Literals().add(value, name)
    column = "ctid" if name == "tid" else "v"
    await connection.execute(f"CREATE TABLE t (v {'int' if name == 'tid' else name})")
    await connection.execute("CREATE INDEX ON t (v)")
    await connection.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")

    plan = await connection.fetch(f"EXPLAIN SELECT * FROM t WHERE {column} <= {literal}")

    condition = next(row[0] for row in plan if "Cond:" in row[0]).partition("<=")[2]
    constant = r"(?:'[^']+'|'(?:[^']|'')+')::[a-z ]+|7"
    assert re.fullmatch(rf" (?:{constant})\)", condition), condition
