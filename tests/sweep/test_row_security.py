"""Row security: refused where it would hide rows, or obeyed, in whatever a sweep touches."""

from __future__ import annotations

import asyncio

import pytest

from tests.conftest import TestDatabase
from tests.sweep.engine import sweep
from tests.sweep.test_leaf_checks import EXPIRED, LEVELS, LIVE, PLAIN, counts, sweeper

POLICED = "ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t {} USING (true);"
HOLD = "CREATE TABLE hold (id int); INSERT INTO hold VALUES (1), (2); GRANT SELECT ON hold TO {};"


@pytest.mark.every_server
@pytest.mark.parametrize("forced", ["FORCE", "NO FORCE"])
async def test_row_security_binds_an_owner_only_if_it_is_forced(
    database: TestDatabase, forced: str
) -> None:
    role = await database.role()
    await database.execute(
        LEVELS
        + "".join(
            f"ALTER TABLE {part} OWNER TO {role};" for part in ("t", "t1", "t2", "t21", "t22")
        )
        + f"ALTER TABLE t21 ENABLE ROW LEVEL SECURITY, {forced} ROW LEVEL SECURITY"
    )

    report = await sweep(database.dsn_for(role))

    assert report.outcome == ("failed" if forced == "FORCE" else "drained"), report
    assert await counts(database) == (EXPIRED if forced == "FORCE" else 0, LIVE)
    await database.execute(f"REASSIGN OWNED BY {role} TO postgres")


@pytest.mark.every_server
async def test_a_role_setting_does_not_switch_row_security_on_silently(
    database: TestDatabase,
) -> None:
    await database.execute(PLAIN + "ALTER TABLE t ENABLE ROW LEVEL SECURITY")
    role = await sweeper(database)
    await database.execute(f"ALTER ROLE {role} SET row_security = on")

    report = await sweep(database.dsn_for(role))

    assert "row security would hide rows of public.t" in str(report.error)


async def test_an_archive_with_row_security_is_refused_before_the_first_batch(
    database: TestDatabase,
) -> None:
    await database.execute(
        PLAIN + "CREATE TABLE old (LIKE t); ALTER TABLE old ENABLE ROW LEVEL SECURITY"
    )
    role = await sweeper(database)
    await database.execute(f"GRANT INSERT ON old TO {role}")

    report = await sweep(database.dsn_for(role), archive_to="public.old")
    assert f"row security applies to {role} in the archive public.old" in str(report.error)
    assert await counts(database) == (EXPIRED, LIVE)

    await database.execute("CREATE POLICY p ON old USING (true)")
    report = await sweep(database.dsn_for(role), archive_to="public.old", row_security="obey")
    assert (report.outcome, report.deleted_count) == ("drained", EXPIRED)


async def test_a_trigger_that_reads_a_table_with_row_security_is_named(
    database: TestDatabase,
) -> None:
    await database.execute(
        PLAIN + "CREATE TABLE secret (id int); ALTER TABLE secret ENABLE ROW LEVEL SECURITY;"
        "CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM 1 FROM secret; RETURN OLD; END $$;"
        "CREATE TRIGGER looker BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION look()"
    )
    role = await sweeper(database)

    report = await sweep(database.dsn_for(role))
    assert report.outcome == "incomplete"
    told = str(report.remaining) + str(report.warnings)
    assert "look()" in told
    assert '"secret"' in told
    assert 'row_security = "obey"' in told
    assert await counts(database) == (EXPIRED, LIVE)

    report = await sweep(database.dsn_for(role), row_security="obey")
    assert (report.outcome, report.deleted_count) == ("drained", EXPIRED)


@pytest.mark.every_server
async def test_a_subquery_in_where_is_obeyed_under_policies_for_all(
    database: TestDatabase,
) -> None:
    await database.execute(PLAIN + POLICED.format(""))
    role = await sweeper(database)
    await database.execute(HOLD.format(role))

    report = await sweep(
        database.dsn_for(role),
        row_security="obey",
        where="NOT EXISTS (SELECT FROM public.hold h WHERE h.id = t.id)",
    )

    assert (report.outcome, report.deleted_count) == ("drained", EXPIRED - 2), report


async def test_a_subquery_in_where_needs_a_policy_that_lets_rows_be_locked(
    database: TestDatabase,
) -> None:
    await database.execute(
        PLAIN + POLICED.format("FOR DELETE") + "CREATE POLICY s ON t FOR SELECT USING (true)"
    )
    role = await sweeper(database)
    await database.execute(HOLD.format(role))

    report = await sweep(
        database.dsn_for(role),
        row_security="obey",
        where="NOT EXISTS (SELECT FROM public.hold h WHERE h.id = t.id)",
    )

    assert report.outcome == "failed"
    assert "policies FOR ALL" in str(report.error)
    assert await counts(database) == (EXPIRED, LIVE)


@pytest.mark.every_server
@pytest.mark.parametrize("policies", ["", "FOR DELETE"])
async def test_rows_that_others_lock_are_told_under_any_policies(
    database: TestDatabase, policies: str
) -> None:
    await database.execute(PLAIN + POLICED.format(policies))
    if policies:
        await database.execute("CREATE POLICY s ON t FOR SELECT USING (true)")
    role = await sweeper(database)
    other = await database.connect()
    transaction = other.transaction()
    await transaction.start()
    await other.execute("SELECT FROM t WHERE id IN (4, 5) FOR UPDATE")

    report = await sweep(database.dsn_for(role), row_security="obey")

    assert (report.outcome, report.deleted_count, report.skipped_count) == (
        "incomplete",
        EXPIRED - 2,
        2,
    ), report
    await transaction.rollback()


async def test_a_dry_run_obeys_row_security_too(database: TestDatabase) -> None:
    await database.execute(LEVELS + "ALTER TABLE t21 ENABLE ROW LEVEL SECURITY")
    role = await sweeper(database)

    report = await sweep(database.dsn_for(role), dry_run=True)
    assert report.outcome == "failed"

    await database.execute("CREATE POLICY odd ON t21 USING (id % 2 = 1)")
    report = await sweep(database.dsn_for(role), dry_run=True, row_security="obey")
    visible = await database.fetchval(
        "SELECT count(*) FROM t WHERE expires_at < now() AND (id < 20 OR id % 2 = 1)"
    )
    assert report.expired_count == visible


async def test_policies_dropped_during_a_run_under_obey_lose_nothing(
    database: TestDatabase,
) -> None:
    await database.execute(PLAIN + POLICED.format(""))
    role = await sweeper(database)
    admin = await database.connect()

    run = asyncio.ensure_future(
        sweep(database.dsn_for(role), row_security="obey", max_batch_rows=5, rate_limit=10)
    )
    async with asyncio.timeout(20):
        while await admin.fetchval("SELECT count(*) FROM t") == EXPIRED + LIVE:
            pass
        await admin.execute("DROP POLICY p ON t")
        report = await run

    assert await counts(database) == (EXPIRED - report.deleted_count, LIVE)
