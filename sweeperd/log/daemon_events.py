"""Events of the daemon itself: its process, its configuration, its databases and its state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sweeperd.log.event import Event, because, counted


@dataclass(frozen=True)
class DaemonStarted(Event):
    """The configuration is valid, and the loops start.

    Attributes:
        version: Of sweeperd.
        pid: Of the process.
        sweeps: How many are enabled.
        config: The configuration file.
    """

    name = "daemon_started"
    level = "info"
    message_id = "0b5fb2d38f4b45449a4249661d610786"

    version: str
    pid: int
    sweeps: int
    config: str

    def sentence(self) -> str:
        return f"sweeperd {self.version} runs with {counted(self.sweeps, 'sweep')}"


@dataclass(frozen=True)
class StartFailed(Event):
    """The daemon cannot start.

    Attributes:
        reason: The first problem, and how many more there are.
        problems: All of them.
        exit_code: 78 for a configuration, after which systemd does not try again.
    """

    name = "start_failed"
    level = "error"
    message_id = "45e0ebec6ee44893920b9ffb003251cf"

    reason: str
    problems: Sequence[str]
    exit_code: int

    def sentence(self) -> str:
        return f"sweeperd cannot start{because(self.reason)}"


@dataclass(frozen=True)
class DaemonStopping(Event):
    """No run starts any more; those under way end after their batch.

    Attributes:
        reason: Why.
    """

    name = "daemon_stopping"
    level = "info"
    message_id = "18a7770d6d0b4894b26b75c09209fecf"

    reason: str

    def sentence(self) -> str:
        return f"sweeperd stops{because(self.reason)}"


@dataclass(frozen=True)
class DaemonForced(Event):
    """Running statements are cancelled, so that the process can end.

    Attributes:
        reason: Why it did not wait for them.
    """

    name = "daemon_forced"
    level = "warning"
    message_id = "c30b58072b4b4454a8c3a320fc303f35"

    reason: str

    def sentence(self) -> str:
        return f"Running statements are cancelled{because(self.reason)}"


@dataclass(frozen=True)
class ConfigReloaded(Event):
    """Another configuration is in force.

    Attributes:
        added: Sweeps that are new.
        changed: Sweeps with other settings.
        removed: Sweeps that are gone, or disabled.
    """

    name = "config_reloaded"
    level = "info"
    message_id = "441574da86d94402a20e82ac16635d83"

    added: Sequence[str]
    changed: Sequence[str]
    removed: Sequence[str]

    def sentence(self) -> str:
        kinds = (("added", self.added), ("changed", self.changed), ("removed", self.removed))
        parts = [f"{kind} {', '.join(names)}" for kind, names in kinds if names]
        return f"Configuration reloaded: {'; '.join(parts) or 'no sweep changed'}"


@dataclass(frozen=True)
class ConfigRejected(Event):
    """A reload met a configuration that cannot be used.

    Attributes:
        reason: The first problem, and how many more there are.
        problems: All of them.
    """

    name = "config_rejected"
    level = "error"
    message_id = "f7a3f63ca1f14a3198cbc0a2f6c38b63"

    reason: str
    problems: Sequence[str]

    def sentence(self) -> str:
        return (
            f"The new configuration is not used, the old one stays in force{because(self.reason)}"
        )


@dataclass(frozen=True)
class ConfigExposed(Event):
    """Others can read or write what they should not.

    Attributes:
        reason: Which file, and the cure.
    """

    name = "config_exposed"
    level = "warning"
    message_id = "afccb3caf96f49b3a287930e1f93a939"

    reason: str

    def sentence(self) -> str:
        return f"The configuration is exposed{because(self.reason)}"


@dataclass(frozen=True)
class ConfigNeedsRestart(Event):
    """A reload changes keys that are read at startup only.

    Attributes:
        keys: Which.
    """

    name = "config_needs_restart"
    level = "warning"
    message_id = "bd2bcc210ac345bc9fbd4b0a73716510"

    keys: Sequence[str]

    def sentence(self) -> str:
        keys = ", ".join(self.keys or ())
        return f"Only a restart changes {keys}; the old value stays in force"


@dataclass(frozen=True)
class DatabaseLost(Event):
    """A database that was there cannot be reached; logged once, not for each attempt.

    Attributes:
        database: Its name in the configuration.
        reason: What the last attempt met.
    """

    name = "database_lost"
    level = "error"
    message_id = "17664237f4fe4326a818f59027dfb6c1"

    database: str
    reason: str

    def sentence(self) -> str:
        return f"Database {self.database} is lost{because(self.reason)}"


@dataclass(frozen=True)
class DatabaseBack(Event):
    """A database that was lost can be reached again.

    Attributes:
        database: Its name in the configuration.
    """

    name = "database_back"
    level = "info"
    message_id = "f2504b5cc6d1461088b01a04712784c9"

    database: str

    def sentence(self) -> str:
        return f"Database {self.database} is back"


@dataclass(frozen=True)
class ProbeFailed(Event):
    """An attempt to reach a lost database met something else than an error of the server's.

    Attributes:
        database: Its name in the configuration.
        reason: What it met.
    """

    name = "probe_failed"
    level = "debug"
    message_id = "7c7ba9a1ffd24ccc93bc240ea1b8dde9"

    database: str
    reason: str

    def sentence(self) -> str:
        return f"Database {self.database} could not be tried{because(self.reason)}"


@dataclass(frozen=True)
class StateNotSaved(Event):
    """What was learned cannot be written; logged once a change.

    Attributes:
        path: The file.
        error: Why.
    """

    name = "state_not_saved"
    level = "warning"
    message_id = "9f028822a60b468f83c8c1820d48c312"

    path: str
    error: str

    def sentence(self) -> str:
        return f"The state {self.path} is not saved{because(self.error)}"


@dataclass(frozen=True)
class StateSavedAgain(Event):
    """What was learned can be written again.

    Attributes:
        path: The file.
    """

    name = "state_saved_again"
    level = "info"
    message_id = "b53f1761ac3e49cf833c89fbebc1913c"

    path: str

    def sentence(self) -> str:
        return f"The state {self.path} is saved again"


@dataclass(frozen=True)
class StateSetAside(Event):
    """A state cannot be used, and is kept beside a new one unless it may be good.

    Attributes:
        path: The file.
        reason: Why it cannot be used.
        kept: Its name now; None when it was not renamed.
        error: Why it could not be renamed.
    """

    name = "state_set_aside"
    level = "warning"
    message_id = "51f5775acb8d49fb81e175e3972acb57"

    path: str
    reason: str
    kept: str | None = None
    error: str | None = None

    def sentence(self) -> str:
        text = f"The state {self.path} cannot be used{because(self.reason)}"
        if self.kept is not None:
            return f"{text}; kept as {self.kept}"
        if self.error is None:
            return text
        return f"{text}; it cannot be renamed{because(self.error)}"


@dataclass(frozen=True)
class EventLoopBlocked(Event):
    """The event loop does not turn, by a bug.

    Attributes:
        seconds: For how long.
        stack: Where it stands.
    """

    name = "event_loop_blocked"
    level = "error"
    message_id = "33a3c3488da04459a39481f371be5b76"

    seconds: float
    stack: str

    def sentence(self) -> str:
        return (
            f"The event loop has been blocked for {self.seconds} s by a bug in sweeperd; the field "
            "stack says where"
        )


@dataclass(frozen=True)
class WatchdogSilent(Event):
    """systemd is not told that all is well, and will restart the service.

    Attributes:
        reason: What is not well.
    """

    name = "watchdog_silent"
    level = "error"
    message_id = "526253a5b5d84bcaa98735e801e992bb"

    reason: str

    def sentence(self) -> str:
        return f"Watchdog keep-alive withheld{because(self.reason)}"


@dataclass(frozen=True)
class _ControlRequest(Event):
    """A request on the control socket.

    Attributes:
        request: What.
        uid: Whose process asks.
        pid: Of that process.
        sweep: Which sweep is meant; None for none.
    """

    request: str
    uid: int
    pid: int
    sweep: str | None = None

    def sentence(self) -> str:
        what = f"{self.request} {self.sweep}" if self.sweep else self.request
        return f"The user {self.uid} (pid {self.pid}) asked for: {what}"


@dataclass(frozen=True)
class ControlRequested(_ControlRequest):
    """Somebody asks the daemon, by the control socket, to do something."""

    name = "control_requested"
    level = "info"
    message_id = "7b1f6f0b0c3a4d7e9a52c8e1f4d36a90"


@dataclass(frozen=True)
class ControlRead(_ControlRequest):
    """Somebody asks the daemon what it does, or to look at something."""

    name = "control_read"
    level = "debug"
    message_id = "c2a94e7d5b8146f3a0d71e6f98b3c5d4"


@dataclass(frozen=True)
class ControlUnavailable(Event):
    """There is no control socket: `status`, `reload` and `sweep --daemon` do not reach the daemon.

    Attributes:
        path: Where it should be.
        reason: Why it is not.
    """

    name = "control_unavailable"
    level = "warning"
    message_id = "e85d0c4f7a2b4961b3f8d6a1907c2e5b"

    path: str
    reason: str

    def sentence(self) -> str:
        return (
            f"There is no control socket at {self.path}{because(self.reason)}; sweeps run, but "
            "status, reload and sweep --daemon do not reach them; it is tried again, and the key "
            "[daemon] socket names another place"
        )


@dataclass(frozen=True)
class ControlFailed(Event):
    """A request met a bug.

    Attributes:
        reason: What it met.
    """

    name = "control_failed"
    level = "error"
    message_id = "1d9c3b7e6f0a4852978e4b2d5a6c0f13"

    reason: str

    def sentence(self) -> str:
        return f"A request on the control socket failed because of a bug in sweeperd: {self.reason}"


@dataclass(frozen=True)
class LibraryMessage(Event):
    """What a library logged; its level is the library's.

    Attributes:
        logger: The library's logger.
        text: What it said.
    """

    name = "library_message"
    level = "info"
    message_id = "93b6e28b69c24a5886fb17a96177a7c7"

    logger: str
    text: str

    def sentence(self) -> str:
        return f"{self.logger}: {self.text}"
