"""What a transaction of one sweep sets for itself when it touches the operator's table."""

from __future__ import annotations

from dataclasses import replace

from sweeperd.config.models import SweepConfig
from sweeperd.postgres.transaction import Frame


def table_frame(
    sweep: SweepConfig,
    frame: Frame | None = None,
    *,
    search_path: tuple[str, ...] | None = None,
) -> Frame:
    """Return a frame, or the default one, with what the sweep's settings ask for.

    Args:
        sweep: The sweep.
        frame: What else is set; the sweep's name by default.
        search_path: Where the operator's text finds names; None for the role's own path.
    """
    given = frame or Frame(f"sweeperd:{sweep.name}")
    return replace(
        given,
        row_security="on" if sweep.row_security == "obey" else "off",
        time_zone=sweep.expression_timezone,
        search_path=search_path,
    )
