"""Sending a batch: many prompts, a bounded number at a time, each followed to its end.

Lines of one session are sent one after the other, in the file's order, as a conversation; sessions run side by side
in `lanes`. A lane owns a connection for reading. What can be sent again safely is sent again until the line's time
is over; then its result says what happened, and the other lines go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

from infra.kafka.session_topics import SessionTopics
from infra.settings import Settings
from producers.answer_reader import AnswerEnded, AnswerReader, AnswerStart
from producers.batch_file import BatchLine
from producers.batch_results import BatchResult
from producers.errors import AnswerTimedOut, ProducerError, PublishRefused
from producers.prompt_producer import PromptProducer
from schemas.identifiers import check_prompt_id, check_session_id, check_user_id, turn_id_of
from schemas.session_events import TurnError, Usage

__all__ = ["LANES_MAX", "Batch"]

LANES_MAX: Final = 256
PAUSE_S: Final = 0.5

OnResult = Callable[[BatchResult], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What is to be sent, and how much of it at a time."""

    lines: Sequence[BatchLine]
    lanes: int
    """Answers awaited at once."""
    line_s: float
    """Longest time from sending a line to the end of its answer."""

    async def run(self, settings: Settings, on_result: OnResult) -> None:
        """Send every line and hand over its result. Raises what makes going on pointless: PublishRefused.

        Cancellation: lines on their way are answered all the same; running the batch again finds their answers.
        """
        waiting = sessions_of(self.lines)
        lanes = min(self.lanes, len({line.prompt.session for line in self.lines}), LANES_MAX)
        async with AsyncExitStack() as stack:
            producer = await stack.enter_async_context(PromptProducer(settings))
            topics = SessionTopics(settings)
            await topics.start()
            stack.push_async_callback(topics.stop)
            readers = [AnswerReader(settings, topics) for _ in range(lanes)]
            for reader in readers:
                await reader.start()
                stack.push_async_callback(reader.stop)
            async with asyncio.TaskGroup() as group:
                for reader in readers:
                    group.create_task(self._run_lane(waiting, producer, reader, on_result))

    async def _run_lane(
        self,
        waiting: Iterator[list[BatchLine]],
        producer: PromptProducer,
        reader: AnswerReader,
        on_result: OnResult,
    ) -> None:
        for lines in waiting:  # shared by all lanes: each session is taken by one
            for line in lines:
                on_result(await self._result(line, producer, reader))

    async def _result(self, line: BatchLine, producer: PromptProducer, reader: AnswerReader) -> BatchResult:
        error = TurnError(code="answer_timed_out", message=f"not answered within {self.line_s:g} s", temporary=True)
        try:
            async with asyncio.timeout(self.line_s):
                while True:
                    try:
                        return result_of(line, await self._answer(line, producer, reader))
                    except PublishRefused:
                        raise
                    except AnswerTimedOut as fault:
                        error = described(fault)
                        break
                    except ProducerError as fault:
                        error = described(fault)
                        if not fault.temporary:
                            break
                        await asyncio.sleep(fault.retry_after_s or PAUSE_S)
        except TimeoutError:
            pass
        return result_of(line, None, error)

    async def _answer(self, line: BatchLine, producer: PromptProducer, reader: AnswerReader) -> AnswerEnded:
        prompt = line.prompt
        start: AnswerStart = await reader.locate(prompt.user, prompt.session, from_start=True)
        await producer.submit(prompt)
        async for piece in reader.follow(prompt, start, deadline_s=self.line_s):
            if isinstance(piece, AnswerEnded):
                return piece
        raise AnswerTimedOut("the answer's log ended before the answer")


def sessions_of(lines: Sequence[BatchLine]) -> Iterator[list[BatchLine]]:
    """The lines of each session together, sessions in the order of their first line."""
    sessions: dict[tuple[str, str], list[BatchLine]] = {}
    for line in lines:
        sessions.setdefault((line.prompt.user, line.prompt.session), []).append(line)
    return iter(list(sessions.values()))


def described(fault: ProducerError) -> TurnError:
    return TurnError(code=fault.code, message=str(fault), temporary=fault.temporary, retry_after_s=fault.retry_after_s)


def result_of(line: BatchLine, ended: AnswerEnded | None, error: TurnError | None = None) -> BatchResult:
    prompt = line.prompt
    user, session = check_user_id(prompt.user), check_session_id(prompt.session)
    turn = turn_id_of(user, session, check_prompt_id(prompt.prompt_id))
    return BatchResult(
        line=line.number,
        user=user,
        session=session,
        prompt_id=prompt.prompt_id,
        turn=turn,
        reason=ended.reason if ended else None,
        text=ended.text if ended else "",
        usage=ended.usage if ended else Usage(),
        cost_nano_usd=ended.cost_nano_usd if ended else 0,
        error=ended.error if ended else error,
    )
