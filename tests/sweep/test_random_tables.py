"""Whole passes on a real server over random tables, against a model of what may stay and why."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from sweeperd.sweep.outcome.memory import SweepMemory
from tests.conftest import TestDatabase
from tests.sweep.engine import sweep

TABLE = (
    "CREATE TABLE t (k int, id int, kind text, expires_at timestamptz, PRIMARY KEY (k, id)) "
    "PARTITION BY LIST (k);"
    "CREATE TABLE child (k int, t int, FOREIGN KEY (k, t) REFERENCES t);"
    "CREATE INDEX ON child (k, t);"
    "CREATE FUNCTION judge() RETURNS trigger AS $$ BEGIN "
    "IF OLD.kind = 'refused' THEN RAISE 'not this one'; END IF; "
    "IF OLD.kind = 'suppressed' THEN RETURN NULL; END IF; RETURN OLD; END $$ LANGUAGE plpgsql;"
)
TRIGGER = "CREATE TRIGGER judge BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION judge()"
STUCK = ("referenced", "refused", "suppressed", "locked")


class World:
    """A random table: leaves of 0, 1, few or many rows, each live, free, or stuck for a reason."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.leaves = range(1, self.draw.randint(2, 4) + 1)
        stuck = self.draw.sample(STUCK, self.draw.randint(1, 4))
        self.rows: dict[int, tuple[int, str]] = {}
        for leaf in self.leaves:
            for _ in range(self.draw.choice([0, 1, 40, 90, 300])):
                kind = self.draw.choice(["live", "free", "free", "free"])
                if stuck and self.draw.random() < 0.1:
                    kind = self.draw.choice(stuck)
                self.rows[len(self.rows) + 1] = leaf, kind
        many = len(self.leaves) > 1 and self.draw.random() < 0.4
        self.locked_leaf = self.draw.choice(self.leaves) if many else None

    async def build(self, database: TestDatabase) -> None:
        leaves = "".join(
            f"CREATE TABLE t{n} PARTITION OF t FOR VALUES IN ({n});" for n in self.leaves
        )
        await database.execute(TABLE + leaves)
        if self.kinds & {"refused", "suppressed"}:
            await database.execute(TRIGGER)
        if self.draw.random() < 0.7:
            await database.execute("CREATE INDEX ON t (expires_at)")
        connection = await database.connect()
        await connection.executemany(
            "INSERT INTO t VALUES ($1, $2, $3, now() + $4 * interval '1 minute')",
            [
                (leaf, id_, kind, (1 if kind == "live" else -1) * self.draw.randint(60, 9000))
                for id_, (leaf, kind) in self.rows.items()
            ],
        )
        await database.execute("INSERT INTO child SELECT k, id FROM t WHERE kind = 'referenced'")
        await database.execute("ANALYZE t")

    @property
    def kinds(self) -> set[str]:
        return {kind for _, kind in self.rows.values()}

    async def lock(self, connection: Any) -> None:
        await connection.execute("SELECT FROM t WHERE kind = 'locked' FOR UPDATE")
        if self.locked_leaf is not None:
            await connection.execute(f"LOCK TABLE t{self.locked_leaf} IN SHARE MODE")

    async def meanwhile(self, database: TestDatabase) -> None:
        """Renew a few rows, and move a few others to another leaf, between two runs."""
        if self.locked_leaf is not None:
            return
        there = [row["id"] for row in await database.fetch("SELECT id FROM t WHERE kind = 'free'")]
        for id_ in self.draw.sample(there, min(3, len(there))):
            leaf, _ = self.rows[id_]
            if self.draw.random() < 0.5:
                await database.execute(
                    "UPDATE t SET expires_at = now() + interval '1 h', kind = 'live' "
                    "WHERE k = $1 AND id = $2", leaf, id_,
                )  # fmt: skip
                self.rows[id_] = leaf, "live"
            else:
                other = self.draw.choice(self.leaves)
                await database.execute(
                    "UPDATE t SET k = $3 WHERE k = $1 AND id = $2", leaf, id_, other
                )
                self.rows[id_] = other, "free"

    def stays(self) -> Counter[str]:
        """Return the rows that a whole pass leaves, by reason."""
        return Counter(
            "leaf set aside" if leaf == self.locked_leaf else kind
            for leaf, kind in self.rows.values()
            if kind in STUCK or (leaf == self.locked_leaf and kind == "free")
        )


@pytest.mark.every_server
@pytest.mark.parametrize("seed", range(8))
async def test_what_can_go_is_gone_after_three_runs_and_what_stays_is_told(
    database: TestDatabase, seed: int
) -> None:
    world = World(seed)
    await world.build(database)
    holder = await database.connect()
    transaction = holder.transaction()
    await transaction.start()
    await world.lock(holder)
    memory = SweepMemory()
    keys: dict[str, Any] = {
        "strategy": world.draw.choice(["auto", "heap"]),
        "max_batch_rows": world.draw.choice([7, 100, 50_000]),
    }

    for cap in (world.draw.choice([20, None]), world.draw.choice([90, None])):
        workers = world.draw.randint(1, 3)
        report = await sweep(database.dsn, memory=memory, max_rows=cap, workers=workers, **keys)
        assert report.outcome in {"capped", "incomplete", "drained", "throttled"}, (seed, report)
        await world.meanwhile(database)
    # the pass under way knows nothing of rows that were moved behind it
    memory.begin_pass(None)
    report = await sweep(database.dsn, memory=memory, **keys)
    await transaction.rollback()

    stays = world.stays()
    left = await database.fetch("SELECT id FROM t")
    assert {row["id"] for row in left} == {
        id_
        for id_, (leaf, kind) in world.rows.items()
        if kind != "free" or leaf == world.locked_leaf
    }, (seed, report)
    told: Counter[str] = Counter()
    for one in report.remaining:
        told[one.reason] += one.rows
    if report.outcome != "throttled":  # not even one leaf could be worked on
        assert +told == stays, (seed, report.remaining)
        assert report.skipped_count == stays.total()
        trouble = set(stays) - {"referenced"} or world.locked_leaf is not None
        assert report.outcome == ("incomplete" if trouble else "drained"), (seed, report)
