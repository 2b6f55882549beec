"""`sweeperd hold` and `sweeperd release`: stop a sweep, whatever state the daemon is in."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from sweeperd.cli.daemon_place import find_socket
from sweeperd.cli.options import config_option
from sweeperd.cli.state_dir import Place, find_place, own
from sweeperd.cli.terminal import say
from sweeperd.config.values.durations import parse_duration
from sweeperd.config.values.types import NAME
from sweeperd.daemon.control.client import ask
from sweeperd.daemon.control.messages import ControlRequest
from sweeperd.daemon.state.holds import put_in_force, read_holds
from sweeperd.errors import EXIT_FAILED, SweeperdError
from sweeperd.host.clock import SystemClock
from sweeperd.host.permissions import user_name
from sweeperd.sweep.guards.batch_lock import BatchesUnderWay, open_anchor
from sweeperd.sweep.guards.hold_file import ALL, Hold, Holds, policy_of
from sweeperd.sweep.guards.told import release_command

# A batch lasts less than a second; a process that was stopped in one loses its transaction
# after 10 s (idle_in_transaction_session_timeout).
_LONGEST_BATCH_SECONDS: Final = 12.0
_LOOK_SECONDS: Final = 0.02
_LONGEST_LOOK_SECONDS: Final = 2.0


class EndTime(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic since click 8.3
    """When a hold ends: an ISO 8601 time, UTC where it names no zone, or a duration from now."""

    name = "time|duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Read it."""
        now = SystemClock().now()
        try:
            found = datetime.fromisoformat(str(value))
        except ValueError:
            try:
                return now + parse_duration(str(value))
            except (ValueError, OverflowError):
                self.fail(
                    f"{value!r} is neither a time such as 2026-12-01T08:00Z nor a duration such "
                    "as 2h",
                    param,
                    ctx,
                )
        found = found if found.tzinfo is not None else found.replace(tzinfo=UTC)
        if found <= now:
            self.fail(f"{value!r} has passed already", param, ctx)
        return found.astimezone(UTC)


_all_option = click.option("--all", "every", is_flag=True, help="Every sweep, also later ones.")
_state_dir_option = click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    help="The daemon's state directory; from the configuration if left out.",
)


@click.command(epilog='Example: sweeperd hold audit_log --until 2h --reason "legal asks for May"')
@click.argument("name", required=False)
@_all_option
@click.option("--until", type=EndTime(), help="When the hold ends by itself.")
@click.option("--reason", default="", help="Why; shown wherever the hold is.")
@_state_dir_option
@config_option
def hold(
    name: str | None,
    config_path: Path,
    *,
    every: bool,
    until: datetime | None,
    reason: str,
    state_dir: Path | None,
) -> None:
    """Stop a sweep until `sweeperd release`; when this returns, the hold is in force.

    It needs neither the daemon nor a valid configuration, and any name can be held. A batch that
    is under way is waited for.
    """
    name = _name(name, every=every)
    place = find_place(config_path, state_dir)
    anchor, user = _anchor(place.state_dir), _user()
    holds = _opened(place, make=True)
    sweep = (place.sweeps or {}).get(name)
    if place.sweeps is not None and sweep is None and name != ALL:
        say(f"no sweep is called {name} in {config_path}; it is held all the same", err=True)
    wanted = Hold(
        name,
        reason,
        by=user,
        since=holds.now(),
        until=until,
        policy=policy_of(sweep) if sweep is not None else None,
    )
    try:
        placed = holds.place(wanted)
        _tell_daemon(config_path, place.state_dir)
        busy = _wait_for_batches(
            BatchesUnderWay(place.state_dir, _bound(place, holds, name), anchor)
        )
    except OSError as error:
        raise _unwritable(place.state_dir, error) from error
    until_text = f" until {placed.until:%Y-%m-%d %H:%M:%S} UTC" if placed.until else ""
    if busy is not None:
        pids = f" {', '.join(map(str, busy))}" if busy else " that this user cannot see"
        say(
            f"{_shown(name)} is held{until_text}, but process{pids} has had a batch under way for "
            f"{_LONGEST_BATCH_SECONDS:.0f} s and may still commit that one: is it stopped?",
            err=True,
        )
        sys.exit(EXIT_FAILED)
    say(f"{_shown(name)} is held{until_text}; to release it: {release_command(placed)}")


