"""One bad leaf never stops the others, whatever is wrong with it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from sweeperd.log.event import Event
from sweeperd.log.events import SweepFailed
from sweeperd.log.run_events import BatchCommitted, LeafSetAside, RowSkipped
from sweeperd.sweep.outcome.memory import SweepMemory
from tests.conftest import TestDatabase
from tests.sweep.engine import Heard, sweep

EXPIRED = 300
THREE = (
    "CREATE TABLE t (id int, k int, expires_at timestamptz) PARTITION BY LIST (k);"
    "CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1);"
    "CREATE TABLE t2 PARTITION OF t FOR VALUES IN (2);"
    "CREATE TABLE t3 PARTITION OF t FOR VALUES IN (3);"
    "INSERT INTO t SELECT g, 1 + g % 3, now() + (450.5 - g) * interval '-1 minute' "
    "FROM generate_series(1, 900) g;"
)
INDEX = "CREATE INDEX ON t (expires_at);"
YEARS = "CREATE TABLE t (id int PRIMARY KEY, expires_at int) PARTITION BY RANGE (id);"
REFUSING = (
    "CREATE FUNCTION no() RETURNS trigger AS $$ BEGIN RAISE 'never'; END $$ LANGUAGE plpgsql;"
    "CREATE TRIGGER no BEFORE DELETE ON t2 FOR EACH STATEMENT EXECUTE FUNCTION no();"
)


async def left(database: TestDatabase, table: str = "t") -> tuple[int, int]:
    """Return how many expired and live rows a table has."""
    counts = (
        "count(*) FILTER (WHERE expires_at <= now()), count(*) FILTER (WHERE expires_at > now())"
    )
    return tuple((await database.fetch(f"SELECT {counts} FROM {table}"))[0])


@pytest.mark.every_server
@pytest.mark.parametrize(("more", "strategy"), [("", "heap"), (INDEX, "index")])
async def test_a_locked_leaf_is_set_aside_and_the_others_are_swept(
    database: TestDatabase, more: str, strategy: str
) -> None:
    await database.execute(THREE + more)
    before, live = await left(database)
    stay, _ = await left(database, "t2")
    holder = await database.connect()
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("LOCK TABLE t2 IN SHARE MODE")
    heard = Heard()

    report = await sweep(database.dsn, strategy=strategy, heard=heard)
    await transaction.rollback()

    assert (report.outcome, report.exit_code) == ("incomplete", 1), report
    assert await left(database) == (stay, live)
    assert report.deleted_count == before - stay
    (one,) = report.remaining
    assert (one.leaf, one.reason, one.rows) == ("public.t2", "leaf set aside", stay)
    assert "is locked" in one.by
    assert report.left_over, "a lock may be gone soon"
    assert [event.leaf for event in heard.of(LeafSetAside)] == ["public.t2"]
    event = report.ended()
    assert (event.name, event.level) == ("sweep_ran", "warning")
    assert event.as_fields()["remaining"] == {"leaf set aside": stay}
    memory = report.memory
    assert (await sweep(database.dsn, strategy=strategy, memory=memory)).outcome == "drained"
    assert await left(database) == (0, live)


async def test_a_leaf_that_is_free_again_in_the_same_run_is_swept(database: TestDatabase) -> None:
    await database.execute(THREE)
    holder = await database.connect()
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("LOCK TABLE t1 IN SHARE MODE")

    class Frees(Heard):
        done = 0
        freeing: asyncio.Task[Any] | None = None

        def __call__(self, event: Event) -> None:
            super().__call__(event)
            self.done += event.rows if isinstance(event, BatchCommitted) else 0
            if self.done and self.freeing is None:
                self.freeing = asyncio.ensure_future(transaction.rollback())

    heard = Frees()
    report = await sweep(database.dsn, heard=heard)

    assert report.outcome == "drained", report
    assert not heard.of(LeafSetAside)
    assert (await left(database))[0] == 0


async def test_a_leaf_that_nobody_may_read_makes_the_run_wait_and_is_taken_up_soon(
    database: TestDatabase,
) -> None:
    """As during VACUUM FULL: the catalogue's own functions wait for it, before any batch."""
    await database.execute(THREE)
    _, live = await left(database)
    holder = await database.connect()
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("LOCK TABLE t2 IN ACCESS EXCLUSIVE MODE")

    waiting = await sweep(database.dsn)
    await transaction.rollback()
    after = await sweep(database.dsn, memory=waiting.memory)

    assert (waiting.outcome, waiting.deleted_count) == ("throttled", 0), waiting
    assert waiting.left_over, "a lock may be gone soon"
    assert "public.t, or a partition of it, is locked" in str(waiting.end_reason)
    assert after.outcome == "drained", after
    assert await left(database) == (0, live)


