"""Each unit's predicate, asked of a real server, against the model in Python."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sweeperd.postgres.sql import rows as sql
from sweeperd.postgres.sql.expired import Args
from sweeperd.postgres.sql.target import Table, Target
from sweeperd.sweep.survey.expiry import expired_rows, unit_of
from sweeperd.sweep.survey.instants import latest_reading, local_bound
from tests.conftest import TestDatabase
from tests.sweep.engine import settings
from tests.sweep.model import is_expired, readings

BERLIN_BACK = datetime(2026, 10, 25, 1, 0, tzinfo=UTC)  # 03:00 CEST becomes 02:00 CET
BERLIN_FORTH = datetime(2026, 3, 29, 1, 0, tzinfo=UTC)  # 02:00 CET becomes 03:00 CEST
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "UTC")
quick = hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


async def verdicts(
    database: TestDatabase, type_name: str, values: list[Any], cutoff: datetime, **given: Any
) -> list[bool]:
    """Ask the server which values are expired, by the very text the DELETE uses."""
    sweep = settings(**given)
    expired = expired_rows(sweep, column="v", type_name=type_name, cutoff=cutoff, time_ordered=True)
    unit_of(sweep, type_name)
    connection = await database.integer_times()
    args = Args()
    condition = expired.condition(args, '"x"')
    values_arg = args.add([_wire(value) for value in values], f"{type_name}[]")
    rows = await connection.fetch(
        f"SELECT ({condition}) IS TRUE AS gone FROM unnest({values_arg}) "
        "WITH ORDINALITY AS x(v, n) ORDER BY n",
        *args,
    )
    return [row["gone"] for row in rows]


def _wire(value: Any) -> Any:
    """Instants and days travel as PostgreSQL's integers."""
    if isinstance(value, datetime):
        base = datetime(2000, 1, 1, tzinfo=value.tzinfo)
        return (value - base) // timedelta(microseconds=1)
    if isinstance(value, date):
        return (value - date(2000, 1, 1)).days
    return value


async def agree(
    database: TestDatabase, type_name: str, values: list[Any], instant: datetime, **given: Any
) -> None:
    unit = given.get("unit") or type_name
    zone = given.get("column_timezone")
    expected = [is_expired(unit, type_name, value, instant, zone) for value in values]
    actual = await verdicts(database, type_name, values, instant, **given)
    assert list(zip(values, actual, strict=True)) == list(zip(values, expected, strict=True))


instants = st.datetimes(
    min_value=datetime(2001, 1, 1), max_value=datetime(2037, 1, 1), timezones=st.just(UTC)
)
near = st.integers(-3, 3) | st.integers(-(10**7), 10**7) | st.integers(-(10**15), 10**15)


@quick
@given(instant=instants, offsets=st.lists(near, max_size=30))
async def test_timestamptz_goes_up_to_and_with_the_cutoff(
    database: TestDatabase, instant: datetime, offsets: list[int]
) -> None:
    values = [instant + timedelta(microseconds=offset) for offset in offsets]
    await agree(database, "timestamptz", [*values, None], instant)


@quick
@given(
    zone=st.sampled_from(ZONES),
    around=st.sampled_from([BERLIN_BACK, BERLIN_FORTH, datetime(2011, 12, 30, 10, tzinfo=UTC)]),
    seconds=st.integers(-90_000, 90_000),
    offsets=st.lists(st.integers(-100_000, 100_000), max_size=40),
)
async def test_a_local_time_goes_when_it_is_past_however_it_is_read(
    database: TestDatabase, zone: str, around: datetime, seconds: int, offsets: list[int]
) -> None:
    instant = around + timedelta(seconds=seconds)
    wall = instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    values = [wall + timedelta(seconds=offset) for offset in [0, *offsets]]
    await agree(database, "timestamp", values, instant, column_timezone=zone)


@quick
@given(
    zone=st.sampled_from([*ZONES, "America/Havana", "America/Sao_Paulo"]),
    instant=instants,
    days=st.lists(st.integers(-3, 3), max_size=10),
)
async def test_a_date_goes_when_the_midnight_that_ends_it_has_passed(
    database: TestDatabase, zone: str, instant: datetime, days: list[int]
) -> None:
    today = instant.astimezone(ZoneInfo(zone)).date()
    values = [today + timedelta(days=offset) for offset in days]
    await agree(database, "date", [*values, None], instant, column_timezone=zone)


