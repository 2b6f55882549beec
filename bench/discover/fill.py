"""Rows for any schema: times on both sides of now in every column that can hold one."""

from __future__ import annotations

from typing import Any, Final

import asyncpg

_COLUMNS: Final = """
SELECT c.oid::regclass::text AS source, array_agg(quote_ident(a.attname) ORDER BY attnum) AS names,
  array_agg(CASE
    WHEN t.typname IN ('timestamptz', 'timestamp', 'date') THEN
      '(now() + (g - 20) * interval ''6 hours'')::' || t.typname
    WHEN a.attname ~ '(lifetime|expir|refresh|activity|finished_at)' AND t.typname = 'int4' THEN
      '(extract(epoch FROM now())::bigint + (g - 20) * 3600)::int'
    WHEN a.attname ~ 'expir' AND t.typname = 'int8' THEN
      CASE WHEN c.relname = 'spring_session' THEN '1000 * ' ELSE '' END ||
      '(extract(epoch FROM now())::bigint + (g - 20) * 3600)'
    WHEN t.typname ~ '^(int2|int4|int8|numeric|float8)$' THEN 'g'
    WHEN t.typname ~ '^json' THEN '''{}'''
    WHEN t.typname = 'uuid' THEN 'gen_random_uuid()'
    WHEN t.typname = 'bool' THEN 'false'
    WHEN t.typname = 'bytea' THEN 'decode(lpad(to_hex(g), 8, ''0''), ''hex'')'
    WHEN t.typname = 'inet' THEN '''127.0.0.1'''
    WHEN t.typtype = 'e' THEN quote_literal(enum_first(NULL::text)) ELSE 'g::text' END
    ORDER BY attnum) AS expressions
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid JOIN pg_type t ON t.oid = a.atttypid
WHERE c.relkind = 'r' AND n.nspname !~ '^(pg_|information_schema)' AND attnum > 0
  AND NOT attisdropped AND (t.typcategory NOT IN ('A', 'E', 'T') OR a.attnotnull)
GROUP BY c.oid
""".replace(
    "quote_literal(enum_first(NULL::text))",
    "quote_literal((SELECT enumlabel FROM pg_enum e WHERE e.enumtypid = t.oid "
    "ORDER BY enumsortorder LIMIT 1))",
)


async def fill(connection: Any) -> list[str]:
    """Write 40 rows into each table; return the tables that took none."""
    await connection.execute("SET session_replication_role = replica")
    empty = []
    for row in await connection.fetch(_COLUMNS):
        names, values = ", ".join(row["names"]), ", ".join(row["expressions"])
        try:
            await connection.execute(
                f"INSERT INTO {row['source']} ({names}) OVERRIDING SYSTEM VALUE "
                f"SELECT {values} FROM generate_series(1, 40) g"
            )
        except asyncpg.PostgresError:
            empty.append(row["source"])
    await connection.execute("RESET session_replication_role; ANALYZE")
    return empty
