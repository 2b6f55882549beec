"""What `preset = "NAME"` in a sweep stands for: the preset's keys below the operator's own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from sweeperd.config.models import SweepConfig
from sweeperd.config.presets.preset import SWEEP_KEYS, Preset, presets
from sweeperd.config.values.durations import format_duration, parse_duration

_COLUMN_KEYS: Final = ("column", "unit", "keep", "where")


def expanded(preset: Preset, own: Mapping[str, object]) -> dict[str, object]:
    """Return a sweep's keys: the preset's, and over them those that the operator wrote.

    A condition of the operator's replaces all that says what is expired; a column of the
    operator's replaces the preset's condition. ``keep`` goes into a preset's condition.

    Args:
        preset: What the sweep names.
        own: The sweep's own keys, unchecked.
    """
    given = {key: _plain(preset, key) for key in SWEEP_KEYS if getattr(preset, key) is not None}
    if "condition" in own:
        given = {key: value for key, value in given.items() if key not in _COLUMN_KEYS}
    elif "column" in own:
        given.pop("condition", None)
        if "unit" not in own:
            # the preset's unit and zone are those of its own column
            given = {key: value for key, value in given.items() if key != "unit"}
    merged = {**given, **own}
    if "condition" in given and "condition" not in own:
        condition = _condition(preset, merged.get("keep"))
        if condition is not None:
            merged["condition"] = condition
            merged.pop("keep", None)
    return merged


def left_to_you(preset: Preset, key: str) -> str:
    """Return why a preset cannot know a key, and what to write."""
    usual = ""
    if key == "keep" and preset.default_keep is not None:
        usual = f' (its default is "{format_duration(preset.default_keep)}")'
    return f'preset "{preset.name}" leaves it to the application: {preset.settings}{usual}'


def _plain(preset: Preset, key: str) -> object:
    value: object = getattr(preset, key)
    if key == "keep" and preset.keep is not None:
        return format_duration(preset.keep)
    return value


def _condition(preset: Preset, keep: object) -> str | None:
    """Return the preset's condition with keep in it; None for a keep that is missing or faulty."""
    if not isinstance(keep, str):
        return None
    try:
        return preset.condition_for(parse_duration(keep))
    except ValueError:
        return None


def replaced_conditions(sweeps: Iterable[SweepConfig]) -> Iterator[str]:
    """Yield a warning for each ``where`` that takes the place of a preset's own."""
    for sweep in sweeps:
        preset = presets().get(sweep.preset or "")
        if preset is None or preset.where is None or sweep.where in {None, preset.where}:
            continue
        yield (
            f"sweeps.{sweep.name}.where replaces that of preset {preset.name}, "
            f"{preset.where}; repeat what must stay"
        )


def with_children_first(sweeps: Mapping[str, SweepConfig]) -> dict[str, SweepConfig]:
    """Return the sweeps, those of child tables before those of their parents.

    Only sweeps of one database that name presets are ordered; ``before`` that an operator wrote
    stays.
    """
    return {name: _before_parents(sweep, sweeps.values()) for name, sweep in sweeps.items()}


def _before_parents(sweep: SweepConfig, others: Iterable[SweepConfig]) -> SweepConfig:
    preset = presets().get(sweep.preset or "")
    if preset is None or not preset.parents:
        return sweep
    parents = [
        other.name
        for other in others
        if other.preset in preset.parents
        and other.database == sweep.database
        and other.name not in sweep.before
        and sweep.name not in other.before
    ]
    return sweep.model_copy(update={"before": (*sweep.before, *parents)}) if parents else sweep
