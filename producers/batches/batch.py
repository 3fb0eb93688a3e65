"""Sending a batch: many prompts, a bounded number at a time, each followed to its end.

Lines of one session are sent one after the other, in the file's order, as a conversation; sessions run side by side
in `lanes`. A lane owns a connection for reading. What can be sent again safely, and what was refused for now, is sent
again until the line's time is over; then its result says what happened, and the other lines go on. The ledger knows
what was sent, for whoever watches the batch; once it says that the batch is cancelled, nothing more is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

import msgspec

from infra.decisions.backoff import Backoff
from infra.kafka.session_topics import SessionTopics
from infra.settings import Settings
from producers.answers.answer_reader import AnswerReader, AnswerStart
from producers.answers.followed_answer import AnswerEnded, AnswersCompared
from producers.batches.batch_file import BatchLine
from producers.batches.batch_ledger import BatchLedger
from producers.batches.batch_results import BatchAnswer, BatchResult
from producers.errors import AnswerTimedOut, ProducerError, PublishRefused
from producers.prompt_producer import PromptProducer
from schemas.prompts import models_of, turns_of
from schemas.session_events import TurnError, Usage

__all__ = ["LANES_MAX", "Batch"]

LANES_MAX: Final = 256
BATCH_BACKOFF: Final = Backoff(0.5)

OnResult = Callable[[BatchResult], None]


class BatchStopped(Exception):
    """The batch was cancelled before this line was sent."""


@dataclass(frozen=True, slots=True)
class LineAnswers:
    """How the answers to a line ended, by the index of their model."""

    ended: dict[int, AnswerEnded]
    compared: AnswersCompared | None = None

    @property
    def refused(self) -> TurnError | None:
        """Why it is to be sent again later; None: it has ended."""
        return next((each.error for each in self.ended.values() if each.for_now), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What is to be sent, and how much of it at a time."""

    lines: Sequence[BatchLine]
    lanes: int
    """Answers awaited at once."""
    line_s: float
    """Longest time from sending a line to the end of its answer."""

    async def run(self, settings: Settings, ledger: BatchLedger, on_result: OnResult) -> None:
        """Send every line and hand over its result; of a cancelled batch's lines only those that were sent.

        Raises what makes going on pointless: PublishRefused.

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
                    group.create_task(self._run_lane(waiting, Sending(producer, reader, ledger), on_result))

    async def _run_lane(self, waiting: Iterator[list[BatchLine]], sending: Sending, on_result: OnResult) -> None:
        for lines in waiting:  # shared by all lanes: each session is taken by one
            for line in lines:
                if sending.ledger.cancelled:
                    return
                try:
                    on_result(await self._result(line, sending))
                except BatchStopped:
                    return

    async def _result(self, line: BatchLine, sending: Sending) -> BatchResult:
        error = TurnError(code="answer_timed_out", message=f"not answered within {self.line_s:g} s", temporary=True)
        try:
            async with asyncio.timeout(self.line_s):
                while True:
                    try:
                        answers = await self._answers(line, sending)
                        refused = answers.refused
                        if refused is None:
                            return result_of(line, answers)
                        error = refused  # the line has not ended: another run sends it again
                        await asyncio.sleep(refused.retry_after_s or BATCH_BACKOFF.pause_s())
                    except PublishRefused:
                        raise
                    except AnswerTimedOut as fault:
                        error = described(fault)
                        break
                    except ProducerError as fault:
                        error = described(fault)
                        if not fault.temporary:
                            break
                        await asyncio.sleep(fault.retry_after_s or BATCH_BACKOFF.pause_s())
        except TimeoutError:
            pass
        return result_of(line, None, error)

    async def _answers(self, line: BatchLine, sending: Sending) -> LineAnswers:
        prompt = line.prompt
        start: AnswerStart = await sending.reader.locate(prompt.user, prompt.session, from_start=True)
        if not sending.ledger.begin(line.number, prompt, retry_of=line.retry_of):
            raise BatchStopped
        acknowledged = await sending.producer.submit(prompt)
        sending.ledger.acknowledge(line.number, prompt, retry_of=line.retry_of)
        ended: dict[int, AnswerEnded] = {}
        compared: AnswersCompared | None = None
        sent = acknowledged.offset
        async for piece in sending.reader.follow(prompt, start, deadline_s=self.line_s, sent=sent):
            if isinstance(piece, AnswerEnded):
                ended[piece.index] = piece
            elif isinstance(piece, AnswersCompared):
                compared = piece
        return LineAnswers(ended, compared)


@dataclass(frozen=True, slots=True)
class Sending:
    """What a lane sends and reads with."""

    producer: PromptProducer
    reader: AnswerReader
    ledger: BatchLedger


def sessions_of(lines: Sequence[BatchLine]) -> Iterator[list[BatchLine]]:
    """The lines of each session together, sessions in the order of their first line."""
    sessions: dict[tuple[str, str], list[BatchLine]] = {}
    for line in lines:
        sessions.setdefault((line.prompt.user, line.prompt.session), []).append(line)
    return iter(list(sessions.values()))


def described(fault: ProducerError) -> TurnError:
    return TurnError(code=fault.code, message=str(fault), temporary=fault.temporary, retry_after_s=fault.retry_after_s)


def result_of(line: BatchLine, answers: LineAnswers | None, error: TurnError | None = None) -> BatchResult:
    prompt = line.prompt
    told = chosen_of(line, answers) if answers is not None else None
    ended = list(answers.ended.values()) if answers is not None else []
    models = models_of(prompt)
    return BatchResult(
        line=line.number,
        user=prompt.user,
        session=prompt.session,
        prompt_id=prompt.prompt_id,
        retry_of=line.retry_of or msgspec.UNSET,
        turn=told.turn if told else turns_of(prompt)[0],
        reason=told.reason if told else None,
        text=told.text if told else "",
        usage=usage_of(ended),
        cost_nano_usd=sum(each.cost_nano_usd for each in ended),
        error=told.error if told else error,
        metadata=prompt.metadata or msgspec.UNSET,
        answers=tuple(
            BatchAnswer(
                model=models[each.index],
                turn=each.turn,
                reason=each.reason,
                text=each.text,
                usage=each.usage,
                cost_nano_usd=each.cost_nano_usd,
                error=each.error,
            )
            for each in sorted(ended, key=lambda each: each.index)
        )
        if prompt.models
        else msgspec.UNSET,
    )


def chosen_of(line: BatchLine, answers: LineAnswers) -> AnswerEnded:
    """The answer that stands for a line: the one chosen; where all stand, the first that is not whole."""
    compared, ended = answers.compared, [answers.ended[index] for index in sorted(answers.ended)]
    if compared is not None and compared.index in answers.ended:
        return answers.ended[compared.index]
    whole_is_wanted = line.prompt.compare != "all"
    return next((each for each in ended if (each.reason == "complete") is whole_is_wanted), ended[0])


def sum_stated(costs: Sequence[int | None]) -> int | None:
    """What the providers say that all calls cost, where each of them says it."""
    stated = [cost for cost in costs if cost is not None]
    return sum(stated) if len(stated) == len(costs) else None


def usage_of(ended: Sequence[AnswerEnded]) -> Usage:
    """What all of them used together."""
    if len(ended) == 1:
        return ended[0].usage
    return Usage(
        input_tokens=sum(each.usage.input_tokens for each in ended),
        output_tokens=sum(each.usage.output_tokens for each in ended),
        cached_tokens=sum(each.usage.cached_tokens for each in ended),
        reasoning_tokens=sum(each.usage.reasoning_tokens for each in ended),
        cache_write_tokens=sum(each.usage.cache_write_tokens for each in ended),
        estimated=any(each.usage.estimated for each in ended),
        stated_cost_nano_usd=sum_stated([each.usage.stated_cost_nano_usd for each in ended]),
    )
