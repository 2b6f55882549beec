"""Each preset on the DDL of its project."""

from __future__ import annotations

from tests.presets.rows import Case

_OUTBOX = """
CREATE TABLE TXNO_OUTBOX (id VARCHAR(36) PRIMARY KEY, invocation TEXT, nextAttemptTime TIMESTAMP(6),
  attempts INT, blocked BOOLEAN, version INT, uniqueRequestId VARCHAR(250), processed BOOLEAN,
  lastAttemptTime TIMESTAMP(6));
"""
_NSERVICEBUS = """
CREATE TABLE public."ShopOutboxData" ("MessageId" VARCHAR(200) PRIMARY KEY,
  "Dispatched" BOOLEAN NOT NULL DEFAULT false, "DispatchedAt" TIMESTAMP,
  "PersistenceVersion" VARCHAR(23), "Operations" JSONB NOT NULL);
"""
_REFRESH = """
INSERT INTO oauth2_provider_refreshtoken (id, token, access_token_id, application_id, user_id,
  created, updated, token_checksum, resource)
SELECT g, g, g, 1, 1, now(), now(), g, '[]' FROM generate_series(1, 100, 2) g
"""
_OUTSTANDING = """
INSERT INTO token_blacklist_outstandingtoken (id, token, expires_at, jti)
SELECT g, g, now() + (g - 6) * interval '1 hour', g FROM generate_series(1, 12) g
"""
_GOOD_JOBS = """
INSERT INTO good_jobs (active_job_id, finished_at, created_at, updated_at)
SELECT ('00000000-0000-0000-0000-' || lpad(g::text, 12, '0'))::uuid,
  CASE WHEN g % 3 > 0 THEN (now() AT TIME ZONE 'UTC') - (g % 3) * interval '10 days' END,
  now(), now() FROM generate_series(1, 12) g
"""
_EVENTS = """
INSERT INTO procrastinate_events (job_id, type, at)
SELECT g, 'deferred', now() - interval '90 days' FROM generate_series(1, 80) g WHERE g % 7 > 0;
INSERT INTO procrastinate_events (job_id, type, at)
SELECT g, 'succeeded', now() - interval '1 hour' FROM generate_series(1, 80) g WHERE g % 3 = 0;
"""
_OFFLINE = """
INSERT INTO offline_user_session (user_session_id, realm_id, created_on, offline_flag,
  last_session_refresh)
SELECT g, 'r', 0, '1', CASE WHEN g = 1 THEN 0 ELSE
  extract(epoch FROM now())::bigint - g * 86400 * 5 END FROM generate_series(1, 12) g
"""
UTC = {"column_timezone": "UTC"}
BERLIN = {"column_timezone": "Europe/Berlin"}

