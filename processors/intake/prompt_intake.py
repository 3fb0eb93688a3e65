"""Takes one prompt in: decides on it, journals its turns, tells the session, and starts them or puts them in a lane.

A prompt has one turn, or one for each model that it names. Its first turn's journal entry stands for all of them: it
is written before the others when the prompt is taken in, and last when it is turned away. So whoever finds it knows
that the prompt was taken in, and adds what is missing of the others.

One that is refused for now has no turn: the refusal is acknowledged, then recorded, then what the journal may know of
it is forgotten. So sent again it is a new one; delivered again it stays refused, for the refusal names its offset.
Whoever finds the refusal on the log, or that it has taken a turn back which it had just begun, does the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from processors.attempts.turn_calls import tokens_of_prompt
from processors.intake.delivery import Delivery
from processors.ledger.decisions.verdicts import Refused
from processors.sessions.decisions.admission import (
    Admit,
    EndAtOnce,
    IdReused,
    Repetition,
    body_hash_of,
    decide_admission,
    queued_entry,
)
from processors.sessions.decisions.busy_session import Join, Refuse, Supersede, decide_busy
from processors.sessions.decisions.turn_ending import Ending, busy_error, limit_ending, limit_error
from processors.sessions.decisions.turn_life import TurnEvent, TurnLife
from processors.sessions.open_turn import OpenTurn, first_offset_of
from processors.sessions.session_lane import SessionLane
from processors.sessions.side_by_side import both, every
from processors.turns.turn_recovery import TurnRecovery
from processors.turns.turn_starter import TurnStarter
from processors.turns.turn_stops import TurnStops
from processors.turns.worker_parts import WorkerParts
from schemas.errors import InvalidField
from schemas.journal import ENDED_KEPT_S, JournalEntry
from schemas.ledger import NOTHING, Amount
from schemas.prompt_limits import PromptLimits, check_prompt
from schemas.prompts import PromptSubmitted, models_of
from schemas.refusals import Refusal
from schemas.session_events import PromptRefused, TurnError
from schemas.tiers import OPEN, Tier

__all__ = ["PromptIntake"]

SHOWN_CHARS_MAX: Final = 1_024
SECOND_US: Final = 1_000_000
"""Appends of a refusal."""
RETRY_BUSY_S: Final = 1.0
"""When a prompt refused for a busy session may be sent again, where nobody knows how long turns take."""


@dataclass(eq=False, kw_only=True)
class PromptIntake:
    """Takes prompts in for one partition's owner. Everything is called with the lane's lock."""

    parts: WorkerParts
    starter: TurnStarter
    stops: TurnStops
    recovery: TurnRecovery
    delivered_before: int = field(default=0, init=False)
    """Prompts before this offset may have been taken in by another owner, or refused."""

    async def submit(self, lane: SessionLane, prompt: PromptSubmitted, delivery: Delivery) -> None:
        """Take a prompt in, or say why not. Raises AppendFailed, LogError, RunVoided; it may be repeated."""
        turns = self.turns_of(prompt, delivery)
        refused = await self.refusal_of(lane, turns, delivery)
        if refused is not None:
            await self.take_back(lane, turns, refused)
            return
        tier = lane.accounts.tier_of(prompt.user) or OPEN
        queue_max = self.parts.limits.session_queue_max
        known = lane.journal.get(turns[0].turn)
        begun = await self.turning_away(lane, turns)
        if begun is not None:
            await self.turn_away(lane, turns, begun)
            return
        decision = decide_admission(
            known,
            turns[0].entry.body_hash,
            accepted_at_us=delivery.timestamp_ms * 1_000,
            now_us=self.parts.clock.now_us(),
            waiting=prompts_before(lane, prompt),
            waiting_max=min(queue_max, tier.limits.get("queue_prompts", queue_max)),
        )
        match decision:
            case Repetition():
                if known is not None:
                    await self.complete(lane, turns, known)
            case IdReused():
                await self.refuse(lane, turns[0])
            case EndAtOnce(_, code, message, temporary=True):
                await self.refuse_for_now(lane, turns, TurnError(code=code, message=message, temporary=True))
            case EndAtOnce(reason, code, message):
                await self.turn_away(lane, turns, Ending(reason, TurnError(code=code, message=message)))
            case Admit():
                await self.admit(lane, turns, tier)

    async def admit(self, lane: SessionLane, turns: Sequence[OpenTurn], tier: Tier) -> None:
        """Do to the session's open turns what the prompt asks for, then start its own or put them in the lane."""
        prompt = turns[0].prompt
        try:
            check_prompt(prompt, within(self.parts.prompt_limits(), tier))
            check_tier_models(prompt, tier, default=self.parts.calls.catalogue().default)
        except InvalidField as error:
            await self.turn_away(lane, turns, Ending("rejected", TurnError(code=error.code, message=str(error))))
            return
        busy = decide_busy(prompt.on_busy, lane.in_order())
        if isinstance(busy, Refuse):
            await self.refuse_for_now(lane, turns, busy_error(self.starter.eta_s(lane) or RETRY_BUSY_S))
            return
        at_least = Amount(tokens_of_prompt(prompt)) if tier.limits else NOTHING
        counted = lane.accounts.admit(prompt.user, prompt.session, at_least)
        if isinstance(counted, Refused):
            await self.refuse_by_limit(lane, turns, counted.refusal)
            return
        try:
            if counted.at_us:
                turns[0].note(TurnEvent.ACCOUNTED, counted_at_us=counted.at_us)
            if isinstance(busy, Supersede):
                await self.stops.stop(lane, list(lane.turns), busy.stop)
            started = len(turns) == 1 and await self.starter.start_now(lane, turns[0])
            if not started:
                await self.enqueue(lane, turns)
        finally:
            if lane.journal.get(turns[0].turn) is None:  # it is taken in anew, and counted then
                lane.accounts.take_back(prompt.user, counted.at_us)

    async def enqueue(self, lane: SessionLane, turns: Sequence[OpenTurn]) -> None:
        """Journal the turns and tell the session of them, all at once; then whoever may start is started."""
        position, eta_s = lane.position, self.starter.eta_s(lane)
        now_us = self.parts.clock.now_us()
        queued = [turn.queued(position=position, at_us=now_us, eta_s=eta_s) for turn in turns]
        await both(self.journal(lane, turns), lane.log().append(queued, since_ms=turns[0].since_ms))
        for turn in turns:
            if lane.is_refused(turn):  # by another owner
                await self.parts.records.close(lane, turn)
                continue
            first_offset = first_offset_of(turn.entry, lane.log().folded(turn.turn))
            turn.note(TurnEvent.LOCATED, first_offset=first_offset)
            lane.join(turn)
        self.starter.wake(lane)

    async def journal(self, lane: SessionLane, turns: Sequence[OpenTurn]) -> None:
        first, *others = turns
        await lane.journal.write(first.entry)
        await every(lane.journal.write(turn.entry) for turn in others)

    async def complete(self, lane: SessionLane, turns: Sequence[OpenTurn], known: JournalEntry) -> None:
        """Take a prompt up that came before: what its taking-in left undone is done."""
        missing: list[OpenTurn] = []
        for turn in turns:
            entry = lane.journal.get(turn.turn)
            if entry is not None:
                await self.recovery.take_up(lane, await self.sent_again(lane, entry, turn.entry.try_offset))
            elif self.parts.clock.now_us() - known.accepted_at_us <= ENDED_KEPT_S * SECOND_US:
                entry = msgspec.structs.replace(turn.entry, accepted_at_us=known.accepted_at_us)
                missing.append(OpenTurn(TurnLife(entry), turn.prompt, turn.dequeued_at_us))
        if missing:
            await self.enqueue(lane, missing)

    async def sent_again(self, lane: SessionLane, entry: JournalEntry, try_offset: int) -> JournalEntry:
        """Have a turn that waits answer its newest sending: the refusal of an earlier one, by a worker that was frozen,
        must not take it back. Raises AppendFailed."""
        turn = lane.find(entry.turn)
        if entry.phase != "queued" or entry.try_offset >= try_offset or (turn is not None and turn.over):
            return entry
        if turn is None:
            entry = msgspec.structs.replace(entry, try_offset=try_offset)
        else:
            turn.note(TurnEvent.SENT_AGAIN, try_offset=try_offset)
            entry = turn.entry
        await lane.journal.write(entry)
        return entry

    async def refuse_by_limit(self, lane: SessionLane, turns: Sequence[OpenTurn], refusal: Refusal) -> None:
        """Refuse a sending for a limit of its user's: for now, or for good."""
        if refusal.temporary:
            await self.refuse_for_now(lane, turns, limit_error(refusal))
        else:
            await self.turn_away(lane, turns, limit_ending(refusal))

    async def refuse_for_now(self, lane: SessionLane, turns: Sequence[OpenTurn], error: TurnError) -> None:
        """Refuse a sending that may be sent again; see `TurnRunner.refuse`."""
        await self.parts.runner.refuse(lane, turns, error)

    async def refusal_of(
        self, lane: SessionLane, turns: Sequence[OpenTurn], delivery: Delivery
    ) -> PromptRefused | None:
        """The refusal of this sending, if it is on the log: by us, or by the owner before us. Raises LogError."""
        prompt_id = turns[0].prompt.prompt_id
        if delivery.offset >= self.delivered_before:
            return await lane.log().refusal_of(prompt_id) if all(map(lane.is_refused, turns)) else None
        fold = await lane.log().read_since(turns[0].since_ms)
        known = fold.refused.get(prompt_id)
        refused = all(fold.is_refused(prompt_id, turn.turn, delivery.offset) for turn in turns)
        begun = any(fold.holds(turn.turn, delivery.offset) for turn in turns)
        return known.event if known is not None and refused and not begun else None

    async def take_back(self, lane: SessionLane, turns: Sequence[OpenTurn], refused: PromptRefused) -> None:
        for turn in reversed(turns):
            self.parts.runner.count(await self.parts.records.take_back(lane, turn, refused), None)

    async def turn_away(self, lane: SessionLane, turns: Sequence[OpenTurn], ending: Ending) -> None:
        """End turns that are not taken in; of their prompt only the beginning goes onto the log."""
        shown = turns[0].prompt.input[:SHOWN_CHARS_MAX]
        models = turns[0].prompt.models[: len(turns)]
        prompt = msgspec.structs.replace(turns[0].prompt, input=shown, messages=None, models=models)
        for whole in reversed(turns):
            entry = msgspec.structs.replace(whole.entry, prompt=prompt)
            turn = OpenTurn(TurnLife(entry), prompt, whole.dequeued_at_us)
            queued = turn.queued(position=lane.position, at_us=self.parts.clock.now_us())
            await self.parts.runner.end_unstarted(lane, turn, ending, queued=queued)

    async def turning_away(self, lane: SessionLane, turns: Sequence[OpenTurn]) -> Ending | None:
        """How others of these turns were ended by a worker that died before it ended the first one; None: none was."""
        first, *others = turns
        known = lane.journal.get(first.turn)
        entries = (lane.journal.get(turn.turn) for turn in others)
        ended = next((entry for entry in entries if entry is not None and entry.phase == "ended"), None)
        if ended is None or ended.reason is None or (known is not None and known.phase != "cancelled_early"):
            return None
        await lane.log().sync(since_ms=first.since_ms)
        folded = lane.log().folded(ended.turn)
        told = folded.ended.error if folded is not None and folded.ended is not None else None
        return Ending(ended.reason, told or TurnError(code=ended.reason, message="The prompt was not taken in."))

    async def refuse(self, lane: SessionLane, turn: OpenTurn) -> None:
        refused = PromptRefused(
            prompt_id=turn.prompt.prompt_id,
            code="id_reused",
            message="prompt_id was used in this session for other words; send the prompt with a new one",
            at_us=self.parts.clock.now_us(),
        )
        await lane.log().append([refused], since_ms=turn.since_ms, certain=False)

    async def end_in_error(self, lane: SessionLane, prompt: PromptSubmitted, delivery: Delivery) -> None:
        """End the turns of a prompt that our own code fails on."""
        turns = self.turns_of(prompt, delivery)
        known = lane.journal.get(turns[0].turn)
        if known is None or known.phase != "ended":
            message = "The prompt could not be taken in; an operator was told."
            await self.turn_away(lane, turns, Ending("error", TurnError(code="handler_error", message=message)))

    def turns_of(self, prompt: PromptSubmitted, delivery: Delivery) -> list[OpenTurn]:
        """The turns that the prompt begins with; one that names more models than it may has no more turns for it."""
        body_hash, models_max = body_hash_of(prompt), self.parts.prompt_limits().compared_models_max
        prompt = msgspec.structs.replace(prompt, models=prompt.models[: models_max + 1])
        accepted_at_us, now_us = delivery.timestamp_ms * 1_000, self.parts.clock.now_us()
        entries = [
            queued_entry(
                prompt,
                index,
                body_hash=body_hash,
                accepted_at_us=accepted_at_us,
                now_us=now_us,
                try_offset=delivery.offset,
            )
            for index in range(len(prompt.models[:models_max]) or 1)
        ]
        return [OpenTurn(TurnLife(entry), prompt, delivery.received_at_us) for entry in entries]


