"""SQL by which `plan` looks at tables: sizes, samples, what cascades take. It reads only."""

from __future__ import annotations

from typing import Final

from sweeperd.postgres.sql.expired import Args, Expired
from sweeperd.postgres.sql.rows import key_text, thinned
from sweeperd.postgres.sql.target import Statement, Table, Target

# Sizes in bytes, and whether ANALYZE knows the column $2 well. pg_stats shows what the role may
# read. Names are bare: for a `reading`.
SIZES: Final = """
SELECT c.oid::bigint AS oid,
       coalesce(pg_relation_size(c.oid), 0)::bigint AS heap,
       coalesce(pg_indexes_size(c.oid), 0)::bigint AS indexes,
       coalesce(pg_total_relation_size(nullif(c.reltoastrelid, 0)), 0)::bigint AS toast,
       coalesce(s.n_mod_since_analyze, 0)::float8 AS modified,
       coalesce(s.last_analyze, s.last_autoanalyze) IS NOT NULL AS analyzed,
       coalesce((SELECT coalesce(array_length(p.histogram_bounds, 1),
                                 CASE WHEN p.most_common_vals IS NOT NULL THEN 1000 END)
                 FROM pg_stats p
                 WHERE p.schemaname = n.nspname AND p.tablename = c.relname AND NOT p.inherited
                   AND p.attname = $2), 0)::int AS buckets
FROM unnest($1::bigint[]) AS w(oid)
JOIN pg_class c ON c.oid = w.oid::oid
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
"""

# The heaps below a table that is swept as a whole.
HEAPS_BELOW: Final = """
SELECT c.oid::bigint AS oid
FROM pg_partition_tree($1::bigint::regclass) t JOIN pg_class c ON c.oid = t.relid
WHERE c.relkind = 'r'
"""

# Keys by which deletes in the tables $1 cascade, step by step, with about how many rows each side
# has: what ANALYZE counted, in proportion to the size now; -1 where it never did.
CASCADES: Final = """
WITH RECURSIVE keys AS (
    SELECT k.oid, k.conname, k.conrelid, k.confrelid, 1 AS depth
    FROM pg_constraint k
    WHERE k.contype = 'f' AND k.confdeltype = 'c' AND k.confrelid = ANY ($1::bigint[]::oid[])
      AND (k.conparentid = 0 OR k.confrelid = $2::bigint::oid)
  UNION
    SELECT k.oid, k.conname, k.conrelid, k.confrelid, keys.depth + 1
    FROM keys JOIN pg_constraint k ON k.confrelid = keys.conrelid
    WHERE k.contype = 'f' AND k.confdeltype = 'c' AND k.conparentid = 0 AND keys.depth < 5
)
SELECT DISTINCT ON (keys.depth, keys.oid) keys.conname AS key, keys.depth,
       keys.confrelid::bigint AS parent, keys.conrelid::bigint AS child,
       n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
       has_table_privilege(c.oid, 'SELECT') AS readable,
       CASE WHEN c.reltuples < 0 THEN -1
            WHEN c.relkind = 'r' AND c.relpages > 0 THEN c.reltuples::float8 / c.relpages
                * pg_relation_size(c.oid) / current_setting('block_size')::float8
            ELSE c.reltuples::float8 END AS rows,
       CASE WHEN c.relkind = 'r' THEN pg_relation_size(c.oid) ELSE 0 END
           / current_setting('block_size')::bigint AS blocks
FROM keys
JOIN pg_class c ON c.oid = keys.conrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
ORDER BY keys.depth, keys.oid
LIMIT 100
"""


def amounts(target: Target, percent: float) -> Statement:
    """Count the rows of some blocks, and the expired ones among them."""
    args = Args()
    condition = target.condition(args)
    source = thinned(target.table, percent, args)
    return Statement(
        "SELECT pg_catalog.count(*) AS rows, "
        f"pg_catalog.count(*) FILTER (WHERE ({condition}) IS TRUE) AS expired FROM {source}",
        tuple(args),
    )


def rows_in(table: Table, percent: float) -> Statement:
    """Count the rows of some blocks."""
    args = Args()
    return Statement(
        f"SELECT pg_catalog.count(*) FROM {thinned(table, percent, args)}", tuple(args)
    )


def examples(
    target: Target, key_columns: tuple[str, ...], *, limit: int, ordered: bool
) -> Statement:
    """Return keys and expiry values of a few expired rows, as text, and nothing else of them.

    Args:
        target: What is expired.
        key_columns: The primary key's; without one a row is named by its place.
        limit: How many rows.
        ordered: Whether the oldest come first; an index should serve.
    """
    args = Args()
    key = key_text(target.table, key_columns, args)
    is_column = isinstance(target.expired, Expired)
    expiry = f"{target.qualified_column}::pg_catalog.text" if is_column else "NULL"
    order = f" ORDER BY {target.qualified_column}" if is_column and ordered else ""
    return Statement(
        f"SELECT {key} AS key, {expiry} AS expires FROM {target.table.source} "
        f"WHERE ({target.condition(args)}){order} LIMIT {args.add(limit, 'bigint')}",
        tuple(args),
    )
