"""The rows of the bench that are a ratio: what is prepared, what is run beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.row import Size

ROW = "md5(g::text) AS token, repeat('x', 60) AS data"


def expiry(expired: float) -> str:
    """Return SQL for an instant of which that share is past; none comes due while peers run."""
    return (
        f"CASE WHEN random() < {expired} THEN now() - random() * interval '{expired * 100} days' "
        f"ELSE now() + interval '1 day' + random() * interval '{(1 - expired) * 100} days' END"
    )


def table(
    rows: int, expired: float, *, index: bool = True, key: str = "g AS id", extra: str = ""
) -> str:
    """Return SQL for a table t whose expired rows lie anywhere in it."""
    made = (
        f"CREATE TABLE t AS SELECT {key}, {ROW}, {expiry(expired)} AS expires_at "
        f"FROM generate_series(1, {rows}) g;;"
        "ALTER TABLE t ADD PRIMARY KEY (id);;"
    )
    return made + ("CREATE INDEX ON t (expires_at);;" if index else "") + extra


@dataclass(frozen=True)
class Case:
    """One row of the bench: rows per second beside one DELETE's.

    Attributes:
        title: Shown.
        sql: Prepares the database.
        least: Ratio of rows/s to one DELETE's that must be reached.
        keys: What the sweep is configured with beside the defaults.
        settings: Of the server beside the bench's own.
        snapshot: An old snapshot is held open.
        p99: The 99th percentile of batches at the server must stay below 200 ms.
        loop: The textbook loop is run, too.
        statement: The single statement to compare with, if it is another one.
    """

    title: str
    sql: str
    least: float
    keys: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    snapshot: bool = False
    p99: bool = True
    loop: bool = False
    statement: str | None = None


def _by_number(size: Size) -> str:
    """Return 100 partitions; the expired rows are anywhere."""
    each = size.rows(20_000)
    return (
        "CREATE TABLE t (id int, token text, data text, expires_at timestamptz, "
        "PRIMARY KEY (id)) PARTITION BY RANGE (id);;"
        "DO $$ BEGIN FOR i IN 0..99 LOOP EXECUTE format('CREATE TABLE t%s PARTITION OF t FOR "
        f"VALUES FROM (%s) TO (%s)', i, i * {each} + 1, i * {each} + {each + 1}); "
        "END LOOP; END $$;; CREATE INDEX ON t (expires_at);;"
        f"INSERT INTO t SELECT g, {ROW}, {expiry(0.3)} "
        f"FROM generate_series(1, {each * 100}) g;;"
    )


def _by_month(size: Size) -> str:
    """Return 12 partitions of 30 days; the first two ended before now, the others begin later."""
    first = "(date_trunc('day', now(), 'UTC') - interval '58 days')"
    return (
        "CREATE TABLE t (id int, token text, data text, expires_at timestamptz) "
        "PARTITION BY RANGE (expires_at);;"
        "DO $$ BEGIN FOR i IN 0..11 LOOP EXECUTE format('CREATE TABLE t%s PARTITION OF t FOR "
        f"VALUES FROM (%L) TO (%L)', i, {first} + i * interval '30 days', "
        f"{first} + (i + 1) * interval '30 days'); END LOOP; END $$;;"
        "CREATE INDEX ON t (expires_at);;"
        # the last five days of each month are empty: what is expired does not change meanwhile
        f"INSERT INTO t SELECT g, {ROW}, {first} + (g % 12) * interval '30 days' "
        f"+ random() * interval '25 days' FROM generate_series(1, {size.rows(2_000_000)}) g;;"
    )


def _cascade(size: Size) -> str:
    parents = size.rows(200_000)
    return table(
        parents,
        0.5,
        extra="CREATE TABLE c (id int, t int REFERENCES t ON DELETE CASCADE, pad text);;"
        f"INSERT INTO c SELECT g, 1 + g % {parents}, repeat('y', 40) "
        f"FROM generate_series(1, {parents * 3}) g;; CREATE INDEX ON c (t);;",
    )


def _referenced(size: Size, share: float) -> str:
    """Return expired parents, of which that share is referred to."""
    parents = size.rows(100_000)
    return table(
        parents,
        1.0,
        extra="CREATE TABLE c (id int PRIMARY KEY, t int REFERENCES t);;"
        f"INSERT INTO c SELECT g, 1 + (g - 1) * {round(1 / share)} "
        f"FROM generate_series(1, {int(parents * share)}) g;; CREATE INDEX ON c (t);;",
    )


def tree(rows: int, parent: str) -> str:
    """Return expired rows that refer to each other."""
    return (
        "CREATE TABLE t (id int PRIMARY KEY, parent int, expires_at timestamptz);;"
        f"INSERT INTO t SELECT g, {parent}, now() - interval '1 day' "
        f"FROM generate_series(1, {rows}) g;;"
        "ALTER TABLE t ADD FOREIGN KEY (parent) REFERENCES t;; CREATE INDEX ON t (parent);;"
    )


def _one_value(size: Size) -> str:
    return (
        f"CREATE TABLE t AS SELECT g AS id, {ROW}, now() - interval '1 day' AS expires_at "
        f"FROM generate_series(1, {size.rows(1_000_000)}) g;; CREATE INDEX ON t (expires_at);;"
        f"INSERT INTO t SELECT g, {ROW}, now() + interval '1 day' FROM generate_series(1, 1000) g;;"
    )


def _toast(size: Size) -> str:
    """Return rows of 20 kB, stored as they are, so that making them is quick."""
    return (
        "CREATE TABLE t (id int PRIMARY KEY, data text, expires_at timestamptz);;"
        "ALTER TABLE t ALTER data SET STORAGE EXTERNAL;;"
        f"INSERT INTO t SELECT g, repeat(md5(g::text), 625), {expiry(0.5)} "
        f"FROM generate_series(1, {size.rows(20_000)}) g;;"
        "CREATE INDEX ON t (expires_at);;"
    )


_MOVE = (
    "WITH gone AS (DELETE FROM t WHERE expires_at <= $1 RETURNING *) "
    "INSERT INTO gone SELECT * FROM gone"
)
_FREE = "DELETE FROM t WHERE expires_at <= $1 AND NOT EXISTS (SELECT FROM c WHERE c.t = t.id)"
_TWO = {"workers": 2}
_VACUUMED = {"autovacuum": "on"}


def cases(size: Size) -> dict[str, Case]:
    """Return the rows by key, those on one server beside each other."""
    indexed = table(size.rows(2_000_000), 0.5)
    uuid = table(size.rows(2_000_000), 0.5, key="gen_random_uuid() AS id")
    archive = table(size.rows(1_000_000), 0.5, extra="CREATE TABLE gone (LIKE t);;")
    no_index = table(size.rows(2_000_000), 0.05, index=False)
    half = table(size.rows(2_000_000), 0.5, index=False)
    old = table(size.rows(2_000_000), 0.9)
    return {
        "index": Case("2 M rows, half expired, index", indexed, 0.95, loop=True),
        "index-2": Case("the same, two workers", indexed, 1.2, _TWO),
        "no-index": Case("no index, 5 % expired", no_index, 0.95, loop=True),
        "no-index-half": Case("no index, half expired", half, 0.9),
        "partitions": Case("100 partitions, 30 % expired", _by_number(size), 0.9, loop=True),
        "months": Case("12 monthly partitions, two expired", _by_month(size), 0.9),
        "archive": Case("archive to a table", archive, 0.9, {"archive_to": "public.gone"},
                        statement=_MOVE),
        "toast": Case("rows of 20 kB in TOAST, half expired", _toast(size), 0.9),
        "snapshot": Case("old snapshot, 2 M rows, 90 % expired", old, 0.95, snapshot=True,
                         loop=True),
        "one-value": Case("1 M rows share one value", _one_value(size), 0.95, loop=True),
        "cascade": Case("cascade to a child, 3 rows each", _cascade(size), 0.8),
        "referenced-2": Case("100,000 parents, 2 % referenced", _referenced(size, 0.02), 0.6,
                             statement=_FREE),
        "referenced-20": Case("100,000 parents, 20 % referenced", _referenced(size, 0.2), 0.6,
                              statement=_FREE),
        "uuid": Case("2 M rows, uuid key, default autovacuum", uuid, 0.9, settings=_VACUUMED),
        "uuid-2": Case("the same, two workers", uuid, 1.1, _TWO, _VACUUMED),
    }  # fmt: skip
