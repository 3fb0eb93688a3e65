"""Takes one command of the prompts topic in: decides, journals, tells the session, and starts or queues the turn.

Whatever is wrong with a command is answered, never raised: bytes that can't be read become a dead letter, a prompt
outside its limits ends `rejected` where it can be told whose it was. What does raise is `ClusterUnavailable`
(AppendFailed, LogError, SessionTopicsUnavailable), after which the same command is taken in again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import structlog

from infra.kafka.cluster_errors import ClusterUnavailable
from infra.kafka.session_topics import SessionTopicRefused, SessionTopicsError, SessionTopicsUnavailable
from processors.intake.delivery import Delivery
from processors.intake.parked_prompts import ParkedPrompts, TopicUnmade
from processors.intake.prompt_intake import PromptIntake
from processors.sessions.decisions.admission import cancelled_entry
from processors.sessions.partition_sessions import PartitionSessions
from processors.sessions.partition_tasks import PartitionTasks
from processors.sessions.session_lane import SessionLane
from processors.turns.session_readers import SessionReaders
from processors.turns.turn_recovery import TurnRecovery
from processors.turns.turn_stops import TurnStops
from processors.turns.unlogged_endings import UnloggedEndings
from processors.turns.worker_parts import WorkerParts
from schemas.codec import decode_permit, decode_prompt_command
from schemas.errors import SchemaError
from schemas.identifiers import (
    PromptId,
    SessionId,
    TurnId,
    UserId,
    check_prompt_id,
    check_session_id,
    check_user_id,
    turn_id_of,
)
from schemas.permits import check_permit
from schemas.prompts import ExpireSession, PromptCancelled, PromptCommand, PromptSubmitted, SessionWatched
from schemas.session_events import PromptRefused
from schemas.topics import user_partition

__all__ = ["CommandIntake", "check_identifiers"]

log = structlog.get_logger(__name__)

FAILURES_MAX: Final = 3


@dataclass(eq=False, kw_only=True)
class CommandIntake:
    """Takes commands in for one partition's owner."""

    parts: WorkerParts
    tasks: PartitionTasks
    sessions: PartitionSessions
    prompts: PromptIntake
    recovery: TurnRecovery
    stops: TurnStops
    readers: SessionReaders
    unlogged: UnloggedEndings
    parked: ParkedPrompts

    async def take_in(self, delivery: Delivery, *, is_parked: bool = False) -> None:
        """Do what a command asks; one that our own code fails on becomes a dead letter and ends in `error`.

        Raises ClusterUnavailable, TopicUnmade.
        """
        reason = ""
        for failure in range(1, FAILURES_MAX + 1):
            try:
                await self.take_in_once(delivery, is_parked=is_parked)
                return
            except (ClusterUnavailable, TopicUnmade):
                raise
            except Exception as error:  # whatever a command provokes must not stop its partition
                log.error("intake_failed", offset=delivery.offset, failures=failure, exc_info=error)
                reason = type(error).__name__
        await self.bury(delivery, code="handler_error", message=reason)
        try:
            await self.end_in_error(delivery)
        except ClusterUnavailable:
            raise
        except Exception as error:  # it is buried; the partition goes on
            log.error("intake_not_ended", offset=delivery.offset, exc_info=error)

    def hear_permit(self, delivery: Delivery) -> None:
        """Hear another worker's word about a permit; one that can't be read is left out: it is said again, or lost."""
        desk = self.parts.pool.desk
        try:
            command = decode_permit(delivery.value or b"")
            check_permit(command)
        except SchemaError as error:
            log.warning("permit_word_unreadable", offset=delivery.offset, code=error.code)
            return
        if desk is not None:
            desk.take(command, self.tasks.partition)

    async def take_in_once(self, delivery: Delivery, *, is_parked: bool) -> None:
        """Do what a command asks, up to the acknowledgement of everything that makes it durable."""
        try:
            command = decode_prompt_command(delivery.value or b"")
            check_identifiers(command)
        except SchemaError as error:
            await self.bury(delivery, code=error.code, message=str(error))
            return
        if user_partition(command.user) != self.tasks.partition:
            await self.forward(command, delivery)
            return
        if isinstance(command, SessionWatched):
            self.readers.hear(command)
            return
        lane = self.sessions.lane_of(command.user, command.session)
        if isinstance(command, PromptSubmitted) and lane.accounts.tier_of(command.user) is None:
            await self.refuse_stranger(lane, command, delivery)
            return
        if isinstance(command, PromptSubmitted) and not is_parked:
            await self.parked.see_to_topic(lane)
        async with lane.alone():  # kept while the cluster is away, so that a later command does not overtake this one
            try:
                await self.tasks.until_done("intake", lambda: self.take_in_alone(lane, command, delivery))
            except SessionTopicRefused as refusal:
                await self.take_in_unlogged(lane, command, delivery, refusal)

    async def take_in_alone(self, lane: SessionLane, command: PromptCommand, delivery: Delivery) -> None:
        """Only a prompt makes a session's log."""
        match command:
            case PromptSubmitted():
                await self.opened(lane)
                await self.prompts.submit(lane, command, delivery)
            case PromptCancelled():
                await self.cancel(lane, command)
            case SessionWatched():
                pass
            case ExpireSession():
                if await self.parts.logs.exists(lane):
                    await self.parts.logs.open(lane)
                    await self.expire(lane, delivery)

    async def opened(self, lane: SessionLane) -> None:
        """Open the lane's log for a prompt. Raises TopicUnmade: whoever holds the lane does not wait for weather."""
        try:
            await self.parts.logs.open(lane)
        except SessionTopicsUnavailable as error:
            raise TopicUnmade(lane.key) from error

    async def end_parked(self, delivery: Delivery) -> None:
        """End a prompt whose session's topic could not be made. Raises ClusterUnavailable."""
        command = decode_prompt_command(delivery.value or b"")
        lane = self.sessions.lane_of(command.user, command.session)
        async with lane.alone():
            await self.take_in_unlogged(
                lane, command, delivery, SessionTopicsUnavailable("it could not be made in time")
            )

    async def refuse_stranger(self, lane: SessionLane, prompt: PromptSubmitted, delivery: Delivery) -> None:
        """Nobody knows the user: no log is made, and a log that is there is told (decision 92)."""
        message = "neither a token nor the users file knows this user, and there is no default_tier"
        await self.bury(delivery, code="unknown_user", message=message)
        if not await self.parts.logs.exists(lane):
            self.parts.activity.refuse(lane.key, prompt.prompt_id, retry_after_s=0.0)
            return
        refused = PromptRefused(
            prompt_id=prompt.prompt_id,
            code="unknown_user",
            message="This user may send no prompts here; ask your operator.",
            at_us=self.parts.clock.now_us(),
        )
        async with lane.alone():
            await self.parts.logs.open(lane)
            await lane.log().append([refused], since_ms=delivery.timestamp_ms, certain=False)

    async def take_in_unlogged(
        self, lane: SessionLane, command: PromptCommand, delivery: Delivery, refusal: SessionTopicsError
    ) -> None:
        """Answer a command whose session can have no log: a prompt ends in `error`, all else is void."""
        if not isinstance(command, PromptSubmitted):
            log.error("command_refused", offset=delivery.offset, kind=type(command).__name__, reason=str(refusal))
            return
        for turn in self.prompts.turns_of(command, delivery):
            known = lane.journal.get(turn.turn)
            if lane.find(turn.turn) is None and (known is None or known.phase != "ended"):
                await self.unlogged.end(lane, turn, refusal)

    async def cancel(self, lane: SessionLane, command: PromptCancelled) -> None:
        """End the prompt's turns that are open; remember the cancel if the prompt has not come yet."""
        turn_ids = self.turn_ids(command)
        known = [lane.journal.get(turn_id) for turn_id in turn_ids]
        if known[0] is None and lane.has_refused(command.prompt_id):
            return  # it is about the sending that was refused, and must not end the next one
        if known[0] is None:
            await lane.journal.write(cancelled_entry(turn_ids[0], command, now_us=self.parts.clock.now_us()))
            return
        await self.parts.logs.open(lane)
        for entry in known:
            if entry is not None:
                await self.recovery.take_up(lane, entry)
        turns = [turn for turn in lane.turns if turn.prompt.prompt_id == command.prompt_id]
        await self.stops.stop(lane, turns, "cancelled")

    def turn_ids(self, command: PromptCancelled) -> list[TurnId]:
        """Every turn that the prompt may have, a merging one included: the command does not say how many."""
        user, session, prompt_id = UserId(command.user), SessionId(command.session), PromptId(command.prompt_id)
        models_max = self.parts.prompt_limits().compared_models_max
        return [turn_id_of(user, session, prompt_id, index) for index in range(models_max + 1)]

    async def expire(self, lane: SessionLane, delivery: Delivery) -> None:
        if lane.open_turns:
            log.info("session_not_expired", offset=delivery.offset, open_turns=lane.open_turns)
            return
        await self.parts.logs.delete(lane)

    async def forward(self, command: PromptCommand, delivery: Delivery) -> None:
        """Re-publish a command that a producer put on another user's partition."""
        right = user_partition(command.user)
        log.warning("command_misplaced", partition=self.tasks.partition, right_partition=right)
        topic, value = self.parts.names.prompts, delivery.value or b""
        await self.parts.appender.append(topic, right, value, key=command.user.encode())

    async def end_in_error(self, delivery: Delivery) -> None:
        """Tell the session of a prompt that could not be taken in, so that nobody waits for its answer."""
        command = decode_prompt_command(delivery.value or b"")
        if not isinstance(command, PromptSubmitted) or user_partition(command.user) != self.tasks.partition:
            return
        lane = self.sessions.lane_of(command.user, command.session)
        async with lane.alone():
            await self.parts.logs.open(lane)
            await self.prompts.end_in_error(lane, command, delivery)

    async def bury(self, delivery: Delivery, *, code: str, message: str) -> None:
        await self.parts.dead_letters.write(
            reason=code,
            message=message,
            topic=self.parts.names.prompts,
            partition=self.tasks.partition,
            offset=delivery.offset,
            key=delivery.key,
            value=delivery.value,
        )


def check_identifiers(command: PromptCommand) -> None:
    """Whether user, session and prompt id are such. Raises InvalidField."""
    check_user_id(command.user)
    check_session_id(command.session)
    if isinstance(command, PromptSubmitted | PromptCancelled):
        check_prompt_id(command.prompt_id)
