"""What one sweep is doing, as `sweeperd status` shows it; made when somebody asks, never before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, Self, cast, get_args

from sweeperd.daemon.recent_runs import RecentRuns, RunFigures, number
from sweeperd.daemon.schedule import due
from sweeperd.log.safe_text import bounded, redact

if TYPE_CHECKING:
    from sweeperd.config.models import SweepConfig
    from sweeperd.daemon.binding import SweepSpec
    from sweeperd.daemon.schedule import ClockReading, Progress
    from sweeperd.sweep.guards.hold_file import Hold
    from sweeperd.sweep.outcome.report import Report

SweepState = Literal["idle", "running", "waiting", "held", "disabled"]

# A run that ended so left what a person, or the next run, has to see to.
TROUBLES: Final = frozenset({"failed", "incomplete"})
# the log has all of them
_MOST_WARNINGS: Final = 10

JsonObject = dict[str, object]


@dataclass(frozen=True)
class Totals:
    """What a sweep did since the daemon started.

    Attributes:
        runs: Runs that ended.
        deleted_count: Rows that they deleted.
    """

    runs: int = 0
    deleted_count: int = 0


@dataclass(frozen=True)
class SweepStatus:
    """One sweep at one moment. None is "not known", unless an attribute says otherwise.

    Attributes:
        sweep: Its name.
        state: idle until `next_run`; waiting: a run is due, and `reason` says what it waits for.
        reason: Why it is in that state, or what was wrong with the last run; None for neither.
        next_run: When the next run starts, by the wall clock of now; None for never.
        retention_lag_seconds: Age of the oldest expired row, beyond keep.
        behind: Whether that is more than max_retention_lag.
        last_run: The report of the newest run that ended, with `started_at`; None before the first.
        backlog_estimate: Expired rows present at the end of the newest run, or now in a run.
        inflow_per_second: Rows that expire.
        drain_per_second: Rows that are deleted, pauses between runs included.
        eta_seconds: Until the backlog is gone, at these rates; None also for never.
        held_since: When its hold was set; None for not held, too.
        totals: Sums since the daemon started.
    """

    sweep: str
    state: SweepState
    reason: str | None = None
    next_run: datetime | None = None
    retention_lag_seconds: float | None = None
    behind: bool | None = None
    last_run: JsonObject | None = None
    backlog_estimate: float | None = None
    inflow_per_second: float | None = None
    drain_per_second: float | None = None
    eta_seconds: float | None = None
    held_since: datetime | None = None
    totals: Totals = field(default_factory=Totals)

    @property
    def is_well(self) -> bool:
        """Whether nobody needs to look at it; rows that only foreign keys keep are well."""
        return not (self.state == "held" or self.behind or self.has_trouble)

    @property
    def has_trouble(self) -> bool:
        """Whether the last run failed, or left rows that somebody must look at."""
        return self.last_run is not None and self.last_run.get("outcome") in TROUBLES

    @property
    def never_ends(self) -> bool:
        """Whether the backlog grows as fast as it is deleted, or faster."""
        known = self.drain_per_second is not None and self.inflow_per_second is not None
        return known and bool(self.backlog_estimate) and self.eta_seconds is None

    def as_json(self) -> JsonObject:
        """Return it as JSON-able fields; times as ISO 8601, UTC."""
        # not asdict, which copies all there is: there may be a thousand of these to send
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        plain["totals"] = asdict(self.totals)
        for key in ("next_run", "held_since"):
            moment = plain[key]
            plain[key] = moment.isoformat(timespec="seconds") if moment is not None else None
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, object]) -> Self:
        """Read what `as_json` returned.

        Raises:
            ValueError: It is of another form.
        """
        state, totals = str(plain.get("state")), plain.get("totals")
        last_run = plain.get("last_run")
        if state not in get_args(SweepState) or not isinstance(totals, dict):
            raise ValueError("it is no status of a sweep")
        behind, reason = plain.get("behind"), plain.get("reason")
        return cls(
            str(plain.get("sweep")),
            cast("SweepState", state),
            None if reason is None else str(reason),
            _instant(plain.get("next_run")),
            number(plain, "retention_lag_seconds"),
            behind if isinstance(behind, bool) else None,
            last_run if isinstance(last_run, dict) else None,
            number(plain, "backlog_estimate"),
            number(plain, "inflow_per_second"),
            number(plain, "drain_per_second"),
            number(plain, "eta_seconds"),
            _instant(plain.get("held_since")),
            Totals(int(totals.get("runs", 0)), int(totals.get("deleted_count", 0))),
        )


@dataclass(frozen=True)
class RunUnderWay:
    """The run of this moment.

    Attributes:
        started_at: Wall time of its start.
        report: What it has done so far.
        throttled_by: Why it waits for the server; None while it goes on.
    """

    started_at: datetime
    report: Report
    throttled_by: str | None = None


@dataclass(frozen=True)
class Situation:
    """What is known of a sweep; the status is made of it.

    Attributes:
        sweep: Its settings.
        runs: Its past.
        hold: What holds it.
        under_way: The run of this moment.
        next_run: When the next one starts.
        waits_for: What a due run waits for.
        aside: What else a person should know where nothing is wrong.
        retention_lag_seconds: What was measured last; None when that could not tell.
        behind: Whether the sweep has fallen behind; None where nobody knows.
    """

    sweep: SweepConfig
    runs: RecentRuns
    hold: Hold | None = None
    under_way: RunUnderWay | None = None
    next_run: datetime | None = None
    waits_for: str | None = None
    aside: str | None = None
    retention_lag_seconds: float | None = None
    behind: bool | None = None

    def status(self, now: datetime) -> SweepStatus:
        """Return the status.

        Args:
            now: The host's wall time.
        """
        state, reason = self._state()
        rates = self.runs.rates(
            self.sweep.catch_up.total_seconds(),
            self._figures(self.under_way, now) if self.under_way is not None else None,
        )
        return SweepStatus(
            self.sweep.name,
            state,
            redact(bounded(reason)) if reason is not None else None,
            self.next_run,
            _rounded(self.retention_lag_seconds),
            self.behind,
            _shortened(self.runs.last),
            _rounded(rates.backlog),
            _rounded(rates.inflow),
            _rounded(rates.drain),
            _rounded(rates.eta_seconds),
            self.hold.since if self.hold is not None else None,
            Totals(self.runs.count, self.runs.deleted),
        )

    def _state(self) -> tuple[SweepState, str | None]:
        if not self.sweep.enabled:
            return "disabled", "enabled = false"
        if self.under_way is not None:
            return self._state_of_run(self.under_way)
        if self.hold is not None:
            return "held", _hold_reason(self.hold)
        if self.waits_for is not None:
            return "waiting", self.waits_for
        late = "expired rows stay longer than max_retention_lag" if self.behind else None
        return "idle", trouble(self.runs.last) or self.aside or late

    def _state_of_run(self, under_way: RunUnderWay) -> tuple[SweepState, str | None]:
        if under_way.report.deadline is None:
            return "waiting", "all connections of its database are in use (max_connections)"
        if self.hold is None and under_way.throttled_by is not None:
            return "waiting", under_way.throttled_by
        return "running", self.hold.reason if self.hold is not None else None

    def _figures(self, under_way: RunUnderWay, now: datetime) -> RunFigures:
        return RunFigures(
            under_way.started_at,
            max((now - under_way.started_at).total_seconds(), 0.0),
            under_way.report.deleted_count,
            is_under_way=True,
        )


def waits_or_aside(
    binding: SweepSpec,
    progress: Progress,
    now: ClockReading,
    turn: list[str],
    *,
    share: float,
) -> tuple[str | None, str | None]:
    """Return what a due run waits for, and what a person should know where nothing is wrong.

    Args:
        binding: The settings in force.
        progress: The sweep's past.
        now: The present.
        turn: Sweeps that must finish first.
        share: Which part of its jitter the next start is delayed by.
    """
    sweep, always = binding.sweep, replace(binding.timetable, window=None)
    is_due = due(always, progress, now, share=share).elapsed <= now.elapsed
    if binding.outage.away:
        obstacle = f"database {sweep.database} is away: {binding.outage.reason}"
    elif sweep.window is not None and not sweep.window.contains(now.wall):
        obstacle = f"it is outside its window {sweep.window}"
    else:
        obstacle = f"{', '.join(turn)} must finish first" if is_due and turn else ""
    if obstacle:
        return (obstacle, None) if is_due else (None, obstacle)
    return None, "dry_run = true: rows are counted, none is deleted" if sweep.dry_run else None


def trouble(last_run: Mapping[str, object] | None) -> str | None:
    """Return what was wrong with the last run; None where nothing was, or there was none."""
    if last_run is None or last_run.get("outcome") in {None, "drained"}:
        return None
    reason = last_run.get("error") or last_run.get("end_reason")
    outcome = str(last_run.get("outcome")).replace("_", " ")
    return f"the last run {_ENDED.get(outcome, outcome)}{f': {reason}' if reason else ''}"


_ENDED: Final = {
    "capped": "was capped",
    "yielded": "yielded to another instance",
    "throttled": "was throttled",
    "held": "was held",
    "stopped": "was stopped",
    "incomplete": "was incomplete",
}


def _hold_reason(hold: Hold) -> str:
    parts = [hold.reason or "no reason was given"]
    parts += [f"set by {hold.by}"] if hold.by else []
    parts += [f"until {hold.until:%Y-%m-%d %H:%M} UTC"] if hold.until is not None else []
    return ", ".join(parts)


def _shortened(report: Mapping[str, object] | None) -> JsonObject | None:
    """Return a report as one of many can be sent: a run may have had a hundred long warnings."""
    if report is None:
        return None
    warnings = report.get("warnings")
    few = {"warnings": warnings[:_MOST_WARNINGS]} if isinstance(warnings, list) else {}
    return {**report, **few}


def _rounded(figure: float | None) -> float | None:
    return None if figure is None else round(figure, 3)


def _instant(text: object) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) else None
