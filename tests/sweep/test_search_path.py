"""Nothing that a stranger creates on the role's search_path runs as the sweeping role."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sweeperd.config.models import DatabaseConfig
from sweeperd.host.clock import SystemClock
from sweeperd.postgres.connect import Database
from sweeperd.sweep.checkup import preflight
from tests.conftest import TestDatabase
from tests.sweep.engine import settings, sweep
from tests.sweep.traps import SPRUNG, Names

SHAPES = ['"$user", public', "public, pg_catalog", "evil, public", "evil, pg_catalog, public"]
_STATEMENT = re.compile(r"(?:statement|execute [^:]*): (.*?)(?=\n\d{4}-\d\d-\d\d |\Z)", re.DOTALL)
_ROWS = "SELECT g, {} FROM pg_catalog.generate_series(1, 200) g"
_HOURS = "now() + CASE WHEN g % 4 = 0 THEN 1 ELSE -1 END * interval '1 hour'"
_EPOCH = f"extract(epoch FROM {_HOURS})"
_TEXT = f"to_char(({_HOURS}) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"


@dataclass(frozen=True)
class Case:
    """A table and a sweep of it, which leaves 50 of 200 rows unless it says otherwise."""

    kind: str
    value: str
    given: dict[str, Any]
    left: int = 50
    more: str = ""


CASES = {
    "index": Case("timestamptz", _HOURS, {"strategy": "index"}),
    "heap": Case("timestamptz", _HOURS, {"strategy": "heap", "vacuum": "auto"}),
    "domain": Case("public.moment", _HOURS, {"strategy": "index"}),
    "numeric": Case("numeric", _EPOCH, {"unit": "epoch_s", "strategy": "index"}),
    "integer": Case("integer", _EPOCH, {"unit": "epoch_s", "strategy": "heap"}),
    "double": Case("float8", _EPOCH, {"unit": "epoch_s", "strategy": "index"}),
    "timestamp": Case(
        "timestamp", f"({_HOURS}) AT TIME ZONE 'UTC'", {"column_timezone": "Europe/Berlin"}, 200
    ),
    "date": Case("date", f"({_HOURS})::date - 3 + g % 4", {"column_timezone": "UTC"}, 50),
    "text": Case("text", _TEXT, {"unit": "iso8601"}),
    "varchar": Case("varchar", _TEXT, {"unit": "iso8601", "strategy": "index"}),
    "where": Case("timestamptz", _HOURS, {"where": "state = 'done' AND lower(state) <> 'x'"}),
    "two_steps": Case(
        "timestamptz",
        _HOURS,
        {"where": "NOT EXISTS (SELECT FROM public.child c WHERE c.id = t.id)"},
        51,
        "INSERT INTO public.child VALUES (1)",
    ),
    "condition": Case(
        "timestamptz",
        _HOURS,
        {"column": None, "keep": None, "condition": "expires_at <= :cutoff AND id > 0"},
    ),
    "referenced": Case(
        "timestamptz",
        _HOURS,
        {"strategy": "heap"},
        51,
        "ALTER TABLE public.child ADD FOREIGN KEY (id) REFERENCES public.t; "
        "INSERT INTO public.child VALUES (1)",
    ),
    "refused": Case(
        "timestamptz",
        _HOURS,
        {"strategy": "heap"},
        51,
        "CREATE OR REPLACE FUNCTION public.no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF OLD.id OPERATOR(pg_catalog.=) 1 THEN RAISE 'no'; END IF; RETURN OLD; END $$;"
        "CREATE TRIGGER no BEFORE DELETE ON public.t FOR EACH ROW EXECUTE FUNCTION public.no()",
    ),
    "archive_table": Case("timestamptz", _HOURS, {"archive_to": "public.a"}),
    "archive_file": Case("timestamptz", _HOURS, {"archive_to": "file:kept"}),
    "partitions": Case("timestamptz", _HOURS, {"partitions": "drop"}),
}


async def make(database: TestDatabase, role: str, case: Case) -> None:
    """Make the tables anew, as the role itself, which looks names up in pg_catalog."""
    partitioned = " PARTITION BY RANGE (expires_at)" if case.given.get("partitions") else ""
    key = "" if partitioned else "PRIMARY KEY"
    leaves = (
        "CREATE TABLE public.t_old PARTITION OF public.t FOR VALUES FROM ('2001-01-01') TO "
        "('2002-01-01'); CREATE TABLE public.t_new PARTITION OF public.t DEFAULT;"
        "INSERT INTO public.t VALUES (999, '2001-06-01');"
        if partitioned
        else ""
    )
    await database.execute(
        "SET search_path = pg_catalog; DROP TABLE IF EXISTS public.child, public.t, public.a;"
        f"CREATE TABLE public.t (id integer {key}, expires_at {case.kind}, "
        f"state text DEFAULT 'done', mood public.mood DEFAULT 'ok'){partitioned};"
        f"CREATE INDEX ON public.t (expires_at); {leaves}"
        f"INSERT INTO public.t {_ROWS.format(case.value)};"
        "CREATE TABLE public.child (id integer);"
        f"CREATE TABLE public.a AS TABLE public.t WITH NO DATA; {case.more};"
        f'ALTER TABLE public.t OWNER TO "{role}"; ALTER TABLE public.child OWNER TO "{role}";'
        f'ALTER TABLE public.a OWNER TO "{role}"; ANALYZE public.t'
    )
    if partitioned:
        await database.execute(
            f'ALTER TABLE public.t_old OWNER TO "{role}";ALTER TABLE public.t_new OWNER TO "{role}"'
        )


async def run_all(database: TestDatabase, role: str, archives: Path) -> None:
    """Check, try and sweep each case; each does its work."""
    dsn = database.dsn_for(role)
    config = DatabaseConfig(name="app", dsn=dsn)
    for name, case in CASES.items():
        await make(database, role, case)
        async with Database(config).connection() as connection:
            found = await preflight(connection, settings(**case.given), config, SystemClock())
        assert not [one for one in found if one.level == "error"], (name, found)
        dry = await sweep(dsn, dry_run=True, archives=archives, **case.given)
        assert dry.outcome == "drained", (name, dry.end_reason)
        report = await sweep(dsn, archives=archives, max_batch_rows=70, **case.given)
        rows = await database.fetchval("SELECT count(*) FROM public.t")
        if name != "timestamp":
            assert rows == case.left, (name, rows, report.outcome, report.end_reason)
        ended = "incomplete" if name == "refused" else "drained"
        assert report.outcome == ended, (name, report.end_reason)
        assert report.kept_referenced == (1 if name == "referenced" else 0)


@pytest.mark.every_server
@pytest.mark.parametrize("shape", SHAPES)
async def test_no_trap_on_the_search_path_is_sprung(
    database: TestDatabase, shape: str, tmp_path: Path
) -> None:
    role, stranger = await database.role("sweeper"), await database.role("stranger")
    evil = role if "$user" in shape else "public" if shape.startswith("public") else "evil"
    await database.execute(
        "CREATE DOMAIN public.moment AS timestamptz; CREATE TYPE public.mood AS ENUM ('ok', 'bad');"
        f"ALTER ROLE {role} SET log_statement = 'all';"
        f"ALTER ROLE {role} SET search_path = {shape};"
        f"GRANT CREATE ON DATABASE {database.name} TO {stranger};"
        f"GRANT CREATE ON SCHEMA public TO {role}"
    )
    before = len(database.server.log_text())
    await run_all(database, role, tmp_path / "before")
    names = Names(_STATEMENT.findall(database.server.log_text()[before:]))
    assert {"count", "pg_try_advisory_xact_lock", "to_regclass"} <= names.functions
    if evil == "public":
        await database.execute(f"GRANT CREATE ON SCHEMA public TO {stranger}")
    else:
        await database.execute(
            f"SET ROLE {stranger}; CREATE SCHEMA {evil}; GRANT USAGE ON SCHEMA {evil} TO PUBLIC"
        )
    await database.execute(f"SET ROLE {stranger}")
    await database.execute(names.plant(evil))
    await database.execute("RESET ROLE")
    planted = await database.fetchval(
        "SELECT count(*) FROM pg_proc WHERE pronamespace = $1::regnamespace", evil
    )
    assert planted > 1_000

    before = len(database.server.log_text())
    await run_all(database, role, tmp_path / "after")

    assert not re.findall(rf"LOG:  {SPRUNG}.*", database.server.log_text()[before:])
    await database.execute(f"DROP OWNED BY {stranger} CASCADE; DROP OWNED BY {role} CASCADE")
