"""The JSON schema of the configuration, for editors and other tools."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel

from sweeperd.config.models import DaemonConfig, DatabaseConfig, SweepConfig
from sweeperd.config.values.types import NAME

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """Return a schema of one file, draft 2020-12."""
    names = {"pattern": f"^{NAME.pattern}$"}
    sweep = _table(SweepConfig, ("name",), required=())
    sweep["anyOf"] = [{"required": ["table"]}, {"required": ["preset"]}]
    return {
        "$schema": _DIALECT,
        "title": "sweeperd.toml",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "daemon": _table(DaemonConfig, (), required=()),
            "databases": {
                "type": "object",
                "propertyNames": names,
                "additionalProperties": _table(DatabaseConfig, ("name",), required=("dsn",)),
            },
            "defaults": _table(
                SweepConfig,
                ("name", "table", "column", "condition", "before", "preset"),
                required=(),
            ),
            "sweeps": {
                "type": "object",
                "propertyNames": names,
                "additionalProperties": sweep,
            },
        },
    }


def _table(
    model: type[BaseModel], without: tuple[str, ...], *, required: tuple[str, ...]
) -> dict[str, Any]:
    found = model.model_json_schema()
    inner = found.get("$defs", {})
    properties = {
        key: _without_null(inner[value["$ref"].rpartition("/")[2]] if "$ref" in value else value)
        for key, value in found["properties"].items()
        if key not in without
    }
    table: dict[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }
    if required:
        table["required"] = list(required)
    return table


def _without_null(value: dict[str, Any]) -> dict[str, Any]:
    """TOML has no null: a key is written or left out."""
    kept = {key: item for key, item in value.items() if key not in {"title", "default"}}
    choices = [item for item in kept.pop("anyOf", []) if item != {"type": "null"}]
    if "properties" in kept:
        kept["properties"] = {name: _without_null(one) for name, one in kept["properties"].items()}
    return {**choices[0], **kept} if choices else kept
