"""An expression means the same in every time zone, or says which one is meant."""

from __future__ import annotations

import struct
import zoneinfo
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sweeperd.config.models import DatabaseConfig
from sweeperd.config.values.window import find_zone
from sweeperd.errors import SweepError
from sweeperd.host.clock import SystemClock
from sweeperd.postgres.sql.expired import quote
from sweeperd.sweep.checkup import preflight
from sweeperd.sweep.guards.hold_file import Holds
from sweeperd.sweep.survey.zones import repeated_hour
from tests.conftest import TestDatabase
from tests.sweep.engine import settings, sweep

TABLE = """
CREATE DOMAIN wall AS timestamp;
CREATE FUNCTION hour_of(at timestamptz) RETURNS int STABLE LANGUAGE sql
  AS 'SELECT extract(hour FROM $1)::int';
CREATE FUNCTION hour_in_utc(at timestamptz) RETURNS int STABLE LANGUAGE sql
  SET TimeZone = 'UTC' AS 'SELECT extract(hour FROM $1)::int';
CREATE FUNCTION misdeclared(at timestamp) RETURNS timestamptz IMMUTABLE LANGUAGE plpgsql
  AS 'BEGIN RETURN $1::timestamptz; END';
CREATE FUNCTION wanted(id int) RETURNS bool STABLE LANGUAGE sql AS 'SELECT $1 > 0';
CREATE TABLE t (
  id int PRIMARY KEY, expires_at timestamptz, made timestamptz, expire timestamp, day date,
  walled wall, ttl int, span interval, zoned text, naive text, payload jsonb, at time,
  many timestamp[], naive_range tsrange, "range" tstzrange, made_utc timestamp, left_span interval
);
CREATE VIEW v AS SELECT id FROM t WHERE day < current_date;
"""
ROW = """
INSERT INTO t SELECT 1, now() - interval '1 hour', now() - interval '2 days',
  now() AT TIME ZONE 'UTC', current_date, now() AT TIME ZONE 'UTC', 60, '90 seconds',
  '2026-01-01T00:00:00Z', '2026-01-01 00:00', '{"exp": "2020-01-01T00:00:00+02:00",
  "n": {"at": "2020-01-01 10:00"}}', '10:00', '{}', '[,)', '[,)', now() AT TIME ZONE 'UTC',
  '30 days'
"""
REFUSED = "condition depends on the session's time zone ("
CURE = 'column_timezone = "UTC"'
DANGEROUS = [
    "expire < :cutoff",
    "made_utc + ttl * interval '1 second' < :cutoff",
    "made_utc + span < :cutoff",
    "expire < now()",
    "expire < :cutoff::timestamp",
    "day < :cutoff::date",
    "CAST(expire AS timestamptz) < now()",
    "expire < now()::timestamp",
    "expire < localtimestamp",
    "now()::date > day",
    "day < :cutoff",
    "day < current_date",
    "current_date - day > 30",
    "day < 'today'",
    "made < '2026-01-01 00:00'",
    "made < '2026-01-01'::timestamptz",
    "\"range\" && '[2020-01-01,2021-01-01)'::tstzrange",
    "date_trunc('day', made) < :cutoff",
    "extract(hour FROM made) = 3",
    "date_part('dow', made) = 1",
    "to_char(made, 'YYYY') < '2026'",
    "made::text < '2026'",
    "made::time < '03:00'",
    "concat(made) < '2026'",
    "to_jsonb(made) IS NULL",
    "age(made) > interval '30 days'",
    "age(now(), made) > interval '30 days'",
    "made + interval '30 days' < :cutoff",
    "made < :cutoff - interval '1 month'",
    "made + make_interval(days => ttl) < :cutoff",
    "made + ttl * interval '1 day' < :cutoff",
    "made + (ttl || ' days')::interval < :cutoff",
    "CASE WHEN id > 0 THEN expire ELSE made END < :cutoff",
    "coalesce(expire, made) < :cutoff",
    "greatest(expire, made) < :cutoff",
    "(id, expire) < (5, :cutoff)",
    "expire BETWEEN '-infinity' AND :cutoff",
    "walled < :cutoff",
    ":cutoff = ANY (many::timestamptz[])",
    "EXISTS (SELECT FROM t o WHERE o.id = t.id AND o.expire < :cutoff)",
    "id IN (SELECT o.id FROM t o WHERE o.day < now())",
    "tstzrange(lower(naive_range), NULL) @> :cutoff",
    "to_timestamp('2026-01-01', 'YYYY-MM-DD') > made",
    "make_timestamptz(2026, 1, 1, 0, 0, ttl) > made",
    "hour_of(made) = 3",
    "timeofday() LIKE 'Sun%'",
    "current_setting('timezone') = 'UTC'",
    "(SELECT max(o.expire) FROM t o) < :cutoff",
    "'2020-01-01 00:00'::text::timestamptz < :cutoff",
    "jsonb_populate_record(NULL::t, payload) IS NOT NULL",
    "(t.*)::text LIKE '%2026%'",
    "id IN (SELECT v.id FROM v)",
    "(payload #>> '{n,none}' || '2020-01-01')::timestamptz < now()::timestamp",
    "localtime > at",
    "made < now()::timestamptz::date",
    "id = 1 AND (made > now() OR NOT (day >= :cutoff))",
]
HARMLESS = [
    "made < :cutoff",
    "made < now() - interval '720 hours'",
    "made + ttl * interval '1 second' < :cutoff",
    "made + make_interval(secs => ttl) < :cutoff",
    "made + make_interval(0, 0, 0, 0, ttl) < :cutoff",
    "made + (ttl || ' seconds')::interval < :cutoff",
    "made + span < :cutoff",
    "made + coalesce(span, interval '1 h') < :cutoff",
    "now() - made > interval '30 days'",
    "made < now() AND (payload->>'exp')::timestamptz < :cutoff",
    "zoned::timestamptz < :cutoff",
    "nullif(zoned, '')::timestamptz < :cutoff OR zoned IS NULL",
    "expire AT TIME ZONE 'UTC' < :cutoff",
    "expire < (:cutoff AT TIME ZONE 'UTC')",
    "(now() AT TIME ZONE 'Asia/Tokyo')::date > day",
    "day < (now() AT TIME ZONE 'UTC')::date - 30",
    "extract(epoch FROM now()) > ttl",
    "extract(epoch FROM made) + ttl < extract(epoch FROM :cutoff)",
    "date_trunc('day', made, 'UTC') < :cutoff",
    "to_timestamp(ttl) < :cutoff",
    "made < '2026-01-01 00:00+00'",
    "expire < '2026-01-01 00:00'",
    "day < '2026-01-01'",
    "day < to_date('2026', 'YYYY')",
    "to_char(expire, 'YYYY') < '2026'",
    "age(expire, made_utc) > interval '30 days'",
    "at < '10:00'",
    "made < 'infinity' AND expire < 'infinity'",
    "id % 2 = 1 AND zoned LIKE '%Z' AND payload ? 'exp'",
    "EXISTS (SELECT FROM t o WHERE o.id = t.id AND o.made < :cutoff)",
    "hour_in_utc(made) >= 0",
    "wanted(id)",
    "concat(zoned, naive) <> ''",
    '"range" @> :cutoff',
    "many IS NOT NULL",
    "random() >= 0",
    "clock_timestamp() > made",
    "(payload #>> '{exp}')::timestamptz < :cutoff",
    "(payload #>> ARRAY['exp'])::timestamptz < :cutoff",
    "(left(naive, 16) || ' UTC')::timestamptz < :cutoff",
    "btrim(zoned)::timestamptz < :cutoff",
    "CASE WHEN zoned ~ '^2' THEN zoned::timestamptz < :cutoff ELSE false END",
    "to_timestamp((payload->>'none')::bigint) < :cutoff",
    "(payload->>'none')::numeric < extract(epoch FROM :cutoff)",
    "made < :cutoff - 30 * interval '24 hours'",
    "made < :cutoff - CASE WHEN id > 1 THEN interval '1 h' ELSE interval '2 h' END",
    "pg_column_size(t.*) > 0 AND age(xmin) >= 0",
    "made AT TIME ZONE 'Asia/Tokyo' IS NULL OR made::timestamptz(0) < :cutoff",
    "(made, made) OVERLAPS (now(), now())",
    "made = ANY (ARRAY['2026-01-01Z'::timestamptz, :cutoff])",
    "(SELECT max(o.made) FROM t o) < :cutoff - interval '72 hours'",
]


async def swept(database: TestDatabase, condition: str, **given: Any) -> tuple[str, str, int]:
    report = await sweep(database.dsn, column=None, keep=None, condition=condition, **given)
    return str(report.outcome), str(report.end_reason), report.deleted_count


@pytest.mark.every_server
async def test_an_expression_that_depends_on_the_time_zone_is_refused(
    database: TestDatabase,
) -> None:
    await database.execute(TABLE)
    passed = []

    for rows in ("", ROW):
        await database.execute(rows or "SELECT")
        for condition in DANGEROUS:
            outcome, reason, _ = await swept(database, condition)
            if outcome != "failed" or not reason.startswith(REFUSED) or CURE not in reason:
                passed.append((condition, outcome, reason))
    assert "\n".join(map(str, passed)) == ""
    assert await database.fetchval("SELECT count(*) FROM t") == 1


@pytest.mark.every_server
async def test_an_expression_with_one_meaning_is_not_refused(database: TestDatabase) -> None:
    await database.execute(TABLE)
    refused = []

    for rows in ("", ROW):
        await database.execute(rows or "SELECT")
        for condition in HARMLESS:
            outcome, reason, _ = await swept(database, condition, dry_run=True)
            if outcome != "drained":
                refused.append((condition, bool(rows), reason))
    assert "\n".join(map(str, refused)) == ""


async def test_texts_and_intervals_are_judged_by_their_values(database: TestDatabase) -> None:
    await database.execute(TABLE + ROW)

    for condition, said in (
        ("naive::timestamptz < :cutoff", "text that names no zone -> timestamp with time zone"),
        ("(payload->'n'->>'at')::timestamptz < :cutoff", "text that names no zone"),
        ("made + left_span < :cutoff", "timestamp with time zone + interval with days"),
        ("made < :cutoff - left_span", "interval with days"),
        ("misdeclared(expire) < :cutoff", "sampled rows differ"),
    ):
        outcome, reason, _ = await swept(database, condition)
        assert (outcome, said in reason) == ("failed", True), (condition, reason)


ODD_TEXT = 'a"b {FUNCEXPR :funcid 1299} \\ (c'
ODD_TIME = ":opfuncid 2520"


@pytest.mark.every_server
async def test_names_of_any_kind_are_read_as_names(database: TestDatabase) -> None:
    text, at = quote(ODD_TEXT), quote(ODD_TIME)
    await database.execute(
        f'CREATE TABLE "t :funcid 2020" (gone int, {text} text, {at} timestamptz);'
        'ALTER TABLE "t :funcid 2020" DROP COLUMN gone;'
        f"""INSERT INTO "t :funcid 2020" VALUES ('2020-01-01 00:00', now())"""
    )
    table = 'public."t :funcid 2020"'

    passed = await swept(database, f"{at} < :cutoff - interval '1 h'", table=table)
    refused = await swept(database, f"{text}::timestamptz < :cutoff", table=table)
    await database.execute(f"""UPDATE "t :funcid 2020" SET {text} = '2020-01-01 00:00Z'""")
    zoned = await swept(database, f"{text}::timestamptz < :cutoff", table=table)

    assert (passed[0], refused[0], zoned[0], zoned[2]) == ("drained", "failed", "drained", 1), (
        passed,
        refused,
        zoned,
    )


@pytest.mark.every_server
async def test_a_plain_role_sees_how_its_expression_is_understood(database: TestDatabase) -> None:
    await database.execute(TABLE + ROW)
    role = await database.role()
    await database.execute(f"GRANT SELECT, DELETE ON t TO {role}")
    log = database.server.directory / "log"

    async def told() -> int:
        before = log.read_bytes().count(b"LOG:  parse tree")
        report = await sweep(
            database.dsn_for(role), column=None, keep=None, condition="made > :cutoff"
        )
        assert report.outcome == "drained", report.end_reason
        return log.read_bytes().count(b"LOG:  parse tree") - before

    assert await told() == 2
    await database.execute(f"GRANT SET ON PARAMETER log_min_messages TO {role}")
    assert await told() == 0
    await database.execute(f"REVOKE SET ON PARAMETER log_min_messages FROM {role}")


async def test_what_depends_on_the_zone_is_named(database: TestDatabase) -> None:
    await database.execute(TABLE)

    _, reason, _ = await swept(database, "expire < :cutoff")

    assert "(timestamp without time zone < timestamp with time zone)" in reason


