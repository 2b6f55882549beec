"""What an error of PostgreSQL means for a batch, decided by SQLSTATE alone.

Source of the classes: PostgreSQL manual, appendix A, "PostgreSQL Error Codes".
"""

from __future__ import annotations

from enum import Enum

import asyncpg

from sweeperd.log.safe_text import bounded


class Fault(Enum):
    """The reaction an error calls for."""

    ROW = "row"  # one row cannot go: bisect to it and step over it
    LOCK = "lock"  # somebody holds what we need: do not wait
    TIMEOUT = "timeout"  # the batch was too large for its time
    RETRY = "retry"  # the same batch again
    THROTTLE = "throttle"  # the server is unwell or says no for now
    LOST = "lost"  # the connection is gone
    FATAL = "fatal"  # this sweep cannot go on


# What the driver raises when a connection fails, TimeoutError among OSError. An InternalClientError
# is what it raises when the server ends a session under it.
LOST_ERRORS = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError, EOFError)
# all that a statement may raise
SERVER_ERRORS = (asyncpg.PostgresError, *LOST_ERRORS)

# raises where row_security = off and a policy would hide rows (utils/misc/rls.c)
_ROW_SECURITY_ROUTINE = "check_enable_rls"
ROW_SECURITY_CURE = (
    'give the role BYPASSRLS, or write row_security = "obey" to sweep only what its policies show'
)
_LOCK_NOT_AVAILABLE = "55P03"
_QUERY_CANCELED = "57014"
_DEADLOCK = "40P01"
_READ_ONLY = "25006"
# NO ACTION and, on 18 and newer, RESTRICT
_REFERENCED = frozenset({"23503", "23001"})

# What raises these is never the code of a trigger itself, though one may be under way.
_INTERRUPTS = frozenset({"ProcessInterrupts", "DeadLockReport"})
_RAISE = "exec_stmt_raise"  # pl_exec.c
_LOCK_STATES = frozenset({_LOCK_NOT_AVAILABLE, _DEADLOCK})

# Classes that PostgreSQL itself raises for one row's data, and P0 for what a trigger raises.
_ROW_CLASSES = frozenset({"22", "23", "27", "44", "P0"})
_RETRY_CLASSES = frozenset({"40"})
_THROTTLE_CLASSES = frozenset({"53", "55", "57"})
_LOST_CLASSES = frozenset({"08"})
# A session ended by the server: admin and crash shutdown, starting up, idle and transaction limits.
_LOST_STATES = frozenset({"57P01", "57P02", "57P03", "57P05", "25P03", "25P04"})
# Every other class of the manual: a state that is not ours to step over.
_SYSTEM_CLASSES = frozenset(
    "00 01 02 03 09 0A 0B 0F 0L 0P 0Z 10 20 21 24 25 26 28 2B 2D 2F 34 38 39 3B 3D 3F "  # noqa: SIM905 - as lines it can be read
    "42 54 58 72 F0 HV XX".split()
)


def classify(error: BaseException) -> Fault:
    """Return the reaction to an error met inside a batch.

    What is raised inside a function, such as a trigger's, is a row's, whatever its SQLSTATE; so is
    a SQLSTATE of no known class, which only ``RAISE ... ERRCODE`` gives.
    """
    if isinstance(error, asyncpg.PostgresError):
        if _is_raised_inside(error):
            return Fault.ROW
        return _by_state(error.sqlstate or "XX000")
    return Fault.LOST if isinstance(error, LOST_ERRORS) else Fault.FATAL


def _is_raised_inside(error: asyncpg.PostgresError) -> bool:
    """Whether a function raised it; a lock or a timeout that it met is not its own doing."""
    routine = error.server_source_function
    if routine == _RAISE:
        return True
    met = routine in _INTERRUPTS or error.sqlstate in _LOCK_STATES
    return not met and raised_in(error) is not None


def _by_state(state: str) -> Fault:
    exact = {
        _LOCK_NOT_AVAILABLE: Fault.LOCK,
        _DEADLOCK: Fault.LOCK,
        _QUERY_CANCELED: Fault.TIMEOUT,
        _READ_ONLY: Fault.THROTTLE,
    }
    if state in exact:
        return exact[state]
    if state in _LOST_STATES:
        return Fault.LOST
    for fault, classes in (
        (Fault.ROW, _ROW_CLASSES),
        (Fault.RETRY, _RETRY_CLASSES),
        (Fault.THROTTLE, _THROTTLE_CLASSES),
        (Fault.LOST, _LOST_CLASSES),
        (Fault.FATAL, _SYSTEM_CLASSES),
    ):
        if state[:2] in classes:
            return fault
    return Fault.ROW


def is_referenced(error: BaseException) -> bool:
    """Whether a foreign key refused to let a row go."""
    return isinstance(error, asyncpg.PostgresError) and error.sqlstate in _REFERENCED


def describe(error: BaseException) -> str:
    """Return one line a person can act on: the server's words, cut to size, and its SQLSTATE."""
    words = bounded(str(error)).strip().partition("\n")[0] or type(error).__name__
    if isinstance(error, asyncpg.PostgresError):
        for more in (error.detail, error.hint):
            text = bounded(more or "")
            if text and "\n" not in text:
                words = f"{words}: {text}"
        if function := raised_in(error):
            words = f"{words}, in {function}"
        if error.server_source_function == _ROW_SECURITY_ROUTINE:
            words = f"{words}; {ROW_SECURITY_CURE}"
        return f"{words} (SQLSTATE {error.sqlstate})"
    return words


def raised_in(error: asyncpg.PostgresError) -> str | None:
    """Return the function that an error was raised in, such as a trigger's; None if in none."""
    context = bounded(getattr(error, "context", None) or "")
    return next((line.strip() for line in context.splitlines() if " function " in line), None)
