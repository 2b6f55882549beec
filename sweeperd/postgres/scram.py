"""A bound on the work that a server can ask of a login with SCRAM."""

from __future__ import annotations

import hashlib
from types import ModuleType
from typing import TYPE_CHECKING, Final

import asyncpg
from asyncpg.protocol import protocol

if TYPE_CHECKING:
    from typing_extensions import Buffer

MOST_ITERATIONS: Final = 1_000_000  # PostgreSQL's default is 4096; this takes about half a second


class _BoundedHashes(ModuleType):
    """``hashlib`` as the driver's SCRAM sees it.

    The driver derives the key inside the event loop, where no timeout can end it.
    """

    def pbkdf2_hmac(self, name: str, password: Buffer, salt: Buffer, iterations: int) -> bytes:
        if iterations > MOST_ITERATIONS:
            raise asyncpg.InterfaceError(
                f"the server asks for {iterations} SCRAM iterations, more than {MOST_ITERATIONS};"
                " lower scram_iterations on the server and set the password again"
            )
        return hashlib.pbkdf2_hmac(name, password, salt, iterations)

    def __getattr__(self, name: str) -> object:
        return getattr(hashlib, name)


def bound_iterations() -> None:
    """Make the driver refuse a server that asks for more than ``MOST_ITERATIONS``."""
    vars(protocol)["hashlib"] = _BoundedHashes("hashlib")