async def test_while_every_leaf_is_locked_the_run_waits_and_says_why(
    database: TestDatabase,
) -> None:
    await database.execute(THREE)
    holder = await database.connect()
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("LOCK TABLE t IN SHARE MODE")

    report = await sweep(database.dsn, timeout=timedelta(seconds=3))
    await transaction.rollback()

    assert (report.outcome, report.deleted_count) == ("throttled", 0), report
    assert "is locked" in str(report.end_reason)


@pytest.mark.every_server
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DROP TABLE t2", "does not exist"),
        (
            "CREATE TABLE other (LIKE t) PARTITION BY LIST (k);"
            "ALTER TABLE t DETACH PARTITION t2;"
            "ALTER TABLE other ATTACH PARTITION t2 FOR VALUES IN (2)",
            "attached or detached",
        ),
        ("REVOKE DELETE ON t2 FROM {role}", "permission denied"),
        (REFUSING, "never"),
    ],
    ids=["dropped", "moved", "revoked", "refusing"],
)
async def test_a_leaf_that_goes_bad_in_the_middle_of_a_run_does_not_stop_the_others(
    database: TestDatabase, change: str, said: str, workers: int
) -> None:
    await database.execute(THREE)
    role = await database.role()
    await database.execute(f"GRANT SELECT, UPDATE, DELETE ON t, t1, t2, t3 TO {role}")
    before, live = await left(database)
    changing = await database.connect()

    class Changes(Heard):
        changed: asyncio.Task[Any] | None = None

        def __call__(self, event: Event) -> None:
            super().__call__(event)
            if isinstance(event, BatchCommitted) and self.changed is None:
                self.changed = asyncio.ensure_future(changing.execute(change.format(role=role)))

    heard = Changes()
    report = await sweep(
        database.dsn_for(role), heard=heard, workers=workers, max_batch_rows=20, rate_limit=200
    )
    assert heard.changed is not None
    await heard.changed

    assert report.outcome == "incomplete", report
    assert said in str(report.end_reason)
    assert [one.leaf for one in report.remaining] == ["public.t2"]
    for leaf in ("t1", "t3"):
        assert (await left(database, leaf))[0] == 0
    if "DROP" not in change:
        rest, _ = await left(database, "t2")
        assert report.deleted_count == before - rest
        alive = await database.fetchval("SELECT count(*) FROM t2 WHERE expires_at > now()")
        assert alive == live // 3


async def test_a_run_fails_only_if_no_leaf_could_be_worked_on(database: TestDatabase) -> None:
    await database.execute(THREE + REFUSING.replace("t2", "t1"))
    for leaf in ("t2", "t3"):
        await database.execute(
            f"CREATE TRIGGER no BEFORE DELETE ON {leaf} FOR EACH STATEMENT EXECUTE FUNCTION no()"
        )

    report = await sweep(database.dsn)

    assert (report.outcome, report.exit_code) == ("failed", 1), report
    assert "never" in str(report.error)
    assert isinstance(report.ended(), SweepFailed)


