"""The one way to a terminal: whatever a text holds, it stays one line and steers nothing."""

from __future__ import annotations

from typing import Final

import click

from sweeperd.log.safe_text import presentable

_LONGEST_LINE: Final = 20_000  # a cure may name many tables


def safe(text: str) -> str:
    """Return a text without secrets and without characters that could forge a line."""
    return presentable(text, _LONGEST_LINE)


def say(text: str, *, label: str = "", err: bool = False) -> None:
    """Print one line.

    Args:
        text: Of any origin.
        label: Our own words before it; they may be coloured.
        err: Whether it is for stderr.
    """
    click.echo(f"{label}{safe(text)}", err=err)
