"""Requests for an answer, understood."""

from __future__ import annotations

import pytest

from infra.simulated_provider.answer_text import answer_for
from infra.simulated_provider.behaviour import Behaviour
from infra.simulated_provider.call_log import CallLog
from infra.simulated_provider.chat_exchange import CompletionRequest, Exchange, RequestMessage, exchange_of
from schemas.prompts import ChatMessage

__all__: list[str] = []

QUESTION = "[[sim tokens=30]] what is a log"
WHOLE = answer_for([ChatMessage(role="user", content=QUESTION)], tokens=30)


def exchange(*messages: tuple[str, str], max_tokens: int | None = None) -> Exchange:
    request = CompletionRequest(
        model="simulated",
        messages=[RequestMessage(role=role, content=content) for role, content in messages],
        max_tokens=max_tokens,
    )
    return exchange_of(request, Behaviour(), CallLog())


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
