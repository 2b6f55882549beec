"""SQL on what hangs on a table: triggers, keys that refer to it, publications, functions."""

from __future__ import annotations

from typing import Final

# tgtype: 1 for each row, 8 on delete (catalog/pg_trigger.h). A leaf's copies of its parent's
# triggers are told once, with the parent.
TRIGGERS: Final = """
SELECT t.tgname AS name, t.tgrelid::bigint AS oid, (t.tgtype & 1) = 1 AS for_row
FROM pg_trigger t
WHERE t.tgrelid = ANY ($1::bigint[]::oid[]) AND NOT t.tgisinternal
  AND t.tgenabled IN ('O', 'A') AND (t.tgtype & 8) = 8 AND t.tgparentid = 0
ORDER BY t.tgname
LIMIT 100
"""

# One trigger of each of these tables that may suppress a delete: before, for each row, on delete.
# PostgreSQL 14 calls a partition's copy of its parent's trigger internal; those of keys come after.
BEFORE_DELETE: Final = """
SELECT DISTINCT ON (t.tgrelid) t.tgrelid::bigint AS oid, t.tgname AS name
FROM pg_trigger t
WHERE t.tgenabled IN ('O', 'A') AND (t.tgtype & 11) = 11
  AND t.tgrelid = ANY ($1::bigint[]::oid[])
ORDER BY t.tgrelid, t.tgname
"""

# Foreign keys that refer to these tables, and on from there as far as deletes cascade. A key has
# an index when some whole one begins with its columns, in any order.
REFERENCING: Final = """
WITH RECURSIVE keys AS (
    SELECT k.oid, k.conname, k.conrelid, k.confrelid, k.conkey, k.confdeltype, k.condeferred,
           1 AS depth
    FROM pg_constraint k
    WHERE k.contype = 'f' AND k.confrelid = ANY ($1::bigint[]::oid[])
      AND (k.conparentid = 0 OR k.confrelid = $2::bigint::oid)
  UNION
    SELECT k.oid, k.conname, k.conrelid, k.confrelid, k.conkey, k.confdeltype, k.condeferred,
           keys.depth + 1
    FROM keys JOIN pg_constraint k ON k.confrelid = keys.conrelid
    WHERE k.contype = 'f' AND k.conparentid = 0 AND keys.confdeltype = 'c' AND keys.depth < 5
)
SELECT DISTINCT ON (k.oid) k.conname AS name, n.nspname AS schema, c.relname AS table,
       c.relkind::text AS kind, k.confdeltype::text AS on_delete,
       k.condeferred AS deferred, k.conrelid = ANY ($1::bigint[]::oid[]) AS refers_to_itself,
       (SELECT array_agg(a.attname::text ORDER BY x.place)
        FROM unnest(k.conkey) WITH ORDINALITY AS x(number, place)
        JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = x.number) AS columns,
       EXISTS (SELECT FROM pg_index i
               WHERE i.indrelid = k.conrelid AND i.indisvalid AND i.indpred IS NULL
                 AND (i.indkey::int2[])[0:cardinality(k.conkey) - 1] @> k.conkey) AS indexed,
       c.reltuples::float8 AS rows, p.reltuples::float8 AS parent_rows
FROM keys k
JOIN pg_class c ON c.oid = k.conrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class p ON p.oid = k.confrelid
ORDER BY k.oid, k.depth
LIMIT 100
"""

# The tables of a partition's whole table, or of a table: what may hold its live rows.
FAMILY: Final = """
SELECT relid::oid::bigint AS oid
FROM pg_partition_tree(coalesce(pg_partition_root($1::bigint::regclass)::oid,
                                $1::bigint::oid)::regclass)
UNION SELECT $1::bigint
"""

# A table and what lies below it.
SUBTREE: Final = """
SELECT relid::oid::bigint AS oid FROM pg_partition_tree($1::bigint::regclass)
UNION SELECT $1::bigint
"""

