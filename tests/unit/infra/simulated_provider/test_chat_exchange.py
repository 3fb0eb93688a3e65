"""Requests for an answer, understood."""

from __future__ import annotations

import asyncio

import pytest

from infra.simulated_provider.answer_text import answer_for, answer_of
from infra.simulated_provider.behaviour import Behaviour
from infra.simulated_provider.call_log import CallLog
from infra.simulated_provider.chat_exchange import (
    CompletionRequest,
    Exchange,
    RequestMessage,
    compose_long,
    exchange_of,
    question_of,
)
from schemas.prompts import ChatMessage

__all__: list[str] = []

QUESTION = "[[sim tokens=30]] what is a log"
WHOLE = answer_for([ChatMessage(role="user", content=QUESTION)], tokens=30)


def request(*messages: tuple[str, str], max_tokens: int | None = None) -> CompletionRequest:
    said = [RequestMessage(role=role, content=content) for role, content in messages]
    return CompletionRequest(model="simulated", messages=said, max_tokens=max_tokens)


def exchange(*messages: tuple[str, str], max_tokens: int | None = None) -> Exchange:
    return exchange_of(question_of(request(*messages, max_tokens=max_tokens), Behaviour()), CallLog())


@pytest.mark.parametrize("begun", [False, True])
async def test_long_answer_is_composed_beside_the_streams(begun: bool) -> None:
    """Others go on meanwhile, and what was composed is found: it held up every stream for a third of a second once."""
    question = f"[[sim tokens=50000]] what is a long log {begun}"
    wanted = question_of(request(("user", question), *([("assistant", "Once")] if begun else [])), Behaviour())
    others = 0

    async def stream() -> None:
        nonlocal others
        while True:
            others += 1
            await asyncio.sleep(0)

    streaming = asyncio.create_task(stream())
    await compose_long(wanted)
    streaming.cancel()
    composed = answer_of.cache_info().misses
    exchange_of(wanted, CallLog())

    assert others > 1
    assert answer_of.cache_info().misses - composed == begun  # a conversation that only looks like one begun is another


@pytest.mark.parametrize("chunks", [1, 10, 29])
def test_answer_that_was_begun_elsewhere(chunks: int) -> None:
    """The rest of the same answer follows, and the call shows what was sent."""
    begun = "".join(WHOLE[:chunks])
    found = exchange(("user", QUESTION), ("assistant", begun))

    assert found.pieces == WHOLE[chunks:]
    assert found.head.finish_reason == "stop"
    assert (found.call.prefix_chars, found.call.messages) == (len(begun), 1)
    assert found.call.conversation_sha256 == exchange(("user", QUESTION)).call.conversation_sha256


def test_answer_that_was_begun_within_a_piece() -> None:
    """No character is lost or said twice."""
    begun = "".join(WHOLE)[:5]

    assert begun + "".join(exchange(("user", QUESTION), ("assistant", begun)).pieces) == "".join(WHOLE)


def test_whole_answer() -> None:
    """There is nothing more to say."""
    found = exchange(("user", QUESTION), ("assistant", "".join(WHOLE)))

    assert (found.pieces, found.head.finish_reason) == ((), "stop")


def test_rest_that_is_cut_by_its_limit() -> None:
    """`max_tokens` is of the rest."""
    found = exchange(("user", QUESTION), ("assistant", WHOLE[0]), max_tokens=4)

    assert (found.pieces, found.head.finish_reason) == (WHOLE[1:5], "length")


@pytest.mark.parametrize("messages", [(("user", QUESTION), ("assistant", "other words")), (("assistant", WHOLE[0]),)])
def test_assistant_message_that_is_no_beginning(messages: tuple[tuple[str, str], ...]) -> None:
    """It is a part of the conversation like any other."""
    found = exchange(*messages)

    assert found.call.prefix_chars == 0
    assert found.call.messages == len(messages)
