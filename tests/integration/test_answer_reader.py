"""Following an answer on a real log: as it grows, across attempts, in both layouts, to its end and not further."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from confluent_kafka import Producer as PlainProducer

from infra.embedded.broker import EmbeddedBroker
from infra.kafka.connection import librdkafka_options
from infra.kafka.session_topics import SessionTopics
from infra.kafka.topic_admin import ensure_topics
from infra.settings import Settings, load_settings
from producers.answers.answer_reader import (
    AnswerEnded,
    AnswerPiece,
    AnswerReader,
    AnswerStart,
    AnswerStarted,
    AnswerText,
)
from producers.errors import AnswerTimedOut
from schemas.codec import encode
from schemas.identifiers import check_prompt_id, check_session_id, check_user_id, session_key_of, turn_id_of
from schemas.prompts import PromptSubmitted
from schemas.session_events import SessionEvent, TokensEmitted, TurnEnded, TurnQueued, TurnStarted, Usage
from schemas.topics import Layout
from schemas.turn_fold import text_hash
from tests.fakes.topic_names import fixed_topics

FOLLOW_S = 20.0


def asked(session: str, prompt_id: str = "p1", text: str = "Hello") -> PromptSubmitted:
    return PromptSubmitted(user="reader", session=session, prompt_id=prompt_id, input=text)


def turn_of(prompt: PromptSubmitted) -> str:
    user, session = check_user_id(prompt.user), check_session_id(prompt.session)
    return turn_id_of(user, session, check_prompt_id(prompt.prompt_id))


def whole_answer(prompt: PromptSubmitted, chunks: tuple[str, ...]) -> list[SessionEvent]:
    """What a worker writes: here with a first attempt that was lost after two words."""
    turn, text = turn_of(prompt), "".join(chunks)
    return [
        TurnQueued(turn=turn, prompt_id=prompt.prompt_id, input=prompt.input),
        TurnStarted(turn=turn, attempt=1, run="a", model="simulated"),
        TokensEmitted(turn=turn, attempt=1, run="a", seq=0, chunks=("void ", "words")),
        TurnStarted(turn=turn, attempt=2, run="b", model="simulated", cause="crash"),
        TokensEmitted(turn=turn, attempt=1, run="a", seq=2, chunks=("of a zombie",)),
        TokensEmitted(turn=turn, attempt=2, run="b", seq=0, chunks=chunks),
        TurnEnded(
            turn=turn,
            attempt=2,
            run="b",
            reason="complete",
            usage=Usage(input_tokens=1, output_tokens=len(chunks)),
            cost_nano_usd=7,
            text_sha256=text_hash(text),
            text_chars=len(text),
        ),
    ]


@asynccontextmanager
async def reader_for(settings: Settings) -> AsyncIterator[AnswerReader]:
    await ensure_topics(settings, fixed_topics(settings.topic_layout))
    topics = SessionTopics(settings)
    await topics.start()
    reader = AnswerReader(settings, topics)
    await reader.start()
    try:
        yield reader
    finally:
        await reader.stop()
        await topics.stop()


def append(settings: Settings, start: AnswerStart, prompt: PromptSubmitted, events: list[SessionEvent]) -> None:
    """Write to the session's log, as a worker would."""
    key = session_key_of(check_user_id(prompt.user), check_session_id(prompt.session)).encode()
    plain = PlainProducer(librdkafka_options(settings))
    for event in events:
        plain.produce(start.place.topic, encode(event), key, partition=start.place.partition)
    assert plain.flush(10) == 0


async def pieces_of(reader: AnswerReader, prompt: PromptSubmitted, start: AnswerStart) -> list[AnswerPiece]:
    return [piece async for piece in reader.follow(prompt, start, deadline_s=FOLLOW_S)]


@pytest.mark.parametrize("layout", ["dedicated", "shared"])
async def test_answer_is_followed_as_it_is_written(broker: EmbeddedBroker, layout: Layout) -> None:
    """Pieces come in order, an attempt that was lost is marked void, the end carries the whole text and its cost."""
    settings = load_settings({}, kafka=broker.bootstrap_servers, topic_layout=layout)
    prompt, neighbour = asked(f"follow-{layout}"), asked(f"neighbour-{layout}")
    async with reader_for(settings) as reader:
        beside = await reader.locate(neighbour.user, neighbour.session, from_start=False)
        start = await reader.locate(prompt.user, prompt.session, from_start=False)
        following = asyncio.create_task(pieces_of(reader, prompt, start))
        await asyncio.to_thread(append, settings, beside, neighbour, whole_answer(neighbour, ("another",)))
        await asyncio.to_thread(append, settings, start, prompt, whole_answer(prompt, ("The ", "sky.")))
        pieces = await following

    assert [piece for piece in pieces if isinstance(piece, AnswerStarted)] == [
        AnswerStarted(1, "simulated", "first"),
        AnswerStarted(2, "simulated", "crash"),
    ]
    assert AnswerText("The sky.") in pieces
    ended = pieces[-1]
    assert isinstance(ended, AnswerEnded)
    assert (ended.reason, ended.text, ended.usage.output_tokens, ended.cost_nano_usd) == ("complete", "The sky.", 2, 7)


async def test_answer_given_earlier_is_found_from_the_start_of_the_log(broker: EmbeddedBroker) -> None:
    """A prompt_id sent a second time shows the answer that is there, however late the reader comes."""
    settings = load_settings({}, kafka=broker.bootstrap_servers)
    prompt = asked("earlier")
    async with reader_for(settings) as reader:
        written = await reader.locate(prompt.user, prompt.session, from_start=False)
        await asyncio.to_thread(append, settings, written, prompt, whole_answer(prompt, ("Blue.",)))
        start = await reader.locate(prompt.user, prompt.session, from_start=True)
        pieces = await pieces_of(reader, prompt, start)

    assert isinstance(pieces[-1], AnswerEnded)
    assert pieces[-1].text == "Blue."


async def test_id_of_another_prompt_does_not_show_that_prompts_answer(broker: EmbeddedBroker) -> None:
    """The same prompt_id with other words ends rejected instead of passing the old answer off as the new one's."""
    settings = load_settings({}, kafka=broker.bootstrap_servers)
    first, second = asked("reused", text="Hello"), asked("reused", text="Something else")
    async with reader_for(settings) as reader:
        start = await reader.locate(first.user, first.session, from_start=True)
        await asyncio.to_thread(append, settings, start, first, whole_answer(first, ("Hi.",)))
        pieces = await pieces_of(reader, second, start)

    ended = pieces[-1]
    assert isinstance(ended, AnswerEnded)
    assert ended.reason == "rejected"
    assert ended.error is not None
    assert ended.error.code == "id_reused"


async def test_answer_that_does_not_end_is_given_up_at_the_deadline(broker: EmbeddedBroker) -> None:
    """The reader's deadline is kept, and says that the turn itself goes on."""
    settings = load_settings({}, kafka=broker.bootstrap_servers)
    prompt = asked("endless")
    async with reader_for(settings) as reader:
        start = await reader.locate(prompt.user, prompt.session, from_start=False)
        with pytest.raises(AnswerTimedOut):
            async for _ in reader.follow(prompt, start, deadline_s=0.3):
                pass
