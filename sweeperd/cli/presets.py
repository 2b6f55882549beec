"""`sweeperd presets`: which applications' tables are known, and what each preset stands for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import click

from sweeperd.cli.options import json_option
from sweeperd.cli.terminal import safe
from sweeperd.config.presets.preset import Preset
from sweeperd.config.presets.preset import presets as all_presets
from sweeperd.config.values.durations import format_duration
from sweeperd.config.values.wording import quoted, suggestion
from sweeperd.log.safe_text import safe_json

_TEXT_KEYS: Final = ("table", "column", "unit", "column_timezone", "where", "condition")
_TOP: Final = """\
# Presets

Tables of known applications. `preset = "NAME"` is a whole sweep; keys written beside it override
it:

```toml
[sweeps.django]
preset = "django-sessions"
```

Before each run, and in `sweeperd check`, the table must have the columns listed here, of these
types: a table that only shares the name is refused. Where two presets of one project are used,
child tables are swept first. A `where` or `condition` of yours replaces the preset's: repeat what
must stay. `sweeperd presets NAME` shows one of them.

This page is written by `make docs` from the files in `sweeperd/config/presets/`.
"""


@click.command(epilog="Example: sweeperd presets django-sessions")
@click.argument("name", required=False)
@click.option("--markdown", is_flag=True, help="Print all of them as a page of the manual.")
@json_option
def presets(name: str | None, *, markdown: bool, as_json: bool) -> None:
    """List the presets, or explain one: its rule, where that comes from, what is left to you."""
    known = all_presets()
    if name is not None and name not in known:
        raise click.UsageError(f"no preset is called {safe(name)}: {suggestion(name, known)}")
    chosen = list(known.values()) if name is None else [known[name]]
    if as_json:
        click.echo(safe_json([_fields(one) for one in chosen], indent=2))
    elif markdown:
        click.echo("\n".join([_TOP, *(_section(one) for one in chosen)]).rstrip())
    elif name is None:
        width = max(len(one.name) for one in chosen)
        for one in chosen:
            click.echo(f"{one.name:{width}}  {one.project}: {one.about}")
    else:
        click.echo("\n".join(_explained(chosen[0])))


def _fields(preset: Preset) -> dict[str, object]:
    fields: dict[str, object] = preset.model_dump(mode="json", exclude_none=True)
    for key in ("keep", "default_keep"):
        length = getattr(preset, key)
        if length is not None:
            fields[key] = format_duration(length)
    return {**fields, "needs": list(preset.needs)}


def as_sweep(preset: Preset, name: str = "NAME") -> Iterator[str]:
    """Yield the lines of the sweep that a preset stands for, dots where the operator must write."""
    yield f"[sweeps.{name}]"
    for key in _TEXT_KEYS:
        value = getattr(preset, key)
        if value is not None:
            yield f"{key} = {quoted(value)}"
        elif key in preset.needs:
            yield f'{key} = "..."'
    if preset.keep is not None:
        yield f"keep = {quoted(format_duration(preset.keep))}"
    else:
        yield 'keep = "..."'


def _explained(preset: Preset) -> Iterator[str]:
    yield f"{preset.name}: {preset.about}"
    yield f"  project   {preset.project}, {preset.url}"
    yield f"  versions  {preset.versions}"
    yield f"  rule      {preset.rule}"
    yield f"  source    {preset.source}"
    yield f"  settings  {preset.settings}{_usual(preset)}"
    if preset.needs:
        yield f"  to write  {', '.join(preset.needs)}"
    if preset.parents:
        yield f"  before    {', '.join(preset.parents)}"
    yield "  columns   " + ", ".join(f"{name} {types}" for name, types in preset.columns.items())
    yield "It stands for:"
    for line in as_sweep(preset):
        yield f"  {line}"


def _usual(preset: Preset) -> str:
    if preset.default_keep is None:
        return ""
    return f"; its default is {format_duration(preset.default_keep)}"


def _section(preset: Preset) -> str:
    rows = [
        ("project", f"[{preset.project}]({preset.url}), {preset.versions}"),
        ("table", f"`{preset.table}`" if preset.table else "yours to name"),
        *((key, f"`{getattr(preset, key)}`") for key in _TEXT_KEYS[1:] if getattr(preset, key)),
        ("keep", f"`{format_duration(preset.keep)}`" if preset.keep is not None else "yours"),
        ("the project's rule", f"`{preset.rule}`"),
        ("its source", preset.source),
        ("left to settings", preset.settings + _usual(preset)),
        ("must be written", ", ".join(f"`{key}`" for key in preset.needs) or "nothing"),
        ("swept before", ", ".join(f"`{parent}`" for parent in preset.parents)),
        ("columns", ", ".join(f"`{name}` {kinds}" for name, kinds in preset.columns.items())),
    ]
    lines = [f"## {preset.name}", "", preset.about, "", "| | |", "|---|---|"]
    lines += [f"| {key} | {text.replace('|', 'or')} |" for key, text in rows if text]
    return "\n".join(lines) + "\n"
