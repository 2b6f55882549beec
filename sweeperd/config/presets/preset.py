"""A preset: what a known application's table is, and which of its rows are expired.

The files beside this module are the source; each is one project's. Nothing here connects.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Final

import tomli
from pydantic import BaseModel, ConfigDict, Field

from sweeperd.config.models import Unit
from sweeperd.config.values.types import Duration, Expression, NamedText, Zone

_DIRECTORY: Final = Path(__file__).parent
# a preset's keys that become a sweep's
SWEEP_KEYS: Final = ("table", "column", "unit", "column_timezone", "keep", "where", "condition")
_LIST: Final = " | "


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Preset(_Strict):
    """One table of one project.

    Attributes:
        name: What an operator writes.
        project: Whose table it is.
        url: Where the project's code is.
        versions: Of the project, whose tables are like this.
        about: What its rows are.
        table: Its usual name; None where the operator must name it.
        column: What a row's age is counted from.
        unit: What the column holds.
        column_timezone: The zone the project fixes; None where the operator must say it.
        keep: How long the project keeps a row after the column's time; None where that is the
            application's setting, which only the operator knows.
        default_keep: What that setting is when nobody has changed it.
        where: A further condition.
        condition: Instead of column and where; ``:keep`` in it stands for keep.
        parents: Presets of tables whose rows this one's refer to; they are swept after it.
        source: Where in the project's code the rule is.
        rule: The project's own predicate as SQL; ``:keep`` is an interval, ``:seconds`` its
            length, ``:zone`` the zone of the column.
        settings: What is left to the application's settings.
        columns: What the table must have: the types each column may be of, joined by ``|``.
        further: Columns that some versions or plug-ins add to a table with a common name.
        ask: What must be answered before anybody proposes this preset unasked.
    """

    name: str
    project: str
    url: str
    versions: str
    about: str
    table: NamedText | None = None
    column: NamedText | None = None
    unit: Unit | None = None
    column_timezone: Zone | None = None
    keep: Duration | None = None
    default_keep: Duration | None = None
    where: Expression | None = None
    condition: str | None = None
    parents: tuple[str, ...] = ()
    source: str
    rule: str
    settings: str
    columns: Mapping[str, str] = Field(min_length=2)
    further: tuple[str, ...] = ()
    ask: str = ""

    @property
    def needs(self) -> tuple[str, ...]:
        """Return the keys that an operator must write beside the preset."""
        missing = [key for key in ("table", "keep") if getattr(self, key) is None]
        if self.unit in {"timestamp", "date"} and self.column_timezone is None:
            missing.append("column_timezone")
        return tuple(missing)

    def types(self, column: str) -> tuple[str, ...]:
        """Return the types that a column may be of."""
        return tuple(self.columns[column].split(_LIST))

    def condition_for(self, keep: timedelta) -> str | None:
        """Return the condition for a length of keep."""
        if self.condition is None:
            return None
        seconds = keep // timedelta(microseconds=1) / 1_000_000
        return self.condition.replace(":keep", f"interval '{seconds:.6f} seconds'")


@cache
def presets() -> Mapping[str, Preset]:
    """Return all presets by name, in the order of their names."""
    found: dict[str, Preset] = {}
    for path in sorted(_DIRECTORY.glob("*.toml")):
        file = tomli.loads(path.read_text(encoding="utf-8"))
        project = {key: file[key] for key in ("project", "url", "versions")}
        for name, content in file["presets"].items():
            found[name] = Preset.model_validate({"name": name, **project, **content})
    return dict(sorted(found.items()))
