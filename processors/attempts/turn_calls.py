"""What a turn asks for: the model that serves it, its messages, the search for a target, and what a call costs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from infra.clock import Clock
from infra.targets.model_catalogue import ModelCatalogue, ServedModel, Target
from processors.attempts.answer_cache import AnswerCache
from processors.attempts.decisions.pricing import Price, cost_of
from processors.attempts.turn_question import asked_by
from processors.attempts.turn_route import ROUTE_S, TurnRoute
from processors.providers.decisions.answer_room import ANSWER_TOKENS_LEAST, answer_room, kept_for_answer
from processors.sessions.conversation import Conversations
from processors.sessions.decisions.history_cut import MESSAGE_OVERHEAD_TOKENS, CutHistory
from processors.sessions.decisions.token_count import count_tokens
from processors.sessions.open_turn import OpenTurn
from processors.sessions.session_lane import SessionLane
from processors.targets.decisions.patience import Patience
from processors.targets.decisions.provider_router import CallNeeds
from processors.targets.target_pool import Call, CallWish, TargetPool
from schemas.prompts import PromptSubmitted, models_of
from schemas.session_events import Usage

__all__ = ["TurnCalls", "tokens_of_prompt"]

PREPARING_MAX: Final = 64
"""Conversations read at once for turns that are to wait for a target: any number of them may."""


@dataclass(eq=False, kw_only=True)
class TurnCalls:
    """The catalogue, the targets and the conversations, as a turn needs them."""

    catalogue: Callable[[], ModelCatalogue]
    pool: TargetPool
    conversations: Conversations
    answers: AnswerCache
    clock: Clock
    line_wait_s: float
    _preparing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PREPARING_MAX), init=False)

    async def history_of(self, lane: SessionLane, turn: OpenTurn, call: Call | None) -> CutHistory:
        """What is sent to the model; without a call, what the largest context of the turn's targets takes."""
        served = self.served_of(turn)
        targets = [call.target] if call else list(served.targets)
        context_tokens = max(target.context_tokens for target in targets)
        answer_tokens = kept_for_answer(
            self.answer_tokens(turn, served), is_named=turn.prompt.max_tokens is not None, context_tokens=context_tokens
        )
        return await self.conversations.prepare(
            lane.log(),
            await asked_by(lane, turn, tokens_max=context_tokens - answer_tokens),
            read_from=lane.journal.first_offset_of(turn.entry.user, turn.entry.session),
            context_tokens=context_tokens,
            answer_tokens=answer_tokens,
        )

    async def route_of(self, lane: SessionLane, turn: OpenTurn) -> TurnRoute:
        """The search for a target, from its beginning. Raises LogError."""
        served = self.served_of(turn)
        async with self._preparing:
            history = await self.history_of(lane, turn, None)
        answer_tokens = self.answer_tokens(turn, served)
        least = tokens_of_prompt(turn.prompt) + min(answer_tokens, ANSWER_TOKENS_LEAST)
        needs = CallNeeds(context_tokens=least, substitute=served.substitute, overflow=served.overflow)
        context_tokens = max(target.context_tokens for target in served.targets)
        tokens = history.input_tokens + answer_room(
            answer_tokens, input_tokens=history.input_tokens, context_tokens=context_tokens
        )
        wish = CallWish(served, needs, tokens, priority=turn.prompt.priority)
        cached = self.answers.call_for(turn.prompt, served, history.messages, answer_tokens)
        return TurnRoute(self.pool, self.clock, wish, self.patience_of(turn), cached=cached)

    def patience_of(self, turn: OpenTurn) -> Patience:
        """How long it may look for a target: a line of a batch is in no hurry, nobody sits before it."""
        now_s = self.clock.monotonic_s()
        latest_s = now_s + max(self.line_wait_s, ROUTE_S)
        deadline_s = latest_s if turn.prompt.priority == "batch" else now_s + ROUTE_S
        return Patience(deadline_s, latest_s, now_s)

    def served_of(self, turn: OpenTurn) -> ServedModel:
        """The model that the turn asks for; one that is served no longer is answered by the default one."""
        catalogue = self.catalogue()
        return catalogue.find(self.model_of(turn)) or catalogue.models[catalogue.default]

    def model_of(self, turn: OpenTurn) -> str:
        """The model that it asks for, as users name it; empty: the default one."""
        return models_of(turn.prompt)[turn.entry.index]

    def price_of(self, usage: Usage, target: Target | None) -> Price:
        """What a call at this target costs; None: nobody knows where it went."""
        if target is None:
            return cost_of(usage, "", self.clock.now_us())
        return cost_of(
            usage, target.model, self.clock.now_us(), provider_url=target.base_url or "", price_ref=target.price_ref
        )

    def target_called(self, turn: OpenTurn, provider: str, model: str) -> Target:
        """The target of an attempt, by what its start says; else the first one of its turn."""
        targets = self.catalogue().targets.values()
        named = (target for target in targets if (target.provider, target.model) == (provider, model))
        return next(named, self.served_of(turn).targets[0])

    def answer_tokens(self, turn: OpenTurn, served: ServedModel) -> int:
        """The longest answer it may have."""
        return turn.prompt.max_tokens or served.answer_tokens_max


def tokens_of_prompt(prompt: PromptSubmitted) -> int:
    """Tokens of what is sent in any case: the newest message, and instructions that came with it."""
    if not prompt.messages:
        return count_tokens(prompt.input) + MESSAGE_OVERHEAD_TOKENS
    *before, newest = prompt.messages
    sent = [newest, *(message for message in before if message.role == "system")]
    return sum(count_tokens(message.content) + MESSAGE_OVERHEAD_TOKENS for message in sent)
