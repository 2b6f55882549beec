"""Values as literals, for simple queries."""

from __future__ import annotations

from typing import Any

from sweeperd.postgres.sql.expired import Args, builtin


def quote_literal(text: str) -> str:
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


class Literals(Args):
    """Literals in place of parameters."""

    def add(self, value: Any, type_name: str) -> str:  # noqa: ANN401
        if type_name == "tid":
            text = f"({value[0]},{value[1]})"
        elif type_name == "tid[]":
            text = "{" + ",".join(f'"({a},{b})"' for a, b in value) + "}"
        elif type_name in {"timestamptz", "timestamp", "date"}:
            import datetime as dt

            base = dt.datetime(2000, 1, 1)
            if type_name == "date":
                text = (base + dt.timedelta(days=value)).strftime("%Y-%m-%d")
            else:
                text = (base + dt.timedelta(microseconds=value)).isoformat(" ") + (
                    "+00" if type_name == "timestamptz" else ""
                )
        else:
            text = str(value)
        return f"{quote_literal(text)}::{builtin(type_name)}"


def set_local(name: str, value: str) -> str:
    """Return a call that sets something for the rest of the transaction, for a SELECT."""
    return f"pg_catalog.set_config({quote_literal(name)}, {quote_literal(value)}, true)"
