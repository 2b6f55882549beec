"""The configuration in force, and how another one takes its place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sweeperd.config.files.loading import load_config
from sweeperd.config.models import Config
from sweeperd.daemon.fleet import Changes
from sweeperd.errors import ConfigError, Problem
from sweeperd.log.daemon_events import (
    ConfigExposed,
    ConfigNeedsRestart,
    ConfigRejected,
    ConfigReloaded,
)
from sweeperd.log.event import emit
from sweeperd.log.setup import configure

# keys of [daemon] that are read at startup only
_RESTART_KEYS: Final = ("state_dir", "socket", "metrics_listen", "metrics_textfile")


@dataclass(frozen=True)
class Reloaded:
    """How a reload went.

    Attributes:
        changes: What it did to the sweeps; None when the configuration was rejected.
        problems: Why it was rejected, each with file and line.
        restart_keys: Keys that changed, and that only a restart reads.
        warnings: What the operator should know of the configuration.
    """

    changes: Changes | None = None
    problems: tuple[str, ...] = ()
    restart_keys: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Configuration:
    """Reads the files, and keeps what is in force.

    Attributes:
        path: The configuration file.
        config: The configuration in force.
        problems: Why the files of the last reload were rejected; empty when they are in force.

    Args:
        path: The configuration file.

    Raises:
        ConfigError: It cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = load_config(path)
        self.problems: tuple[str, ...] = ()
        if not self.config.sweeps:
            # a daemon with nothing to do would look as if it did its work
            message = f"no sweeps configured: edit {path}, see sweeperd.toml(5)"
            raise ConfigError((Problem("", "", message),))
        self._configure_log()

    async def reload(self, apply: Callable[[Config], Changes]) -> Reloaded:
        """Read all files again; only a valid configuration replaces the one in force.

        Args:
            apply: Puts one in force.
        """
        try:
            config = await asyncio.to_thread(load_config, self.path)
        except ConfigError as error:
            return self._reject(tuple(str(problem) for problem in error.problems))
        except Exception as error:  # noqa: BLE001 - whatever it is, the sweeps in force go on
            return self._reject((f"{type(error).__name__}: {error}",))
        self.problems = ()
        kept = {key: getattr(self.config.daemon, key) for key in _RESTART_KEYS}
        tried = [key for key, value in kept.items() if getattr(config.daemon, key) != value]
        self.config = config.model_copy(update={"daemon": config.daemon.model_copy(update=kept)})
        self._configure_log()
        changes = apply(config)
        emit(ConfigReloaded(changes.added, changes.changed, changes.removed))
        self.warn()
        keys = [f"daemon.{key}" for key in tried]
        if keys:
            emit(ConfigNeedsRestart(keys))
        return Reloaded(changes, restart_keys=tuple(keys), warnings=config.warnings)

    @property
    def rejected(self) -> str | None:
        """Why the files are not in force, in short; None when they are."""
        if not self.problems:
            return None
        more = f" (and {len(self.problems) - 1} more)" if len(self.problems) > 1 else ""
        return self.problems[0] + more

    def warn(self) -> None:
        """Log what the operator should know of the configuration in force."""
        for reason in self.config.warnings:
            emit(ConfigExposed(reason))

    def _reject(self, problems: tuple[str, ...]) -> Reloaded:
        self.problems = problems
        emit(ConfigRejected(self.rejected or "", list(problems)))
        return Reloaded(problems=problems)

    def _configure_log(self) -> None:
        configure(self.config.daemon.log_level, self.config.daemon.log_format)
