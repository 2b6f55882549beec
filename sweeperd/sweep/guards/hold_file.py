"""Holds: one small file each, which nothing but ``release`` or its own end time removes.

Whatever has the name of a hold is one, readable or not: damage never lets a sweep run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sweeperd.config.models import SweepConfig
from sweeperd.host.files import (
    make_directory,
    open_directory,
    read_small,
    remove_small,
    write_small,
)
from sweeperd.sweep.guards.batch_lock import BatchLocks

HOLDS: Final = "holds"
RELEASED: Final = "released"
ALL: Final = "ALL"  # no sweep can be called so
BY_GUARD: Final = "guard"
_VERSION: Final = 1
_LARGEST: Final = 65_536
_LONGEST_REASON: Final = 2_000


@dataclass(frozen=True)
class Hold:
    """Why a sweep does not run.

    Attributes:
        name: The sweep's, or ALL.
        reason: In words.
        by: ``guard``, or the user who set it.
        since: When it was set, UTC; None when that cannot be read.
        until: When it ends by itself; None for never.
        kinds: What the guards found, by kind; a release lets the next run pass these.
        policy: The sweep's database, table and rows, by which a renamed sweep is known.
        is_readable: Whether its file could be read.
    """

    name: str
    reason: str
    by: str = ""
    since: datetime | None = None
    until: datetime | None = None
    kinds: tuple[str, ...] = ()
    policy: str | None = None
    is_readable: bool = True

    def has_ended(self, at: datetime) -> bool:
        """Whether its end time has passed."""
        return self.until is not None and at >= self.until

    def merged(self, former: Hold) -> Hold:
        """Return this hold set over a former one, which it never shortens or forgets."""
        if not former.is_readable:
            return replace(self, until=None)  # what it said of its end is not known
        until = None if None in {self.until, former.until} else max(self.until, former.until)  # type: ignore[type-var]
        reasons = dict.fromkeys(reason for reason in (self.reason, former.reason) if reason)
        return replace(
            self,
            until=until,
            reason="; ".join(reasons)[:_LONGEST_REASON],
            kinds=tuple(dict.fromkeys((*self.kinds, *former.kinds))),
            policy=self.policy or former.policy,
        )


@dataclass(frozen=True)
class Release:
    """That a hold was removed, for the next run to see.

    Attributes:
        kinds: What that run passes, and nothing newer.
        reason: Of the hold.
        by: The user who released it.
    """

    kinds: tuple[str, ...]
    reason: str
    by: str


def policy_of(sweep: SweepConfig) -> str:
    """Return what makes two sweeps the same work, whatever they are called."""
    parts = (sweep.database, sweep.table, sweep.column or "", sweep.condition or "")
    plain = "|".join(" ".join(part.replace('"', "").split()) for part in parts)
    return plain.replace("|public.", "|")


@dataclass
class Holds:
    """The holds of one state directory.

    Attributes:
        state_dir: The state directory.
        now: Returns the host's wall time, UTC.
        configured: Names in the configuration; a hold of another name may be a renamed sweep's.
        has_history: Tells whether a sweep of that name is known to have run.
        known_policy: Returns the policy of the last run of that name; None when it is not known.
        locks: Under which the batches of this process work.
    """

    state_dir: Path
    now: Callable[[], datetime]
    configured: Collection[str] | None = None
    has_history: Callable[[str], bool] = lambda _: True
    known_policy: Callable[[str], str | None] = lambda _: None
    locks: BatchLocks = field(init=False)
    _unwritten: dict[str, Hold] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.locks = BatchLocks(self.state_dir)

    def find(self, sweep: SweepConfig) -> Hold | None:
        """Return the hold that binds a sweep at this moment; None when it may run."""
        for name in (ALL, sweep.name):
            if (unwritten := self._unwritten.get(name)) is not None:
                return unwritten
        try:
            with open_directory(self.state_dir / HOLDS) as directory:
                for name in (ALL, sweep.name):
                    hold = self._read(directory, name)
                    if hold is not None:
                        return hold
        except FileNotFoundError:
            return self._dangling(sweep.name)
        except OSError as error:
            return _unreadable(sweep.name, f"{self.state_dir / HOLDS} cannot be read: {error}")
        return self._renamed(sweep)

    def read(self, name: str) -> Hold | None:
        """Return the hold of exactly that name."""
        try:
            with open_directory(self.state_dir / HOLDS) as directory:
                return self._read(directory, name)
        except FileNotFoundError:
            return self._dangling(name)
        except OSError as error:
            return _unreadable(name, f"{self.state_dir / HOLDS} cannot be read: {error}")

    def names(self) -> list[str]:
        """Return the names of all holds; OSError when they cannot be listed."""
        try:
            found = [path.name for path in (self.state_dir / HOLDS).iterdir()]
        except FileNotFoundError:
            return []
        return sorted(name for name in found if not name.startswith("."))

    def signature(self) -> tuple[object, ...]:
        """Return what differs once a hold or a release was written, removed or closed to us."""
        found: list[object] = []
        for folder in (HOLDS, RELEASED):
            try:
                status = (self.state_dir / folder).stat()
                found += [status.st_ino, status.st_mtime_ns, status.st_ctime_ns]
            except OSError as error:
                found.append(error.errno)
        return (*found, tuple(self._unwritten))

    def place(self, hold: Hold) -> Hold:
        """Set a hold; one that is there already is never shortened. Return what is in force.

        Raises:
            OSError: It cannot be written.
        """
        make_directory(self.state_dir)
        with open_directory(self.state_dir / HOLDS, make=True) as directory:
            former = self._read(directory, hold.name)
            placed = hold.merged(former) if former is not None else hold
            placed = replace(placed, reason=" ".join(placed.reason.split())[:_LONGEST_REASON])
            write_small(directory, hold.name, _encoded(placed))
        self._forget(RELEASED, hold.name)
        return placed

    def place_or_keep(self, hold: Hold) -> str | None:
        """Set a guard's hold; where it cannot be written it binds this process. Return why."""
        try:
            self.place(hold)
        except OSError as error:
            self._unwritten[hold.name] = hold
            return str(error)
        return None

    def release(self, name: str, by: str) -> Hold | None:
        """Remove a hold and let the next run pass what it told; None when there is none.

        Raises:
            OSError: It cannot be removed.
        """
        hold = self.read(name)
        if hold is None:
            return None
        with open_directory(self.state_dir / HOLDS) as directory:
            if name != ALL:
                note = {"version": _VERSION, "kinds": hold.kinds, "reason": hold.reason, "by": by}
                with open_directory(self.state_dir / RELEASED, make=True) as released:
                    write_small(released, name, json.dumps(note).encode())
            remove_small(directory, name)
        self._unwritten.pop(name, None)
        return hold

    def released(self, name: str) -> Release | None:
        """Return the release that the next run of a sweep has not yet seen."""
        try:
            with open_directory(self.state_dir / RELEASED) as directory:
                stored = json.loads(read_small(directory, name, _LARGEST))
            kinds = tuple(str(kind) for kind in stored["kinds"])
            return Release(kinds, str(stored["reason"]), str(stored["by"]))
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None

    def forget_release(self, name: str) -> None:
        """Let a release act once."""
        self._forget(RELEASED, name)

    def write_unwritten(self) -> None:
        """Try again to write the holds that bind this process only, which none can release."""
        for name, hold in list(self._unwritten.items()):
            with suppress(OSError):
                self.place(hold)
                del self._unwritten[name]

    def _forget(self, folder: str, name: str) -> None:
        try:
            with open_directory(self.state_dir / folder) as directory:
                remove_small(directory, name)
        except OSError:
            return

    def _dangling(self, name: str) -> Hold | None:
        """Return a hold where the directory's name is a link to nothing."""
        holds = self.state_dir / HOLDS
        if holds.is_symlink():
            return _unreadable(name, f"{holds} is a link to nothing")
        return None

    def _read(self, directory: int, name: str) -> Hold | None:
        try:
            content = read_small(directory, name, _LARGEST)
        except FileNotFoundError:
            return None
        except OSError as error:
            return _unreadable(name, f"the hold {self.state_dir / HOLDS / name}: {error}")
        try:
            hold = _decoded(name, content)
        except (ValueError, TypeError, KeyError, RecursionError):
            return _unreadable(
                name, f"what the hold {self.state_dir / HOLDS / name} says is damaged"
            )
        return None if hold.has_ended(self.now()) else hold

    def _renamed(self, sweep: SweepConfig) -> Hold | None:
        """Return a hold of a name that is not configured, and that this sweep may have had."""
        if self.configured is None:
            return None
        try:
            strangers = [name for name in self.names() if name not in self.configured]
        except OSError as error:
            return _unreadable(sweep.name, str(error))
        for name in strangers:
            hold = self.read(name) if name != ALL else None
            if hold is None:
                continue
            policy = hold.policy or self.known_policy(name)
            same = policy == policy_of(sweep)
            if same or (policy is None and not self.has_history(sweep.name)):
                why = "is this sweep under its former name" if same else "may be this sweep's"
                return replace(
                    hold, reason=f"{hold.reason or 'held'} (the hold {name}, which {why})"
                )
        return None


def _unreadable(name: str, reason: str) -> Hold:
    return Hold(name, f"{reason}; what cannot be read holds", is_readable=False)


def _encoded(hold: Hold) -> bytes:
    plain: dict[str, Any] = {"version": _VERSION, **asdict(hold)}
    for key in ("name", "is_readable"):
        plain.pop(key)
    for key in ("since", "until"):
        plain[key] = plain[key].isoformat() if plain[key] else None
    return json.dumps(plain, indent=1).encode()


def _decoded(name: str, content: bytes) -> Hold:
    plain = json.loads(content)
    if plain["version"] != _VERSION:
        raise ValueError("another version")
    since, until = (_instant(plain[key]) for key in ("since", "until"))
    policy = plain["policy"]
    return Hold(
        name,
        str(plain["reason"]),
        str(plain["by"]),
        since,
        until,
        tuple(str(kind) for kind in plain["kinds"]),
        None if policy is None else str(policy),
    )


def _instant(text: str | None) -> datetime | None:
    if text is None:
        return None
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError("a time without a zone")
    return found
