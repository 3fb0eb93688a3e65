"""An answer that does not end: what a call keeps of it is bounded, whatever its length."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from processors.attempts.attempt_stream import AttemptStream
from processors.attempts.decisions.answer_watchdog import AnswerWatchdog, AnswerWatchdogLimits
from processors.providers.provider import ChatRequest, FinishChunk, ProviderChunk, TextChunk
from processors.sessions.attempt import StreamResult
from processors.sessions.decisions.token_count import count_tokens
from processors.sessions.decisions.turn_life import TurnLife
from processors.sessions.open_turn import OpenTurn
from processors.writing.attempt_recorder import AttemptRecorder
from schemas.identifiers import SessionKey
from schemas.journal import JournalEntry
from schemas.prompts import ChatMessage, PromptSubmitted
from schemas.session_events import SessionEvent, Usage
from schemas.turn_fold import Verdict
from tests.fakes.scripted_provider import ScriptedProvider
from tests.fakes.topic_names import NAMES
from tests.fakes.virtual_loop import LoopClock, VirtualLoop, run_virtual

__all__: list[str] = []

BATCHES, BATCH_CHUNKS = 3_200, 50
MEMORY_BYTES_MAX = 8_000_000
ENTRY = JournalEntry(turn="t", user="u", session="s", prompt_id="p", phase="running")


class Endless(ScriptedProvider):
    """Says four characters at a time, more of them than are ever kept."""

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[list[ProviderChunk]]]:
        """The answer, many chunks at a time."""
        yield self.all_of_it()

    async def all_of_it(self) -> AsyncIterator[list[ProviderChunk]]:
        for batch in range(BATCHES):
            yield [TextChunk(f"{batch * BATCH_CHUNKS + number:06} ") for number in range(BATCH_CHUNKS)]
        yield [FinishChunk("stop")]


class Sink:
    """Takes every record and keeps none: the session's log, and the topic of records."""

    names = NAMES

    async def append(self, *record: object, **_: object) -> Any:
        """As `SessionWriter.append` and `LogAppender.append`."""
        events = record[0]
        return ([Verdict.EFFECTIVE] * len(cast(Sequence[SessionEvent], events)), 0) if len(record) == 1 else 0


def test_memory_of_one_call() -> None:
    """160,000 chunks, or any number of them: publisher, recorder and the text itself stay within a few megabytes."""
    loop = VirtualLoop()
    sink = cast(Any, Sink())
    count_tokens("the encoding is loaded before anything is measured")

    async def play() -> StreamResult:
        clock = LoopClock(loop)
        stream = AttemptStream(
            provider=Endless(),
            writer=sink,
            clock=clock,
            recorder=AttemptRecorder(sink, SessionKey("k" * 32), ENTRY, attempt=1, run="r"),
            watchdog=AnswerWatchdog(AnswerWatchdogLimits(repetition=None, gibberish=None)),
        )
        turn = OpenTurn(TurnLife(ENTRY), PromptSubmitted(user="u", session="s", prompt_id="p"), 0)
        request = ChatRequest(model="m", messages=(ChatMessage(role="user", content="count"),), max_tokens=1_000_000)
        return await stream.run(turn, request, attempt=1, run="r")

    tracemalloc.start()
    result = run_virtual(loop, play())
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert (result.chunks, result.text, result.ending.reason) == (BATCHES * BATCH_CHUNKS, "", "complete")
    assert isinstance(result.usage, Usage)
    assert result.usage.output_tokens > BATCHES * BATCH_CHUNKS
    assert most_bytes < MEMORY_BYTES_MAX
