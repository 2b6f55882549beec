"""Rows of the bench that are no plain ratio."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

Special = Callable[[int], Awaitable[tuple[str, str, bool, dict[str, Any]]]]
SPECIAL: dict[str, Special] = {}