async def test_a_foreign_leaf_whose_server_is_away_does_not_stop_the_others(
    database: TestDatabase,
) -> None:
    await database.execute(
        THREE + "CREATE EXTENSION postgres_fdw;"
        "CREATE SERVER away FOREIGN DATA WRAPPER postgres_fdw "
        "OPTIONS (host '127.0.0.1', port '1', dbname 'x');"
        "CREATE USER MAPPING FOR PUBLIC SERVER away OPTIONS (user 'x', password 'x');"
        "CREATE FOREIGN TABLE t4 PARTITION OF t FOR VALUES IN (4) SERVER away"
    )

    report = await sweep(database.dsn, where="k < 9")

    assert report.outcome in {"drained", "incomplete"}, report
    assert report.deleted_count > 0
    assert "t4" in str(report.end_reason) + str(report.warnings)


OLDEST = (
    "CREATE TABLE t (id int, expires_at timestamptz, PRIMARY KEY (id, expires_at)) "
    "PARTITION BY RANGE (expires_at);"
    "CREATE TABLE p1 PARTITION OF t FOR VALUES FROM ('2001-01-01') TO ('2002-01-01');"
    "CREATE TABLE p2 PARTITION OF t FOR VALUES FROM ('2002-01-01') TO ('2003-01-01');"
    "CREATE TABLE p3 PARTITION OF t FOR VALUES FROM ('2003-01-01') TO ('2004-01-01');"
    "CREATE TABLE now PARTITION OF t FOR VALUES FROM ('2020-01-01') TO ('2100-01-01');"
    "INSERT INTO t VALUES (1, '2001-05-05'), (2, '2002-05-05'), (3, '2003-05-05'), "
    "(4, '2021-05-05'), (5, '2099-05-05');"
)
CHILD = (
    "CREATE TABLE child (t int, at timestamptz, FOREIGN KEY (t, at) REFERENCES t);"
    "INSERT INTO child VALUES (1, '2001-05-05');"
)


@pytest.mark.every_server
@pytest.mark.parametrize("how", ["drop", "detach"])
@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (CHILD, "foreign key"),
        ("CREATE VIEW v AS SELECT * FROM p1", "depend"),
        ("read", "lock timeout"),
    ],
    ids=["referenced", "viewed", "read"],
)
async def test_a_partition_that_cannot_go_does_not_stop_the_others(
    database: TestDatabase, how: str, trouble: str, said: str
) -> None:
    await database.execute(OLDEST + (trouble if trouble != "read" else ""))
    reader = await database.connect()
    transaction = reader.transaction()
    await transaction.start()
    if trouble == "read":
        await reader.execute("SELECT FROM p1")

    report = await sweep(database.dsn, partitions=how)
    await transaction.rollback()

    gone = {"public.p2", "public.p3"}
    if said == "depend" and how == "detach":  # a view does not mind
        gone |= {"public.p1"}
        assert report.outcome == "drained", report
    else:
        assert report.outcome == "incomplete", report
        (one,) = report.remaining
        assert (one.leaf, one.reason, one.rows) == ("public.p1", "leaf set aside", 1)
        assert said in one.by
    assert set(report.partitions) == gone
    assert report.deleted_count == 1, "the partition that is not wholly past is swept by rows"


async def test_each_of_five_large_leaves_is_done_once_in_a_pass_of_short_runs(
    database: TestDatabase,
) -> None:
    await database.execute(
        THREE + "CREATE TABLE t4 PARTITION OF t FOR VALUES IN (4);"
        "CREATE TABLE t5 PARTITION OF t FOR VALUES IN (5); UPDATE t SET k = 1 + id % 5"
    )
    before, live = await left(database)
    memory, first, runs = SweepMemory(), [], 0
    while True:
        heard = Heard()
        report = await sweep(
            database.dsn, heard=heard, memory=memory, max_rows=30, max_batch_rows=30
        )
        memory, runs = report.memory, runs + 1
        if report.outcome != "capped":
            break
        first.append(report.plan[0].leaf)
        assert runs < 40

    assert (report.outcome, await left(database)) == ("drained", (0, live)), report
    assert set(first[:5]) == {f"public.t{n}" for n in range(1, 6)}
    assert before == EXPIRED + 150


