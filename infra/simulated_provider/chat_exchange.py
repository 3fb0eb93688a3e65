"""A request for an answer, understood: what was said, how it is to be answered, and what the answer is.

A conversation that ends with the beginning of the very answer (an assistant message) is gone on with: the rest of it is
given, so that an answer begun elsewhere is whole. Any other assistant message at the end is part of the conversation.
"""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from typing import Final

import msgspec

from infra.simulated_provider.answer_text import Conversation, answer_of, conversation_of
from infra.simulated_provider.behaviour import Behaviour, Fault, behaviour_for
from infra.simulated_provider.call_log import Call, CallLog
from infra.simulated_provider.wire_script import AnswerHead

__all__ = ["CompletionRequest", "Exchange", "Question", "RequestMessage", "compose_long", "exchange_of", "question_of"]

COMPOSED_AT_ONCE_MAX: Final = 5_000
"""Tokens of an answer that is composed in some ten milliseconds."""
HARMLESS_FAULTS: Final = frozenset({"late_headers", "no_done", "double_done", "keep_alive", "crlf", "split"})


class ContentPart(msgspec.Struct):
    """A part of a message's content; only text is understood."""

    type: str = "text"
    text: str = ""


class RequestMessage(msgspec.Struct):
    """A message as clients send it."""

    role: str
    content: str | list[ContentPart] | None = None


class StreamOptions(msgspec.Struct):
    """What a client wants to have streamed besides the answer."""

    include_usage: bool = False


class CompletionRequest(msgspec.Struct):
    """The parts of a chat completion request that make a difference here."""

    model: str
    messages: list[RequestMessage]
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """One request, understood: what to answer and how, what goes wrong, and where it is noted."""

    head: AnswerHead
    pieces: tuple[str, ...]
    usage: dict[str, object]
    behaviour: Behaviour
    fault: Fault | None
    call: Call

    @property
    def interrupted(self) -> bool:
        """Whether the fault keeps the client from having the whole answer."""
        return self.fault is not None and self.fault.kind not in HARMLESS_FAULTS

    @property
    def length_s(self) -> float:
        """How long the whole answer takes at this pace."""
        return (self.behaviour.first_ms + self.behaviour.pace_ms * len(self.pieces)) / 1_000


class Question(msgspec.Struct, frozen=True):
    """What a request asks, its directives read."""

    wanted: CompletionRequest
    prompt: str
    """The newest user message, with its directive; empty if there is none."""
    behaviour: Behaviour
    conversation: Conversation


def question_of(wanted: CompletionRequest, defaults: Behaviour) -> Question:
    """Read a request. Raises DirectiveError."""
    prompt = next((text_of(message) for message in reversed(wanted.messages) if message.role == "user"), "")
    said = [{"role": message.role, "content": text_of(message)} for message in wanted.messages]
    return Question(wanted, prompt, behaviour_for(prompt, defaults), conversation_of(said))


async def compose_long(question: Question) -> None:
    """Compose a long answer ahead, for `exchange_of` to find: a third of a second for 200,000 tokens, during which no
    other stream would say a word."""
    behaviour, conversation = question.behaviour, question.conversation
    if (behaviour.tokens or 0) > COMPOSED_AT_ONCE_MAX:
        asked = conversation[:-1] if ends_in_answer(conversation) else conversation
        await asyncio.to_thread(answer_of, asked, behaviour.seed, behaviour.tokens)


def exchange_of(question: Question, call_log: CallLog) -> Exchange:
    """Count a question, and compose its answer."""
    wanted, behaviour, conversation = question.wanted, question.behaviour, question.conversation
    times_sent = call_log.count(question.prompt)
    fault = behaviour.fault if behaviour.times is None or times_sent <= behaviour.times else None
    begun = prefix_of(conversation, behaviour)
    asked = conversation[:-1] if begun else conversation
    call = call_log.opened(asked, model=wanted.model, stream=wanted.stream, at_s=time.time())
    call.fault = fault.kind if fault else ""
    call.prefix_chars = len(begun)
    whole = rest_of(answer_of(asked, behaviour.seed, behaviour.tokens), begun)
    pieces = whole[: wanted.max_completion_tokens or wanted.max_tokens]
    usage = usage_of(conversation, len(pieces))
    head = AnswerHead(
        answer_id=f"chatcmpl-{uuid.uuid4().hex[:24]}",
        created_s=int(call.started_at),
        model=wanted.model,
        finish_reason="stop" if len(pieces) == len(whole) else "length",
        usage=usage if wanted.stream_options is not None and wanted.stream_options.include_usage else None,
    )
    return Exchange(head=head, pieces=pieces, usage=usage, behaviour=behaviour, fault=fault, call=call)


def ends_in_answer(conversation: Conversation) -> bool:
    """Whether the conversation ends in an answer, which may be the beginning of the one that is asked for."""
    return len(conversation) > 1 and conversation[-1][0] == "assistant"


def prefix_of(conversation: Conversation, behaviour: Behaviour) -> str:
    """The beginning of the answer that the conversation ends with; empty if it does not."""
    if not ends_in_answer(conversation):
        return ""
    begun = conversation[-1][1]
    whole = "".join(answer_of(conversation[:-1], behaviour.seed, behaviour.tokens))
    return begun if whole.startswith(begun) else ""


def rest_of(pieces: tuple[str, ...], begun: str) -> tuple[str, ...]:
    """What is left of an answer after its beginning; a piece may be left in part."""
    left = len(begun)
    for number, piece in enumerate(pieces):
        if left < len(piece):
            return (piece[left:], *pieces[number + 1 :])
        left -= len(piece)
    return ()


def text_of(message: RequestMessage) -> str:
    """The text of a message, its parts joined."""
    if isinstance(message.content, list):
        return "".join(part.text for part in message.content)
    return message.content or ""


def usage_of(conversation: Conversation, output_tokens: int) -> dict[str, object]:
    """Input is counted roughly, at four characters a token, with what every message adds."""
    input_tokens = 3 + sum(4 + math.ceil(len(text) / 4) for _, text in conversation)
    return {
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