@quick
@given(
    unit=st.sampled_from(["epoch_s", "epoch_ms", "epoch_us"]),
    type_name=st.sampled_from(["bigint", "numeric", "double precision", "integer", "smallint"]),
    instant=instants,
    offsets=st.lists(st.integers(-5, 5) | st.integers(-(10**9), 10**9), max_size=20),
)
async def test_numbers_go_up_to_the_bound_and_sentinels_never(
    database: TestDatabase, unit: str, type_name: str, instant: datetime, offsets: list[int]
) -> None:
    scale = {"epoch_s": 1, "epoch_ms": 1_000, "epoch_us": 1_000_000}[unit]
    exact = Decimal((instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1))
    base = exact * scale / 1_000_000
    largest = {"smallint": 2**15 - 1, "integer": 2**31 - 1}.get(type_name, 2**63 - 1)
    values: list[Any]
    if type_name == "numeric":
        values = [base + Decimal(offset) / 1000 for offset in offsets]
        values += [Decimal("NaN"), Decimal("Infinity"), Decimal("-Infinity"), Decimal(0)]
    elif type_name == "double precision":
        values = [float(base + offset) for offset in offsets]
        values += [math.nextafter(float(base), math.inf), math.nextafter(float(base), 0.0)]
        values += [math.nan, math.inf, -math.inf, 0.0, -0.0]
    else:
        whole = [int(base) + offset for offset in offsets]
        values = [number for number in whole if -largest <= number <= largest]
        values += [0, -1, largest, largest - 1, -largest - 1, 1]
    await agree(database, type_name, [*values, None], instant, unit=unit)


pieces = st.tuples(
    st.sampled_from(["T", " ", "t", "_"]),
    st.sampled_from(["", ".0", ".5", ".123456", ".1234567890", ".", ",5"]),
    st.sampled_from(["Z", "+00", "+00:00", "", "+01:00", "-00:00", "z", " Z", "Z\n"]),
)


@quick
@given(
    instant=instants,
    parts=st.lists(st.tuples(st.integers(-200_000, 200_000) | st.integers(-2, 2), pieces)),
    odd=st.lists(st.text(max_size=30), max_size=5),
    zone=st.sampled_from([None, "UTC"]),
)
async def test_text_goes_only_in_a_utc_shape_and_past(
    database: TestDatabase,
    instant: datetime,
    parts: list[tuple[int, tuple[str, str, str]]],
    odd: list[str],
    zone: str | None,
) -> None:
    values = []
    for seconds, (separator, fraction, suffix) in parts:
        at = instant + timedelta(seconds=seconds)
        values.append(f"{at:%Y-%m-%d}{separator}{at:%H:%M:%S}{fraction}{suffix}")
        values.append(at.replace(tzinfo=UTC).isoformat())
    values += [text for text in odd if "\0" not in text and text.isprintable()]
    values += ["2020-02-30T00:00:00Z", "2000-02-29T00:00:00Z", "1900-02-29T00:00:00Z"]
    values += ["0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "2001-01-01T24:00:00Z"]
    values += ["2001-01-01T23:59:60Z", "2001-13-01T00:00:00Z", "", "never", "２001-01-01T00:00:00Z"]
    await agree(database, "text", values, instant, unit="iso8601", column_timezone=zone)


async def test_the_types_own_extremes_and_infinities_never_go(database: TestDatabase) -> None:
    await database.execute(
        "CREATE TABLE t (expires_at timestamptz); INSERT INTO t VALUES ('-infinity'), "
        "('infinity'), ('4714-11-24 00:00:00+00 BC'), ('4714-11-24 00:00:01+00 BC'), (NULL)"
    )
    target = Target(
        Table("public", "t"),
        expired_rows(
            settings(),
            column="expires_at",
            type_name="timestamptz",
            cutoff=datetime(2026, 1, 1, tzinfo=UTC),
            time_ordered=True,
        ),
    )
    statement = sql.count(target, limit=100)
    connection = await database.integer_times()

    assert await connection.fetchval(statement.text, *statement.args) == 1


def test_while_an_hour_will_be_repeated_the_bound_stays_below_its_start() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    first_pass = BERLIN_BACK - timedelta(minutes=30)

    bound = local_bound(first_pass, berlin)

    assert bound.upper == datetime(2026, 10, 25, 1, 59, 59, 999999)


def test_in_the_second_pass_of_a_repeated_hour_the_bound_moves_with_the_clock() -> None:
    bound = local_bound(BERLIN_BACK + timedelta(minutes=30), ZoneInfo("Europe/Berlin"))

    assert bound.upper == datetime(2026, 10, 25, 2, 30)


@given(
    zone=st.sampled_from(ZONES).map(ZoneInfo),
    local=st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2036, 1, 1)),
)
def test_the_latest_reading_is_one_of_the_two(zone: ZoneInfo, local: datetime) -> None:
    assert latest_reading(local, zone) == max(readings(local, zone))


@pytest.mark.parametrize("type_name", ["json", "bytea", "interval", "character", "real", "time"])
def test_a_type_that_holds_no_expiry_is_refused_with_a_cure(type_name: str) -> None:
    with pytest.raises(Exception, match="holds no expiry; choose"):
        unit_of(settings(), type_name)
