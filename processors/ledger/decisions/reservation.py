"""How much is reserved for an answer: at first what answers of its model usually take, then a slice at a time.

Usual is the 90th percentile of the newest SAMPLES_KEPT_MAX answers of the model. Until there are SAMPLES_MIN of them
it is INPUT_FACTOR times the input, and no less than FLOOR_TOKENS. Never more than the prompt asked for. Not the
longest answer that is allowed, as providers' own limits do it: twenty prompts that allow 32,000 tokens and take 300
would be refused for what they will never use.

A slice more is reserved when less than half a slice is left, so that it is there before it is needed. An answer
therefore passes a limit by no more than what comes between two looks: what was read ahead when the refusal came, less
the half slice.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from typing import Final

from schemas.ledger import Amount

__all__ = [
    "ANSWER_TOKENS_MIN",
    "FLOOR_TOKENS",
    "SAMPLES_KEPT_MAX",
    "SAMPLES_MIN",
    "SLICE_TOKENS",
    "WARN_PERCENTS",
    "AnswerLengths",
    "answer_tokens_max",
    "grown",
    "warnings_due",
]

SAMPLES_MIN: Final = 20
SAMPLES_KEPT_MAX: Final = 200
USUAL_SHARE: Final = 0.9
INPUT_FACTOR: Final = 3
FLOOR_TOKENS: Final = 512
SLICE_TOKENS: Final = 256
ANSWER_TOKENS_MIN: Final = 64
"""A provider is never asked for less, unless the prompt asks for less: a lack of so little is a refusal."""
WARN_PERCENTS: Final = (80, 95)


class AnswerLengths:
    """The lengths of one model's newest answers, in output tokens."""

    def __init__(self) -> None:
        self._newest: deque[int] = deque()
        self.ascending: list[int] = []

    def add(self, output_tokens: int) -> None:
        """An answer was whole."""
        self._newest.append(output_tokens)
        insort(self.ascending, output_tokens)
        if len(self._newest) > SAMPLES_KEPT_MAX:
            del self.ascending[bisect_left(self.ascending, self._newest.popleft())]

    def expected(self, input_tokens: int, asked_tokens: int | None) -> int:
        """Output tokens to reserve for an answer to so much input; `asked_tokens`: the most that the prompt allows."""
        if len(self.ascending) < SAMPLES_MIN:
            usual = max(INPUT_FACTOR * input_tokens, FLOOR_TOKENS)
        else:
            usual = max(1, self.ascending[min(len(self.ascending) - 1, int(USUAL_SHARE * len(self.ascending)))])
        return usual if asked_tokens is None else min(usual, asked_tokens)


def answer_tokens_max(held_tokens: int, headroom_tokens: int | None, asked_tokens: int | None) -> int | None:
    """`max_tokens` for the provider: what was asked for, and no more than the user has; None: neither says anything.

    `held_tokens`: reserved for the answer already; `headroom_tokens`: what could be beyond it.
    """
    balance = None if headroom_tokens is None else held_tokens + headroom_tokens
    known = [tokens for tokens in (balance, asked_tokens) if tokens is not None]
    return min(known, default=None)


def grown(held: Amount, output_tokens: int, *, output_nano_usd: int, most_tokens: int | None) -> Amount | None:
    """What to hold in all, now that the answer has so many tokens; None: what is held is enough.

    `output_nano_usd`: what an output token costs. `most_tokens`: the answer can't be longer.
    """
    if held.output_tokens - output_tokens >= SLICE_TOKENS // 2:
        return None
    wanted = max(held.output_tokens, output_tokens) + SLICE_TOKENS
    wanted = wanted if most_tokens is None else min(wanted, most_tokens)
    more = wanted - held.output_tokens
    if more <= 0:
        return None
    return Amount(held.input_tokens, wanted, held.cost_nano_usd + more * output_nano_usd)


def warnings_due(taken: int, limit: int, told_percent: int) -> int:
    """The percentage of a limit to warn of now, `told_percent` having been warned of; 0: none."""
    reached = [percent for percent in WARN_PERCENTS if taken * 100 >= limit * percent]
    return reached[-1] if reached and reached[-1] > told_percent else 0
