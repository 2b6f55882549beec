"""What `discover` says of real stores and of applications in which nothing expires."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bench.discover.business import BUSINESS
from bench.discover.fill import fill
from bench.discover.stores import EXPIRING
from sweeperd.config.files.loading import load_config
from sweeperd.config.models import DatabaseConfig
from sweeperd.discover.proposal import Discovery, discover
from sweeperd.postgres.connect import Database
from tests.cli.command import configured, sweeperd
from tests.conftest import TestDatabase
from tests.parts import SHARED, need

STORES = [pytest.param(name, marks=need("shared")) for name in EXPIRING]


def ddl(store: str) -> str:
    text = (SHARED / "stores" / f"{store}.sql").read_text()
    return re.sub(r"(?m)^(\\|CREATE EXTENSION).*$", "", text)


async def found_in(database: TestDatabase, text: str) -> Discovery:
    await database.execute(text)
    await database.execute("SET search_path = public, pg_catalog")
    await fill(await database.first())
    async with Database(DatabaseConfig(name="app", dsn=database.dsn)).connection() as connection:
        return await discover(connection)


@pytest.mark.parametrize("name", BUSINESS)
async def test_nothing_of_an_ordinary_application_is_enabled(
    database: TestDatabase, name: str
) -> None:
    found = await found_in(database, BUSINESS[name])

    assert [one.finding for one in found.proposals if one.enabled] == []
    assert found.refusals or found.proposals, "nothing was said of its dates"


@pytest.mark.parametrize("store", STORES)
async def test_of_a_real_store_only_what_expires_is_enabled(
    database: TestDatabase, store: str
) -> None:
    found = await found_in(database, ddl(store))

    proposed = {one.finding.table.name for one in found.proposals}
    assert {one.finding.table.name for one in found.proposals if one.enabled} <= {*EXPIRING[store]}
    assert EXPIRING[store][0] in proposed or store == "django-silk"


@pytest.mark.parametrize("store", STORES)
async def test_what_is_printed_passes_check(
    database: TestDatabase, tmp_path: Path, store: str
) -> None:
    await found_in(database, ddl(store))
    printed = await sweeperd("discover", f"--dsn={database.dsn}")
    assert printed.code == 0, printed.err
    path = tmp_path / "sweeperd.toml"
    path.write_text(printed.out)

    result = await sweeperd("check", "--json", f"--config={path}")

    errors = [line for line in json.loads(result.out or "[]") if line["level"] == "error"]
    assert errors == [], printed.out
    assert result.code == 0, result.err


SHARP = """
CREATE TABLE web_sessions
  (sid text PRIMARY KEY, data bytea NOT NULL, expires_at timestamptz NOT NULL);
