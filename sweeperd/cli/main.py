"""The entry point of the command line: signals first, then the command, then how errors end it."""

from __future__ import annotations

import os
import sys
from typing import Final

from sweeperd.host.early_signals import hold_signals

# what they do ends at a batch's edge, so a signal is never lost and never ends them at once
_LONG_RUNNING: Final = ("run", "sweep")
# whatever umask a shell or a service manager leaves: nothing of ours is for others to write
_UMASK: Final = 0o027


def main() -> None:
    """Run the command line; a user's mistake ends in words and an exit code, never a trace."""
    if sys.argv[1:2] and sys.argv[1] in _LONG_RUNNING:
        hold_signals()
    os.umask(os.umask(_UMASK) | _UMASK)
    # imports take a while, in which signals already wait
    from sweeperd.cli.endings import run_command  # noqa: PLC0415

    sys.exit(run_command())
