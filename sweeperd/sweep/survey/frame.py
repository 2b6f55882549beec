"""What a transaction of one sweep sets for itself when it touches the operator's table."""

from __future__ import annotations

from dataclasses import replace

from sweeperd.config.models import SweepConfig
from sweeperd.postgres.transaction import Frame


def table_frame(sweep: SweepConfig, frame: Frame | None = None) -> Frame:
    """Return a frame, or the default one, with the sweep's name and what its settings ask for."""
    given = frame or Frame(f"sweeperd:{sweep.name}")
    return replace(
        given,
        row_security="on" if sweep.row_security == "obey" else "off",
        time_zone=sweep.expression_timezone,
    )
