"""Takes one command of the prompts topic in: decides, journals, tells the session, and starts or queues the turn.

Whatever is wrong with a command is answered, never raised: bytes that can't be read become a dead letter, a prompt
outside its limits ends `rejected` where it can be told whose it was. What does raise is the cluster's weather
(AppendFailed, LogError, SessionTopicsUnavailable), after which the same command is taken in again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from processors.decisions.admission import (
    Admit,
    EndAtOnce,
    IdReused,
    Repetition,
    body_hash_of,
    decide_admission,
)
from processors.decisions.turn_ending import CANCELLED, Ending
from processors.session_lane import OpenTurn, SessionLane
from processors.side_by_side import both
from processors.target_pool import Call
from processors.token_publisher import RunVoided
from processors.turn_route import TurnRoute
from processors.weather import WEATHER
from schemas.codec import decode_permit, decode_prompt_command
from schemas.errors import InvalidField, SchemaError
from schemas.identifiers import (
    PromptId,
    SessionId,
    UserId,
    check_prompt_id,
    check_session_id,
    check_user_id,
    turn_id_of,
)
from schemas.journal import JournalEntry
from schemas.permits import check_permit
from schemas.prompt_limits import check_prompt
from schemas.prompts import ExpireSession, PromptCancelled, PromptCommand, PromptSubmitted, SessionWatched
from schemas.session_events import PromptRefused, TurnError, TurnQueued
from schemas.topics import PROMPTS, user_partition

if TYPE_CHECKING:
    from processors.partition_owner import Delivery, PartitionOwner

__all__ = ["CommandIntake"]

log = structlog.get_logger(__name__)

SHOWN_CHARS_MAX: Final = 1_024
FAILURES_MAX: Final = 3


class CommandIntake:
    """Takes commands in for one partition's owner."""

    def __init__(self, owner: PartitionOwner) -> None:
        self.owner = owner

    async def take_in(self, delivery: Delivery) -> None:
        """Do what a command asks; one that our own code fails on becomes a dead letter and ends in `error`."""
        reason = ""
        for failure in range(1, FAILURES_MAX + 1):
            try:
                await self.take_in_once(delivery)
                return
            except WEATHER:
                raise
            except Exception as error:  # whatever a command provokes must not stop its partition
                log.error("intake_failed", offset=delivery.offset, failures=failure, exc_info=error)
                reason = type(error).__name__
        await self.bury(delivery, code="handler_error", message=reason)
        try:
            await self.end_in_error(delivery)
        except WEATHER:
            raise
        except Exception as error:  # it is buried; the partition goes on
            log.error("intake_not_ended", offset=delivery.offset, exc_info=error)

    def hear_permit(self, delivery: Delivery) -> None:
        """Hear another worker's word about a permit; one that can't be read is left out: it is said again, or lost."""
        desk = self.owner.parts.runner.pool.desk
        try:
            command = decode_permit(delivery.value or b"")
            check_permit(command)
        except SchemaError as error:
            log.warning("permit_word_unreadable", offset=delivery.offset, code=error.code)
            return
        if desk is not None:
            desk.take(command, self.owner.partition)

    async def take_in_once(self, delivery: Delivery) -> None:
        """Do what a command asks, up to the acknowledgement of everything that makes it durable."""
        try:
            command = decode_prompt_command(delivery.value or b"")
            check_identifiers(command)
        except SchemaError as error:
            await self.bury(delivery, code=error.code, message=str(error))
            return
        if user_partition(command.user) != self.owner.partition:
            await self.forward(command, delivery)
            return
        lane = self.owner.lane_of(command.user, command.session)
        async with lane.alone():  # kept while the weather is bad, so that a later command does not overtake this one
            await self.owner.until_done("intake", lambda: self.take_in_alone(lane, command, delivery))

    async def take_in_alone(self, lane: SessionLane, command: PromptCommand, delivery: Delivery) -> None:
        await self.owner.open_log(lane)
        match command:
            case PromptSubmitted():
                await self.submit(lane, command, delivery)
            case PromptCancelled():
                await self.cancel(lane, command)
            case SessionWatched():
                pass
            case ExpireSession():
                await self.expire(lane, delivery)

    async def submit(self, lane: SessionLane, prompt: PromptSubmitted, delivery: Delivery) -> None:
        entry = self.entry_of(prompt, delivery)
        known = self.owner.journal.get(entry.turn)
        decision = decide_admission(
            known,
            entry.body_hash,
            accepted_at_us=delivery.timestamp_ms * 1_000,
            now_us=self.owner.parts.clock.now_us(),
            waiting=lane.open_turns,
            waiting_max=self.owner.parts.limits.session_queue_max,
        )
        turn = OpenTurn(entry, prompt, delivery.received_at_us)
        match decision:
            case Repetition():
                if known is not None:
                    await self.owner.recovery.take_up(lane, known)
            case IdReused():
                await self.refuse(lane, prompt, turn)
            case EndAtOnce(reason, code, message, temporary):
                ending = Ending(reason, TurnError(code=code, message=message, temporary=temporary))
                await self.turn_away(lane, turn, ending)
            case Admit():
                await self.admit(lane, turn)

    def entry_of(self, prompt: PromptSubmitted, delivery: Delivery) -> JournalEntry:
        return JournalEntry(
            turn=turn_id_of(UserId(prompt.user), SessionId(prompt.session), PromptId(prompt.prompt_id)),
            user=prompt.user,
            session=prompt.session,
            prompt_id=prompt.prompt_id,
            phase="queued",
            body_hash=body_hash_of(prompt),
            prompt=prompt,
            accepted_at_us=delivery.timestamp_ms * 1_000,
            updated_at_us=self.owner.parts.clock.now_us(),
        )

    async def admit(self, lane: SessionLane, turn: OpenTurn) -> None:
        """Start the turn at once where nothing is before it, else put it in line."""
        try:
            check_prompt(turn.prompt, self.owner.parts.prompt_limits())
        except InvalidField as error:
            await self.turn_away(lane, turn, Ending("rejected", TurnError(code=error.code, message=str(error))))
            return
        queued = self.queued(lane, turn)
        if lane.open_turns or self.owner.parts.runner.pool.full:
            await self.enqueue(lane, turn, queued)
            return
        route = await self.owner.parts.runner.calls.route_of(lane, turn)
        call = route.reserve_now()
        if call is None:
            await self.enqueue(lane, turn, queued)
            return
        await self.start(lane, turn, queued, route, call)

    async def start(self, lane: SessionLane, turn: OpenTurn, queued: TurnQueued, route: TurnRoute, call: Call) -> None:
        """Begin the first attempt together with the turn's first record, and let it run."""
        attempt = None
        lane.running = turn
        try:
            async with self.owner.gate.beginning():
                attempt = await self.owner.parts.runner.begin(lane, turn, call, queued=queued)
        except RunVoided as voided:
            lane.running = None
            log.warning("run_voided", turn=turn.turn, attempt=turn.entry.attempt, reason=str(voided))
            self.owner.lines.watch_another(lane, turn)
            return
        except BaseException:
            lane.running = None
            raise
        finally:
            if attempt is None:
                self.owner.parts.runner.pool.give_back(call)
        self.owner.lines.start(lane, turn, attempt, route)

    async def turn_away(self, lane: SessionLane, turn: OpenTurn, ending: Ending) -> None:
        """End a turn that is not taken in; of its prompt only the beginning goes onto the log."""
        turn.prompt = msgspec.structs.replace(turn.prompt, input=turn.prompt.input[:SHOWN_CHARS_MAX], messages=None)
        turn.entry = msgspec.structs.replace(turn.entry, prompt=turn.prompt)
        await self.owner.parts.runner.end_unstarted(lane, turn, ending, queued=self.queued(lane, turn))

    async def enqueue(self, lane: SessionLane, turn: OpenTurn, queued: TurnQueued) -> None:
        _, (_, offset) = await both(
            self.owner.journal.write(turn.entry), lane.log().append([queued], since_ms=turn.since_ms)
        )
        turn.entry = msgspec.structs.replace(turn.entry, first_offset=offset)
        lane.waiting.append(turn)
        self.owner.lines.wake(lane)

    def queued(self, lane: SessionLane, turn: OpenTurn) -> TurnQueued:
        return turn.queued(position=lane.open_turns, at_us=self.owner.parts.clock.now_us())

    async def refuse(self, lane: SessionLane, prompt: PromptSubmitted, turn: OpenTurn) -> None:
        refused = PromptRefused(
            prompt_id=prompt.prompt_id,
            code="id_reused",
            message="prompt_id was used in this session for other words; send the prompt with a new one",
            at_us=self.owner.parts.clock.now_us(),
        )
        await lane.log().append([refused], since_ms=turn.since_ms, certain=False)

    async def cancel(self, lane: SessionLane, command: PromptCancelled) -> None:
        """End the turn if it is open; remember the cancel if its prompt has not come yet."""
        turn_id = turn_id_of(UserId(command.user), SessionId(command.session), PromptId(command.prompt_id))
        known = self.owner.journal.get(turn_id)
        now_us = self.owner.parts.clock.now_us()
        if known is None:
            early = JournalEntry(
                turn=turn_id,
                user=command.user,
                session=command.session,
                prompt_id=command.prompt_id,
                phase="cancelled_early",
                updated_at_us=now_us,
            )
            await self.owner.journal.write(early)
            return
        if known.phase not in ("queued", "running"):
            return
        await self.owner.recovery.take_up(lane, known)
        turn = lane.find(turn_id)
        if turn is None or turn.over:
            return
        turn.entry = msgspec.structs.replace(turn.entry, cancel_requested=True, updated_at_us=now_us)
        await self.owner.journal.write(turn.entry)
        if turn in lane.waiting:
            await self.owner.parts.runner.end_unstarted(lane, turn, CANCELLED)
            lane.waiting.remove(turn)  # not before: while the cluster is away it must be found again
        else:
            turn.stop_call()

    async def expire(self, lane: SessionLane, delivery: Delivery) -> None:
        if lane.open_turns:
            log.info("session_not_expired", offset=delivery.offset, open_turns=lane.open_turns)
            return
        await self.owner.parts.topics.delete(lane.key)
        lane.writer = None

    async def forward(self, command: PromptCommand, delivery: Delivery) -> None:
        """Re-publish a command that a producer put on another user's partition."""
        right = user_partition(command.user)
        log.warning("command_misplaced", partition=self.owner.partition, right_partition=right)
        await self.owner.parts.appender.append(PROMPTS, right, delivery.value or b"", key=command.user.encode())

    async def end_in_error(self, delivery: Delivery) -> None:
        """Tell the session of a prompt that could not be taken in, so that nobody waits for its answer."""
        command = decode_prompt_command(delivery.value or b"")
        if not isinstance(command, PromptSubmitted) or user_partition(command.user) != self.owner.partition:
            return
        lane = self.owner.lane_of(command.user, command.session)
        turn = OpenTurn(self.entry_of(command, delivery), command, delivery.received_at_us)
        async with lane.alone():
            await self.owner.open_log(lane)
            known = self.owner.journal.get(turn.turn)
            if known is None or known.phase != "ended":
                message = "The prompt could not be taken in; an operator was told."
                await self.turn_away(lane, turn, Ending("error", TurnError(code="handler_error", message=message)))

    async def bury(self, delivery: Delivery, *, code: str, message: str) -> None:
        await self.owner.parts.dead_letters.write(
            reason=code,
            message=message,
            topic=PROMPTS,
            partition=self.owner.partition,
            offset=delivery.offset,
            key=delivery.key,
            value=delivery.value,
        )


def check_identifiers(command: PromptCommand) -> None:
    check_user_id(command.user)
    check_session_id(command.session)
    if isinstance(command, PromptSubmitted | PromptCancelled):
        check_prompt_id(command.prompt_id)
