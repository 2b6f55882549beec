"""What a table is taken for, by its columns, types and names alone: pure, and precise first.

A wrong proposal deletes somebody's data. What is proposed as enabled is either a known
application's table, column by column, or nothing but a session store: a key, an opaque payload and
its expiry. Everything else that may expire is a question.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sweeperd.config.presets.preset import Preset, presets
from sweeperd.config.values.durations import format_duration
from sweeperd.discover.tables import Table
from sweeperd.sweep.survey.preset_check import differing

TIMES: Final = frozenset({"timestamptz", "timestamp", "date"})
NUMBERS: Final = frozenset({"integer", "bigint", "numeric", "double precision"})
# names that many applications use: there a preset's table must have nothing else
_COMMON_NAME: Final = re.compile(
    r"(http_)?sessions?|cache|verification(_token)?|failed_jobs|job_batches|"
    r"personal_access_tokens|identity_verification"
)
_MOST_COLUMNS: Final = 6  # of a session store

_EXPIRY: Final = re.compile(
    r"exp|expir(es|ed|y|ation|e)?(_?(at|on|date|time|ts))?(_?(time|utc))?|(valid|active)_?(until|to|till|thru)|"
    r"(access_?token_?|refresh_?token_?|session_?|token_?)expir(es|y|ation)(_?(at|on|date))?|"
    r"ends?_of_life|not_after|ttl_?(at|until)?|good_(until|through)|\w+_expir(es|y|ation)(_?(at|on|date))?",
)
_VISIBILITY: Final = re.compile(
    r"vt|visib\w*|(locked|leased?|claimed|reserved|hidden|invisible)_?(until|till|to)"
)
_SOFT_DELETE: Final = re.compile(r"(deleted|removed|trashed|discarded|archived)_?(at|on)")
_FINISHED: Final = re.compile(r"(finished|completed|processed|dispatched|finalized)_?(at|on)")

_LOCKS: Final = re.compile(r"(^|_)(locks?|leases?|leaders?|mutex(es)?|peers?|semaphores?)($|_)")
_JOBS: Final = re.compile(r"(^|_)(jobs?|tasks?|outbox|inbox|queue|messages?)($|_)")
_SHORT_LIVED: Final = re.compile(
    r"(^|_)(sessions?|sess|tokens?|otps?|nonces?|verifications?|challenges?|captchas?|cache|"
    r"caches|cached|codes?|grants?|resets?|magic_links?|confirmations?|idempotency|states?|"
    r"rate_limits?|throttles?|csrf|invites?|invitations?|blacklist|denylist|links?|requests?|flows?|logins?)($|_)"
)
_SESSION_STORE: Final = re.compile(
    r"((web|http|user|auth|login|app|server|express|php|wsgi|rack|fiber|koa)_?)?"
    r"(sessions?|session_(store|data)|sessions_store)"
)
_BUSINESS: Final = re.compile(
    r"subscri|certif|licen[cs]|contract|polic(y|ies)|member|warrant|passport|visa|coupon|"
    r"promo|voucher|discount|price|rate_card|quote|offer|lease|rental|insur|permit|credential|"
    r"batch|lot|stock|inventor|medic|drug|prescription|vaccin|card|domain|trial|plan|booking|"
    r"reserv|gift|point|reward|bond|option|listing|job_post|campaign|accreditation|document|"
    r"tender|bid|auction|employ|grant_award|consent|key"
)
# what only its program can read; text is that only under a name that says so
_OPAQUE: Final = frozenset({"bytea", "json", "jsonb"})
_OPAQUE_NAMES: Final = re.compile(
    r"(session_?)?(data|payload|value|val|blob|attrs|attributes|vars|v)|sess"
)
_TEXTS: Final = frozenset({"text", "varchar"})
_TEXT_NAMES: Final = re.compile(r"(session_?)?(data|payload|blob)|sess")
# a number is a row somebody counts; a session's key is drawn at random
_KEY_TYPES: Final = frozenset({"text", "varchar", "bpchar", "uuid", "bytea"})
_KEY_NAMES: Final = re.compile(
    r"(session_?|sess_?)?(id|key|token|sid|hash|k)|sid|sess|token_hash|session"
)
_BESIDE: Final = re.compile(
    r"id|(created|updated|modified|inserted|last_(access|accessed|seen|active)|accessed)"
    r"(_?(at|on|time))?|user_?id|ip(_?address)?|user_?agent"
)


@dataclass(frozen=True)
class Finding:
    """A table that expires, or looks as if.

    Attributes:
        table: Which.
        column: What says when.
        preset: The application it belongs to, if known.
        unit: What the column holds; "" where the numbers must tell.
        evidence: Why it is proposed.
        question: What must be answered first; "" for none.
    """

    table: Table
    column: str
    preset: Preset | None
    unit: str
    evidence: str
    question: str = ""


@dataclass(frozen=True)
class Refusal:
    """A column that looks like an expiry and is none.

    Attributes:
        table: Its table.
        column: Which.
        reason: Why it is left alone.
    """

    table: Table
    column: str
    reason: str


def judge(table: Table) -> Iterator[Finding | Refusal]:
    """Yield what a table's columns are taken for; nothing for a table without any expiry."""
    known = [_recognised(table, preset) for preset in presets().values()]
    found = [one for one in known if one is not None]
    if found:
        # one table is one application's: the most columns in common win
        yield max(found, key=lambda one: len(one.preset.columns) if one.preset else 0)
        return
    for column, kind in table.types.items():
        if kind in TIMES | NUMBERS:
            name = _snake(column)
            reason = _refused(table, name, kind)
            if reason:
                yield Refusal(table, column, reason)
            elif _EXPIRY.fullmatch(name) or (
                _FINISHED.fullmatch(name) and _JOBS.search(_snake(table.name))
            ):
                yield _question(table, column, kind)