def within(limits: PromptLimits, tier: Tier) -> PromptLimits:
    """What a user of this tier may send."""
    models = tuple(model for model in limits.models if model in tier.models) if tier.models else limits.models
    bytes_max = min(limits.prompt_bytes_max, tier.limits.get("prompt_bytes", limits.prompt_bytes_max))
    return replace(limits, models=models, prompt_bytes_max=bytes_max)


def check_tier_models(prompt: PromptSubmitted, tier: Tier, *, default: str) -> None:
    """Raise InvalidField where a model answers that the tier does not have; `default`: that of a prompt that names
    none, and who merges where nobody is named."""
    field = "merge_model" if prompt.models else "model"
    if tier.models and not {model or default for model in models_of(prompt)} <= set(tier.models):
        remedy = f"name one of: {', '.join(tier.models)}"
        raise InvalidField(field, "is not one you may ask", remedy, code="unknown_model")


def prompts_before(lane: SessionLane, prompt: PromptSubmitted) -> int:
    """How many prompts of the session a new one finds that it has to wait for."""
    match decide_busy(prompt.on_busy, lane.in_order()):
        case Join():
            return lane.open_prompts
        case Supersede():  # those that were stopped before and have not ended yet
            return len({turn.prompt.prompt_id for turn in lane.turns if turn.entry.cancel_requested})
        case Refuse():
            return 0
