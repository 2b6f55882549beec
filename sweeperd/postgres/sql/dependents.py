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
       k.condeferred AS deferred,
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

# Foreign keys by which a delete in a table, over any number of other tables, comes back to it. A
# key that refers to a partitioned table stands in the catalogue for each of its partitions, too.
CASCADES_BACK: Final = """
WITH RECURSIVE members AS (
    SELECT $1::bigint::oid AS oid
  UNION
    SELECT relid::oid FROM pg_partition_tree($1::bigint::regclass)
), reached AS (
    SELECT k.conrelid AS oid, ARRAY[k.oid] AS path
    FROM members m JOIN pg_constraint k ON k.confrelid = m.oid
    WHERE k.contype = 'f' AND k.confdeltype = 'c'
  UNION
    SELECT k.conrelid, reached.path || k.oid
    FROM reached
    CROSS JOIN LATERAL (
        SELECT reached.oid AS relid
      UNION
        SELECT relid::oid FROM pg_partition_tree(reached.oid::regclass)
    ) AS part
    JOIN pg_constraint k ON k.confrelid = part.relid
    WHERE k.contype = 'f' AND k.confdeltype = 'c' AND k.oid <> ALL (reached.path)
      AND cardinality(reached.path) < 8
), back AS (
    SELECT reached.path FROM reached
    WHERE EXISTS (SELECT FROM members m
                  WHERE m.oid = reached.oid
                     OR m.oid IN (SELECT relid FROM pg_partition_tree(reached.oid::regclass)))
    ORDER BY cardinality(reached.path), reached.path LIMIT 1
)
SELECT k.conname AS name, n.nspname AS schema, c.relname AS table
FROM back
CROSS JOIN LATERAL unnest(back.path) WITH ORDINALITY AS p(oid, place)
JOIN pg_constraint k ON k.oid = p.oid
JOIN pg_class c ON c.oid = k.conrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
ORDER BY p.place
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
