"""SQL that reads the columns of a swept table and of its archive; run in a pinned search_path."""

from __future__ import annotations

from typing import Final

# A domain's values are those of its base type, with the type modifier that the domain names.
# Of an array, the modifier is its elements'.
COLUMNS: Final = """
WITH RECURSIVE base AS (
    SELECT a.attrelid, a.attnum, t.oid AS type, a.atttypmod AS modifier,
           t.typtype, t.typbasetype, t.typtypmod
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = ANY ($1::bigint[]::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL
    SELECT base.attrelid, base.attnum, t.oid, base.typtypmod,
           t.typtype, t.typbasetype, t.typtypmod
    FROM base JOIN pg_type t ON t.oid = base.typbasetype
    WHERE base.typtype = 'd'
)
SELECT a.attrelid::bigint AS relation, a.attname AS name,
       format_type(a.atttypid, a.atttypmod) AS shown,
       t.oid::bigint AS type, base.modifier,
       CASE WHEN t.typtype = 'e' THEN 'enum'
            WHEN coalesce(e.typnamespace, t.typnamespace) = 'pg_catalog'::regnamespace
            THEN coalesce(e.typname, t.typname)::text ELSE '' END AS kind,
       e.oid IS NOT NULL AS is_array,
       a.attgenerated <> '' AS generated,
       a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AS must_be_given
FROM base
JOIN pg_attribute a ON a.attrelid = base.attrelid AND a.attnum = base.attnum
JOIN pg_type t ON t.oid = base.type
LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typlen = -1
WHERE base.typtype <> 'd'
ORDER BY a.attrelid, a.attnum
"""

# Whether ALTER COLUMN ... TYPE needs no USING.
CASTS: Final = """
SELECT w.number::int FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS w(a, b, number)
WHERE w.a = w.b OR EXISTS (
    SELECT FROM pg_cast
    WHERE castsource = w.a::oid AND casttarget = w.b::oid AND castcontext <> 'e')
"""

# An archive in the swept table's own tree would get back what it gave.
SAME_TREE: Final = """
SELECT pg_partition_root($1::bigint::oid::regclass) = pg_partition_root($2::bigint::oid::regclass)
"""
