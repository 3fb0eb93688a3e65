"""Which messages of a conversation still fit the model's context.

System messages and the newest message always stay; of the rest the newest stay that fit into the context less the
room kept for the answer. The cut begins at a user's message, so that the model never sees an answer without its
question. Cost: one pass from the newest message back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from schemas.prompts import ChatMessage

__all__ = ["MESSAGE_OVERHEAD_TOKENS", "CutHistory", "cut_history"]

MESSAGE_OVERHEAD_TOKENS: Final = 4  # role and separators, as OpenAI's cookbook counts them for its chat models


@dataclass(frozen=True, slots=True)
class CutHistory:
    """What is sent to the model, and how many of the oldest messages were left out."""

    messages: tuple[ChatMessage, ...]
    messages_cut: int
    input_tokens: int


def cut_history(
    messages: Sequence[ChatMessage], count: Callable[[str], int], *, context_tokens: int, answer_tokens: int
) -> CutHistory:
    """Keep what fits. `count` gives the tokens of a text."""
    tokens = [count(message.content) + MESSAGE_OVERHEAD_TOKENS for message in messages]
    room = max(0, context_tokens - answer_tokens)
    kept = {index for index, message in enumerate(messages) if message.role == "system" or index == len(messages) - 1}
    used = sum(tokens[index] for index in kept)
    candidates: list[int] = []
    for index in range(len(messages) - 2, -1, -1):
        if index in kept:
            continue
        used += tokens[index]
        if used > room:
            break
        candidates.append(index)
        if messages[index].role == "user":  # a question and its answer stay or go together
            kept.update(candidates)
            candidates.clear()
    chosen = tuple(message for index, message in enumerate(messages) if index in kept)
    return CutHistory(chosen, len(messages) - len(chosen), sum(tokens[index] for index in kept))
