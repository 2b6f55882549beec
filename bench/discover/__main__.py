"""`make bench-discover`: precision and recall of `discover`, and how long 5,000 tables take."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from bench.discover.business import BUSINESS
from bench.discover.fill import fill
from bench.discover.stores import EXPIRING
from sweeperd.config.models import DatabaseConfig
from sweeperd.demo.server import Installation, Server
from sweeperd.discover.proposal import Discovery, discover
from sweeperd.postgres.connect import Database

STORES = Path(__file__).resolve().parents[3] / "shared" / "stores"
MANY = 5_000
MANY_SECONDS = 20.0


@dataclass
class Score:
    """What was right and wrong.

    Attributes:
        enabled: Sweeps proposed to run.
        harmful: Those of them that would delete what is of use.
        asked: Sweeps proposed with a question.
        expiring: Tables that expire.
        missed: Those that were not proposed at all.
    """

    enabled: int = 0
    harmful: list[str] = field(default_factory=list)
    asked: int = 0
    expiring: int = 0
    missed: list[str] = field(default_factory=list)

    def add(self, name: str, found: Discovery, truth: tuple[str, ...]) -> None:
        proposed = {one.finding.table.name for one in found.proposals}
        for one in found.proposals:
            self.enabled += one.enabled
            self.asked += not one.enabled
            if one.enabled and one.finding.table.name not in truth:
                self.harmful.append(f"{name}: {one.finding.table.shown}")
        self.expiring += len(truth)
        self.missed += [f"{name}: {table}" for table in truth if table not in proposed]

    def show(self, title: str) -> None:
        right = self.enabled - len(self.harmful)
        precision = f"{right / self.enabled:.2f}" if self.enabled else "-"
        hits = self.expiring - len(self.missed)
        recall = f"{hits / self.expiring:.2f}" if self.expiring else "-"
        print(
            f"{title:10} enabled {self.enabled:3}, harmful {len(self.harmful)}, precision "
            f"{precision}; asked {self.asked:3}; of {self.expiring} expiring tables {hits} are "
            f"proposed, recall {recall}"
        )
        for line in self.harmful:
            print(f"  harmful: {line}")
        for line in self.missed:
            print(f"  missed:  {line}")


async def _found(server: Server, name: str, ddl: str) -> Discovery:
    admin = await asyncpg.connect(server.dsn())
    await admin.execute(f'CREATE DATABASE "{name}"')
    await admin.close()
    connection = await asyncpg.connect(server.dsn(name))
    await connection.execute(re.sub(r"(?m)^(\\|CREATE EXTENSION).*$", "", ddl))
    await connection.execute("SET search_path = public, pg_catalog")
    await fill(connection)
    await connection.close()
    return await _discover(server, name)


async def _discover(server: Server, name: str) -> Discovery:
    database = Database(DatabaseConfig(name="app", dsn=server.dsn(name)))
    async with database.connection() as connection:
        return await discover(connection)


async def _many(server: Server) -> float:
    admin = await asyncpg.connect(server.dsn())
    await admin.execute("CREATE DATABASE many")
    await admin.close()
    connection = await asyncpg.connect(server.dsn("many"))
    for first in range(0, MANY, 250):
        await connection.execute(
            "".join(
                f"CREATE TABLE s{n}_{'session' if n % 5 == 0 else 'note'}s (id text PRIMARY KEY, "
                "data text, created_at timestamptz, expires_at timestamptz NOT NULL);"
                for n in range(first, first + 250)
            )
        )
    await connection.close()
    begun = time.monotonic()
    await _discover(server, "many")
    return time.monotonic() - begun


async def _measure(server: Server) -> bool:
    stores, business = Score(), Score()
    for name, truth in EXPIRING.items() if STORES.is_dir() else ():
        ddl = (STORES / f"{name}.sql").read_text()
        stores.add(name, await _found(server, name, ddl), truth)
    for name, ddl in BUSINESS.items():
        business.add(name, await _found(server, f"b_{name}", ddl), ())
    stores.show("stores")
    business.show("business")
    seconds = await _many(server)
    print(f"{MANY:,} tables: {seconds:.1f} s")
    return not stores.harmful and not business.harmful and seconds < MANY_SECONDS


def main() -> None:
    server = Server(Installation.find(), {"autovacuum": "off"})
    server.create()
    server.start()
    try:
        good = asyncio.run(_measure(server))
    finally:
        server.stop(immediate=True)
        server.remove()
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
