"""The rows of the bench: what is prepared, what is run beside it, what must be reached."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

ROW = "md5(g::text) AS token, repeat('x', 60) AS data"


def table(rows: int, expired: float, *, index: bool = True, extra: str = "") -> str:
    """Return SQL for a table t whose expired rows lie anywhere in it."""
    made = (
        f"CREATE TABLE t AS SELECT g AS id, {ROW}, now() + (random() - {expired}) * "
        f"interval '100 days' AS expires_at FROM generate_series(1, {rows}) g;;"
        "ALTER TABLE t ADD PRIMARY KEY (id);;"
    )
    return made + ("CREATE INDEX ON t (expires_at);;" if index else "") + extra


@dataclass(frozen=True)
class Case:
    """One row of the bench.

    Attributes:
        name: Shown, and the key in the results.
        sql: Prepares the database.
        least: Ratio of rows/s to one DELETE's that must be reached.
        keys: What the sweep is configured with beside the defaults.
        snapshot: An old snapshot is held open.
        p99: The 99th percentile of batches must stay below twice batch_target.
        loop: The textbook loop is run, too.
        statement: The single statement to compare with, if it is another one.
    """

    name: str
    sql: str
    least: float
    keys: dict[str, Any] = field(default_factory=dict)
    snapshot: bool = False
    p99: bool = False
    loop: bool = True
    statement: str | None = None


INDEXED = table(2_000_000, 0.5)
PARTITIONS = (
    "CREATE TABLE t (id int, token text, data text, expires_at timestamptz, "
    "PRIMARY KEY (id)) PARTITION BY RANGE (id);;"
    "DO $$ BEGIN FOR i IN 0..99 LOOP EXECUTE format('CREATE TABLE t%s PARTITION OF t FOR VALUES "
    "FROM (%s) TO (%s)', i, i * 20000 + 1, i * 20000 + 20001); END LOOP; END $$;;"
    "CREATE INDEX ON t (expires_at);;"
    f"INSERT INTO t SELECT g, {ROW}, now() + (random() - 0.3) * interval '100 days' "
    "FROM generate_series(1, 2000000) g;;"
)
CASCADE = table(
    200_000,
    0.5,
    extra="CREATE TABLE c (id int, t int REFERENCES t ON DELETE CASCADE, pad text);;"
    "INSERT INTO c SELECT g, 1 + g % 200000, repeat('y', 40) FROM generate_series(1, 600000) g;;"
    "CREATE INDEX ON c (t);;",
)
TIES = (
    f"CREATE TABLE t AS SELECT g AS id, {ROW}, now() - interval '1 day' AS expires_at "
    "FROM generate_series(1, 1000000) g;; CREATE INDEX ON t (expires_at);;"
    f"INSERT INTO t SELECT g, {ROW}, now() + interval '1 day' FROM generate_series(1, 1000) g;;"
)
ARCHIVE = table(1_000_000, 0.5, extra="CREATE TABLE gone (LIKE t);;")
MOVE = (
    "WITH gone AS (DELETE FROM t WHERE expires_at <= $1 RETURNING *) "
    "INSERT INTO gone SELECT * FROM gone"
)

CASES = (
    Case("2 M rows, 50 % expired, index", INDEXED, 0.9, p99=True),
    Case("the same, workers = 2", INDEXED, 1.05, {"workers": 2}, p99=True, loop=False),
    Case("no index, 50 % expired", table(2_000_000, 0.5, index=False), 0.9),
    Case("no index, 5 % expired", table(2_000_000, 0.05, index=False), 0.9),
    Case("old snapshot, 2 M rows, 90 % expired", table(2_000_000, 0.9), 0.8, snapshot=True),
    Case("1 M rows share one value", TIES, 0.7, p99=True),
    Case("cascade to a child, 3 rows each", CASCADE, 0.8),
    Case("100 partitions, 30 % expired", PARTITIONS, 0.8),
    Case("archive_to a table", ARCHIVE, 0.8, {"archive_to": "public.gone"}, loop=False,
         statement=MOVE),
)  # fmt: skip
