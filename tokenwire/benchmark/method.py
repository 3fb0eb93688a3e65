"""How the figures are taken: what is asked, how often, at what pace. Pure: prompts and expected answers follow from it.

A *wave* is N streams on one path. A stream is one client with one session and one user: it asks, reads the answer to
its end, pauses as if it read, and asks again, in the same conversation. The streams of a wave start spread over one
answer's length, so that requests come evenly and not in a burst. Waves of both paths alternate, and so does which of
them is first; the question's number differs every time, so that no cache on either path knows the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

__all__ = ["DIRECT", "PATHS", "THROUGH", "Method"]

DIRECT: Final = "direct"
THROUGH: Final = "through"
PATHS: Final = (DIRECT, THROUGH)

ANSWERS_PER_WAVE_MIN: Final = 10
ANSWERS_PER_STREAM: Final = 3
WARM_UP_STREAMS_MAX: Final = 64


class Method(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides the load."""

    streams: tuple[int, ...] = (1, 16, 64, 128)
    """Concurrent streams of each kind of wave."""
    rounds: int = 3
    """Waves of each kind, per path."""
    answers: int = 0
    """Answers per stream and wave; 0: 3, or as many as make 10 answers in a wave."""
    tokens: int = 64
    """Deltas of an answer."""
    pace_ms: int = 20
    """Time between two deltas; the first comes at once."""
    pause_ms: int = 150
    """From the end of an answer to the stream's next prompt."""
    warm_up: int = 8
    """Answers per stream of the wave through the line that comes before the first round and is not counted: a broker
    that has just started spends as much on compiling itself as on its work."""
    layout: str = "dedicated"
    """Layout of session topics."""

    @property
    def answer_s(self) -> float:
        """How long the simulated model takes for one answer."""
        return self.tokens * self.pace_ms / 1_000

    @property
    def warm_up_streams(self) -> int:
        """Streams of the waves that are not counted."""
        return min(WARM_UP_STREAMS_MAX, max(self.streams))

    def answers_at(self, streams: int) -> int:
        """Answers per stream in a wave of so many streams."""
        return self.answers or max(ANSWERS_PER_STREAM, -(-ANSWERS_PER_WAVE_MIN // streams))

    def start_s(self, slot: int, streams: int) -> float:
        """When a stream begins, from the beginning of its wave."""
        return self.answer_s * slot / streams

    def seconds(self) -> float:
        """About how long all waves take, connecting included."""
        waves = [
            self.answer_s + self.answers_at(streams) * (self.answer_s + self.pause_ms / 1_000)
            for streams in self.streams
        ]
        return sum(waves) * self.rounds * len(PATHS)

    def prompt(self, serial: str) -> str:
        """A question that was never asked before, with the directive that sets the model's pace."""
        directive = f"[[sim tokens={self.tokens} pace_ms={self.pace_ms} first_ms=0 jitter=0]]"
        return f"{directive} Question {serial}: how does a durable wire carry an answer from a model to its reader?"

    def conversation(self, exchanges: Sequence[tuple[str, str]], prompt: str) -> list[dict[str, str]]:
        """Earlier (question, answer) pairs and the newest question, as a chat completion request holds them."""
        messages = [
            {"role": role, "content": text}
            for exchange in exchanges
            for role, text in zip(("user", "assistant"), exchange, strict=True)
        ]
        return [*messages, {"role": "user", "content": prompt}]