def _recognised(table: Table, preset: Preset) -> Finding | None:
    """Return the finding if the table is the preset's, by name, columns and types."""
    last = (preset.table or "").rpartition(".")[2].strip('"')
    name = preset.name == "pgmq-archive" and table.name.startswith("a_")
    name = name or (preset.name == "nservicebus-outbox" and table.name.endswith("OutboxData"))
    if table.name != last and not name:
        return None
    if next(differing(preset, table.types), None) is not None:
        return None
    strangers = [other for other in table.referencing if not _family(other, table.name)]
    further = _further(table, preset)
    question = ""
    if strangers:
        question = f"{', '.join(strangers)} refers to its rows: may they lose them?"
    elif further:
        question = f"it has {', '.join(further)}, too: is it {preset.project}'s own?"
    elif preset.needs:
        question = f"write {' and '.join(preset.needs)}: {preset.settings}"
    elif preset.ask:
        question = preset.ask
    elif preset.keep:
        question = f'is keep = "{format_duration(preset.keep)}" right here? {preset.settings}'
    evidence = f"{preset.project}: columns {', '.join(preset.columns)} are of its types"
    column = preset.column or ""
    return Finding(table, column, preset, preset.unit or "", evidence, question)


def _further(table: Table, preset: Preset) -> list[str]:
    """Return the columns that the preset's table has not, where its name is a common one."""
    if not _COMMON_NAME.fullmatch(table.name):
        return []
    known = {*preset.columns, *preset.further}
    return [one for one in table.types if one not in known and not _BESIDE.fullmatch(_snake(one))]


def _family(other: str, name: str) -> bool:
    """Whether a table that refers to another is of the same application, by a common prefix."""
    prefix = name.partition("_")[0]
    return "_" in name and other.startswith(f"{prefix}_")


def _refused(  # noqa: C901, PLR0911 - one reason after another
    table: Table, column: str, kind: str
) -> str:
    """Return why a column is no expiry of its row, or "" if it may be one."""
    name = _snake(table.name)
    if _VISIBILITY.fullmatch(column):
        return "a visibility time: the row is hidden until then, not done with"
    if _SOFT_DELETE.fullmatch(column):
        return "a soft-delete column: its rows are live data until somebody decides"
    if not _EXPIRY.fullmatch(column):
        return ""
    if _LOCKS.search(name):
        return "a lock's time: who holds it takes it over, the row stays"
    columns = {_snake(one) for one in table.types}
    if columns & {"access_token", "refresh_token", "provider_account_id"} and (
        "provider" in " ".join(columns) or "account" in name
    ):
        return "an OAuth account's expiry: its token is renewed, the account stays"
    if _BUSINESS.search(column):
        return "a validity, not the end of the row"
    if table.referencing:
        return f"{', '.join(table.referencing[:3])} refers to its rows"
    if kind == "date":
        return "a business date: days are what people agree on, not what programs clean up"
    if _BUSINESS.search(name):
        return f"a validity of {table.name}, not the end of the row"
    if not _SHORT_LIVED.search(name):
        return "nothing says that its rows are of no use afterwards"
    return ""


def _question(table: Table, column: str, kind: str) -> Finding:
    name = _snake(column)
    unit = kind if kind in TIMES else ""
    evidence = f"column {column} ({kind}) is named like the end of a row's life"
    if _FINISHED.fullmatch(name):
        evidence = f"column {column} ({kind}) says when its work was done"
        question = "how long is a finished row of use, and which of them have failed?"
    elif kind == "timestamp":
        question = "which time zone does the application write there?"
    else:
        question = _doubt(table, column)
        if not question:
            evidence = f"nothing but a key, an opaque payload and its expiry {column} ({kind})"
    return Finding(table, column, None, unit, evidence, question)


def _doubt(table: Table, column: str) -> str:
    """Return the question for a table that is no plain session store; "" for one that is."""
    others = {_snake(one): kind for one, kind in table.types.items() if one != column}
    payloads = [
        one
        for one, kind in others.items()
        if (kind in _OPAQUE and _OPAQUE_NAMES.fullmatch(one))
        or (kind in _TEXTS and _TEXT_NAMES.fullmatch(one))
    ]
    keys = [one for one, kind in others.items() if kind in _KEY_TYPES and _KEY_NAMES.fullmatch(one)]
    rest = [
        one
        for one in others
        if one not in payloads and one not in keys and not _BESIDE.fullmatch(one)
    ]
    plain = (
        _SESSION_STORE.fullmatch(_snake(table.name)) is not None
        and column in table.required
        and len(table.types) <= _MOST_COLUMNS
        and payloads
        and keys
        and not rest
    )
    return "" if plain else f"is a row of {table.name} of no use to anybody once {column} is past?"


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
