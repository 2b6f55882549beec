"""SQL on the system catalogues: what a server and a table are. Constants and pure builders.

Names here are bare, for ``reading`` pins search_path; what a batch asks is in ``sql.batch``.
"""

from __future__ import annotations

from typing import Final

# Microseconds since 2000-01-01. In recovery the functions about WAL raise. What is set for our own
# role hides the server's deadlock_timeout, which then counts as the default, or as ours if shorter.
SERVER: Final = """
SELECT ((extract(epoch FROM clock_timestamp()) - 946684800) * 1000000)::bigint AS cutoff,
       current_database() AS database,
       current_user AS role,
       pg_is_in_recovery() AS in_recovery,
       EXISTS (SELECT FROM pg_publication WHERE pubdelete) AS publishes_deletes,
       current_setting('default_transaction_read_only')::bool AS read_only,
       (SELECT least(setting::float8,
                     CASE WHEN source IN ('user', 'database', 'database user', 'client', 'session')
                     THEN boot_val::float8 END)
        FROM pg_settings WHERE name = 'deadlock_timeout') AS deadlock_ms,
       ARRAY(SELECT split_part(one, '=', 2) FROM pg_db_role_setting, unnest(setconfig) AS one
             WHERE starts_with(lower(one), 'deadlock_timeout=')) AS other_deadlock_timeouts,
       current_setting('is_superuser')::bool AS may_set_deadlock_timeout,
       (SELECT setting::bigint FROM pg_settings WHERE name = 'shared_buffers') AS shared_buffers,
       current_setting('block_size')::int AS block_size,
       has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE') AS identifiable,
       CASE WHEN NOT pg_is_in_recovery() THEN left(pg_walfile_name(pg_current_wal_lsn()), 8) END
           AS timeline,
       CASE WHEN NOT pg_is_in_recovery() THEN (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint END
           AS wal,
       CASE WHEN NOT pg_is_in_recovery()
           THEN pg_snapshot_xmax(pg_current_snapshot())::text::bigint END AS next_xid
"""

# on 15 and newer
MAY_SET_DEADLOCK_TIMEOUT: Final = (
    "SELECT has_parameter_privilege('deadlock_timeout', 'SET') AS granted"
)

SYSTEM_IDENTIFIER: Final = "SELECT system_identifier FROM pg_control_system()"

# Visible in the role's own search_path: pg_table_is_visible would ask the pinned one.
RELATIONS: Final = """
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name,
       c.relkind::text AS kind,
       n.nspname = (
           SELECT m.nspname FROM pg_class o JOIN pg_namespace m ON m.oid = o.relnamespace
           WHERE o.relname = c.relname AND m.nspname = ANY (own.path)
           ORDER BY array_position(own.path, m.nspname::text) LIMIT 1) AS visible
FROM (SELECT current_setting('sweeperd.own_path')::text[] AS path) AS own,
     pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
  AND ($1::text[] IS NULL OR c.relname = ANY ($1::text[]))
LIMIT 20000
"""

COLUMNS: Final = """
WITH RECURSIVE base AS (
    SELECT a.attnum, t.oid AS type, t.typtype, t.typbasetype
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = $1::bigint::oid AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL
    SELECT base.attnum, t.oid, t.typtype, t.typbasetype
    FROM base JOIN pg_type t ON t.oid = base.typbasetype
    WHERE base.typtype = 'd'
)
SELECT a.attnum::int AS number, a.attname AS name, a.atttypid::bigint AS type,
       CASE WHEN t.typnamespace = 'pg_catalog'::regnamespace THEN t.typname ELSE NULL END AS base,
       format_type(a.atttypid, a.atttypmod) AS shown,
       a.attgenerated <> '' AS generated, a.attidentity::text AS identity,
       a.attcollation::bigint AS collation,
       coalesce(co.collprovider, 'c')::text AS collation_provider,
       coalesce(nullif(co.collcollate, ''), co.collname)::text AS collation_name,
       has_column_privilege($1::bigint::oid, a.attnum, 'SELECT') AS readable
FROM base
JOIN pg_attribute a ON a.attrelid = $1::bigint::oid AND a.attnum = base.attnum
JOIN pg_type t ON t.oid = base.type
LEFT JOIN pg_collation co ON co.oid = a.attcollation
WHERE base.typtype <> 'd'
ORDER BY a.attnum
"""

