"""A preview as JSON: stable keys in snake_case, documented in docs/plan.md."""

from __future__ import annotations

from dataclasses import asdict

from sweeperd.sweep.preview.preview import LeafPreview, Preview, TablePreview
from sweeperd.sweep.preview.size import Size


def as_record(preview: Preview) -> dict[str, object]:
    """Return one sweep's object; what was not looked at is null."""
    sweep = preview.sweep
    record: dict[str, object] = {
        "sweep": sweep.name,
        "database": sweep.database,
        "will_delete": preview.will_delete,
        "obstacles": [asdict(one) for one in preview.obstacles],
        "max_retention_lag_seconds": sweep.longest_retention_lag.total_seconds(),
    }
    return record | _table(sweep.table, preview.table)


def _table(name: str, seen: TablePreview | None) -> dict[str, object]:
    if seen is None:
        return {"table": name} | dict.fromkeys(_UNSEEN)
    amount, lag, forecast = seen.amount, seen.lag, seen.forecast
    dead = seen.dead
    return {
        "table": seen.table,
        "cutoff": seen.cutoff.isoformat(),
        "size": _size(seen.size),
        "expired_estimate": _whole(amount.expired),
        "expired_method": amount.method,
        "expired_reason": amount.reason,
        "live_estimate": _whole(amount.live),
        "oldest_expired": lag.oldest.isoformat() if lag is not None and lag.oldest else None,
        "retention_lag_seconds": lag.seconds if lag is not None else None,
        "leaves": [_leaf(leaf) for leaf in seen.leaves],
        "partitions": list(seen.partitions),
        "batches_estimate": forecast.batches if forecast else None,
        "duration_estimate_seconds": forecast.seconds if forecast else None,
        "runs_estimate": forecast.runs if forecast else None,
        "wal_estimate_bytes": forecast.wal_bytes if forecast else None,
        "forecast_basis": forecast.basis if forecast else None,
        "cascades": [
            {"table": one.table, "key": one.key, "rows_estimate": _whole(one.rows)}
            for one in seen.cascades
        ],
        "dead_tuples": sum(one.now for one in dead),
        "dead_tuples_after": sum(one.after for one in dead),
        "autovacuum": [
            {"table": one.table, "will_be_triggered": one.is_triggered, "reason": one.reason}
            for one in dead
        ],
        "statements": list(seen.statements),
        "advice": list(seen.advice),
        "examples": [asdict(one) for one in seen.examples],
    }


_UNSEEN = (
    "cutoff", "size", "expired_estimate", "expired_method", "expired_reason", "live_estimate",
    "oldest_expired", "retention_lag_seconds", "leaves", "partitions", "batches_estimate",
    "duration_estimate_seconds", "runs_estimate", "wal_estimate_bytes", "forecast_basis",
    "cascades", "dead_tuples", "dead_tuples_after", "autovacuum", "statements", "advice",
    "examples",
)  # fmt: skip


def _leaf(leaf: LeafPreview) -> dict[str, object]:
    return {
        "table": leaf.choice.leaf.relation.shown,
        "strategy": leaf.choice.strategy,
        "reason": leaf.choice.reason,
        "size": _size(leaf.size),
        "expired_estimate": _whole(leaf.amount.expired),
        "expired_method": leaf.amount.method,
        "live_estimate": _whole(leaf.amount.live),
    }


def _size(size: Size) -> dict[str, int]:
    return {"heap_bytes": size.heap, "index_bytes": size.indexes, "toast_bytes": size.toast}


def _whole(number: float | None) -> int | None:
    return None if number is None else round(number)
