"""What keys mean together: each rule looks at finished models and yields what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from sweeperd.config.files.toml import KeyPath, dotted
from sweeperd.config.models import Config, DatabaseConfig, SweepConfig
from sweeperd.config.order import circle
from sweeperd.config.values.dsn import has_password
from sweeperd.config.values.sql_expression import cut_at_cutoff
from sweeperd.config.values.wording import shown, suggestion

_FILE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}", re.ASCII)

Complaint = tuple[KeyPath, str]
Place = Callable[[KeyPath], str]

_PASSWORDS: Final = ("password_file", "password_credential", "password_env")
_NOT_WITH_CONDITION: Final = ("column", "unit", "keep", "where")
_BESIDE_CONDITION: Final = {
    "keep": "cannot stand beside condition, which says the whole; subtract it there: "
    ":cutoff - interval '720 hours' keeps 30 days",
    "where": "cannot stand beside condition, which says the whole; join the two with AND",
}
_NOT_WITH_PARTITIONS: Final = ("where", "condition", "archive_to", "max_rows", "max_fraction")


def database_complaints(database: DatabaseConfig) -> Iterator[Complaint]:
    """Yield what a database's keys do not mean together."""
    given = [key for key in _PASSWORDS if getattr(database, key) is not None]
    path = ("databases", database.name)
    if len(given) > 1:
        yield (*path, given[1]), f"is given beside {given[0]}; keep one"
    elif given and has_password(database.dsn):
        yield (*path, given[0]), "is given beside a password in dsn; keep one"


def sweep_complaints(sweep: SweepConfig) -> Iterator[Complaint]:
    """Yield what a sweep's keys do not mean together."""
    path = ("sweeps", sweep.name)
    for complaint in (
        _expiry(sweep),
        _zone(sweep),
        _partitions(sweep),
        _archive(sweep),
        _times(sweep),
    ):
        yield from (((*path, key), message) for key, message in complaint)


def config_complaints(config: Config, place: Place) -> Iterator[Complaint]:
    """Yield what the parts of a configuration do not mean together.

    Args:
        config: All parts, each valid by itself.
        place: Gives ``file:line`` of a key.
    """
    for name, sweep in config.sweeps.items():
        database = config.databases.get(sweep.database)
        if database is None:
            near = suggestion(sweep.database, config.databases)
            yield ("sweeps", name, "database"), f"{shown(sweep.database)} is not configured; {near}"
        elif sweep.workers > database.max_connections:
            yield (
                ("sweeps", name, "workers"),
                f"{sweep.workers} is more than databases.{database.name}.max_connections,"
                f" {database.max_connections}; raise that or lower this",
            )
    yield from _duplicates(config, place)
    yield from _before(config)


def _expiry(sweep: SweepConfig) -> Iterator[tuple[str, str]]:
    if sweep.condition is not None:
        for key in _NOT_WITH_CONDITION:
            if getattr(sweep, key) is not None:
                yield (
                    key,
                    _BESIDE_CONDITION.get(key, "")
                    or ("cannot stand beside condition, which says the whole; take one out"),
                )
    if sweep.where is not None and len(cut_at_cutoff(sweep.where)) > 1:
        yield (
            "where",
            "contains :cutoff, which only condition knows; column and keep compare with it "
            "already: write only the further condition, or the whole as condition in place of "
            "column, keep and where",
        )


def _zone(sweep: SweepConfig) -> Iterator[tuple[str, str]]:
    zone, unit = sweep.column_timezone, sweep.unit
    if unit in {"timestamp", "date"} and zone is None:
        yield (
            "column_timezone",
            f'is required with unit "{unit}"; write the zone the application writes in: "UTC"',
        )
    if zone is None or unit is None or unit in {"timestamp", "date"}:
        return
    if unit != "iso8601" and sweep.expression_timezone is None:
        yield "column_timezone", f'means nothing with unit "{unit}"; take it out'
    elif unit == "iso8601" and zone != "UTC":
        yield "column_timezone", f'{shown(zone)} cannot be used with unit "iso8601"; only "UTC" can'


def _partitions(sweep: SweepConfig) -> Iterator[tuple[str, str]]:
    if sweep.partitions == "delete":
        return
    for key in _NOT_WITH_PARTITIONS:
        if getattr(sweep, key) is not None:
            yield (
                "partitions",
                f'"{sweep.partitions}" cannot stand beside {key}: a partition goes as a whole;'
                ' take one out, or write partitions = "delete"',
            )


def _archive(sweep: SweepConfig) -> Iterator[tuple[str, str]]:
    name = sweep.archive_file
    if name is not None and _FILE.fullmatch(name) is None:
        yield (
            "archive_to",
            f"{shown(sweep.archive_to)}: {shown(name)} is not the name of an archive; use 1 to "
            "80 of A-Z, a-z, 0-9, _, . and -, and begin with a letter or digit",
        )


def _times(sweep: SweepConfig) -> Iterator[tuple[str, str]]:
    if sweep.batch_target > sweep.timeout:
        yield "batch_target", "is longer than timeout: no batch would fit; make it shorter"


def _duplicates(config: Config, place: Place) -> Iterator[Complaint]:
    seen: dict[tuple[object, ...], SweepConfig] = {}
    for second in config.sweeps.values():
        first = seen.setdefault(_policy(second), second)
        if first is not second:
            yield (
                ("sweeps", second.name),
                f"sweeps the same table, column and where as {dotted(('sweeps', first.name))}"
                f" ({place(('sweeps', first.name))}); keep one",
            )


def _before(config: Config) -> Iterator[Complaint]:
    sweeps = config.sweeps
    for name, sweep in sweeps.items():
        key = ("sweeps", name, "before")
        for other in sweep.before:
            if other == name:
                yield key, "names the sweep itself; take it out"
            elif other not in sweeps:
                yield key, f"{shown(other)} is not a sweep; {suggestion(other, sweeps)}"
            elif sweeps[other].database != sweep.database:
                yield (
                    key,
                    f"{shown(other)} sweeps database {sweeps[other].database}, this one "
                    f"{sweep.database}: no rows refer across; take it out",
                )
    around = circle({name: one for name, one in sweeps.items() if name not in one.before})
    if around:
        yield (
            ("sweeps", around[0], "before"),
            f"goes in a circle: {' before '.join(around)}; take one out",
        )


def _policy(sweep: SweepConfig) -> tuple[object, ...]:
    """Return what makes two sweeps the same work, whatever their spelling of blanks."""
    return (
        sweep.database,
        _plain(sweep.table).removeprefix("public."),
        _plain(sweep.column),
        _plain(sweep.where),
        _plain(sweep.condition),
    )


def _plain(text: str | None) -> str:
    return " ".join(text.split()) if text else ""