@click.command(epilog="Example: sweeperd release session_cleanup")
@click.argument("name", required=False)
@_all_option
@_state_dir_option
@config_option
def release(name: str | None, config_path: Path, *, every: bool, state_dir: Path | None) -> None:
    """Remove a hold: the daemon runs the sweep at once, past what the hold told of.

    A reason that a guard finds after that holds the sweep again. `--all` removes the hold that
    `hold --all` set.
    """
    name = _name(name, every=every)
    place = find_place(config_path, state_dir)
    user = _user()
    holds = _opened(place, make=False)
    try:
        removed = holds.release(name, user)
    except OSError as error:
        raise _unwritable(place.state_dir, error) from error
    _tell_daemon(config_path, place.state_dir)
    if (other := _other(place, holds, name)) is not None:
        say(
            f"{name} stays held by the hold of {_shown(other.name)}: {release_command(other)}",
            err=True,
        )
        sys.exit(EXIT_FAILED)
    if removed is None:
        say(f"{_shown(name)} is not held")
        return
    why = f" (it was held: {removed.reason})" if removed.reason else ""
    say(f"{_shown(name)} is released{why}")


def _name(name: str | None, *, every: bool) -> str:
    if every == (name is not None):
        raise click.UsageError("name one sweep, or write --all")
    if name is None:
        return ALL
    if NAME.fullmatch(name) is None:
        raise click.UsageError(f"{name!r} cannot be a sweep's name: 1 to 40 of a-z, 0-9, _ and -")
    return name


def _shown(name: str) -> str:
    return "every sweep" if name == ALL else name


def _opened(place: Place, *, make: bool) -> Holds:
    """Return the holds of the state directory, as the user who owns it."""
    own(place.state_dir, make=make)
    configured = place.sweeps.keys() if place.sweeps is not None else None
    loaded, holds = read_holds(place.state_dir, SystemClock().now, configured)
    if loaded.unusable is not None:
        say(f"{loaded.unusable}; the sweeps that it may concern are held", err=True)
    put_in_force(holds, loaded, place.sweeps or {})
    return holds


def _anchor(state_dir: Path) -> int:
    """Open what stands for the lock of a run that began before there was a state directory."""
    try:
        return open_anchor(state_dir)
    except OSError as error:
        raise _unwritable(state_dir, error) from error


def _tell_daemon(config_path: Path, state_dir: Path) -> None:
    """Let a daemon look at its holds at once; without this it does so within a second."""
    with suppress(SweeperdError):
        socket = find_socket(config_path, state_dir)
        ask(socket, ControlRequest("holds"), seconds=_LONGEST_LOOK_SECONDS)


def _bound(place: Place, holds: Holds, name: str) -> list[str] | None:
    """Return the sweeps that a hold binds; None for each that ever ran."""
    if name == ALL:
        return None
    bound = [one for one, sweep in (place.sweeps or {}).items() if holds.find(sweep) is not None]
    return [name, *bound]


def _other(place: Place, holds: Holds, name: str) -> Hold | None:
    """Return what still holds a sweep whose own hold was removed."""
    if name == ALL:
        return None
    sweep = (place.sweeps or {}).get(name)
    return holds.find(sweep) if sweep is not None else holds.read(ALL)


def _wait_for_batches(batches: BatchesUnderWay) -> list[int] | None:
    """Wait until the batches that began before the hold have ended.

    Returns:
        The processes whose batches have not; None when all have.
    """
    deadline = time.monotonic() + _LONGEST_BATCH_SECONDS
    while batches.are_left():
        if time.monotonic() > deadline:
            return batches.processes()
        time.sleep(_LOOK_SECONDS)
    return None


def _user() -> str:
    """Return who asks: the person behind sudo, too; root before it becomes another user."""
    return os.environ.get("SUDO_USER") or user_name(os.getuid())


def _unwritable(state_dir: Path, error: OSError) -> SweeperdError:
    return SweeperdError(
        f"the holds of {state_dir} cannot be changed: {error}",
        cure="run this as root or as the user that owns the directory",
    )
