"""`sweeperd check`: the configuration, then each database and sweep."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, Literal

import asyncpg
import click

from sweeperd.cli.options import config_option, json_option
from sweeperd.cli.terminal import say
from sweeperd.config.files.loading import load_config
from sweeperd.config.files.render import render
from sweeperd.config.files.schema import schema
from sweeperd.config.models import Config, DatabaseConfig, SweepConfig
from sweeperd.config.values.credentials import keep_credentials
from sweeperd.daemon.state.holds import damage_holds, read_holds
from sweeperd.errors import (
    EXIT_FAILED,
    EXIT_OK,
    EXIT_UNAVAILABLE,
    DatabaseUnreachableError,
    SweeperdError,
)
from sweeperd.host.clock import SystemClock
from sweeperd.host.owner import become_owner_of
from sweeperd.log.event import counted
from sweeperd.log.safe_text import redact, safe_json
from sweeperd.postgres import catalog
from sweeperd.postgres.catalog import quote_if_needed
from sweeperd.postgres.catalog_reads import CatalogReads
from sweeperd.postgres.connect import Database
from sweeperd.postgres.sqlstate import SERVER_ERRORS, describe
from sweeperd.postgres.transaction import Connection, reading
from sweeperd.sweep.checkup import preflight
from sweeperd.sweep.guards.told import hold_sentence
from sweeperd.sweep.survey.dependents import Finding
from sweeperd.sweep.survey.health import look_at_health
from sweeperd.sweep.survey.role import excess_rights, least_role

Level = Literal["ok", "warning", "error"]
_COLOURS: Final = {"ok": "green", "warning": "yellow", "error": "red"}


@dataclass(frozen=True)
class Line:
    """One line of the check.

    Attributes:
        level: ok, warning or error.
        subject: ``databases.X`` or ``sweeps.X``.
        text: What was found, and the cure.
        exit_code: What it ends the command with.
    """

    level: Level
    subject: str
    text: str
    exit_code: int = EXIT_OK


@click.command(epilog="Example: sweeperd check --config /etc/sweeperd/sweeperd.toml")
@config_option
@click.option("--offline", is_flag=True, help="Look at the files only; connect to nothing.")
@click.option("--print", "print_merged", is_flag=True, help="Print the merged configuration.")
@click.option("--schema", "print_schema", is_flag=True, help="Print the JSON schema, and end.")
@click.option("--grants", is_flag=True, help="Print the role that is enough, as SQL, and end.")
@json_option
def check(
    config_path: Path,
    *,
    offline: bool,
    print_merged: bool,
    print_schema: bool,
    grants: bool,
    as_json: bool,
) -> None:
    """Check the configuration, then each database and sweep; nothing is written."""
    if print_schema:
        click.echo(json.dumps(schema(), indent=2))
        return
    config = load_config(config_path)
    if grants:
        become_owner_of(config.daemon.state_dir)
        asyncio.run(_print_grants(config))
        return
    if print_merged:
        click.echo(render(config), nl=False)
        if offline:
            return
    lines = [_configured(config), *(Line("warning", "config", one) for one in config.warnings)]
    if not offline:
        # what the daemon can read, and as whom it logs in, only its user can tell
        keep_credentials()
        become_owner_of(config.daemon.state_dir)
        lines += _held(config)
        lines += asyncio.run(_check_all(config))
    if as_json:
        click.echo(safe_json([_safe_fields(line) for line in lines], indent=2))
    else:
        # what --print wrote stays a file by itself
        _show(lines, err=print_merged)
    codes = {line.exit_code for line in lines} - {EXIT_OK}
    if codes:
        sys.exit(EXIT_UNAVAILABLE if EXIT_UNAVAILABLE in codes else EXIT_FAILED)


async def _print_grants(config: Config) -> None:
    """Print the least role for each database; what cannot be looked at ends the command."""
    made: dict[int | None, str] = {}
    for name, database_config in config.databases.items():
        sweeps = [sweep for sweep in config.sweeps.values() if sweep.database == name]
        if not sweeps:
            continue
        try:
            async with Database(database_config).connection() as connection:
                grants = await least_role(connection, sweeps, made)
        except SERVER_ERRORS as error:
            raise DatabaseUnreachableError(f"databases.{name}: {describe(error)}") from error
        made[grants.system_identifier] = grants.role
        if "max_replication_bytes" in database_config.health.model_fields_set:
            right = f"GRANT pg_read_all_stats TO {quote_if_needed(grants.role)}"
            grants = replace(grants, statements=(*grants.statements, right))
        click.echo(f"-- [databases.{name}]: run this in its database")
        for statement in grants.statements:
            click.echo(statement if statement.startswith("--") else f"{statement};")


def _configured(config: Config) -> Line:
    names = ", ".join(str(path) for path in config.files)
    if not config.sweeps:
        return Line("warning", "config", f"{names}: no sweep yet; write a [sweeps.NAME]")
    return Line("ok", "config", f"{names}: {counted(len(config.sweeps), 'sweep')}")


def _held(config: Config) -> list[Line]:
    """Return a line for each sweep that is held, and so deletes nothing."""
    loaded, holds = read_holds(config.daemon.state_dir, SystemClock().now, config.sweeps.keys())
    wanted = damage_holds(holds, loaded, config.sweeps)
    found = [(name, holds.find(sweep) or wanted.get(name)) for name, sweep in config.sweeps.items()]
    return [
        Line("error", f"sweeps.{name}", hold_sentence(hold), EXIT_FAILED)
        for name, hold in found
        if hold is not None
    ]


def _safe_fields(line: Line) -> dict[str, str | int]:
    return {**asdict(line), "text": redact(line.text)}


def _show(lines: list[Line], *, err: bool) -> None:
    for line in lines:
        level = click.style(f"{line.level:8}", _COLOURS[line.level])
        say(f"{line.subject}: {line.text}", label=f"{level} ", err=err)


async def _check_all(config: Config) -> list[Line]:
    lines: list[Line] = []
    for name, database_config in config.databases.items():
        database = Database(database_config)
        sweeps = [sweep for sweep in config.sweeps.values() if sweep.database == name]
        lines += [line async for line in _check_database(database, sweeps)]
    return lines


async def _check_database(database: Database, sweeps: list[SweepConfig]) -> AsyncIterator[Line]:
    subject = f"databases.{database.name}"
    try:
        async with database.connection() as connection:
            yield await _describe(connection, subject)
            if excess := await excess_rights(connection, sweeps):
                yield Line("warning", subject, excess)
            for line in await _check_health(connection, database.config, subject):
                yield line
            for sweep in sweeps:
                for line in await _check_sweep(connection, database, sweep):
                    yield line
    except SweeperdError as error:
        yield Line("error", subject, str(error), error.exit_code)
    except SERVER_ERRORS as error:
        yield Line("error", subject, describe(error), EXIT_UNAVAILABLE)


async def _describe(connection: Connection, subject: str) -> Line:
    async with reading(connection):
        server = await catalog.read_server(CatalogReads(connection))
    text = f"PostgreSQL {server.version}, database {server.database}, role {server.role}"
    if server.in_recovery or server.read_only:
        return Line("warning", subject, f"{text}, read-only: sweeps wait until it is not")
    return Line("ok", subject, text)


async def _check_health(
    connection: Connection, database: DatabaseConfig, subject: str
) -> list[Line]:
    """Look at the signals of health: what was asked for and cannot be told is an error."""
    lines = []
    for signal in await look_at_health(connection, database.health):
        if signal.reason is not None:
            lines.append(Line("warning", subject, f"sweeps wait: {signal.reason}"))
        elif signal.unknown is not None:
            level: Level = "error" if signal.is_asked_for else "warning"
            code = EXIT_FAILED if signal.is_asked_for else EXIT_OK
            lines.append(Line(level, subject, signal.unknown, code))
    return lines


async def _check_sweep(
    connection: Connection, database: Database, sweep: SweepConfig
) -> list[Line]:
    subject = f"sweeps.{sweep.name}"
    try:
        found = await preflight(connection, sweep, database.config, SystemClock())
    except SweeperdError as error:
        return [Line("error", subject, str(error), EXIT_FAILED)]
    except asyncpg.PostgresError as error:
        return [Line("error", subject, describe(error), EXIT_FAILED)]
    return [_line(subject, finding) for finding in found]


def _line(subject: str, finding: Finding) -> Line:
    code = EXIT_FAILED if finding.level == "error" else EXIT_OK
    return Line(finding.level, subject, finding.text, code)
