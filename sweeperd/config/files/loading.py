"""Reads the configuration: the file, then ``conf.d/*.toml`` beside it in name order.

Every problem of all files is collected and told at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from sweeperd.config.files.limits import oversized
from sweeperd.config.files.messages import complaints, keys_of
from sweeperd.config.files.rules import config_complaints, database_complaints, sweep_complaints
from sweeperd.config.files.toml import KeyPath, Source, UnreadableError, dotted, read_source
from sweeperd.config.files.trust import distrust, exposed_secrets
from sweeperd.config.models import Config, DaemonConfig, DatabaseConfig, SweepConfig
from sweeperd.config.presets.expand import (
    expanded,
    left_to_you,
    replaced_conditions,
    with_children_first,
)
from sweeperd.config.presets.preset import Preset, presets
from sweeperd.config.values.types import NAME
from sweeperd.config.values.wording import shown, suggestion
from sweeperd.errors import ConfigError, Problem

_TABLES: Final = ("databases", "sweeps", "daemon", "defaults")
# what belongs to one sweep cannot be a default
_NO_DEFAULTS: Final = ("name", "table", "column", "condition", "before", "preset")
_OWN_KEYS: Final = ("column", "keep", "unit", "column_timezone", "where")
_MOST_PROBLEMS: Final = 100  # nobody reads more, and each costs a search for a better word

ModelT = TypeVar("ModelT", bound=BaseModel)


def load_config(path: Path) -> Config:
    """Return the merged, checked configuration.

    Args:
        path: The main file; it must exist. The files of conf.d beside it need not.

    Raises:
        ConfigError: With every problem found, in the order of the files.
    """
    return _Loading(path).config()


def _line(place: str) -> tuple[str, int]:
    file, _, line = place.rpartition(":")
    return (file, int(line)) if line.isdecimal() else (place, 0)


class _Loading:
    """One reading of all files: where each key stands, and what is wrong so far."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._more = path.parent / "conf.d"
        self._problems: list[Problem] = []
        self._hopeless: set[KeyPath] = set()
        self._origin: dict[KeyPath, Source] = {}
        self._merged: dict[str, dict[str, Any]] = {name: {} for name in _TABLES}

    def config(self) -> Config:
        sources = self._read()
        for source in sources:
            self._merge(source)
        for key, message in oversized(self._merged):
            self._tell(key, message)
            self._hopeless.add(key)
        config = self._build(tuple(source.path for source in sources))
        if not self._problems and config is not None:
            for key, message in config_complaints(config, self._place):
                self._tell(key, message)
                if self._is_full:
                    break
        if not self._problems and config is not None:
            self._problems += distrust((*config.files, self._more), config.daemon.state_dir)
        if self._problems or config is None:
            raise ConfigError(self._told())
        warnings = [
            *exposed_secrets(config.databases.values(), config.files),
            *replaced_conditions(config.sweeps.values()),
        ]
        return config.model_copy(update={"warnings": tuple(warnings)})

    def _told(self) -> tuple[Problem, ...]:
        # one mistake may be met twice, in a default and in the sweep it reaches
        once = sorted(dict.fromkeys(self._problems), key=lambda problem: _line(problem.place))
        if self._is_full:
            more = Problem(str(self._path), "", "has more problems than these; mend them first")
            once = [*once[:_MOST_PROBLEMS], more]
        return tuple(once)

    @property
    def _is_full(self) -> bool:
        return len(self._problems) >= _MOST_PROBLEMS

    def _read(self) -> list[Source]:
        sources: list[Source] = []
        for path in (self._path, *self._further_files()):
            try:
                sources.append(read_source(path))
            except UnreadableError as error:
                self._problems.append(error.problem)
        if not self._problems and not any(source.tables for source in sources):
            self._problems.append(
                Problem(
                    str(self._path),
                    "",
                    "is empty; write a [databases.NAME] with its dsn and a [sweeps.NAME]"
                    " (the sample sweeperd.toml shows how)",
                )
            )
        return sources

    def _further_files(self) -> list[Path]:
        try:
            found = sorted(self._more.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            # silence would drop sweeps that were in force
            self._problems.append(
                Problem(
                    str(self._more),
                    "",
                    f"cannot be listed: {error.strerror}; let the user sweeperd runs as read it",
                )
            )
            return []
        except ValueError:  # a NUL in the path: the main file says so
            return []
        return [one for one in found if one.name.endswith(".toml")]

    def _merge(self, source: Source) -> None:
        for table, content in source.tables.items():
            if table not in _TABLES:
                self._problems.append(
                    Problem(
                        source.place((table,)),
                        dotted((table,)),
                        f"is not a known table; {suggestion(table, _TABLES)}",
                    )
                )
            elif not isinstance(content, dict):
                example = f"[{table}.NAME]" if table in {"databases", "sweeps"} else f"[{table}]"
                self._problems.append(
                    Problem(source.place((table,)), table, f"must be a table; write {example}")
                )
            else:
                for key, value in content.items():
                    if self._is_full:
                        return
                    self._define(source, (table, key), value)

    def _define(self, source: Source, key: KeyPath, value: object) -> None:
        table, name = key
        first = self._origin.get(key)
        if first is not None:
            twice = f"is defined twice, first at {first.place(key)}; keep one"
            self._problems.append(Problem(source.place(key), dotted(key), twice))
            return
        self._origin[key] = source
        if table in {"databases", "sweeps"}:
            if NAME.fullmatch(name) is None:
                self._tell(
                    key, f"{shown(name)} is not a valid name; use 1 to 40 of a-z, 0-9, _ and -"
                )
                return
            if not isinstance(value, dict):
                # for a database it may be a connection string, with its password
                seen = f"{shown(value)} " if table == "sweeps" else ""
                self._tell(key, f"{seen}must be a table; write [{table}.{name}]")
                return
        self._merged[table][name] = value

    def _build(self, files: tuple[Path, ...]) -> Config | None:
        daemon = self._model(DaemonConfig, ("daemon",), self._merged["daemon"], {})
        databases: dict[str, DatabaseConfig] = {}
        for name, values in self._merged["databases"].items():
            if self._is_full:
                break
            database = self._model(DatabaseConfig, ("databases", name), values, {"name": name})
            if database is not None:
                databases[name] = database
                self._tell_all(database_complaints(database))
        defaults = self._defaults()
        sweeps: dict[str, SweepConfig] = {}
        for name, values in self._merged["sweeps"].items():
            if self._is_full:
                break
            sweep = self._sweep(name, values, defaults)
            if sweep is not None:
                sweeps[name] = sweep
                self._tell_all(sweep_complaints(sweep))
        if self._problems or daemon is None:
            return None
        sweeps = with_children_first(sweeps)
        return Config(daemon=daemon, databases=databases, sweeps=sweeps, files=files)

    def _defaults(self) -> dict[str, Any]:
        """Return the valid defaults; a faulty one is told here, once."""
        values, good = self._merged["defaults"], {}
        known = keys_of(SweepConfig, _NO_DEFAULTS)
        for key, value in values.items():
            if self._is_full:
                break
            if key not in known:
                what = "belongs to each sweep" if key in _NO_DEFAULTS else "is not a known key"
                self._tell(("defaults", key), f"{what}; {suggestion(key, known)}")
                continue
            probe = {"name": "x", "database": "x", "table": "x", key: value}
            try:
                SweepConfig.model_validate(probe)
            except ValidationError as error:
                for path, message in complaints(error, probe, known):
                    self._tell(("defaults", *path), message)
            else:
                good[key] = value
        return good

    def _sweep(
        self, name: str, values: Mapping[str, Any], defaults: dict[str, Any]
    ) -> SweepConfig | None:
        preset = self._preset(name, values)
        if preset is not None:
            values = expanded(preset, values)
        if preset is not None or "condition" in values:
            defaults = {key: value for key, value in defaults.items() if key not in _OWN_KEYS}
        filled = {**defaults, **values}
        added: dict[str, Any] = {"name": name}
        if "database" not in filled:
            known = list(self._merged["databases"])
            if len(known) == 1:
                added["database"] = known[0]
            else:
                hint = f"write one of {', '.join(known)}" if known else "write a [databases.NAME]"
                self._tell(("sweeps", name, "database"), f"is required; it is missing: {hint}")
                added["database"] = "?"
        if "preset" in values and preset is None:
            return None  # what it would have said is not missing
        missing = self._require(name, filled, preset)
        if missing and preset is not None:
            return None  # the model would say the same again, without the preset's reason
        return self._model(SweepConfig, ("sweeps", name), filled, added)

    def _preset(self, name: str, values: Mapping[str, Any]) -> Preset | None:
        """Return the preset that a sweep names, if there is one; tell a name that is none."""
        text = values.get("preset")
        if text is None:
            return None
        found = presets().get(text) if isinstance(text, str) else None
        if found is None:
            hint = suggestion(text, presets()) if isinstance(text, str) else "write its name"
            self._tell(
                ("sweeps", name, "preset"),
                f"{shown(text)} is not a preset; {hint} (sweeperd presets lists them)",
            )
        return found

    def _require(self, name: str, values: Mapping[str, Any], preset: Preset | None) -> bool:
        """Tell what is missing to say which rows go; return whether something is."""
        keep = 'write how long a row is kept after its time, "0s" or "90d"'
        cures = [("column", "write it, or condition"), ("keep", keep)]
        if preset is not None:
            cures = [(key, left_to_you(preset, key)) for key in preset.needs]
        missing = False
        for key, cure in cures:
            if key in values or ("condition" in values and key in {"column", "keep"}):
                continue
            self._tell(("sweeps", name, key), f"is required; it is missing: {cure}")
            missing = True
        return missing

    def _model(
        self, model: type[ModelT], path: KeyPath, values: Mapping[str, Any], added: dict[str, Any]
    ) -> ModelT | None:
        known = keys_of(model)
        found = values
        if "name" in values:
            self._tell((*path, "name"), f"is not a known key; {suggestion('name', known)}")
            found = {key: value for key, value in values.items() if key != "name"}
        try:
            return model.model_validate({**found, **added})
        except ValidationError as error:
            for key, message in complaints(error, found, known, secret=path[0] == "databases"):
                if self._is_full:
                    break
                self._tell((*path, *key), message)
            return None

    def _tell_all(self, found: Iterator[tuple[KeyPath, str]]) -> None:
        for key, message in found:
            self._tell(key, message)

    def _tell(self, key: KeyPath, message: str) -> None:
        if key in self._hopeless:
            return
        self._problems.append(Problem(self._place(key), dotted(key), message))

    def _place(self, key: KeyPath) -> str:
        """Return where a key stands; a sweep's key may have come from the defaults."""
        table, *rest = key
        own = self._origin.get(key[:2])
        fallback = ("defaults", *rest[1:])
        default = self._origin.get(fallback[:2])
        if table == "sweeps" and default is not None and len(key) > len(("sweeps", "name")):
            content = self._merged["sweeps"].get(rest[0])
            if isinstance(content, dict) and rest[1] not in content:
                return default.place(fallback)
        if own is not None:
            return own.place(key)
        return str(self._path)