@pytest.mark.parametrize(
    ("zone", "gone"), [("UTC", {1, 2}), ("Asia/Tokyo", {1, 2, 3}), ("America/New_York", {1})]
)
async def test_column_timezone_says_what_a_condition_means(
    database: TestDatabase, zone: str, gone: set[int]
) -> None:
    await database.execute(f"ALTER DATABASE {database.name} SET TimeZone = 'Asia/Kolkata'")
    await database.execute(
        "CREATE TABLE t (id int, expire timestamp);"
        "INSERT INTO t SELECT n, now() AT TIME ZONE 'UTC' + h * interval '1 hour' "
        "FROM (VALUES (1, -24), (2, -1), (3, 2), (4, 24)) AS v(n, h)"
    )

    for condition in ("expire < :cutoff", "expire < localtimestamp"):
        count = await sweep(
            database.dsn,
            column=None,
            keep=None,
            condition=condition,
            column_timezone=zone,
            dry_run=True,
        )
        assert count.expired_count == len(gone)
    outcome, reason, _ = await swept(database, "expire < :cutoff", column_timezone=zone)

    assert outcome == "drained", reason
    assert {row["id"] for row in await database.fetch("SELECT id FROM t")} == {1, 2, 3, 4} - gone


async def test_a_where_is_evaluated_in_utc_whatever_the_session_has(
    database: TestDatabase,
) -> None:
    await database.execute(f"ALTER DATABASE {database.name} SET TimeZone = 'Asia/Tokyo'")
    await database.execute(
        "CREATE TABLE t (id int, expires_at timestamptz, x timestamp);"
        "INSERT INTO t SELECT n, now() - interval '1 h', "
        "now() AT TIME ZONE 'UTC' + h * interval '1 hour' FROM (VALUES (1, -1), (2, 1)) AS v(n, h)"
    )

    refused = await sweep(database.dsn, where="x < now()")
    assert (refused.outcome, refused.deleted_count) == ("failed", 0)
    assert str(refused.end_reason).startswith("where depends on the session's time zone")
    report = await sweep(database.dsn, where="x < now()", column_timezone="UTC")

    assert (report.outcome, report.deleted_count) == ("drained", 1), report.end_reason
    assert await database.fetchval("SELECT id FROM t") == 2


async def test_leaves_of_a_partitioned_table_are_judged_alike(database: TestDatabase) -> None:
    await database.execute(
        "CREATE TABLE t (id int, expire timestamp) PARTITION BY RANGE (id);"
        "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10);"
        "INSERT INTO t VALUES (1, now() AT TIME ZONE 'UTC' + interval '1 hour')"
    )
    await database.execute(f"ALTER DATABASE {database.name} SET TimeZone = 'Asia/Tokyo'")

    assert (await swept(database, "expire < :cutoff"))[0] == "failed"
    assert (await swept(database, "expire < :cutoff", column_timezone="UTC"))[::2] == ("drained", 0)
    assert await database.fetchval("SELECT count(*) FROM t") == 1


async def test_triggers_see_the_roles_own_time_zone_where_no_expression_is_evaluated(
    database: TestDatabase,
) -> None:
    await database.execute(f"ALTER DATABASE {database.name} SET TimeZone = 'Asia/Tokyo'")
    await database.execute(
        "CREATE TABLE t (id int, expires_at timestamptz); CREATE TABLE seen (zone text);"
        "INSERT INTO t SELECT 1, now() - interval '1 h';"
        "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO seen VALUES (current_setting('TimeZone')); RETURN OLD; END $$;"
        "CREATE TRIGGER see BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION see()"
    )

    await sweep(database.dsn)
    await database.execute("INSERT INTO t SELECT 1, now() - interval '1 h'")
    await sweep(database.dsn, where="id = 1")

    assert [row["zone"] for row in await database.fetch("SELECT zone FROM seen")] == [
        "Asia/Tokyo",
        "UTC",
    ]


def tz_file(offset: int, later: int | None = None, change: int = 0) -> bytes:
    """Return a compiled zone (RFC 8536, version 1): an offset and, from ``change`` on, another."""
    offsets = [offset] if later is None else [offset, later]
    times = [] if later is None else [change]
    header = b"TZif\0" + bytes(15) + struct.pack(">6l", 0, 0, 0, len(times), len(offsets), 4)
    moves = b"".join(struct.pack(">l", at) for at in times) + b"\1" * len(times)
    kinds = b"".join(struct.pack(">lbb", one, 0, 0) for one in offsets)
    return header + moves + kinds + b"LMT\0"


