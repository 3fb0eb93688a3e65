"""What a turn asks its model: the prompt's own words, or, where it merges answers, one message made of all of them."""

from __future__ import annotations

import msgspec

from processors.attempts.decisions.merge_question import merge_question
from processors.sessions.decisions.token_count import count_tokens
from processors.sessions.open_turn import OpenTurn
from processors.sessions.session_lane import SessionLane
from schemas.prompts import ChatMessage, PromptSubmitted, models_of, turns_of

__all__ = ["asked_by"]


async def asked_by(lane: SessionLane, turn: OpenTurn, *, tokens_max: int) -> PromptSubmitted:
    """The prompt as the turn's model sees it, in no more than so many tokens where it merges. Raises LogError."""
    prompt = turn.prompt
    if not prompt.models or turn.entry.index < len(prompt.models):
        return prompt
    if turn.answers is None:
        turn.answers = await answers_of(lane, prompt)
    question = prompt.messages[-1].content if prompt.messages else prompt.input
    asked = merge_question(question, turn.answers, tokens_max=tokens_max, count=count_tokens)
    if not prompt.messages:
        return msgspec.structs.replace(prompt, input=asked)
    return msgspec.structs.replace(prompt, messages=(*prompt.messages[:-1], ChatMessage("user", asked)))


async def answers_of(lane: SessionLane, prompt: PromptSubmitted) -> list[tuple[str, str]]:
    """(model, answer) of every model whose answer is complete."""
    turns = turns_of(prompt)[: len(prompt.models)]
    texts = await lane.log().texts_of(turns)
    endings = {turn: folded.ended for turn in turns if (folded := lane.log().folded(turn)) is not None}
    return [
        (model, texts.get(turn, ""))
        for turn, model in zip(turns, models_of(prompt), strict=False)
        if (ended := endings.get(turn)) is not None and ended.reason == "complete"
    ]