# Where a delete in these tables cascades to, one step: each table with one key that leads there. A
# key that refers to a partitioned table is in the catalogue once more for each partition. It is a
# trigger on the referred-to table that cascades: it may be disabled, and a key that is NOT ENFORCED
# has none.
CASCADES: Final = """
WITH edges AS (
    SELECT k.conrelid, (array_agg(k.oid ORDER BY k.conparentid <> 0, k.oid))[1] AS key,
           (array_agg(k.confrelid ORDER BY k.conparentid <> 0, k.oid))[1] AS referred
    FROM pg_trigger t
    JOIN pg_constraint k ON k.oid = t.tgconstraint AND k.confrelid = t.tgrelid
    WHERE t.tgrelid = ANY ($1::bigint[]::oid[]) AND (t.tgtype & 8) = 8
      AND t.tgenabled IN ('O', 'A') AND k.contype = 'f' AND k.confdeltype = 'c'
    GROUP BY k.conrelid
)
SELECT tree.oid::bigint AS oid, e.key::bigint AS key, e.referred::bigint AS referred
FROM edges e
CROSS JOIN LATERAL (SELECT relid::oid AS oid FROM pg_partition_tree(e.conrelid::regclass)
                    UNION SELECT e.conrelid) AS tree
"""

# Keys as they were made, and what makes each anew without the cascade.
CASCADE_KEYS: Final = """
WITH RECURSIVE up AS (
    SELECT p.oid::oid AS oid, p.place
    FROM unnest($1::bigint[]) WITH ORDINALITY AS p(oid, place)
  UNION ALL
    SELECT k.conparentid, up.place
    FROM up JOIN pg_constraint k ON k.oid = up.oid WHERE k.conparentid <> 0
)
SELECT k.conname AS name, n.nspname AS schema, c.relname AS table,
       replace(pg_get_constraintdef(k.oid), ' ON DELETE CASCADE', '') AS definition
FROM up
JOIN pg_constraint k ON k.oid = up.oid AND k.conparentid = 0
JOIN pg_class c ON c.oid = k.conrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
ORDER BY up.place
"""

_SCHEMAS_PUBLISHED: Final = """
       OR EXISTS (SELECT FROM pg_publication_namespace s
                  WHERE s.pnpubid = p.oid AND s.pnnspid = c.relnamespace)
"""
_SCHEMAS_SINCE: Final = 15


def without_identity(version: int) -> str:
    """Return a query for tables whose deletes are published and that have no replica identity.

    Their DELETE fails (execReplication.c, CheckCmdReplicaIdentity).
    """
    schemas = _SCHEMAS_PUBLISHED if version >= _SCHEMAS_SINCE else ""
    return f"""
SELECT n.nspname AS schema, c.relname AS name, p.pubname AS publication
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_publication p ON p.pubdelete AND (
       p.puballtables
       OR EXISTS (SELECT FROM pg_publication_rel r WHERE r.prpubid = p.oid
                  AND (r.prrelid = c.oid
                       OR r.prrelid IN (SELECT relid FROM pg_partition_ancestors(c.oid))))
       {schemas})
WHERE c.relkind = 'r' AND c.relpersistence = 'p'
  AND (c.oid = ANY ($1::bigint[]::oid[])
       OR c.oid IN (SELECT t.relid FROM unnest($1::bigint[]) AS o
                    CROSS JOIN pg_partition_tree(o::regclass) AS t WHERE t.isleaf))
  AND CASE c.relreplident
        WHEN 'f' THEN false
        WHEN 'd' THEN NOT EXISTS (SELECT FROM pg_index i
                                  WHERE i.indrelid = c.oid AND i.indisprimary AND i.indimmediate)
        WHEN 'i' THEN NOT EXISTS (SELECT FROM pg_index i
                                  WHERE i.indrelid = c.oid AND i.indisreplident AND i.indisvalid)
        ELSE true END
ORDER BY 1, 2, 3
LIMIT 20
"""


# names of which every function is volatile
VOLATILE: Final = """
SELECT proname AS name FROM pg_proc WHERE proname = ANY ($1::text[])
GROUP BY proname HAVING bool_and(provolatile = 'v') ORDER BY 1
"""
