"""How long an answer may be: what the prompt asks for, as far as the model's context leaves room for it.

Input and answer share the context. A prompt that names no `max_tokens` gets the model's default, which may be as much
as a small context holds in all; so it is a wish, and what the input leaves is the limit. Only a prompt that leaves less
than ANSWER_TOKENS_LEAST does not fit.

Of a conversation the oldest messages are left out to make room (`history_cut`). For an answer whose length was asked
for they make all of that room; for one whose length is a default, half of the context at most, so that a small context
is not spent on room that is hardly ever used.

Our count of the input is an estimate for every model but OpenAI's, and some servers refuse a call whose tokens add up
to more than the context: near its end a share of the input is left free, MARGIN_TOKENS_MAX at most.
"""

from __future__ import annotations

from typing import Final

__all__ = ["ANSWER_TOKENS_LEAST", "MARGIN_TOKENS_MAX", "answer_room", "kept_for_answer"]

ANSWER_TOKENS_LEAST: Final = 16
MARGIN_TOKENS_MAX: Final = 256
MARGIN_DIVISOR: Final = 8


def answer_room(wanted_tokens: int, *, input_tokens: int, context_tokens: int) -> int:
    """`max_tokens` of a call; from 1 to what is wanted."""
    margin_tokens = min(input_tokens // MARGIN_DIVISOR, MARGIN_TOKENS_MAX)
    left_tokens = context_tokens - input_tokens - margin_tokens
    return max(min(wanted_tokens, ANSWER_TOKENS_LEAST), min(wanted_tokens, left_tokens))


def kept_for_answer(wanted_tokens: int, *, is_named: bool, context_tokens: int) -> int:
    """Tokens that a conversation leaves to the answer. `is_named`: the prompt itself says how long it may be."""
    return min(wanted_tokens, context_tokens if is_named else context_tokens // 2)
