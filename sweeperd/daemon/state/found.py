"""What a state directory holds, and what of it cannot be used; nothing is written here."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sweeperd.daemon.state.database import DATABASE, StateBusyError, read_database
from sweeperd.daemon.state.json_file import STATE_FILE, JsonState, read_json_state
from sweeperd.daemon.state.reading import StoredState, read_all
from sweeperd.daemon.state.record import Loaded, NewerVersionError, SweepRecord
from sweeperd.errors import SweeperdError

# what the system refuses at this moment says nothing about the file
_PASSING: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.EINTR})


class StateUnreadableError(SweeperdError):
    """The state is there, but it is damaged, of a newer version, or not ours to read."""


@dataclass(frozen=True)
class Trouble:
    """A file that cannot be used.

    Attributes:
        file: Its name.
        reason: Why.
        aside: What its name gets when it is set aside; None where it stays.
    """

    file: str
    reason: str
    aside: str | None

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}"


@dataclass
class Found:
    """What a state directory holds.

    Attributes:
        loaded: The records, of the database and of an earlier version's file.
        revisions: Of the sweeps in the database.
        earlier: What of the earlier version's file is not in the database; None without that file.
        troubles: What cannot be used; then nothing is known of any sweep.
    """

    loaded: Loaded = field(default_factory=Loaded)
    revisions: dict[str, int] = field(default_factory=dict)
    earlier: JsonState | None = None
    troubles: list[Trouble] = field(default_factory=list)


def find_state(directory: Path) -> Found:
    """Look at a state directory."""
    found = Found()
    stored = _database(directory, found.troubles)
    earlier = _json_file(directory, found.troubles)
    if found.troubles:
        found.loaded = Loaded(unusable=str(found.troubles[0]))
        return found
    found.loaded, found.revisions = stored.loaded, stored.revisions
    if earlier is not None:
        found.earlier = _newer(earlier, stored.loaded)
        found.loaded.records.update(found.earlier.loaded.records)
        for name, reason in found.earlier.loaded.damaged.items():
            found.loaded.damaged[name] = reason
            found.loaded.records.pop(name, None)
    return found


def read_records(directory: Path) -> Loaded:
    """Read the records without touching anything; for foreground commands.

    Args:
        directory: The state directory.

    Returns:
        The records by sweep name; empty when nothing has run yet.

    Raises:
        StateUnreadableError: They cannot be read or understood.
    """
    found = find_state(directory)
    for trouble in found.troubles:
        path = directory / trouble.file
        raise StateUnreadableError(f"the state {path} cannot be read: {trouble.reason}")
    return found.loaded


def _database(directory: Path, troubles: list[Trouble]) -> StoredState:
    try:
        return read_database(directory, read_all)
    except FileNotFoundError:
        pass
    except StateBusyError as error:
        troubles.append(Trouble(DATABASE, str(error), None))
    except NewerVersionError as error:
        troubles.append(Trouble(DATABASE, str(error), "newer"))
    except (OSError, ValueError) as error:
        troubles.append(_damage(DATABASE, error))
    return StoredState()


def _json_file(directory: Path, troubles: list[Trouble]) -> JsonState | None:
    try:
        return read_json_state(directory)
    except FileNotFoundError:
        pass
    except NewerVersionError as error:
        troubles.append(Trouble(STATE_FILE, str(error), "newer"))
    except (OSError, ValueError) as error:
        troubles.append(_damage(STATE_FILE, error))
    return None


def _damage(file: str, error: OSError | ValueError) -> Trouble:
    passes = isinstance(error, OSError) and error.errno in _PASSING
    return Trouble(file, str(error), None if passes else "damaged")


def _newer(earlier: JsonState, stored: Loaded) -> JsonState:
    """Return what of the earlier version's file the database does not have.

    That version may have run again after the import; and an import may have been cut short.
    """
    records = {
        name: record
        for name, record in earlier.loaded.records.items()
        if name not in stored.damaged and _is_newer(record, stored.records.get(name))
    }
    runs = {name: earlier.runs[name] for name in records}
    return JsonState(Loaded(records, earlier.loaded.damaged), runs)


def _is_newer(record: SweepRecord, known: SweepRecord | None) -> bool:
    if known is None or known.last_start is None:
        return known is None or record.last_start is not None
    return record.last_start is not None and record.last_start > known.last_start