async def test_a_pass_whose_earlier_run_stepped_over_a_row_is_not_drained(
    database: TestDatabase,
) -> None:
    await database.execute(
        "CREATE TABLE t AS SELECT g AS id, now() - interval '1 hour' AS expires_at "
        "FROM generate_series(1, 2000) g;"
        "CREATE FUNCTION no() RETURNS trigger AS $$ BEGIN IF OLD.id < 4 THEN "
        "RAISE 'not this one'; END IF; RETURN OLD; END $$ LANGUAGE plpgsql;"
        "CREATE TRIGGER no BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION no()"
    )
    memory = SweepMemory()
    report = await sweep(database.dsn, memory=memory, max_rows=1000, strategy="heap")
    assert report.outcome == "capped"
    heard = Heard()

    report = await sweep(database.dsn, memory=memory, strategy="heap", heard=heard)

    assert not heard.of(RowSkipped), "the second run began behind them"
    assert (report.outcome, report.skipped_count) == ("incomplete", 3), report
    assert report.remaining[0].reason == "refused"


async def test_rows_that_expired_behind_a_pass_of_many_runs_do_not_stay(
    database: TestDatabase,
) -> None:
    """What a later run's cutoff adds to leaves that are done belongs to the next pass."""
    await database.execute(THREE)
    memory = SweepMemory()
    report = await sweep(database.dsn, memory=memory, max_rows=200)
    assert report.outcome == "capped"
    done = [key for key, leaf in memory.leaves.items() if leaf.state == "done"]
    assert done
    await database.execute("UPDATE t SET expires_at = now() WHERE expires_at > now()")

    report = await sweep(database.dsn, memory=memory)

    assert (report.outcome, report.remaining) == ("drained", ()), report


async def test_text_in_another_form_is_counted_and_said(database: TestDatabase) -> None:
    await database.execute(
        "CREATE TABLE t (id int, expires_at text);"
        "INSERT INTO t VALUES (1, '2001-01-01T00:00:00Z'), (2, '2001-01-01T00:00:00-05:00'), "
        "(3, '2001-01-01T00:00:00+0000'), (4, '2099-01-01T00:00:00Z'), (5, NULL)"
    )

    report = await sweep(database.dsn, unit="iso8601")

    assert (report.outcome, report.deleted_count) == ("incomplete", 1), report
    (one,) = report.remaining
    assert (one.reason, one.rows) == ("unreadable text", 2)
    report = await sweep(database.dsn, unit="iso8601", where="id <> 2 AND id <> 3")
    assert report.outcome == "drained", report


async def test_at_most_ten_rows_are_named(database: TestDatabase) -> None:
    await database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, expires_at timestamptz);"
        "INSERT INTO t SELECT g, now() - interval '1 hour' FROM generate_series(1, 500) g;"
        "CREATE TABLE c (t int REFERENCES t); "
        "INSERT INTO c SELECT g * 9 FROM generate_series(1, 50) g"
    )
    heard = Heard()

    report = await sweep(database.dsn, heard=heard)

    assert (report.outcome, report.kept_referenced, report.skipped_count) == ("drained", 50, 50)
    assert len(heard.of(RowSkipped)) <= 10
    assert report.ended().level == "info"


async def test_a_position_made_under_another_where_is_not_gone_on_from(
    database: TestDatabase,
) -> None:
    await database.execute(THREE)
    memory = SweepMemory()
    report = await sweep(
        database.dsn, memory=memory, where="id % 2 = 0", max_rows=100, max_batch_rows=20
    )
    assert report.outcome == "capped"

    report = await sweep(database.dsn, memory=memory, where="id > 0")

    assert (report.outcome, (await left(database))[0]) == ("drained", 0), report
