"""SQL that asks how a server fares. Constants, but for the operator's own question."""

from __future__ import annotations

from typing import Final

# Replication lag in bytes: replay_lag, a time, goes stale on a standby whose replay is paused. An
# ordinary role sees NULLs of other roles' processes; a base backup replays nothing.
SIGNALS: Final = """
WITH here AS (
    SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                ELSE pg_current_wal_lsn() END AS lsn
)
SELECT replica.name AS replica, replica.bytes AS replica_bytes, replica.hidden,
       slot.name AS slot, slot.bytes AS slot_bytes,
       (SELECT count(*) FROM pg_locks WHERE NOT granted) AS waiting
FROM (
    SELECT count(*) FILTER (WHERE r.state IS NULL) AS hidden,
           max(pg_wal_lsn_diff(here.lsn, r.replay_lsn))::bigint AS bytes,
           (array_agg(r.application_name ORDER BY r.replay_lsn))[1] AS name
    FROM pg_stat_replication r CROSS JOIN here
    WHERE r.state IS DISTINCT FROM 'backup'
) replica
LEFT JOIN (
    SELECT s.slot_name AS name,
           pg_wal_lsn_diff(here.lsn, s.restart_lsn)::bigint AS bytes
    FROM pg_replication_slots s CROSS JOIN here
    WHERE s.restart_lsn IS NOT NULL ORDER BY s.restart_lsn LIMIT 1
) slot ON true
"""

MAY_READ_STATISTICS: Final = "SELECT pg_has_role('pg_read_all_stats', 'USAGE')"


def operators_question(query: str) -> str:
    """Return the statement that asks an operator's own question; NULL counts as no.

    Args:
        query: The operator's text, one expression or SELECT.
    """
    return f"SELECT ({query}) IS TRUE"
