"""SQL of `discover`: all tables of a database at once, and one bounded sample of a column."""

from __future__ import annotations

from typing import Final

from sweeperd.postgres.sql.expired import quote
from sweeperd.postgres.sql.target import Table

# One query however many tables there are. Partitions are seen through their parents; what an
# extension owns is its own business, unless it is a table that users fill (pgmq's queues).
TABLES: Final = """
WITH tables AS (
    SELECT c.oid, n.nspname, c.relname, c.reltuples, c.relpages, c.relkind
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
      AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
      AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
      AND ($1::text IS NULL OR n.nspname = $1::text)
),
columns AS (
    SELECT a.attrelid, pg_catalog.json_agg(pg_catalog.json_build_object(
        'name', a.attname,
        'type', CASE WHEN b.typnamespace = 'pg_catalog'::pg_catalog.regnamespace
                     THEN b.typname ELSE '.' || b.typname END,
        'required', a.attnotnull) ORDER BY a.attnum) AS columns
    FROM pg_catalog.pg_attribute a
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    JOIN pg_catalog.pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
    WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attrelid IN (SELECT oid FROM tables)
    GROUP BY a.attrelid
),
first_columns AS (
    SELECT i.indrelid, pg_catalog.array_agg(DISTINCT a.attname::text) AS lead_by
    FROM pg_catalog.pg_index i
    JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
    WHERE i.indisvalid AND i.indpred IS NULL GROUP BY i.indrelid
),
keys AS (
    SELECT k.confrelid, pg_catalog.array_agg(DISTINCT r.relname::text) AS referencing
    FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class r ON r.oid = k.conrelid
    WHERE k.contype = 'f' AND k.conrelid <> k.confrelid AND k.conparentid = 0
    GROUP BY k.confrelid
)
SELECT t.oid::bigint AS oid, t.nspname AS schema, t.relname AS name, columns.columns::text,
       first_columns.lead_by, keys.referencing,
       greatest(t.reltuples, 0)::bigint AS tuples, t.relkind = 'p' AS partitioned,
       pg_catalog.has_table_privilege(t.oid, 'SELECT') AS readable
FROM tables t JOIN columns ON columns.attrelid = t.oid
LEFT JOIN first_columns ON first_columns.indrelid = t.oid
LEFT JOIN keys ON keys.confrelid = t.oid
ORDER BY t.nspname, t.relname
"""

BYTES: Final = """
SELECT coalesce(pg_catalog.sum(pg_catalog.pg_total_relation_size(relid))::bigint,
                pg_catalog.pg_total_relation_size($1::bigint::oid::pg_catalog.regclass))
FROM pg_catalog.pg_partition_tree($1::bigint::oid::pg_catalog.regclass)
"""

_EPOCHS: Final = {"epoch_s": 1, "epoch_ms": 1_000, "epoch_us": 1_000_000}


def sample(table: Table, column: str, unit: str, *, zone: str, percent: float, limit: int) -> str:
    """Return a query on a sample: its rows, and when their times are, in seconds from now.

    Args:
        table: What is sampled.
        column: The expiry column.
        unit: What it holds.
        zone: Time zone of local times.
        percent: Of its blocks; 100 reads from the front.
        limit: The most rows.
    """
    source = table.source
    if percent < 100:  # noqa: PLR2004 - all of it
        source += f" TABLESAMPLE pg_catalog.system ({percent:.6f})"
    value = quote(column)
    if unit in _EPOCHS:
        # sentinels and zero are no times; a double has room for all of them
        seconds = f"{value}::double precision / {_EPOCHS[unit]}"
        finite = f"{value} > 0 AND {value}::double precision < 253402300800.0 * {_EPOCHS[unit]}"
    else:
        instant = value if unit == "timestamptz" else f"({value} AT TIME ZONE '{zone}')"
        seconds = f"extract(epoch FROM {instant})"
        finite = f"pg_catalog.isfinite({value}) AND {value} < '9000-01-01'"
    return (
        "SELECT pg_catalog.count(*) AS rows, pg_catalog.count(seconds) AS times, "
        "pg_catalog.min(seconds)::double precision AS first, "
        "pg_catalog.max(seconds)::double precision AS last, "
        "pg_catalog.count(*) FILTER (WHERE seconds <= $1::double precision) AS expired "
        f"FROM (SELECT CASE WHEN {finite} THEN {seconds} "
        "- extract(epoch FROM pg_catalog.now())::double precision END AS seconds "
        f"FROM {source} LIMIT {limit}) s"
    )