_RELATION_FACTS: Final = """
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
       current_user AS role, c.relhastriggers AS has_triggers,
       c.relhassubclass AS has_children, c.relispartition AS partition,
       row_security_active(c.oid) AS row_security,
       c.relpages::bigint AS pages, c.reltuples::float8 AS tuples,
       CASE c.relkind WHEN 'r' THEN coalesce(pg_relation_size(c.oid), 0)
           / current_setting('block_size')::bigint ELSE 0 END AS blocks,
       coalesce(am.amname, 'heap') AS access_method,
       has_schema_privilege(n.oid, 'USAGE') AS usable,
       has_table_privilege(c.oid, 'DELETE') AS deletable,
       has_table_privilege(c.oid, 'SELECT') AS readable,
       has_table_privilege(c.oid, 'INSERT') AS insertable,
       has_table_privilege(c.oid, 'UPDATE')
           OR has_any_column_privilege(c.oid, 'UPDATE') AS lockable,
       pg_has_role(c.relowner, 'USAGE') AS owned,
       pg_has_role(c.relowner, 'USAGE') OR CASE
           WHEN current_setting('server_version_num')::int >= 170000
           THEN has_table_privilege(c.oid, 'MAINTAIN') ELSE false END AS maintainable,
       EXISTS (SELECT 1 FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal
               AND t.tgenabled <> 'D' AND (t.tgtype & 9) = 8) AS statement_trigger,
       (SELECT min(r.rulename) FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_type = '4'
        AND r.ev_enabled IN ('A', CASE current_setting('session_replication_role')
                                  WHEN 'replica' THEN 'R' ELSE 'O' END)) AS delete_rule,
       row_security_active(c.oid) AND EXISTS (
           SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polcmd <> '*')
           AS policies_by_command
"""

TABLE: Final = f"""
{_RELATION_FACTS}
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_am am ON am.oid = c.relam
WHERE c.oid = $1::bigint::oid
"""

# all that lies below a partitioned table: leaves, and the partitioned tables in between
PARTITION_TREE: Final = f"""
{_RELATION_FACTS}
FROM pg_partition_tree($1::bigint::regclass) t
JOIN pg_class c ON c.oid = t.relid
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_am am ON am.oid = c.relam
WHERE t.level > 0
ORDER BY c.oid
"""

CHILDREN: Final = """
SELECT n.nspname AS schema, c.relname AS name
FROM pg_inherits i
JOIN pg_class c ON c.oid = i.inhrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE i.inhparent = $1::bigint::oid ORDER BY 1, 2 LIMIT 20
"""

# A hypertable's chunks are inheritance children of it. One without chunks is known by the trigger
# that kept rows out of the root until TimescaleDB 2.23, or from its catalogue, see `HYPERTABLES`.
# $2 are the hypertables known from there.
TIMESCALE: Final = """
WITH hypertables AS (
    SELECT tgrelid AS oid FROM pg_trigger WHERE tgname = 'ts_insert_blocker'
  UNION
    SELECT unnest($2::bigint[])::oid
  UNION
    SELECT i.inhparent FROM pg_inherits i
    JOIN pg_class c ON c.oid = i.inhrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = '_timescaledb_internal'
)
SELECT c.oid IN (SELECT oid FROM hypertables) AS hypertable,
       n.nspname = '_timescaledb_internal' AS internal,
       (SELECT format('%I.%I', pn.nspname, p.relname)
        FROM pg_inherits i
        JOIN pg_class p ON p.oid = i.inhparent
        JOIN pg_namespace pn ON pn.oid = p.relnamespace
        WHERE i.inhrelid = c.oid AND p.oid IN (SELECT oid FROM hypertables) LIMIT 1) AS chunk_of
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = $1::bigint::oid
"""

