"""Constants, asked of a real server: a value comes back as it was, with its exact type."""

from __future__ import annotations

import math
import struct
from decimal import Decimal
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sweeperd.postgres.sql.literals import Literals, quote_literal
from tests.conftest import TestDatabase

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


def draw_values(examples: hypothesis_settings) -> list[tuple[str, Any]]:
    """Draw values of every type."""
    drawn: list[tuple[str, Any]] = []

    @examples
    @given(st.data())
    def gather(data: st.DataObject) -> None:
        for name, strategy in VALUES.items():
            drawn.append((name, data.draw(strategy, label=name)))

    gather()
    return drawn


@pytest.mark.parametrize("style", range(len(STYLES)))
async def test_a_value_comes_back_as_it_was_with_its_type(
    database: TestDatabase, style: int
) -> None:
    connection = await database.integer_times()
    await connection.execute(STYLES[style])
    drawn = draw_values(quick)
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
