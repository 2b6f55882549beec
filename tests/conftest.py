"""Real servers for the tests: one a session, a fresh database for each test."""

from __future__ import annotations

import itertools
import os
import traceback
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

import sweeperd
from sweeperd.config.models import DatabaseConfig
from sweeperd.demo.server import Installation, Server
from sweeperd.postgres.connect import Database
from tests.parts import fail_skips_in_ci, need
from tests.support import postgres

PACKAGE = str(Path(sweeperd.__file__).parent / "")
_numbers = itertools.count(1)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "every_server: also on the system's PostgreSQL 15")
    config.addinivalue_line("markers", "other_versions: on PostgreSQL 14, 16 and 17 from npm")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--versions",
        default="",
        help="major versions of PostgreSQL on which each test runs, such as 14,15,16,17,18",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "server" in metafunc.fixturenames:
        given = [int(one) for one in metafunc.config.getoption("--versions").split(",") if one]
        majors = given or [18]
        if not given and metafunc.definition.get_closest_marker("every_server"):
            majors = [18, 15]
        if not given and metafunc.definition.get_closest_marker("other_versions"):
            majors = [*(majors if len(majors) > 1 else []), 14, 16, 17]
        origins = [
            pytest.param(f"postgres{major}", marks=() if major == 18 else need(f"postgres{major}"))
            for major in majors
        ]
        metafunc.parametrize("server", origins, indirect=True, scope="session")


@pytest.fixture(autouse=True)
def types_are_looked_up_under_a_pinned_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where the driver reads the catalogues under a path that others may write to.

    It does so, in statements of its own, when it first meets an array in an answer or a parameter.
    """
    driver: Any = asyncpg.Connection
    look_up = driver._introspect_types

    async def checked(connection: Any, types: Any, limit: Any) -> Any:
        callers = {frame.f_code.co_filename for frame, _ in traceback.walk_stack(None)}
        if any(caller.startswith(PACKAGE) for caller in callers):  # and not a test's own query
            rows, _ = await connection._Connection__execute(
                "SHOW search_path", (), 0, None, ignore_custom_codec=True
            )
            path = rows[0][0].replace('"', "")
            assert path.startswith("pg_catalog, pg_temp"), f"types {types} met under {path}"
        return await look_up(connection, types, limit)

    monkeypatch.setattr(driver, "_introspect_types", checked)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Any:
    report = yield
    return fail_skips_in_ci(report)


@pytest.fixture(scope="session")
def servers() -> Iterator[dict[str, Server]]:
    running: dict[str, Server] = {}
    yield running
    for server in running.values():
        server.stop(immediate=True)
        server.remove()


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest, servers: dict[str, Server]) -> Server:
    origin: str = request.param
    if origin not in servers:
        found = postgres.installation(int(origin.removeprefix("postgres")))
        server = Server(found or Installation.find(), {"autovacuum": "off"})
        server.create()
        if server._account is not None:
            # tests run the program as the server's own user, too, and that one alone
            os.chown(server.directory, server._account.pw_uid, -1)
        server.start()
        servers[origin] = server
    return servers[origin]


class TestDatabase:
    """A database of one test."""

    __test__ = False

    def __init__(self, server: Server, name: str) -> None:
        self.server = server
        self.name = name
        self.dsn = server.dsn(name)
        self._connections: list[Any] = []
        self._roles: list[str] = []
        self._own: Any = None

    def dsn_for(self, role: str) -> str:
        return self.server.dsn(self.name, role)

    async def connect(self) -> Any:
        """Open a plain connection; it is closed with the test."""
        connection = await asyncpg.connect(self.dsn)
        self._connections.append(connection)
        return connection

    async def integer_times(self) -> Any:
        """Open a connection as the engine does: instants and days are integers."""
        if self._own is None:
            database = Database(DatabaseConfig(name="app", dsn=self.dsn))
            self._own = await database.connect()
            self._connections.append(self._own)
        return self._own

    async def first(self) -> Any:
        return self._connections[0] if self._connections else await self.connect()

    async def execute(self, query: str, *args: Any) -> str:
        return str(await (await self.first()).execute(query, *args))

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        return list(await (await self.first()).fetch(query, *args))

    async def fetchval(self, query: str, *args: Any) -> Any:
        return await (await self.first()).fetchval(query, *args)

    async def gone_quiet(self) -> None:
        """Wait until no session of sweeperd's is left in the database."""
        others = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND pid <> ALL ($2)"
        mine = [connection.get_server_pid() for connection in self._connections]
        while await self.fetchval(others, self.name, mine):
            pass

    async def role(self, hint: str = "role") -> str:
        """Create a role that may log in and nothing more."""
        name = f"{hint}_{next(_numbers)}"
        await self.execute(f'CREATE ROLE "{name}" LOGIN')
        self._roles.append(name)
        return name

    async def end(self) -> None:
        for connection in self._connections:
            connection.terminate()
        admin = await asyncpg.connect(self.server.dsn())
        await admin.execute(f'DROP DATABASE "{self.name}" WITH (FORCE)')
        for role in self._roles:
            await admin.execute(f'DROP ROLE "{role}"')
        await admin.close()


@pytest.fixture
async def database(server: Server) -> AsyncIterator[TestDatabase]:
    name = f"test_{next(_numbers)}"
    admin = await asyncpg.connect(server.dsn())
    await admin.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
    await admin.close()
    made = TestDatabase(server, name)
    yield made
    await made.end()