# Whether TimescaleDB's list of hypertables can be read without running a stranger's code, who may
# have made a schema of that name: a plain table of plain columns, of the extension's owner, the
# database's or a superuser.
HYPERTABLES_READABLE: Final = """
SELECT EXISTS (
    SELECT FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_roles o ON o.oid = c.relowner
    WHERE n.nspname = '_timescaledb_catalog' AND c.relname = 'hypertable' AND c.relkind = 'r'
      AND NOT row_security_active(c.oid)
      AND (o.rolsuper
           OR o.oid IN (SELECT extowner FROM pg_extension WHERE extname = 'timescaledb')
           OR o.oid IN (SELECT datdba FROM pg_database WHERE datname = current_database()))
      AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
      AND (SELECT count(*) FROM pg_attribute a
           WHERE a.attrelid = c.oid AND a.attname IN ('schema_name', 'table_name')
             AND a.atttypid IN ('name'::regtype, 'text'::regtype)) = 2)
"""
HYPERTABLES: Final = """
SELECT c.oid::bigint AS oid
FROM ONLY _timescaledb_catalog.hypertable h
JOIN pg_namespace n ON n.nspname = h.schema_name::name
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = h.table_name::name
LIMIT 10000
"""

# Beside the role's own attributes: roles with rights of that kind that it can become or inherits.
ROLE: Final = """
SELECT r.rolname AS name, r.rolsuper AS superuser, r.rolbypassrls AS bypasses_row_security,
       r.rolcreaterole AS creates_roles, r.rolreplication AS replicates,
       (SELECT coalesce(array_agg(p.rolname::text ORDER BY p.rolname), '{}')
        FROM pg_roles p
        WHERE (p.rolsuper OR p.rolbypassrls OR p.rolcreaterole OR p.rolreplication
               OR p.rolname IN ('pg_execute_server_program', 'pg_read_server_files',
                                'pg_write_server_files', 'pg_write_all_data', 'pg_read_all_data',
                                'pg_maintain', 'pg_signal_backend', 'pg_create_subscription'))
          AND p.oid <> r.oid AND NOT r.rolsuper AND pg_has_role(r.oid, p.oid, 'MEMBER'))
           AS memberships,
       (SELECT d.datname FROM pg_database d
        WHERE d.datname = current_database() AND NOT r.rolsuper
          AND pg_has_role(r.oid, d.datdba, 'MEMBER')) AS owned_database,
       (SELECT array_agg(p.rolname::text) FROM pg_roles p
        WHERE starts_with(p.rolname::text, 'sweeperd')) AS taken
FROM pg_roles r WHERE r.rolname = current_user
"""

OWNERS: Final = """
SELECT c.oid::bigint AS oid, r.rolname AS name, r.rolsuper AS superuser
FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner WHERE c.oid = ANY ($1::bigint[]::oid[])
"""

# Whether one of these tables has row security, whoever it applies to.
ROW_SECURED: Final = """
SELECT EXISTS (SELECT FROM pg_class WHERE oid = ANY ($1::bigint[]::oid[]) AND relrowsecurity)
"""

# Asked where the role's own search_path is in force, so names are qualified.
FOREIGN_BELOW: Final = """
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_partition_tree($1::pg_catalog.int8::pg_catalog.regclass) AS t
    JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) t.relid
    WHERE c.relkind OPERATOR(pg_catalog.=) 'f'::pg_catalog."char")
"""

PRIMARY_KEY: Final = """
SELECT a.attname
FROM pg_index i
CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(number, place)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
WHERE i.indrelid = $1::bigint::oid AND i.indisprimary
ORDER BY k.place
"""

# An index that serves slices: a whole, valid btree that leads with the plain column under the
# column's own collation. The others are told apart for advice.
INDEXES: Final = """
SELECT i.indrelid::bigint AS relation, ic.relname AS name, am.amname AS method,
       i.indisvalid AND i.indisready AS valid,
       i.indpred IS NOT NULL AS partial,
       i.indkey[0] = a.attnum AS leads,
       i.indcollation[0]::bigint AS collation,
       (i.indoption[0] & 1) = 0 AS ascending
FROM pg_attribute a
JOIN pg_index i ON i.indrelid = a.attrelid
JOIN pg_class ic ON ic.oid = i.indexrelid
JOIN pg_am am ON am.oid = ic.relam
WHERE a.attrelid = ANY ($1::bigint[]::oid[]) AND a.attname = $2::text AND NOT a.attisdropped
  AND a.attnum = ANY (i.indkey::int2[])
ORDER BY ic.relname
"""