CASES = [
    Case("django-sessions", "django-sessions"),
    Case("django-cache", "django-cache"),
    Case("django-oauth-refresh-tokens", "django-oauth-toolkit", lines=("revoked",),
         values={"access_token_id": "CASE WHEN :g % 4 > 0 THEN :g END"}),
    Case("django-oauth-access-tokens", "django-oauth-toolkit", before=_REFRESH,
         values={"id": ":g", "application_id": "1"}),
    Case("django-oauth-id-tokens", "django-oauth-toolkit", values={"id": ":g"},
         before="INSERT INTO oauth2_provider_accesstoken (id, token, expires, scope, created, "
         "updated, token_checksum, resource, id_token_id) SELECT g, g, now(), '', now(), now(), g,"
         " '[]', g FROM generate_series(1, 99, 3) g"),
    Case("django-oauth-grants", "django-oauth-toolkit"),
    Case("simplejwt-blacklisted-tokens", "drf-simplejwt-blacklist", before=_OUTSTANDING,
         values={"token_id": ":g"}, lines=("blacklisted_at",)),
    Case("simplejwt-outstanding-tokens", "drf-simplejwt-blacklist", values={"id": ":g"},
         before="INSERT INTO token_blacklist_blacklistedtoken (blacklisted_at, token_id) "
         "SELECT now(), g FROM generate_series(1, 99, 3) g"),
    Case("django-celery-task-results", "django-celery-results", keys={"keep": "1d"}),
    Case("django-celery-group-results", "django-celery-results", keys={"keep": "1d"}),
    Case("django-axes-attempts", "django-axes", keys={"keep": "1h"}, values={"id": ":g"},
         before="INSERT INTO axes_accessattemptexpiration SELECT g, now() FROM "
         "generate_series(1, 99, 4) g"),
    Case("django-axes-access-log", "django-axes"),
    Case("allauth-email-confirmations", "django-allauth", keys={"keep": "3d"}),
    Case("django-auditlog", "django-auditlog", keys={"keep": "365d"}),
    Case("flask-sessions", "flask-session"),
    Case("connect-pg-simple", "connect-pg-simple", keys=BERLIN),
    Case("authjs-sessions", "authjs-nextauth"),
    Case("authjs-verification-tokens", "authjs-nextauth"),
    Case("better-auth-sessions", "better-auth"),
    Case("better-auth-verifications", "better-auth"),
    Case("scs-sessions", "scs-postgresstore"),
    Case("gorilla-sessions", "gorilla-pgstore"),
    Case("tower-sessions", "tower-sessions"),
    Case("spring-sessions", "spring-session"),
    Case("symfony-sessions", "symfony-pdo-session"),
    Case("laravel-sessions", "laravel-sessions", keys={"keep": "2h"}),
    Case("laravel-cache", "laravel-cache"),
    Case("laravel-failed-jobs", "laravel-queue", keys=UTC),
    Case("laravel-job-batches", "laravel-queue"),
    Case("laravel-sanctum-tokens", "laravel-sanctum", keys=UTC),
    Case("rails-sessions", "rails-activerecord-session-store"),
    Case("solid-queue-jobs", "solid-queue"),
    Case("solid-cache-entries", "solid-cache", keys={"keep": "14d"}),
    Case("good-job-executions", "good-job", before=_GOOD_JOBS, lines=("finished_at",),
         values={"active_job_id": "('00000000-0000-0000-0000-' || lpad(':g', 12, '0'))::uuid"}),
    Case("good-jobs", "good-job"),
    Case("oban-jobs", "oban", lines=("scheduled_at", "cancelled_at", "discarded_at")),
    Case("river-jobs", "river", lines=("finalized_at",), values={"args": "'{}'"}),
    Case("procrastinate-jobs", "procrastinate", keys={"keep": "72h"}, before=_EVENTS,
         values={"id": ":g", "abort_requested": "false"}, lines=("scheduled_at",)),
    Case("pgqueuer-log", "pgqueuer", keys={"keep": "30d"}),
    Case("pgmq-archive", "pgmq", keys={"keep": "30d", "table": "pgmq.a_my_queue"}),
    Case("hydra-access-tokens", "ory-hydra", keys={"keep": "1h"}),
    Case("hydra-refresh-tokens", "ory-hydra", keys={"keep": "720h"}),
    Case("keycloak-offline-client-sessions", "keycloak-offline-session", keys={"keep": "30d"},
         before=_OFFLINE,
         values={"user_session_id": "':g'", "offline_flag": "(':g'::int % 2)::text"},
         lines=("timestamp",)),
    Case("keycloak-offline-user-sessions", "keycloak-offline-session", keys={"keep": "30d"},
         values={"offline_flag": "(':g'::int % 2)::text"}),
    Case("authelia-identity-verifications", "authelia"),
    Case("transaction-outbox", ddl=_OUTBOX, keys=UTC),
    Case("nservicebus-outbox", ddl=_NSERVICEBUS, keys={"table": 'public."ShopOutboxData"'}),
]  # fmt: skip