"""


async def test_a_plain_session_store_of_nobodys_is_enabled(database: TestDatabase) -> None:
    (one,) = (await found_in(database, SHARP)).proposals

    assert (one.finding.preset, one.finding.column, one.enabled) == (None, "expires_at", True)
    assert one.look is not None
    assert (one.look.rows, one.look.expired) == (40, 20)


@pytest.mark.parametrize(
    ("change", "question"),
    [
        ("ALTER TABLE web_sessions ADD price numeric", "of no use to anybody"),
        ("ALTER TABLE web_sessions ALTER expires_at DROP NOT NULL", "of no use to anybody"),
        ("ALTER TABLE web_sessions RENAME TO trial_codes_sessions", ""),
        (
            "CREATE TABLE carts (id int, sid text REFERENCES web_sessions)",
            "",
        ),
    ],
)
async def test_what_makes_it_doubtful_disables_it(
    database: TestDatabase, change: str, question: str
) -> None:
    found = await found_in(database, SHARP + change)

    assert not any(one.enabled for one in found.proposals)
    if question:
        assert question in found.proposals[0].finding.question
    else:
        assert found.refusals


async def test_a_preset_whose_rows_business_tables_refer_to_is_a_question(
    database: TestDatabase,
) -> None:
    carts = "CREATE TABLE carts (id int, sid varchar REFERENCES django_session)"
    found = await found_in(
        database,
        "CREATE TABLE django_session (session_key varchar(40) PRIMARY KEY, session_data text "
        f"NOT NULL, expire_date timestamptz NOT NULL); {carts}",
    )

    (one,) = found.proposals
    assert not one.enabled
    assert "carts refers to its rows" in one.finding.question


async def test_the_most_bytes_to_win_come_first(database: TestDatabase) -> None:
    table = "(sid text PRIMARY KEY, data bytea NOT NULL, expires_at timestamptz NOT NULL);"
    await database.execute(f"CREATE TABLE app_sessions {table} CREATE TABLE web_sessions {table}")
    await database.execute(
        "INSERT INTO web_sessions SELECT g, decode(repeat('ab', 500), 'hex'), "
        "now() + (g - 900) * interval '1 min' FROM generate_series(1, 1000) g"
    )
    found = await found_in(database, "SELECT 1")

    assert [one.finding.table.name for one in found.proposals] == ["web_sessions", "app_sessions"]
    weights = [one.look.dead_weight for one in found.proposals if one.look]
    assert weights == sorted(weights, reverse=True)
    assert weights[0] > 500_000


async def test_tables_without_any_expiry_are_silent(database: TestDatabase) -> None:
    found = await found_in(
        database, "CREATE TABLE notes (id int, body text, created_at timestamptz, born date)"
    )

    assert (found.proposals, found.refusals) == ((), ())


async def test_a_role_with_few_privileges_gets_what_it_may_see(database: TestDatabase) -> None:
    role = await database.role()
    await found_in(database, SHARP + "CREATE TABLE app_sessions (LIKE web_sessions)")
    await database.execute(f'GRANT SELECT ON web_sessions TO "{role}"')
    printed = await sweeperd("discover", f"--dsn={database.dsn_for(role)}")

    assert printed.code == 0
    assert 'table = "public.web_sessions"' in printed.out
    assert "not readable by this role: public.app_sessions" in printed.out


async def test_nothing_is_written(database: TestDatabase) -> None:
    await found_in(database, SHARP)
    await database.execute("ALTER ROLE CURRENT_USER SET default_transaction_read_only = on")
    try:
        printed = await sweeperd("discover", f"--dsn={database.dsn}")
    finally:
        await database.execute("ALTER ROLE CURRENT_USER RESET default_transaction_read_only")

    assert printed.code == 0
    assert await database.fetchval("SELECT count(*) FROM web_sessions") == 40


OTHERS = {
    # Yii: the number of seconds tells its unit
    "session": (
        "CREATE TABLE session (id char(40) PRIMARY KEY, expire integer NOT NULL, data bytea);"
        "INSERT INTO session SELECT g, extract(epoch FROM now())::int + (g - 20) * 60, '' "
        "FROM generate_series(1, 40) g",
        True,
    ),
    # connect-pg-simple under a name of its user's: which zone?
    "user_sessions": (
        "CREATE TABLE user_sessions (sid varchar PRIMARY KEY, sess json NOT NULL, "
        "expire timestamp(6) NOT NULL)",
        False,
    ),
    # Lucia has no payload
    "user_session": (
        "CREATE TABLE user_session (id text PRIMARY KEY, user_id text NOT NULL, "
        "expires_at timestamptz NOT NULL)",
        False,
    ),
    # ASP.NET's distributed cache: two expiries, one of them sliding
    "AspNetCache": (
        'CREATE TABLE "AspNetCache" ("Id" text PRIMARY KEY, "Value" bytea, "ExpiresAtTime" '
        'timestamptz NOT NULL, "SlidingExpirationInSeconds" float8, '
        '"AbsoluteExpiration" timestamptz)',
        False,
    ),
    "password_reset_tokens": (
        "CREATE TABLE password_reset_tokens (id bigint PRIMARY KEY, user_id bigint, "
        "token_hash text NOT NULL, expires_at timestamptz NOT NULL)",
        False,
    ),
}


@pytest.mark.parametrize("name", OTHERS)
async def test_stores_that_nobody_told_it_of_are_found(database: TestDatabase, name: str) -> None:
    text, enabled = OTHERS[name]
    found = await found_in(database, text)

    assert {one.finding.table.name for one in found.proposals} == {name}
    assert any(one.enabled for one in found.proposals) is enabled
    assert enabled or all(one.finding.question for one in found.proposals)


REFUSED = [
    ("CREATE TABLE q_mail (id int, vt timestamptz)", "a visibility time"),
    ("CREATE TABLE job_locks (id int, expires_at timestamptz)", "a lock's time"),
    (
        "CREATE TABLE accounts (provider text, access_token text, expires_at timestamptz)",
        "an OAuth account's expiry",
    ),
    ("CREATE TABLE subscriptions (id int, expires_at timestamptz)", "a validity"),
    ("CREATE TABLE tls_certificates (id int, not_after timestamptz)", "a validity"),
    ("CREATE TABLE tokens (id int, expires_on date)", "a business date"),
    ("CREATE TABLE posts (id int, body text, deleted_at timestamptz)", "a soft-delete column"),
    (
        "CREATE TABLE tokens (id int PRIMARY KEY, expires_at timestamptz); "
        "CREATE TABLE orders (id int, token_id int REFERENCES tokens)",
        "orders refers to its rows",
    ),
]


@pytest.mark.parametrize(("text", "reason"), REFUSED)
async def test_what_only_looks_like_an_expiry_is_refused_with_the_reason(
    database: TestDatabase, text: str, reason: str
) -> None:
    found = await found_in(database, text)

    assert found.proposals == ()
    assert reason in found.refusals[0].reason


async def test_no_password_is_printed(database: TestDatabase) -> None:
    dsn = database.dsn.replace("postgres@", "postgres:s3cret@")

    printed = await sweeperd("discover", f"--dsn={dsn}")

    assert printed.code == 0, printed.err
    assert "s3cret" not in printed.out + printed.err
    assert "take it from a password_file" in printed.out


async def test_names_of_any_kind_stay_in_their_line(database: TestDatabase, tmp_path: Path) -> None:
    table = 'odd "" \n[sweeps.evil]\nname _sessions'
    await found_in(
        database,
        f'CREATE TABLE "{table}" (sid text PRIMARY KEY, data text, "ex pires" text, '
        '"expiresAt" timestamptz NOT NULL)',
    )
    printed = await sweeperd("discover", f"--dsn={database.dsn}")
    path = tmp_path / "sweeperd.toml"
    path.write_text(printed.out)

    (one,) = load_config(path).sweeps.values()

    assert one.table == 'public."' + table + '"'
    assert one.column == '"expiresAt"'
    result = await sweeperd("check", f"--config={path}")
    assert result.code == 0, result


async def test_a_database_that_is_not_there_is_told_with_its_exit_code() -> None:
    result = await sweeperd("discover", "--dsn=postgresql://u@/d?host=/nowhere")

    assert result.code == 69


async def test_a_configured_database_is_named_in_each_sweep(
    database: TestDatabase, tmp_path: Path
) -> None:
    await found_in(database, SHARP)
    option = configured(tmp_path, database, "")

    printed = await sweeperd("discover", option, "--database=app")

    assert 'database = "app"' in printed.out
    assert "[databases" not in printed.out
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "app.toml").write_text(printed.out)
    assert (await sweeperd("check", option)).code == 0


@need("shared")
async def test_a_table_whose_rule_is_a_condition_is_weighed(database: TestDatabase) -> None:
    await found_in(database, ddl("river"))

    printed = await sweeperd("discover", f"--dsn={database.dsn}")

    assert 'preset = "river-jobs"' in printed.out
    assert re.search(r"# about [\d,]+ rows, \d+ kB \(heap, TOAST, indexes\)", printed.out)
