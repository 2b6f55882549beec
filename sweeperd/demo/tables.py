"""SQL of the demo: three tables of a living application, and a note of each deleted row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class DemoTable:
    """One table of the demo.

    Attributes:
        name: Of the table.
        column: When a row's life ends, plus ``keep``.
        keep: As the configuration writes it.
        interval: As the configuration writes it.
        unit: Of the column, if the configuration must say it.
        expires: SQL that gives the instant at which row ``r`` expires.
    """

    name: str
    column: str
    keep: str
    interval: str
    expires: str
    unit: str | None = None

    @property
    def count(self) -> str:
        """Return a query for the number of rows."""
        return f"SELECT count(*) FROM {self.name}"

    @property
    def expired(self) -> str:
        """Return a query for the number of rows that had expired at $1."""
        return f"SELECT count(*) FROM {self.name} AS r WHERE {self.expires} <= $1"


_DIGEST_EXPIRY: Final = "CASE WHEN r.expires > 0 THEN to_timestamp(r.expires) ELSE 'infinity' END"

TABLES: Final = (
    DemoTable("sessions", "expires_at", "0s", "5s", "r.expires_at"),
    DemoTable("api_tokens", "expires", "0s", "7s", _DIGEST_EXPIRY, "epoch_s"),
    DemoTable("audit_log", "created_at", "90d", "11s", "r.created_at + interval '2160 hours'"),
)

SCHEMA: Final = """
CREATE TABLE sessions (
    id text PRIMARY KEY,
    data jsonb NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX ON sessions (expires_at);
CREATE TABLE api_tokens (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest text NOT NULL,
    expires bigint NOT NULL  -- epoch seconds; 0 never expires
);
CREATE TABLE audit_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now(),
    line text NOT NULL
);
CREATE TABLE gone (tbl text NOT NULL, run text NOT NULL, expired timestamptz NOT NULL);
"""

FILL: Final = """
INSERT INTO sessions SELECT md5(g::text), jsonb_build_object('user', g, 'theme', 'dark'),
       now() + (random() - 0.5) * interval '8 hours' FROM generate_series(1, 200000) g;
INSERT INTO api_tokens (digest, expires) SELECT md5(g::text),
       CASE WHEN g % 50 = 0 THEN 0
            ELSE extract(epoch FROM now() + (random() - 0.3) * interval '60 days')::bigint END
       FROM generate_series(1, 50000) g;
INSERT INTO audit_log (created_at, line)
       SELECT now() - (120000 - g) * interval '90 seconds', 'user ' || g % 977 || ' logged in'
       FROM generate_series(1, 120000) g;
"""

ANALYZE: Final = "ANALYZE"


def note_deleted(table: DemoTable) -> str:
    """Return a trigger that notes each deleted row's expiry and the run that deleted it."""
    return f"""
CREATE FUNCTION note_{table.name}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO gone
    SELECT '{table.name}', current_setting('application_name'), {table.expires}
    FROM deleted_rows AS r;
    RETURN NULL;
END $$;
CREATE TRIGGER note AFTER DELETE ON {table.name} REFERENCING OLD TABLE AS deleted_rows
    FOR EACH STATEMENT EXECUTE FUNCTION note_{table.name}();
"""


# what the application does all the time; $1 is a number that differs each time
CREATE_SESSION: Final = """
INSERT INTO sessions VALUES (md5('new ' || $1::bigint), '{}',
    now() + 2 * interval '1 second' + random() * interval '20 seconds')
"""
RENEW_SESSION: Final = """
UPDATE sessions SET expires_at = clock_timestamp() + interval '30 minutes'
WHERE id = md5((1 + $1::bigint * 7919 % 200000)::text)
"""
ISSUE: Final = """
INSERT INTO api_tokens (digest, expires)
VALUES (md5($1::bigint::text), extract(epoch FROM now())::bigint + 15)
"""
LOG: Final = "INSERT INTO audit_log (line) VALUES ('user ' || $1::bigint || ' did something')"

# rows that a run deleted, and those among them that had not expired at its cutoff
DELETED: Final = "SELECT count(*) FROM gone WHERE tbl = $1"
WRONGLY_DELETED: Final = """
SELECT count(*) FROM gone
JOIN unnest($2::text[], $3::timestamptz[]) AS r (run, cutoff) ON gone.run = r.run
WHERE tbl = $1 AND expired > r.cutoff
"""
UNKNOWN_RUNS: Final = "SELECT count(*) FROM gone WHERE tbl = $1 AND NOT run = ANY ($2::text[])"
