"""Events of the metrics: where they cannot be served or written."""

from __future__ import annotations

from dataclasses import dataclass

from sweeperd.log.event import Event, because


@dataclass(frozen=True)
class MetricsNotServed(Event):
    """The address of ``metrics_listen`` cannot be used; the sweeps go on without it.

    Attributes:
        address: The address.
        reason: Why.
    """

    name = "metrics_not_served"
    level = "warning"
    message_id = "7c637cfae5dd4afab015ca33ef9ea534"

    address: str
    reason: str

    def sentence(self) -> str:
        return (
            f"Metrics and /healthz are not served at {self.address}{because(self.reason)}; "
            "correct metrics_listen or free the address, then restart"
        )


@dataclass(frozen=True)
class MetricsNotWritten(Event):
    """The file of ``metrics_textfile`` cannot be written; logged once a change.

    Attributes:
        path: The file.
        reason: Why.
    """

    name = "metrics_not_written"
    level = "warning"
    message_id = "dfec1e0f65f54157bfd74ed516cdbffb"

    path: str
    reason: str

    def sentence(self) -> str:
        return f"The metrics file {self.path} is not written{because(self.reason)}"


@dataclass(frozen=True)
class MetricsWrittenAgain(Event):
    """The file of ``metrics_textfile`` can be written again.

    Attributes:
        path: The file.
    """

    name = "metrics_written_again"
    level = "info"
    message_id = "fbf33358b3d3412fb9327823ba96e8ef"

    path: str

    def sentence(self) -> str:
        return f"The metrics file {self.path} is written again"
