"""One run of one sweep: fix the cutoff; then batch, commit, advance, count, wait.

The seam between the engine and those who call it: the daemon's supervisor and the
foreground command both drive a `Runner` through `once.run_once`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Final

from sweeperd.config.models import SweepConfig
from sweeperd.config.places import default_state_dir
from sweeperd.errors import DatabaseUnreachableError, SweeperdError, SweepError
from sweeperd.host.clock import Clock
from sweeperd.log.event import Listener
from sweeperd.log.events import SweepReleased
from sweeperd.log.run_events import Surveyed, SweepWarning
from sweeperd.postgres.connect import Database
from sweeperd.postgres.sqlstate import SERVER_ERRORS, Fault, classify, describe
from sweeperd.postgres.transaction import Connection
from sweeperd.sweep.archive.choose import ArchiveRun, choose_archive
from sweeperd.sweep.execute.batch import BatchLimits
from sweeperd.sweep.execute.context import RunContext
from sweeperd.sweep.execute.counters import Counters
from sweeperd.sweep.execute.dry_run import count_expired
from sweeperd.sweep.execute.health_watch import HealthWatch
from sweeperd.sweep.execute.partitions import Partitions, find_past
from sweeperd.sweep.execute.pool import Pool
from sweeperd.sweep.execute.references import References
from sweeperd.sweep.execute.remaining import conclude
from sweeperd.sweep.execute.row_limits import RowLimits
from sweeperd.sweep.execute.session import Session
from sweeperd.sweep.execute.suppressors import Suppressors
from sweeperd.sweep.execute.vacuum import vacuum_if_large
from sweeperd.sweep.execute.waits import Waits
from sweeperd.sweep.guards.decide import HoldReasons, find_holds, unreleased
from sweeperd.sweep.guards.gate import Gate
from sweeperd.sweep.guards.hold_file import BY_GUARD, Hold, Holds, policy_of
from sweeperd.sweep.options import RunOptions
from sweeperd.sweep.outcome.lag import RetentionLag
from sweeperd.sweep.outcome.report import WHOLE_PASS, LeafPlan, Report, RunEndError
from sweeperd.sweep.outcome.sweep_pass import Leaf as PassLeaf
from sweeperd.sweep.outcome.sweep_pass import SweepPass, pass_fingerprint
from sweeperd.sweep.outcome.usual_load import UsualLoad
from sweeperd.sweep.plan.strategy import Choice, continued, plan
from sweeperd.sweep.survey.dependents import surroundings
from sweeperd.sweep.survey.facts import unguarded, was_promoted
from sweeperd.sweep.survey.frame import table_frame
from sweeperd.sweep.survey.retention_lag import LagProbe, backlog, retention_lag
from sweeperd.sweep.survey.survey import Survey, survey

ARCHIVES: Final = "archive"  # below the state directory
LAG_SECONDS: Final = 4.0  # for measuring the retention lag, connecting included

# ends after which a look at the dead rows is in place: the server is well, and time is left
_VACUUM_AFTER: Final = WHOLE_PASS | {"capped", "failed"}


class Runner:
    """Runs one sweep, as its settings were when this object was made.

    Args:
        sweep: The sweep.
        database: Where its table is.
        clock: The host's clocks.
        listener: Hears what happens.
        archives: The directory of file archives; below the state directory by default.
        holds: Where a hold is looked for before each batch, and set by a guard; None where
            nothing may hold the sweep.
    """

    def __init__(
        self,
        sweep: SweepConfig,
        database: Database,
        clock: Clock,
        *,
        listener: Listener,
        archives: Path | None = None,
        holds: Holds | None = None,
    ) -> None:
        self._sweep = sweep
        self._database = database
        self._clock = clock
        self._listener = listener
        self._gate = Gate(holds, sweep) if holds is not None else None
        self._archives = archives or default_state_dir() / ARCHIVES
        self.lag_probe: LagProbe | None = None  # once the table was surveyed
        self._pass_cutoff: int | None = None  # likewise; microseconds since 2000-01-01 UTC

    def session(
        self, report: Report, stop: asyncio.Event
    ) -> AbstractAsyncContextManager[Session | None]:
        """Wait in turn for a connection of the database's; None when stopped meanwhile."""
        return Session.lent(self._database, stop, report, self._listener)

    async def run(self, session: Session, report: Report, options: RunOptions) -> None:
        """Run once and fill the report; every end but a cancellation is told there.

        Args:
            session: The run's first connection, from `session`.
            report: The caller's; its ``memory`` is what the last run left.
            options: What is asked of this run.

        Raises:
            asyncio.CancelledError: The caller's timeout; the statement is cancelled on the
                server, and the report tells what was committed.
        """
        try:
            if self._gate is not None and not options.dry_run:
                self._gate.check()
            connection = await session.get()
            found = await self._look(connection, report)
            held = find_holds(self._sweep, self._database.config, found, report.memory)
            if options.dry_run or self._sweep.dry_run:
                await count_expired(connection, self._sweep, found, report, held)
                return
            self._guard(report, found, held, options.released)
            await self._look_around(connection, report, found)
            run = self._start(report, found, options, again=bool(held))
            self._pass_cutoff = run.sweep_pass.cutoff
            session.join(run)
            found = await self._remove_partitions(run, session, found)
            connection = await session.get()
            choices = self._choose(run, found)
            where = ArchiveRun(found.root, found.columns, found.server, found.cutoff)
            archive = await choose_archive(
                connection, self._sweep, self._archives, where, report.correlation_id
            )
            run = run.archiving_to(archive)
            session.join(run)
            await self._sweep_all(run, choices, session, found)
            if report.outcome == "drained":
                _note_drained(report, found.server.cutoff)
            if report.outcome in _VACUUM_AFTER:
                await vacuum_if_large(run, session)
        except RunEndError as end:
            self._end(report, end)
        except SweeperdError as error:
            report.fail(str(error), error.exit_code)
        except SERVER_ERRORS as error:
            if classify(error) is Fault.LOCK:  # soon over, mostly: the next run comes soon
                self._end(report, RunEndError("throttled", self._locked(error)))
                return
            lost = classify(error) is Fault.LOST
            report.fail(describe(error), DatabaseUnreachableError.exit_code if lost else 1)

    def _locked(self, error: BaseException) -> str:
        """Say what a lock timeout outside of the batches means; the server names no table."""
        return (
            f"{self._sweep.table}, or a partition of it, is locked: {describe(error)}; "
            "pg_locks and pg_stat_activity show by whom"
        )

    async def measure_lag(self, session: Session, report: Report) -> None:
        """Measure the retention lag once the run is over, on its connection; it never fails a run.

        Args:
            session: The run's.
            report: Of the run that is over.
        """
        if self.lag_probe is None:
            return
        if report.outcome in WHOLE_PASS and self._pass_cutoff is not None:
            self.lag_probe = self.lag_probe.drained(self._pass_cutoff)
        try:
            async with asyncio.timeout(LAG_SECONDS):
                connection = await session.get()
                report.retention_lag = await retention_lag(connection, self.lag_probe)
                if report.outcome != "drained":
                    report.backlog = await backlog(connection, self.lag_probe)
        except (TimeoutError, SweeperdError, RunEndError, *SERVER_ERRORS) as error:
            report.retention_lag = RetentionLag(None, reason=describe(error))

    async def _look(self, connection: Connection, report: Report) -> Survey:
        begun = self._clock.elapsed()
        found = await survey(connection, self._sweep, self._database.config, self._clock)
        seconds = round(self._clock.elapsed() - begun, 3)
        self._listener(Surveyed(self._sweep.name, seconds, found.expired.rows))
        report.cutoff_time = found.cutoff
        rows = found.expired.rows
        report.expired_estimate = None if rows is None else round(rows)
        self.lag_probe = LagProbe.of(self._sweep, found, report.memory)
        for warning in found.warnings:
            report.warn(warning)
        if was_promoted(found.facts, report.memory.facts):
            reason = "a standby was promoted since the last run"
            self._listener(SweepWarning(self._sweep.name, reason))
        for name in unguarded(found.facts):
            report.warn(f"not guarded, for this role cannot read it: {name}")
        return found

    def _choose(self, run: RunContext, found: Survey) -> list[Choice]:
        """Choose how the leaves are swept that the pass has left, in turn."""
        made = {choice.leaf.key: choice for choice in plan(self._sweep, found)}
        choices = [
            continued(made[key], self._sweep, found.column, run.sweep_pass[key])
            for key in run.sweep_pass.in_turn
        ]
        run.report.plan = [LeafPlan(c.leaf.relation.shown, c.strategy, c.reason) for c in choices]
        return choices

    async def _look_around(self, connection: Connection, report: Report, found: Survey) -> None:
        """Warn of what meets the deletes.

        Raises:
            SweepError: It forbids them.
        """
        for finding in await surroundings(connection, self._sweep, found):
            if finding.level == "error":
                raise SweepError(finding.text)
            report.warn(finding.text)

    def _end(self, report: Report, end: RunEndError) -> None:
        """End the run; what a guard holds it for stays a hold until it is released."""
        report.end(end)
        if not end.kinds or self._gate is None:
            return
        hold = Hold(
            self._sweep.name,
            end.reason,
            by=BY_GUARD,
            since=self._clock.now(),
            kinds=end.kinds,
            policy=policy_of(self._sweep),
        )
        unwritten = self._gate.holds.place_or_keep(hold)
        if unwritten:
            report.warn(f"the hold binds this process only, it could not be written: {unwritten}")

    def _guard(
        self, report: Report, found: Survey, held: HoldReasons, released: Collection[str]
    ) -> None:
        """Hold the run for what the guards found, unless it was released; keep what was seen.

        Raises:
            RunEndError: It is held, or must wait for an hour of local time to pass.
        """
        memory = report.memory
        left = unreleased(held, released)
        if left:
            raise RunEndError("held", "; ".join(left.values()), kinds=tuple(sorted(held)))
        last = memory.facts
        for reason in held.values():
            self._listener(SweepReleased(self._sweep.name, reason))
        known = last.committed_xid if last and not held else None
        memory.facts = replace(found.facts, committed_xid=known)
        if memory.usual_load is not None:
            memory.usual_load = memory.usual_load.found(found.expired, found.server.cutoff)
        if found.repeated_hour:
            raise RunEndError("throttled", found.repeated_hour)

    async def _remove_partitions(self, run: RunContext, session: Session, found: Survey) -> Survey:
        """Detach or drop leaves that are wholly past; return what is left to sweep."""
        if self._sweep.partitions == "delete":
            return found
        partitions = Partitions(run, session, found.root, drop=self._sweep.partitions == "drop")
        await partitions.finish_pending()
        past = await find_past(await session.get(), found.root, found.target.column)
        gone = await partitions.remove(past)
        leaves = tuple(leaf for leaf in found.leaves if leaf.relation.oid not in gone)
        for oid in gone:
            run.sweep_pass.forget(str(oid))
        return replace(found, leaves=leaves)

    async def _sweep_all(
        self, run: RunContext, choices: list[Choice], session: Session, found: Survey
    ) -> None:
        try:
            await Pool(run, choices).sweep(session)
            await conclude(run, found.leaves, session, expected=found.expired.share > 0)
        except RunEndError as end:
            self._end(run.report, end)
        finally:
            try:
                await run.archive.close()
            except RunEndError as error:
                run.report.warn(error.reason)

    def _resume(self, report: Report, found: Survey, *, again: bool) -> SweepPass:
        """Take up the pass where the last run left it, or begin another one."""
        number = found.column.number if found.column is not None else None
        facts = found.facts
        leaves = [
            PassLeaf(leaf.key, found.identity.tables.get(leaf.key), leaf.blocks)
            for leaf in found.leaves
        ]
        mark = pass_fingerprint(facts.fingerprint, facts.oid, number, self._sweep.strategy)
        return SweepPass(report.memory, mark, found.server.cutoff, leaves, again=again)

    def _start(
        self, report: Report, found: Survey, options: RunOptions, *, again: bool
    ) -> RunContext:
        name = f"sweeperd:{report.correlation_id[:8]}:{self._sweep.name}"
        limits = BatchLimits.of(name, self._sweep, found.server)
        if limits.skip_locked_from_start:
            found.refuse_waits()
        frame = table_frame(self._sweep, limits.frame, search_path=found.search_path)
        row_limits = RowLimits(self._sweep, report, options.max_rows)
        waits = Waits(
            self._sweep, self._clock, self._listener, report, options.stop, row_limits,
            hold_gate=self._gate, skip_locked=limits.skip_locked_from_start,
        )  # fmt: skip
        return RunContext(
            sweep=self._sweep,
            database=self._database,
            server=found.server,
            table=found.target.table.quoted,
            key_columns=found.key_columns,
            lockable=found.lockable,
            limits=replace(limits, frame=frame),
            identity=found.identity,
            sweep_pass=self._resume(report, found, again=again),
            listener=self._listener,
            report=report,
            counters=Counters(report),
            row_limits=row_limits,
            waits=waits,
            suppressors=Suppressors(found.identity.relations),
            references=References(
                found.identity.oids, table_frame(self._sweep, search_path=found.search_path)
            ),
            hold_gate=self._gate,
            health=HealthWatch(self._database.config.health, waits),
        )


def _note_drained(report: Report, cutoff: int) -> None:
    """Keep for the guard of jumps that the table was drained; the first backlog is not usual."""
    past = report.memory.usual_load
    report.memory.usual_load = past.drained(cutoff) if past is not None else UsualLoad(cutoff)
