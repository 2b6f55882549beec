"""Whether a table is the one that a sweep's preset knows, told by its columns and their types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sweeperd.config.models import SweepConfig
from sweeperd.config.presets.preset import Preset, presets
from sweeperd.errors import SweepError
from sweeperd.postgres.catalog import Column, Relation


def require_preset(sweep: SweepConfig, root: Relation, columns: Sequence[Column]) -> None:
    """Refuse a table that only shares its name with the preset's.

    Raises:
        SweepError: A column is missing or of another type; each is named.
    """
    if sweep.preset is None:
        return
    preset = presets().get(sweep.preset)
    if preset is None:
        raise SweepError(f"there is not a preset {sweep.preset}", cure="see sweeperd presets")
    types = {column.name: type_name(column) for column in columns}
    differences = list(differing(preset, types))
    if differences:
        raise SweepError(
            f'{root.shown} is not the table of preset "{preset.name}" ({preset.project}): '
            + ", ".join(differences),
            cure="name the right table, or write the sweep without preset",
        )


def type_name(column: Column) -> str:
    """Return a column's type as presets name it: an application's own type without its schema."""
    if column.base is not None:
        return column.base
    last = column.shown.rpartition(".")[2].strip('"')
    # a stranger's type "text" is not the built-in one
    return last if "_" in last else column.shown


def differing(preset: Preset, types: Mapping[str, str]) -> Iterator[str]:
    """Yield what a table lacks to be the preset's.

    Args:
        preset: What the table should be.
        types: The table's columns and their types, domains resolved.
    """
    for name in preset.columns:
        wanted = preset.types(name)
        found = types.get(name)
        if found is None:
            yield f"it has no column {name}"
        elif found not in wanted:
            yield f"{name} is {found}, not {' or '.join(wanted)}"
