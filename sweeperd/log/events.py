"""Each log event as a plain sentence: what ``journalctl -u sweeperd`` shows a person."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Fields = Mapping[str, Any]
Sentence = Callable[[Fields], str]


def sentence(event: str, fields: Fields) -> str:
    """Return the sentence of an event; an unknown one is shown as it is, with its fields."""
    build = _SENTENCES.get(event)
    if build is not None:
        return build(fields)
    rest = " ".join(f"{key}={value}" for key, value in fields.items() if value is not None)
    return f"{event} {rest}".strip()


def counted(number: object, noun: str) -> str:
    """Return a number with its noun in the right form: ``1 row``, ``2 rows``."""
    if number == 1:
        return f"1 {noun}"
    plural = f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return f"{number or 0} {plural}"


def _because(fields: Fields, key: str = "reason") -> str:
    return f": {fields[key]}" if fields.get(key) else ""


def _work(fields: Fields) -> str:
    text = f"{counted(fields.get('deleted_count'), 'row')} deleted"
    if fields.get("skipped_count"):
        text += f", {fields['skipped_count']} skipped"
    text += f" in {counted(fields.get('batches'), 'batch')}"
    if fields.get("duration_seconds") is not None:
        text += f", {fields['duration_seconds']} s"
    return text


def _ran(fields: Fields) -> str:
    text = f"Sweep {fields.get('sweep')} {fields.get('outcome')}: {_work(fields)}"
    if fields.get("cutoff_time"):
        text += f", cutoff {fields['cutoff_time']}"
    quiet = fields.get("outcome") == "drained"
    return text if quiet or not fields.get("reason") else f"{text} ({fields['reason']})"


def _timed_out(fields: Fields) -> str:
    return f"Sweep {fields.get('sweep')} ran into its timeout: {_work(fields)}; it goes on later"


def _failed(fields: Fields) -> str:
    why = fields.get("error") or fields.get("reason") or "no reason known"
    return f"Sweep {fields.get('sweep')} failed: {why} ({_work(fields)})"


def _scheduled(fields: Fields) -> str:
    first = ", for the first time" if fields.get("first_run") else ""
    return (
        f"Sweep {fields.get('sweep')} runs every {fields.get('interval_seconds')} s, "
        f"next at {fields.get('next_run')}{first}"
    )


def _started(fields: Fields) -> str:
    return f"Sweep {fields.get('sweep')} begins, run {fields.get('correlation_id')}"


def _held(fields: Fields) -> str:
    text = f"Sweep {fields.get('sweep')} is held, nothing is deleted{_because(fields)}"
    for key, words in (("by", "set by"), ("since", "since"), ("until", "until")):
        if fields.get(key):
            text += f", {words} {fields[key]}"
    if fields.get("key"):
        text += f"; the key {fields['key']} tunes this guard"
    return f"{text}; to release it: {fields['release']}" if fields.get("release") else text


def _daemon_started(fields: Fields) -> str:
    return f"sweeperd {fields.get('version')} runs with {counted(fields.get('sweeps'), 'sweep')}"


def _reloaded(fields: Fields) -> str:
    parts = [
        f"{kind} {', '.join(fields[kind])}"
        for kind in ("added", "changed", "removed")
        if fields.get(kind)
    ]
    return f"Configuration reloaded: {'; '.join(parts) or 'no sweep changed'}"


def _needs_restart(fields: Fields) -> str:
    keys = ", ".join(fields.get("keys") or ())
    return f"Only a restart changes {keys}; the old value stays in force"


_SENTENCES: dict[str, Sentence] = {
    "daemon_started": _daemon_started,
    "daemon_stopping": lambda f: f"sweeperd stops{_because(f)}",
    "daemon_forced": lambda f: f"Running statements are cancelled{_because(f)}",
    "config_reloaded": _reloaded,
    "config_rejected": lambda f: (
        f"The new configuration is not used, the old one stays in force{_because(f)}"
    ),
    "config_exposed": lambda f: f"The configuration is exposed{_because(f)}",
    "config_needs_restart": _needs_restart,
    "sweep_scheduled": _scheduled,
    "sweep_started": _started,
    "sweep_ran": _ran,
    "sweep_timed_out": _timed_out,
    "sweep_failed": _failed,
    "sweep_throttled": lambda f: f"Sweep {f.get('sweep')} waits{_because(f)}",
    "sweep_waits": lambda f: f"Sweep {f.get('sweep')} waits its turn{_because(f)}",
    "sweep_held": _held,
    "sweep_released": lambda f: (
        f"Sweep {f.get('sweep')} is released{' by ' + str(f['user']) if f.get('user') else ''}"
        f"{_because(f)}"
    ),
    "sweep_crashed": lambda f: f"Sweep {f.get('sweep')} met a defect of sweeperd",
    "sweep_loop_died": lambda f: f"The loop of sweep {f.get('sweep')} died{_because(f, 'error')}",
    "row_skipped": lambda f: (
        f"Sweep {f.get('sweep')} steps over a row"
        f"{' ' + str(f['key']) if f.get('key') else ''}{_because(f)}"
    ),
    "sweep_warning": lambda f: f"Sweep {f.get('sweep')}{_because(f)}",
    "strategy_changed": lambda f: (
        f"Sweep {f.get('sweep')} goes on with {f.get('strategy')}{_because(f)}"
    ),
    "partition_detached": lambda f: f"Partition {f.get('partition')} is detached{_because(f)}",
    "partition_dropped": lambda f: f"Partition {f.get('partition')} is dropped{_because(f)}",
    "autovacuum_expected": lambda f: f"Autovacuum will come to {f.get('table')}{_because(f)}",
    "vacuum_advised": lambda f: (
        f"Autovacuum will not come to {f.get('table')}{_because(f)}; run {f.get('statement')}"
    ),
    "table_vacuumed": lambda f: (
        f"Table {f.get('table')} was vacuumed in {f.get('seconds')} s, autovacuum would not "
        f"come{_because(f)}"
    ),
    "database_lost": lambda f: f"Database {f.get('database')} is lost{_because(f)}",
    "database_back": lambda f: f"Database {f.get('database')} is back",
    "state_not_saved": lambda f: f"The state {f.get('path')} is not saved{_because(f, 'error')}",
    "state_saved_again": lambda f: f"The state {f.get('path')} is saved again",
    "state_set_aside": lambda f: (
        f"The state {f.get('path')} cannot be used{_because(f)}; kept as {f.get('kept')}"
    ),
    "event_loop_blocked": lambda f: (
        f"The event loop has been blocked for {f.get('seconds')} s by a bug in sweeperd; the field "
        "stack says where"
    ),
    "watchdog_silent": lambda f: f"No word to the watchdog{_because(f)}",
    "library_message": lambda f: f"{f.get('logger')}: {f.get('text')}",
}
