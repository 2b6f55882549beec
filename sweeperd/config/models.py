"""The configuration as objects: every key, its type, range and default.

A model checks each value by itself. What values mean together (``condition`` excludes ``keep``,
a sweep's database must exist) is judged in ``rules.py`` when files are loaded, where each fault
has a place.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_serializer

from sweeperd.config.places import default_state_dir
from sweeperd.config.values.dsn import hide_password
from sweeperd.config.values.passwords import read_secret
from sweeperd.config.values.types import (
    AbsolutePath,
    Credential,
    Dsn,
    Duration,
    Expression,
    Hours,
    Jump,
    Listen,
    NamedText,
    Names,
    PathText,
    PositiveDuration,
    Question,
    ServerTimeout,
    Size,
    Variable,
    Zone,
)
from sweeperd.config.values.window import Window
from sweeperd.errors import ConfigError, Problem

Unit = Literal["timestamptz", "timestamp", "date", "epoch_s", "epoch_ms", "epoch_us", "iso8601"]
Strategy = Literal["auto", "index", "heap"]
Partitions = Literal["delete", "detach", "drop"]
RowSecurity = Literal["off", "obey"]

_MOST_ROWS: Final = 2**63 - 1  # a bigint


class _Frozen(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, hide_input_in_errors=True, validate_default=False
    )


class SweepConfig(_Frozen):
    """One ``[sweeps.NAME]``; durations are exact lengths."""

    name: str = Field(description="The sweep's identity; a reload replaces by name.")
    database: NamedText = Field(description="Which [databases.X]; the only one if left out.")
    table: NamedText = Field(description="The table, as SQL reads it or literally.")
    column: NamedText | None = Field(None, description="The column that says when life ends.")
    unit: Unit | None = Field(None, description="What the column holds; from its type if left out.")
    column_timezone: Zone | None = Field(
        None,
        description="Time zone of a timestamp or date column, and of local times in where "
        "and condition.",
    )
    keep: Duration | None = Field(
        None, description="How long a row is kept after the column's time."
    )
    where: Expression | None = Field(None, description="A further SQL condition.")
    condition: Expression | None = Field(
        None, description="Instead of column and keep: a whole SQL condition with :cutoff."
    )
    preset: NamedText | None = Field(None, description="A known application's table.")
    interval: PositiveDuration = Field(timedelta(hours=6), description="Start to start.")
    timeout: PositiveDuration = Field(timedelta(seconds=30), description="Of one run.")
    catch_up: Duration = Field(
        timedelta(minutes=1), description="Pause before the next run while work is left over."
    )
    jitter: Duration = Field(timedelta(0), description="Largest random delay of a start.")
    window: Hours | None = Field(None, description="Hours in which runs start and go on.")
    strategy: Strategy = Field("auto", description="How rows are found.")
    partitions: Partitions = Field("delete", description="What happens to a partition wholly past.")
    workers: int = Field(1, ge=1, le=32, description="Connections one run may use.")
    batch_target: PositiveDuration = Field(
        timedelta(milliseconds=100), description="The duration a batch is steered to."
    )
    row_security: RowSecurity = Field(
        "off", description="obey: sweep only the rows that the policies show to the role."
    )
    max_batch_rows: int = Field(
        50_000, ge=1, le=1_000_000, description="Never more rows in one transaction."
    )
    rate_limit: int | None = Field(None, ge=1, le=_MOST_ROWS, description="Rows per second.")
    max_rows: int | None = Field(None, ge=1, le=_MOST_ROWS, description="A run's cap of rows.")
    lock_timeout: ServerTimeout = Field(
        timedelta(milliseconds=50), description="Of a batch's first try."
    )
    max_statement: ServerTimeout | None = Field(
        None, description="Longest statement of a batch; by default it follows deadlock_timeout."
    )
    archive_to: NamedText | None = Field(
        None, description='A table, or "file:NAME", that takes the rows first.'
    )
    max_fraction: float | None = Field(
        None, gt=0, le=1, description="Held if a larger share of the table is expired."
    )
    max_jump: Jump = Field(
        10.0,
        description="Held if more rows expire than this many times what usually does; or off.",
    )
    max_retention_lag: PositiveDuration | None = Field(
        None,
        description="Age of the oldest expired row beyond which the sweep is behind; by default "
        "2 x interval + timeout.",
    )
    dry_run: bool = Field(default=False, description="Count what would go; delete nothing.")
    enabled: bool = Field(default=True, description="Whether the daemon runs this sweep.")
    before: Names = Field(
        (), description="Sweeps that wait for this one: its rows refer to theirs."
    )
    vacuum: Literal["off", "auto"] = Field(
        "off", description="VACUUM after a large run, where autovacuum will not come."
    )

    @property
    def longest_retention_lag(self) -> timedelta:
        """The retention lag beyond which the sweep is behind."""
        return self.max_retention_lag or 2 * self.interval + self.timeout

    @property
    def expression_timezone(self) -> str | None:
        """TimeZone under which where or condition is evaluated; None when there is neither."""
        given = self.where is not None or self.condition is not None
        return (self.column_timezone or "UTC") if given else None

    @property
    def archive_file(self) -> str | None:
        """NAME of ``archive_to = "file:NAME"``; None for a table and for no archive."""
        found = self.archive_to
        return found.removeprefix("file:") if found and found.startswith("file:") else None


class HealthConfig(_Frozen):
    """``[databases.NAME.health]``: sweeps wait between two batches while a limit is passed."""

    max_replication_bytes: Size = Field(2**30, description="How far a replica may be behind.")
    max_slot_bytes: Size | None = Field(None, description="WAL that a slot may retain.")
    max_wait_queue: int | None = Field(
        None, ge=0, le=_MOST_ROWS, description="Sessions that may wait for locks."
    )
    query: Question | None = Field(
        None, description="An SQL expression or SELECT; sweeps wait unless it is true."
    )


class DatabaseConfig(_Frozen):
    """One ``[databases.NAME]``; no text form of it shows a password."""

    name: str = Field(description="What sweeps call it.")
    dsn: Dsn = Field(description="Where it is: a URI or key=value.")
    password_file: PathText | None = Field(
        None, description="File that holds the password; a trailing newline is no part of it."
    )
    password_credential: Credential | None = Field(
        None, description="systemd credential (LoadCredential=) that holds the password."
    )
    password_env: Variable | None = Field(
        None, description="Environment variable that holds the password."
    )
    max_connections: int = Field(4, ge=1, le=100, description="Connections at once, all sweeps.")
    max_clock_skew: PositiveDuration = Field(
        timedelta(minutes=5), description="Sweeps are held if the two clocks are further apart."
    )
    health: HealthConfig = Field(
        default_factory=HealthConfig, description="When its sweeps wait between two batches."
    )

    def password(self) -> str | None:
        """Return the password from where the configuration says it is; None if it says nothing.

        Read at each connect, so a rotated secret needs no reload.

        Raises:
            ConfigError: It cannot be read; the message names the key, never the value.
        """
        try:
            return read_secret(
                file=self.password_file,
                credential=self.password_credential,
                variable=self.password_env,
            )
        except ValueError as error:
            key, _, message = str(error).partition(" ")
            problem = Problem("", f"databases.{self.name}.{key}", message)
            raise ConfigError((problem,)) from None

    @field_serializer("dsn")
    def _dump_dsn(self, dsn: str) -> str:
        return hide_password(dsn)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        for key, value in super().__repr_args__():
            yield key, hide_password(self.dsn) if key == "dsn" else value


class DaemonConfig(_Frozen):
    """``[daemon]``."""

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least level shown."
    )
    log_format: Literal["auto", "console", "json", "journal"] = Field(
        "auto", description="How log lines are written."
    )
    state_dir: AbsolutePath = Field(
        default_factory=default_state_dir, description="Where the daemon remembers its runs."
    )
    history: PositiveDuration = Field(
        timedelta(days=90), description="How long the reports of past runs are kept."
    )
    socket: AbsolutePath | None = Field(None, description="The daemon's control socket.")
    metrics_listen: Listen | None = Field(
        None,
        description="host:port that serves /metrics and /healthz; loopback without a host.",
    )
    metrics_textfile: AbsolutePath | None = Field(
        None, description="File that metrics are written to, for node_exporter."
    )


class Config(_Frozen):
    """The whole configuration; it goes no further down than the daemon and the commands."""

    daemon: DaemonConfig = Field(default_factory=DaemonConfig)
    databases: dict[str, DatabaseConfig] = Field(default_factory=dict)
    sweeps: dict[str, SweepConfig] = Field(default_factory=dict)
    files: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()


__all__ = [
    "Config",
    "DaemonConfig",
    "DatabaseConfig",
    "SweepConfig",
    "Unit",
    "Window",
]
