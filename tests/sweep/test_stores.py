"""Real applications' tables: what their own predicate says goes, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.command import configured, sweep_table, sweeperd
from tests.conftest import TestDatabase
from tests.parts import SHARED, need
from tests.sweep.engine import sweep

TOKENS = """
INSERT INTO auth_user VALUES (1, '', NULL, false, 'u', '', '', '', false, true, now());
INSERT INTO oauth2_provider_application VALUES
  (1, 'c', '', '', '', '', '', 1, false, now(), now(), '', '', false, '', '', NULL);
INSERT INTO oauth2_provider_accesstoken (id, token, expires, scope, application_id, user_id,
    created, updated, token_checksum, resource)
  SELECT g, g, now() + CASE WHEN g % 2 = 0 THEN 1 ELSE -1 END * interval '1 hour', '', 1, 1,
         now(), now(), g, '[]' FROM generate_series(1, 400) g;
-- every third has a refresh token: live ones and revoked ones, in turn
INSERT INTO oauth2_provider_refreshtoken (id, token, access_token_id, application_id, user_id,
    created, updated, revoked, token_checksum, resource)
  SELECT g, g, g, 1, 1, now(), now(), CASE WHEN g % 2 = 1 THEN NULL ELSE now() - interval '1 h' END,
         g, '[]' FROM generate_series(1, 400) g WHERE g % 3 = 0;
UPDATE oauth2_provider_refreshtoken SET revoked = now() - interval '2 hours' WHERE id % 5 = 0;
"""
JOBS = """
INSERT INTO procrastinate_jobs (id, queue_name, task_name, status)
  SELECT g, 'q', 't', (ARRAY['todo', 'doing', 'succeeded', 'failed', 'cancelled', 'aborting',
                             'aborted'])[1 + g % 7]::procrastinate_job_status
  FROM generate_series(1, 700) g;
DELETE FROM procrastinate_events;
INSERT INTO procrastinate_events (job_id, type, at)
  SELECT g, 'deferred', now() - interval '90 days' FROM generate_series(1, 700) g;
-- a third of them ended lately, and some have no event at all
INSERT INTO procrastinate_events (job_id, type, at)
  SELECT g, 'succeeded', now() - interval '1 hour' FROM generate_series(1, 700) g WHERE g % 3 = 0;
DELETE FROM procrastinate_events WHERE job_id % 50 = 1;
INSERT INTO procrastinate_periodic_defers (task_name, defer_timestamp, job_id)
  SELECT 't', g, g FROM generate_series(1, 700, 10) g;
"""


async def loaded(database: TestDatabase, store: str, rows: str) -> None:
    schema = (SHARED / "stores" / f"{store}.sql").read_text()
    await database.execute(re.sub(r"(?m)^\\.*$", "", schema) + rows)


async def ids(database: TestDatabase, query: str) -> set[int]:
    return {row["id"] for row in await database.fetch(query)}


@need("shared")
async def test_oauth_tokens_go_children_first_whatever_the_order_in_the_file(
    database: TestDatabase, tmp_path: Path
) -> None:
    await loaded(database, "django-oauth-toolkit", TOKENS)
    access = sweep_table(
        "access",
        "oauth2_provider_accesstoken",
        column="expires",
        where="NOT EXISTS (SELECT 1 FROM oauth2_provider_refreshtoken r "
        "WHERE r.access_token_id = oauth2_provider_accesstoken.id)",
    )
    refresh = sweep_table("refresh", "oauth2_provider_refreshtoken", column="revoked")
    option = configured(tmp_path, database, access, refresh + 'before = ["access"]\n')
    gone = await ids(database, "SELECT id FROM oauth2_provider_refreshtoken WHERE revoked <= now()")
    kept = await ids(
        database, "SELECT access_token_id AS id FROM oauth2_provider_refreshtoken "
        "WHERE revoked IS NULL OR revoked > now()"
    )  # fmt: skip
    live = await ids(database, "SELECT id FROM oauth2_provider_accesstoken WHERE expires > now()")

    result = await sweeperd("sweep", "--json", option)

    assert result.code == 0, result
    assert [(one["sweep"], one["outcome"]) for one in result.reports] == [
        ("refresh", "drained"),
        ("access", "drained"),
    ]
    assert result.reports[0]["deleted_count"] == len(gone)
    assert await ids(database, "SELECT id FROM oauth2_provider_accesstoken") == live | kept


@need("shared")
@pytest.mark.every_server
async def test_finished_jobs_go_by_the_time_of_their_last_event(database: TestDatabase) -> None:
    await loaded(database, "procrastinate", JOBS)
    old = await ids(
        database,
        "SELECT id FROM procrastinate_jobs j WHERE status IN ('succeeded', 'failed', 'cancelled', "
        "'aborted') AND (SELECT max(at) FROM procrastinate_events e WHERE e.job_id = j.id) < "
        "now() - interval '72 hours'",
    )

    report = await sweep(
        database.dsn,
        table="procrastinate_jobs",
        column=None,
        keep=None,
        condition="status IN ('succeeded','failed','cancelled','aborted') AND (SELECT max(e.at) "
        "FROM procrastinate_events e WHERE e.job_id = procrastinate_jobs.id) "
        "< :cutoff - interval '72 hours'",
        max_batch_rows=60,
    )

    assert (report.outcome, report.deleted_count) == ("drained", len(old)), report
    assert len(old) > 200
    left = await ids(database, "SELECT id FROM procrastinate_jobs")
    assert left == set(range(1, 701)) - old
    events = await database.fetch("SELECT DISTINCT job_id AS id FROM procrastinate_events")
    assert {row["id"] for row in events} <= left