@pytest.fixture
def host_zones(tmp_path: Path) -> Iterator[Callable[[str, bytes], None]]:
    """Let this host know one zone, in its own way, and no other."""
    before = zoneinfo.TZPATH

    def forget() -> None:
        zoneinfo.ZoneInfo.clear_cache()
        find_zone.cache_clear()

    def know(name: str, content: bytes) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        zoneinfo.reset_tzpath([str(tmp_path)])
        forget()

    yield know
    zoneinfo.reset_tzpath(before)
    forget()


LOCAL_TIMES = (
    "CREATE TABLE t (id int, expires_at {}); INSERT INTO t SELECT n, "
    "now() AT TIME ZONE 'Asia/Tokyo' + h * interval '1 hour' "
    "FROM (VALUES (1, -99), (2, 1), (3, 99)) AS v(n, h)"
)


@pytest.mark.parametrize("kind", ["timestamp", "date"])
async def test_a_zone_that_host_and_server_know_differently_holds(
    database: TestDatabase,
    host_zones: Callable[[str, bytes], None],
    kind: str,
    tmp_path: Path,
) -> None:
    await database.execute(LOCAL_TIMES.format(kind))
    host_zones("Asia/Tokyo", tz_file(12 * 3600))

    holds = Holds(tmp_path, SystemClock().now)
    report = await sweep(database.dsn, column_timezone="Asia/Tokyo", release=False, holds=holds)

    assert report.outcome == "held", report.end_reason
    assert "this host and the server disagree about the time zone Asia/Tokyo" in str(
        report.end_reason
    )
    hold = holds.read("s")
    assert hold is not None
    assert hold.kinds == ("zone",)
    assert await database.fetchval("SELECT count(*) FROM t") == 3


@pytest.mark.parametrize("hours", [-20, 20])
async def test_a_change_that_only_one_side_knows_holds_before_it_matters(
    database: TestDatabase, host_zones: Callable[[str, bytes], None], hours: int
) -> None:
    await database.execute(LOCAL_TIMES.format("timestamp"))
    bound = datetime.now(UTC) - timedelta(days=30)
    change = int((bound + timedelta(hours=hours)).timestamp())
    before, after = (8, 9) if hours < 0 else (9, 10)
    host_zones("Asia/Tokyo", tz_file(before * 3600, after * 3600, change))

    report = await sweep(
        database.dsn, column_timezone="Asia/Tokyo", keep=timedelta(days=30), release=False
    )

    assert report.outcome == "held", report.end_reason
    assert await database.fetchval("SELECT count(*) FROM t") == 3


async def test_check_says_that_a_zone_is_known_differently(
    database: TestDatabase, host_zones: Callable[[str, bytes], None]
) -> None:
    await database.execute(LOCAL_TIMES.format("timestamp"))
    host_zones("Asia/Tokyo", tz_file(12 * 3600))

    findings = await preflight(
        await database.integer_times(),
        settings(column_timezone="Asia/Tokyo"),
        DatabaseConfig(name="app", dsn=database.dsn),
        SystemClock(),
    )

    assert any(
        one.level == "error" and "disagree about the time zone Asia/Tokyo" in one.text
        for one in findings
    )


async def test_a_zone_that_one_side_does_not_know_is_an_error(
    database: TestDatabase, host_zones: Callable[[str, bytes], None]
) -> None:
    await database.execute(LOCAL_TIMES.format("timestamp"))
    host_zones("Mars/Olympus", tz_file(0))

    for zone, said in (
        ("Mars/Olympus", 'the server does not know the time zone "Mars/Olympus"'),
        ("Mars/Phobos", "this host does not know the time zone"),
    ):
        with pytest.raises(SweepError, match=said):
            await preflight(
                await database.integer_times(),
                settings().model_copy(update={"column_timezone": zone}),
                DatabaseConfig(name="app", dsn=database.dsn),
                SystemClock(),
            )


def test_an_expression_waits_while_a_local_hour_runs_for_the_first_time() -> None:
    back = datetime(2026, 10, 25, 1, 0, tzinfo=UTC)  # 03:00 CEST becomes 02:00 CET
    one = settings(
        column=None, keep=None, condition="d < localtimestamp", column_timezone="Europe/Berlin"
    )

    assert repeated_hour(one, back - timedelta(minutes=61)) is None
    assert "is about to be repeated" in str(repeated_hour(one, back - timedelta(minutes=59)))
    assert "is about to be repeated" in str(repeated_hour(one, back - timedelta(minutes=1)))
    assert repeated_hour(one, back) is None
    assert repeated_hour(settings(column_timezone="Europe/Berlin"), back - timedelta(1)) is None
