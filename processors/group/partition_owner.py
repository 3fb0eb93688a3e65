"""The single writer of one partition of users, for as long as this worker owns it.

Loads the journal, mends what its predecessor left open, then takes commands in, side by side between sessions and in
order within one. A command is finished once the journal and the session's log have it; the offset to commit follows
behind in order. Turns run on their own: a long answer holds up neither the partition nor a cancel.

Its parts are made from the lowest up, each with those that it works with; none knows the owner.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from infra.async_waits import end_tasks
from processors.intake.command_inbox import CommandInbox
from processors.intake.command_intake import CommandIntake
from processors.intake.delivery import DeliveryQueue
from processors.intake.journal_repair import JournalRepair
from processors.intake.parked_prompts import ParkedPrompts
from processors.intake.prompt_intake import PromptIntake
from processors.ledger.user_accounts import UserAccounts
from processors.sessions.broker_clock import BrokerClock
from processors.sessions.decisions.turn_life import TurnEvent
from processors.sessions.open_turn import OpenTurn
from processors.sessions.partition_sessions import PartitionSessions
from processors.sessions.partition_tasks import PartitionTasks
from processors.sessions.session_lane import SessionLane
from processors.sessions.turn_journal import TurnJournal
from processors.turns.attempt_loop import AttemptLoop
from processors.turns.begin_gate import BeginGate
from processors.turns.comparisons import Comparisons
from processors.turns.session_readers import SessionReaders
from processors.turns.turn_recovery import TurnRecovery
from processors.turns.turn_starter import TurnStarter
from processors.turns.turn_stops import TurnStops
from processors.turns.unlogged_endings import UnloggedEndings
from processors.turns.worker_parts import WorkerParts

__all__ = ["PartitionOwner"]

log = structlog.get_logger(__name__)

SWEEP_EVERY_S: Final = 60.0
SAVE_EVERY_S: Final = 2.0
"""How late the snapshot of a user's account may be: after a crash, what a running answer has used since counts anew."""


