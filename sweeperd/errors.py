"""The errors a user can cause or meet, each with its exit code and its cure.

Exit codes are the design's: 0 ok, 1 a sweep failed or a check found an error, 2 usage,
3 the daemon does not run, 69 database unreachable or login refused, 78 configuration
(69 and 78 are EX_UNAVAILABLE and EX_CONFIG of sysexits.h).
"""

from __future__ import annotations

from dataclasses import dataclass

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NOT_RUNNING = 3
EXIT_UNAVAILABLE = 69
EXIT_CONFIG = 78


class SweeperdError(Exception):
    """What is wrong, in one sentence, and what to do about it.

    Args:
        message: What is wrong and where.
        cure: What the operator can do, or None when the message says it.
    """

    exit_code = EXIT_FAILED

    def __init__(self, message: str, *, cure: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.cure = cure

    def __str__(self) -> str:
        return f"{self.message}; {self.cure}" if self.cure else self.message


class DatabaseUnreachableError(SweeperdError):
    """No session with the database can be had: not there, refused, or lost."""

    exit_code = EXIT_UNAVAILABLE


class SweepError(SweeperdError):
    """One sweep cannot go on: its table, column, privilege or data forbid it."""


@dataclass(frozen=True)
class Problem:
    """One fault of the configuration.

    Attributes:
        place: ``file:line`` (or the file alone) where it stands.
        key: Dotted key, such as ``sweeps.x.interval``; empty for a whole file.
        message: What is wrong, with the value seen, and what to write instead.
    """

    place: str
    key: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.place, self.key, self.message) if part)


class ConfigError(SweeperdError):
    """The configuration cannot be used; every problem is in ``problems``."""

    exit_code = EXIT_CONFIG

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems
