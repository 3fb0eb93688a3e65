"""The data of one event of a chat completion stream, read into what a turn is made of.

An event gives zero or more items: text, the finish reason, usage (what is left of the limits comes beside them, from
the answer's headers). Beside them it may tell of an error, which never takes the text of its own event with it; it may
also say that the stream is at its end, or be nothing that can be read.

The reading is lenient, by one rule: a field that the answer does not need never ends the answer. Whatever stands where
a count, an index, a reason or an error is expected, of any type, says nothing if it is not one; an object that is no
chunk (a ping, `{}`, `null`) says nothing either. Only text is needed: what stands in its place and is none (a number)
cannot be read, since the answer would lack it. Where providers put things is in the tables below, and nowhere else.

Reading into plain values costs a tenth of a microsecond more than into typed ones, and half of what the client
library's models cost. Items can be no part of a cycle, so the garbage collector is told to leave them alone
(`gc=False`). Refusals are text: the reader should see them. Reasoning gives no item, but it is a sign of life.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec

from processors.providers.decisions.finish_reasons import FinishMeaning, meaning_of
from processors.providers.decisions.json_values import UNREADABLE, count_in, decode_json, objects_in, says_something
from processors.providers.decisions.rate_headers import RateHeaders
from processors.providers.decisions.stated_error import StatedError, bare_error, read_error, safe_code
from processors.providers.decisions.usage_reading import read_usage
from schemas.session_events import Usage

__all__ = [
    "Decoded",
    "EndOfStream",
    "FinishChunk",
    "LimitsChunk",
    "NotAChunk",
    "ProviderChunk",
    "TextChunk",
    "UsageChunk",
    "decode_chunk",
    "read_chunk",
]


class TextChunk(msgspec.Struct, frozen=True, gc=False):
    """A piece of the answer, never empty."""

    text: str


class FinishChunk(msgspec.Struct, frozen=True, gc=False):
    """The provider's own reason for ending: `stop`, `length`, `content_filter` … (`finish_reasons`)."""

    reason: str


class UsageChunk(msgspec.Struct, frozen=True, gc=False):
    """Tokens as the provider counted them. Where several come, the last one counts."""

    usage: Usage


@dataclass(frozen=True, slots=True)
class LimitsChunk:
    """What the answer's headers say is left of the provider's limits."""

    seen: RateHeaders


ProviderChunk: TypeAlias = TextChunk | FinishChunk | UsageChunk | LimitsChunk


class Decoded(msgspec.Struct, frozen=True, gc=False):
    """What an event held, in order."""

    items: tuple[ProviderChunk, ...]
    alive: bool
    """It is progress, even if only the model's own reasoning."""
    error: StatedError | None = None
    """The provider failed in the middle of its answer."""
    acts: bool = False
    """The model calls a tool."""
    in_message: bool = False
    """Its text stands where a whole answer's does, not a stream's next piece."""


@dataclass(frozen=True, slots=True)
class EndOfStream:
    """The provider's `[DONE]`."""


@dataclass(frozen=True, slots=True)
class NotAChunk:
    """JSON that is broken or of another shape."""


DONE: Final = b"[DONE]"
AROUND_DONE: Final = b' \t\r\n"'
NOTHING: Final[dict[str, object]] = {}
THOUGHT_FIELDS: Final = (
    "reasoning_content",
    "reasoning",
    "reasoning_details",
    "thinking",
    "thinking_blocks",
    "thoughts",
)
"""Where reasoning stands beside the text, of any type."""
ACT_FIELDS: Final = ("tool_calls", "function_call")
THOUGHT_KIND: Final = re.compile("think|thought|reason|summary", re.IGNORECASE)
"""In what parts of a content are called that are no text of the answer."""
PART_FIELDS: Final = ("text", "refusal", "content", "value")
"""Where the text of a part stands."""
PART_DEPTH_MAX: Final = 4
FINISH_FIELDS: Final = ("type", "reason", "name", "value")
"""Where the word stands in a finish reason that is an object."""
ORDINARY_FIELDS: Final = frozenset({"index", "delta", "finish_reason", "logprobs"})
"""A choice that has no others, and no reason, says nothing but its delta."""
SAID_FIELDS: Final = ("delta", "message", "text")
"""Where a choice holds what the model says: as a stream's next piece, as a whole answer, bare."""
TEXT_FIELDS: Final = ("content", "text")
"""Where the text stands in that."""


def decode_chunk(data: bytes) -> Decoded | EndOfStream | NotAChunk:
    """Read the data of one event."""
    if not data.startswith(b"{") and data.strip(AROUND_DONE).upper() == DONE:
        return EndOfStream()
    if data.isspace():
        return Decoded((), False)
    value = decode_json(data)
    return NotAChunk() if value is UNREADABLE else read_chunk(value)


def read_chunk(value: object) -> Decoded | NotAChunk:
    """Read the value of one event: a chunk, or several in a list."""
    if isinstance(value, dict):
        return read_object(value)
    if not says_something(value):
        return Decoded((), False)
    parts = [read_object(item) for item in objects_in(value)]
    read = [part for part in parts if isinstance(part, Decoded)]
    if not read or len(read) < len(parts):
        return NotAChunk()
    return Decoded(
        tuple(item for part in read for item in part.items),
        any(part.alive for part in read),
        next((part.error for part in read if part.error is not None), None),
        any(part.acts for part in read),
        any(part.in_message for part in read),
    )


