"""A real PgBouncer in transaction mode, in front of a test's server."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from tests.conftest import TestDatabase

SETTINGS = """
[databases]
* = host={socket} port={port}
[pgbouncer]
listen_addr =
unix_socket_dir = {directory}
listen_port = 6432
pool_mode = transaction
default_pool_size = {size}
auth_type = trust
auth_file = {directory}/users
"""


@contextlib.asynccontextmanager
async def bouncer(database: TestDatabase, *, size: int) -> AsyncIterator[str]:
    """Run PgBouncer with so many server sessions; yield the DSN through it."""
    with tempfile.TemporaryDirectory(prefix="swp-", dir="/tmp") as name:
        directory = Path(name)
        config = directory / "pgbouncer.ini"
        server = database.server
        config.write_text(
            SETTINGS.format(
                socket=server.directory, port=server.port, directory=directory, size=size
            )
        )
        (directory / "users").write_text('"postgres" ""\n')
        account = server._account
        if account is not None:
            import os  # noqa: PLC0415 - as root only: PgBouncer refuses to be root

            for path in (directory, config, directory / "users"):
                os.chown(path, account.pw_uid, account.pw_gid)
        process = await asyncio.create_subprocess_exec(
            "pgbouncer", str(config), stderr=asyncio.subprocess.PIPE, **server._as_user()
        )
        assert process.stderr is not None
        log = b""
        while b"process up" not in log:
            line = await process.stderr.readline()
            assert line, log.decode()
            log += line
        dsn = f"postgresql://postgres@/{database.name}?host={directory}&port=6432"
        try:
            yield dsn
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()
