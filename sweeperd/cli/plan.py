"""`sweeperd plan`: what the next run of each sweep would do, and why; nothing is written."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import asyncpg
import click

from sweeperd.cli.options import chosen, config_option, json_option
from sweeperd.cli.plan_text import plan_lines, removed_lines
from sweeperd.cli.terminal import say
from sweeperd.config.files.differences import SweepChange, differences
from sweeperd.config.files.loading import DEFAULT_PATH, load_config
from sweeperd.config.models import Config, SweepConfig
from sweeperd.config.order import in_order, predecessors
from sweeperd.config.values.credentials import keep_credentials
from sweeperd.daemon.state.holds import damage_holds, read_holds
from sweeperd.daemon.state.record import Loaded, SweepRecord
from sweeperd.errors import (
    EXIT_FAILED,
    EXIT_OK,
    EXIT_UNAVAILABLE,
    ConfigError,
    DatabaseUnreachableError,
)
from sweeperd.host.clock import SystemClock
from sweeperd.host.owner import become_owner_of
from sweeperd.log.safe_text import redacted, safe_json
from sweeperd.postgres.connect import Database
from sweeperd.postgres.sqlstate import SERVER_ERRORS, Fault, classify, describe
from sweeperd.sweep.guards.hold_file import Hold, Holds
from sweeperd.sweep.preview.obstacles import Obstacle, Standing
from sweeperd.sweep.preview.preview import Preview, preview
from sweeperd.sweep.preview.record import as_record


@click.command(epilog="Example: sweeperd plan session_cleanup --exact")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@config_option
@click.option("--exact", is_flag=True, help="Count the expired rows, within a minute a sweep.")
@json_option
def plan(names: tuple[str, ...], config_path: Path, *, exact: bool, as_json: bool) -> None:
    """Show what the next run of each sweep would do, and why.

    It reads only, and SELECT on the tables is enough. With another --config than the one in force,
    it also shows what that one changes.
    """
    config = load_config(config_path)
    sweeps = in_order(chosen(config, names) if names else config.sweeps.values())
    changes = _changes(config_path, config)
    keep_credentials()
    become_owner_of(config.daemon.state_dir)
    looked = asyncio.run(_look_at_all(_Past.of(config), sweeps, exact=exact))
    gone = [name for name, one in changes.items() if one.change == "removed" and not names]
    if as_json:
        records = [_record(one.preview, changes) for one in looked]
        records += [{"sweep": name, "change": "removed", "changes": []} for name in gone]
        click.echo(safe_json([redacted(record) for record in records], indent=2))
    else:
        for number, one in enumerate(looked):
            plan_lines(one.preview, changes.get(one.preview.sweep.name), first=number == 0)
        removed_lines(gone)
    codes = {one.exit_code for one in looked} - {EXIT_OK}
    if codes:
        sys.exit(EXIT_UNAVAILABLE if EXIT_UNAVAILABLE in codes else EXIT_FAILED)


def _record(one: Preview, changes: dict[str, SweepChange]) -> dict[str, object]:
    change = changes.get(one.sweep.name)
    return as_record(one) | {
        "change": change.change if change else None,
        "changes": [asdict(key) for key in change.keys] if change else [],
    }


def _changes(path: Path, config: Config) -> dict[str, SweepChange]:
    """Return what a configuration changes of the one in force; nothing where it is that one."""
    named = os.environ.get("SWEEPERD_CONFIG")
    in_force = Path(named or DEFAULT_PATH)
    if in_force.absolute() == path.absolute() or not (named or in_force.exists()):
        return {}
    try:
        former = load_config(in_force)
    except ConfigError as error:
        say(
            f"nothing is compared: the configuration in force cannot be read "
            f"({error.problems[0]}); name it with SWEEPERD_CONFIG",
            err=True,
        )
        return {}
    return differences(former, config)


@dataclass(frozen=True)
class _Looked:
    """One sweep's preview, and what it ends the command with."""

    preview: Preview
    exit_code: int = EXIT_OK


@dataclass(frozen=True)
class _Past:
    """What the state directory tells.

    Attributes:
        config: The configuration.
        loaded: The daemon's state.
        holds: The holds in force.
        damage: Holds for state that cannot be read, by sweep.
        after: Which sweeps run before each one.
    """

    config: Config
    loaded: Loaded
    holds: Holds
    damage: dict[str, Hold]
    after: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, config: Config) -> _Past:
        """Read the state directory; nothing is written."""
        names = config.sweeps.keys()
        loaded, holds = read_holds(config.daemon.state_dir, SystemClock().now, names)
        damage = damage_holds(holds, loaded, config.sweeps)
        return cls(config, loaded, holds, damage, predecessors(config.sweeps.values()))

    def standing(self, sweep: SweepConfig) -> Standing:
        """Return what is known of a sweep beside its table."""
        record = self.loaded.records.get(sweep.name, SweepRecord())
        released = self.holds.released(sweep.name)
        return Standing(
            now=SystemClock().now(),
            hold=self.holds.find(sweep) or self.damage.get(sweep.name),
            released=released.kinds if released is not None else (),
            memory=record.memory,
            history=record.history,
            after=self.after[sweep.name],
        )


async def _look_at_all(past: _Past, sweeps: Sequence[SweepConfig], *, exact: bool) -> list[_Looked]:
    """Look at each sweep; a database that is away costs one attempt."""
    lost: dict[str, str] = {}
    looked = []
    for sweep in sweeps:
        database = Database(past.config.databases[sweep.database])
        if sweep.database not in lost:
            try:
                looked.append(await _look_at(database, sweep, past.standing(sweep), exact=exact))
            except DatabaseUnreachableError as error:
                lost[sweep.database] = str(error)
            else:
                continue
        looked.append(_unseen(sweep, lost[sweep.database], EXIT_UNAVAILABLE))
    return looked


async def _look_at(
    database: Database, sweep: SweepConfig, standing: Standing, *, exact: bool
) -> _Looked:
    async with database.connection() as connection:
        try:
            seen = await preview(
                connection, sweep, database.config, SystemClock(), standing, exact=exact
            )
        except asyncpg.PostgresError as error:
            locked = classify(error) is Fault.LOCK
            what = f"{sweep.table} is locked by another session at this moment: " if locked else ""
            return _unseen(sweep, f"{what}{describe(error)}", EXIT_FAILED)
        except SERVER_ERRORS as error:
            raise DatabaseUnreachableError(
                f"database {database.name}: {describe(error)}"
            ) from error
    return _Looked(seen, EXIT_OK if seen.table is not None else EXIT_FAILED)


def _unseen(sweep: SweepConfig, why: str, exit_code: int) -> _Looked:
    return _Looked(Preview(sweep, None, (Obstacle("error", True, why),)), exit_code)