CITUS: Final = """
SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n
               ON n.oid = c.relnamespace
               WHERE n.nspname = 'pg_catalog' AND c.relname = 'pg_dist_partition')
"""
DISTRIBUTED: Final = """
SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_dist_partition
               WHERE logicalrelid = $1::bigint::regclass)
"""

COLLATION: Final = """
SELECT n.nspname AS schema, c.collname AS name
FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace WHERE c.oid = $1::bigint::oid
"""


def sorts_as_time(collation: str) -> str:
    """Return a query: does this collation sort ISO 8601 text as time, cut to the second?

    The pairs differ in one place each: separator, zone, fraction, and the digits before
    them. Text has fixed places, so a collation that sorts these sorts all.
    """
    texts = (
        "2025-01-01 00:00:00.999999", "2025-01-01 10:00:00", "2025-01-01 10:00:00+00:00",
        "2025-01-01 10:00:00.5Z", "2025-01-01 23:59:59.999999Z", "2025-01-01 09:59:59",
    )  # fmt: skip
    bounds = ("2025-01-02T00:00:00", "2025-01-11T00:00:00", "2025-10-01T00:00:00")
    pairs = [(text, bound) for text in texts for bound in bounds]
    pairs += [
        ("2025-01-01T10:00:00.999999999+00:00", "2025-01-01T10:00:01"),
        ("2025-01-01T10:00:00Z", "2025-01-01T10:00:01"),
        ("2025-01-01 10:00:00Z", "2025-01-01T10:00:01"),
        ("2025-01-01T10:00:09.5", "2025-01-01T10:00:10"),
        ("2025-01-01T10:59:59+00", "2025-01-01T11:00:00"),
        ("2025-01-01 09:59:59+00", "2025-01-01T10:00:00"),
        ("2025-01-01T23:59:59Z", "2025-01-02T00:00:00"),
        ("2024-12-31T23:59:59.999Z", "2025-01-01T00:00:00"),
    ]
    values = ", ".join(f"('{low}', '{high}')" for low, high in pairs)
    return (
        f"SELECT bool_and(low{collation} < high{collation}) FROM (VALUES {values}) AS p(low, high)"
    )


# Leaves with their bound in their own parent. TimeZone and DateStyle make the literals read back.
PARTITIONS: Final = """
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name,
       pn.nspname AS parent_schema, p.relname AS parent, p.oid::bigint AS parent_oid,
       pt.partstrat::text AS strategy, pt.partnatts::int AS keys, a.attname AS key,
       pg_get_expr(c.relpartbound, c.oid) AS bound,
       pg_has_role(c.relowner, 'USAGE') AND pg_has_role(p.relowner, 'USAGE') AS owned
FROM pg_partition_tree($1::bigint::regclass) t
JOIN pg_class c ON c.oid = t.relid
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class p ON p.oid = t.parentrelid
JOIN pg_namespace pn ON pn.oid = p.relnamespace
JOIN pg_partitioned_table pt ON pt.partrelid = p.oid
LEFT JOIN pg_attribute a ON a.attrelid = p.oid AND a.attnum = pt.partattrs[0] AND a.attnum > 0
WHERE t.isleaf
ORDER BY c.oid
"""
EXACT_LITERALS: Final = "SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'"

PENDING_DETACHES: Final = """
SELECT n.nspname AS schema, c.relname AS name, pn.nspname AS parent_schema, p.relname AS parent
FROM pg_inherits i
JOIN pg_class c ON c.oid = i.inhrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class p ON p.oid = i.inhparent
JOIN pg_namespace pn ON pn.oid = p.relnamespace
WHERE i.inhdetachpending
  AND i.inhparent IN (SELECT relid FROM pg_partition_tree($1::bigint::regclass))
"""

# A lock by one 64-bit key: its halves are classid and objid, and objsubid is 1 (pg_locks).
LOCK_HOLDER: Final = """
SELECT l.pid, a.application_name AS name,
       extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS seconds
FROM pg_locks AS l LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (l.classid::bigint << 32) | l.objid::bigint = $1::bigint
LIMIT 1
"""