def read_object(chunk: dict[str, object]) -> Decoded | NotAChunk:
    items: list[ProviderChunk] = []
    alive = acts = in_message = False
    choices = objects_in(chunk.get("choices"))
    error = error_beside(chunk, choices) if "error" in chunk else None
    for choice in choices:
        index = choice.get("index")
        if index and count_in(index):
            continue  # another answer, which nobody asked for
        is_ordinary = choice.keys() <= ORDINARY_FIELDS
        said, text, in_message = said_by(choice, is_ordinary=is_ordinary)
        if text is None:
            return NotAChunk()
        text = text or text_of(said.get("refusal")) or ""
        if not text or len(said) > 1:  # the usual delta is looked at no further
            acts = acts or has_any(said, ACT_FIELDS)
            alive = alive or acts or has_any(said, THOUGHT_FIELDS) or is_thought(said.get("content"))
        if text:
            items.append(TextChunk(text))
            alive = True
        if not is_ordinary or choice.get("finish_reason") is not None:
            rest = take_rest(choice, items)
            error = error or rest
    if not choices:
        error = error or bare_error(chunk)
    if "usage" in chunk:
        items += usage_in(chunk)
    if "x_groq" in chunk:
        rest = take_rest(chunk["x_groq"], items)
        error = error or rest
    return Decoded(tuple(items), alive, error, acts, in_message)


def said_by(choice: dict[str, object], *, is_ordinary: bool) -> tuple[dict[str, object], str | None, bool]:
    """What the model says in a choice, its text (None: one that cannot be read), and whether it stands as a whole
    answer's does. Another place than the delta is looked at where the delta has no text."""
    delta = choice.get("delta")
    said = delta if isinstance(delta, dict) else NOTHING
    text = said.get("content")
    if not isinstance(text, str):
        text = text_of(first_of(said, TEXT_FIELDS))
    if text is None or text or (said and is_ordinary):
        return said, text, False
    elsewhere, in_message = said_elsewhere(choice)
    found = text_of(first_of(elsewhere, TEXT_FIELDS))
    return (elsewhere, found, in_message) if found != "" or not said else (said, "", False)


def error_beside(chunk: dict[str, object], choices: list[dict[str, object]]) -> StatedError | None:
    """The error of a chunk that names one: where it is a word and all there is, its code stands beside it."""
    error = chunk["error"]
    return read_error(chunk if error and isinstance(error, str) and not choices else error)


def take_rest(holder: object, items: list[ProviderChunk]) -> StatedError | None:
    """What a choice, or a provider's own object, holds beside what the model says: its end, usage and errors."""
    if not isinstance(holder, dict):
        return None
    error = read_error(holder.get("error"))
    word = finish_word(holder.get("finish_reason"))
    if word:
        items.append(FinishChunk(word))
        if error is None and meaning_of(word) is FinishMeaning.FAILED:
            error = StatedError(safe_code(word))
    items += usage_in(holder)
    return error


def said_elsewhere(choice: dict[str, object]) -> tuple[dict[str, object], bool]:
    """What the model says where it is no stream's delta; whether it stands as a whole answer's does."""
    for name in SAID_FIELDS:
        value = choice.get(name)
        if isinstance(value, str | list if name == "delta" else str | list | dict) and says_something(value):
            return (value if isinstance(value, dict) else {"content": value}), name != "delta"
    return NOTHING, False


def first_of(holder: dict[str, object], names: tuple[str, ...]) -> object:
    """The value of the first of these fields that has one."""
    return next((value for name in names if (value := holder.get(name)) is not None), None)


def text_of(value: object, depth: int = PART_DEPTH_MAX) -> str | None:
    """The text of a content that is no plain string: its parts joined, thoughts left out; None where it is none."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(text_of(part, depth - 1) or "" for part in value) if depth else ""
    if isinstance(value, dict):
        if is_thought_part(value) or not depth:
            return ""
        return next((text for name in PART_FIELDS if (text := text_of(value.get(name), depth - 1))), "")
    return None if value else ""


def is_thought_part(part: dict[str, object]) -> bool:
    kind = part.get("type")
    return part.get("thought") is True or (isinstance(kind, str) and THOUGHT_KIND.search(kind) is not None)


def has_any(said: dict[str, object], fields: tuple[str, ...]) -> bool:
    return any(field in said and says_something(said[field]) for field in fields)


def is_thought(content: object) -> bool:
    """Whether a content that is no plain string has parts: the model's thoughts, if they are no text."""
    return isinstance(content, list | dict) and says_something(content)


def finish_word(value: object) -> str:
    """The provider's word; empty where the answer goes on."""
    if isinstance(value, dict):
        value = next((word for name in FINISH_FIELDS if isinstance(word := value.get(name), str)), None)
    if not isinstance(value, str) or meaning_of(value) is FinishMeaning.NONE:
        return ""
    return value


def usage_in(holder: dict[str, object]) -> list[UsageChunk]:
    usage = read_usage(holder.get("usage"))
    return [] if usage is None else [UsageChunk(usage)]