class PartitionOwner:
    """Everything this worker does for one partition of users."""

    def __init__(
        self, partition: int, parts: WorkerParts, mark_finished: Callable[[int, int, int], None], generation: int
    ) -> None:
        self.partition = partition
        self.parts = parts
        self.ready = asyncio.Event()
        """Set once the journal is loaded and the predecessor's turns are in their lanes."""
        self.tasks = tasks = PartitionTasks(partition)
        self._gate = gate = BeginGate()
        self.journal = journal = TurnJournal(partition, appender=parts.appender, reader=parts.reader, clock=parts.clock)
        broker_clock = BrokerClock(partition=partition, appender=parts.appender, reader=parts.reader, clock=parts.clock)
        self.accounts = accounts = accounts_of(parts, journal, broker_clock)
        self.queue = queue = DeliveryQueue(parts.limits.inbox_bytes_max)
        unlogged = UnloggedEndings(parts=parts, tasks=tasks)
        loop = AttemptLoop(parts=parts, tasks=tasks, gate=gate, broker_clock=broker_clock)
        self.starter = starter = TurnStarter(parts=parts, tasks=tasks, loop=loop, unlogged=unlogged, gate=gate)
        stops = TurnStops(tasks=tasks, clock=parts.clock, launch=starter.launch)
        self.comparisons = Comparisons(parts=parts, tasks=tasks, stops=stops, wake=starter.wake)
        self.readers = readers = SessionReaders(parts=parts, tasks=tasks, stops=stops, has_heard=queue.has_heard)
        self.sessions = sessions = PartitionSessions(
            journal=journal,
            accounts=accounts,
            logs=parts.logs,
            clock=parts.clock,
            lanes_max=parts.limits.lanes_max,
            lane_idle_s=parts.limits.lane_idle_s,
            settle=self.comparisons.settle,
            joined=readers.heed,
        )
        self.recovery = recovery = TurnRecovery(
            parts=parts, tasks=tasks, sessions=sessions, starter=starter, loop=loop, unlogged=unlogged
        )
        self._repair = JournalRepair(parts=parts, journal=journal)
        self._prompts = prompts = PromptIntake(parts=parts, starter=starter, stops=stops, recovery=recovery)
        self.intake = CommandIntake(
            parts=parts,
            tasks=tasks,
            sessions=sessions,
            prompts=prompts,
            recovery=recovery,
            stops=stops,
            readers=readers,
            unlogged=unlogged,
            parked=ParkedPrompts(parts=parts),
        )
        self.inbox = CommandInbox(
            parts=parts,
            tasks=tasks,
            queue=queue,
            intake=self.intake,
            mark_finished=mark_finished,
            generation=generation,
            slots=asyncio.Semaphore(parts.limits.intake_max),
        )

    def start(self) -> None:
        """Begin to load and to take in."""
        self.tasks.spawn(self.work(), name=f"partition-{self.partition}").add_done_callback(self.work_ended)

    def work_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self.parts.broken.set()

    async def stop(self) -> None:
        """End every task of the partition, turns included, without a further word.

        Cancellation: what was being appended may be on its log; the next owner's fold settles it.
        """
        self.tasks.stopping = True
        self.queue.clear()
        await self.tasks.end_all()

    async def retire(self) -> None:
        """Take nothing more in, start no further attempt, and let the running ones end on their own."""
        self.tasks.stopping = True
        self.accounts.is_leased = True  # another owner decides from here on
        self._gate.shut()
        self.queue.clear()
        await self.tasks.end(self.tasks.running - {turn.task for turn in self.sessions.running_turns()})

    async def stop_taken_over(self, within_s: float) -> None:
        """Stop the running turns that another worker has begun anew, as their logs say, or of which that is unknown."""
        turns = [(lane, turn) for lane in self.sessions.lanes.values() for turn in lane.running]
        asking = [asyncio.create_task(self.is_ours(lane, turn)) for lane, turn in turns]
        if asking:
            await asyncio.wait(asking, timeout=within_s)
        ours = {turn for (_, turn), asked in zip(turns, asking, strict=True) if said(asked)}
        await end_tasks(*asking)
        gone = {turn.task for _, turn in turns if turn not in ours and turn.task is not None}
        if gone:
            log.warning("turns_taken_over", partition=self.partition, turns=len(gone), going_on=len(ours))
        await self.tasks.end(gone)

    async def is_ours(self, lane: SessionLane, turn: OpenTurn) -> bool:
        """Whether the newest attempt on the log is this worker's. Raises LogError."""
        await lane.log().sync(since_ms=turn.since_ms)
        folded = lane.log().folded(turn.turn)
        return folded is not None and folded.ended is None and folded.run in turn.runs

    async def lease_running(self) -> None:
        """Journal that the running turns go on here for a while whoever owns the partition. Raises AppendFailed.

        No attempt begins from here on until the partition is known to be kept.
        """
        await self._gate.close()
        for turn in self.sessions.running_turns():
            for meter in turn.meters.values():
                meter.hold_rest()
        self.accounts.is_leased = True  # before the entries are written: what they say is all that may be used
        lease_until_us = self.parts.clock.now_us() + self.parts.limits.lease_us
        await asyncio.gather(*(self.lease(turn, lease_until_us) for turn in self.sessions.running_turns()))

    async def lease(self, turn: OpenTurn, lease_until_us: int) -> None:
        if turn.entry.phase == "running" and not turn.over:
            turn.note(TurnEvent.LEASED, lease_until_us=lease_until_us, runs=turn.held_runs())
            await self.journal.write(turn.entry)

    async def end_leases(self) -> None:
        """Take the leases back: the partition stayed, so who owns it next need not wait for them."""
        leased = [turn for turn in self.sessions.running_turns() if turn.entry.lease_until_us]
        await asyncio.gather(*(self.lease(turn, 0) for turn in leased))

    async def hand_over(self, turn: OpenTurn) -> None:
        """Journal that a turn was left on purpose. Raises AppendFailed."""
        if turn.over:
            return
        turn.note(TurnEvent.HANDED_OVER, updated_at_us=self.parts.clock.now_us())
        await self.journal.write(turn.entry)

    def kept(self, generation: int) -> None:
        """The group was shuffled and the partition came back: what was not finished is delivered again."""
        self._gate.open()
        self.accounts.is_leased = False
        self.tasks.spawn(self.tasks.until_done("lease", self.end_leases), name=f"leases-{self.partition}")
        self.inbox.begin_anew(generation)

    async def work(self) -> None:
        await self.tasks.until_done("journal", self.find_end)
        await self.tasks.until_done("journal", self.journal.load)
        await self.tasks.until_done("journal", self._repair.repair)
        await self.tasks.until_done("ledger", lambda: self.accounts.load(self.journal.turn_accounts()))
        await self.recovery.recover_all()
        self.ready.set()
        self.tasks.spawn(self.sweep_now_and_then(), name=f"sweep-{self.partition}")
        self.tasks.spawn(self.save_now_and_then(), name=f"ledger-{self.partition}")
        await self.inbox.work()

    async def find_end(self) -> None:
        """What of the prompts another owner may have seen. Raises LogError."""
        self._prompts.delivered_before = await self.parts.reader.end(self.parts.names.prompts, self.partition)

    async def save_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(SAVE_EVERY_S)
            await self.tasks.until_done("ledger", self.accounts.save)

    async def sweep_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            self.sessions.forget_quiet()
            await self.tasks.until_done("sweep", self.sweep)

    async def sweep(self) -> None:
        forgotten = 0
        while batch := await self.journal.sweep():
            forgotten += batch
        await self.accounts.sweep()
        if forgotten:
            log.info("turns_forgotten", partition=self.partition, turns=forgotten)


def said(asked: asyncio.Task[bool]) -> bool:
    """What came of a question; one that failed, or is not answered yet, counts as no."""
    return asked.done() and not asked.cancelled() and asked.exception() is None and asked.result()


def accounts_of(parts: WorkerParts, journal: TurnJournal, broker_clock: BrokerClock) -> UserAccounts:
    """Of the users whose turns are in this journal."""
    return UserAccounts(
        partition=journal.partition,
        appender=parts.appender,
        reader=parts.reader,
        clock=parts.clock,
        broker_now_us=broker_clock.now_us,
        tiers=parts.tiers,
        is_open=journal.is_open,
        limits_met=parts.runner.limit_met,
    )
