"""`sweeperd discover`: which tables of a database expire, as TOML for the configuration."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from sweeperd.cli.options import config_option
from sweeperd.cli.terminal import safe
from sweeperd.config.files.loading import load_config
from sweeperd.config.models import Config, DatabaseConfig
from sweeperd.config.values.dsn import check_dsn, hide_password
from sweeperd.config.values.wording import suggestion
from sweeperd.discover.page import page
from sweeperd.discover.proposal import Discovery
from sweeperd.discover.proposal import discover as look_at
from sweeperd.errors import DatabaseUnreachableError
from sweeperd.postgres.connect import Database
from sweeperd.postgres.sqlstate import SERVER_ERRORS, describe


@click.command(epilog="Example: sweeperd discover --database app >/etc/sweeperd/conf.d/app.toml")
@config_option
@click.option("--database", "name", help="A database of the configuration.")
@click.option("--dsn", help="A database that is not in the configuration.")
@click.option("--schema", help="Look at this schema only.")
def discover(config_path: Path, name: str | None, dsn: str | None, schema: str | None) -> None:
    """Find the tables of a database that expire; print sweeps for them as TOML.

    Nothing is written, and little is read. What is uncertain is disabled, with its question.
    """
    if name is not None and dsn is not None:
        raise click.UsageError("give --database or --dsn, not both")
    if dsn is not None:
        try:
            check_dsn(dsn)
        except ValueError as error:
            raise click.UsageError(f"--dsn {safe(str(error))}") from None
        database = DatabaseConfig(name="app", dsn=dsn)
    else:
        database = _configured(load_config(config_path), name)
    found = asyncio.run(_discover(database, schema))
    shown = hide_password(database.dsn) if dsn is not None else None
    for line in page(found, None if dsn is not None else database.name, shown):
        click.echo(safe(line))


def _configured(config: Config, name: str | None) -> DatabaseConfig:
    if name is None and len(config.databases) == 1:
        return next(iter(config.databases.values()))
    if name is None:
        raise click.UsageError(f"which --database? there is {', '.join(config.databases)}")
    if name not in config.databases:
        near = suggestion(name, config.databases)
        raise click.UsageError(f"no database is called {safe(name)}: {near}")
    return config.databases[name]


async def _discover(config: DatabaseConfig, schema: str | None) -> Discovery:
    database = Database(config)
    try:
        async with database.connection() as connection:
            return await look_at(connection, schema)
    except SERVER_ERRORS as error:
        raise DatabaseUnreachableError(f"database {config.name}: {describe(error)}") from error
