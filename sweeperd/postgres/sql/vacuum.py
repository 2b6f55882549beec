"""SQL for what comes after deletes: whether autovacuum will, and VACUUM itself."""

from __future__ import annotations

from typing import Final

from sweeperd.postgres.sql.target import Statement, Table

# The rule of relation_needs_vacanalyze (postmaster/autovacuum.c): dead rows above threshold +
# scale factor * reltuples, since version 18 no more than the maximum; a table's own settings first.
AUTOVACUUM: Final = """
SELECT n.nspname AS schema, c.relname AS name,
       greatest(c.reltuples, s.n_live_tup, 0)::float8 AS rows,
       coalesce(s.n_dead_tup, 0)::float8 AS dead,
       current_setting('autovacuum')::bool AND current_setting('track_counts')::bool AS running,
       coalesce(own.enabled, true) AS enabled,
       CASE WHEN most.rows >= 0 THEN least(most.rows, plain.rows) ELSE plain.rows END AS threshold
FROM unnest($1::text[], $2::text[]) AS w(schema, name)
JOIN pg_namespace n ON n.nspname = w.schema
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
CROSS JOIN LATERAL (
    SELECT max(option_value) FILTER (WHERE option_name = 'autovacuum_enabled')::bool AS enabled,
           max(option_value) FILTER (WHERE option_name = 'autovacuum_vacuum_threshold')::float8
               AS base,
           max(option_value) FILTER (WHERE option_name = 'autovacuum_vacuum_scale_factor')::float8
               AS factor,
           max(option_value) FILTER (WHERE option_name = 'autovacuum_vacuum_max_threshold')::float8
               AS most
    FROM pg_options_to_table(c.reloptions)
) AS own
CROSS JOIN LATERAL (
    SELECT coalesce(own.base, current_setting('autovacuum_vacuum_threshold')::float8)
           + coalesce(own.factor, current_setting('autovacuum_vacuum_scale_factor')::float8)
           * greatest(c.reltuples, 0)::float8 AS rows
) AS plain
CROSS JOIN LATERAL (
    SELECT coalesce(own.most, current_setting('autovacuum_vacuum_max_threshold', true)::float8, -1)
           AS rows
) AS most
"""

# Outside a transaction there is no SET LOCAL. The run's timeout bounds it, not the role's.
_SETTINGS: Final = {"vacuum_cost_delay": "'2ms'", "statement_timeout": "0"}
THROTTLE: Final = "; ".join(f"SET {name} = {value}" for name, value in _SETTINGS.items())
UNTHROTTLE: Final = "; ".join(f"RESET {name}" for name in _SETTINGS)


def vacuum(table: Table) -> Statement:
    """Vacuum a table, waiting for nobody; its file keeps its length.

    Cutting it off would take an exclusive lock, which cancels queries on standbys.
    """
    return Statement(f"VACUUM (ANALYZE, SKIP_LOCKED, TRUNCATE false) {table.quoted}")
