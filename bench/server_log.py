"""How long batches took at the server, as its own log tells: what applications feel of them."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

# epoch seconds, backend and database; see log_line_prefix in the PostgreSQL manual
PREFIX = "%n %p %d "
_LINE = re.compile(
    r"^(?P<at>\d+\.\d+) (?P<pid>\d+) (?P<database>\S*) LOG:  duration: (?P<ms>[\d.]+) ms  "
    r"(?:statement|execute [^:]*): (?P<text>.*)"
)
_BATCH = "BEGIN ISOLATION LEVEL READ COMMITTED; "  # what only reads says so here


def database_of(dsn: str) -> str:
    """Return the database's name in a DSN."""
    return urlsplit(dsn).path.removeprefix("/")


def logged(dsn: str) -> str:
    """Return SQL after which the server logs each statement in that database."""
    return f'ALTER DATABASE "{database_of(dsn)}" SET log_min_duration_statement = 0'


def batch_seconds(log: str, dsn: str) -> list[float]:
    """Return the seconds of each batch: from its first message's arrival to COMMIT's end."""
    database = database_of(dsn)
    begun: dict[str, float] = {}
    found: list[float] = []
    for line in log.splitlines():
        match = _LINE.match(line)
        if match is None or match["database"] != database:
            continue
        pid, at, text = match["pid"], float(match["at"]), match["text"]
        if text.startswith(_BATCH):
            begun[pid] = at - float(match["ms"]) / 1000
        elif pid in begun and text.rstrip("; ").endswith("ROLLBACK"):
            del begun[pid]
        elif pid in begun and text.rstrip("; ").endswith("COMMIT"):
            found.append(at - begun.pop(pid))
    return found
