"""The data of one event of a chat completion stream, read into what a turn is made of.

An event gives zero or more items: text, the finish reason, usage (what is left of the limits comes beside them, from
the answer's headers). It may also say that the stream is at its end,
that the provider failed after it had said 200, or show that nothing more can be trusted. Only what matters is
decoded (msgspec skips the rest), which costs a fifth of building the client library's models; nothing in here can be
part of a cycle, so the garbage collector is told to leave it alone (`gc=False`). Refusals are text: the reader should
see them. Reasoning gives no item, but it is a sign of life.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec

from processors.decisions.rate_headers import RateHeaders
from schemas.session_events import Usage

__all__ = [
    "Decoded",
    "EndOfStream",
    "FinishChunk",
    "InBandError",
    "LimitsChunk",
    "NotAChunk",
    "ProviderChunk",
    "TextChunk",
    "UsageChunk",
    "decode_chunk",
    "safe_code",
]


class TextChunk(msgspec.Struct, frozen=True, gc=False):
    """A piece of the answer, never empty."""

    text: str


class FinishChunk(msgspec.Struct, frozen=True, gc=False):
    """The provider's own reason for ending: `stop`, `length`, `content_filter` …"""

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
    """What an event held, in order. `alive`: it is progress, even if only the model's own reasoning."""

    items: tuple[ProviderChunk, ...]
    alive: bool


@dataclass(frozen=True, slots=True)
class EndOfStream:
    """`[DONE]`."""


@dataclass(frozen=True, slots=True)
class InBandError:
    """The provider failed in the middle of its answer. `code` is safe to show, `status` as HTTP would have it."""

    code: str
    status: int | None


@dataclass(frozen=True, slots=True)
class NotAChunk:
    """JSON that is broken or of another shape."""


DONE: Final = b"[DONE]"
CODE_CHARS_MAX: Final = 64
SAFE_CODE: Final = re.compile(rf"[A-Za-z0-9_.-]{{1,{CODE_CHARS_MAX}}}\Z")
STATUS_CODES: Final = range(400, 600)
STATUS_OF_CODE: Final = {
    "rate_limit_exceeded": 429,
    "requests": 429,
    "tokens": 429,
    "insufficient_quota": 429,
    "overloaded_error": 503,
    "server_error": 500,
    "invalid_request_error": 400,
    "context_length_exceeded": 400,
    "invalid_api_key": 401,
    "model_not_found": 404,
}


class WireDelta(msgspec.Struct, gc=False):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class WireChoice(msgspec.Struct, gc=False):
    delta: WireDelta | None = None
    finish_reason: str | None = None
    index: int = 0


class WirePromptDetails(msgspec.Struct, gc=False):
    cached_tokens: int | None = None


class WireCompletionDetails(msgspec.Struct, gc=False):
    reasoning_tokens: int | None = None


class WireUsage(msgspec.Struct, gc=False):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: WirePromptDetails | None = None
    completion_tokens_details: WireCompletionDetails | None = None


class WireError(msgspec.Struct, gc=False):
    type: str | None = None
    code: str | int | None = None
    status: str | int | None = None


class WireChunk(msgspec.Struct, gc=False):
    choices: list[WireChoice] | None = None
    usage: WireUsage | None = None
    error: WireError | str | None = None


DECODER: Final = msgspec.json.Decoder(WireChunk)


def decode_chunk(data: bytes) -> Decoded | EndOfStream | InBandError | NotAChunk:
    """Read the data of one event."""
    if not data.startswith(b"{") and data.strip() == DONE:
        return EndOfStream()
    try:
        chunk = DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return NotAChunk()
    if chunk.error is not None:
        return in_band_error(chunk.error)
    if chunk.choices is None and chunk.usage is None:
        return NotAChunk()
    return decoded(chunk)


def safe_code(value: object) -> str:
    """A provider's error code, if it looks like one; anything else may hold private text and is left out."""
    text = str(value) if isinstance(value, str | int) else ""
    return text if SAFE_CODE.match(text) else ""


def decoded(chunk: WireChunk) -> Decoded:
    items: list[ProviderChunk] = []
    alive = False
    for choice in chunk.choices or ():
        if choice.index != 0:
            continue
        if choice.delta is not None:
            delta = choice.delta
            text = delta.content or delta.refusal
            if text:
                items.append(TextChunk(text))
            alive = bool(text or delta.reasoning_content or delta.reasoning)
        if choice.finish_reason:
            items.append(FinishChunk(choice.finish_reason))
    if chunk.usage is not None:
        items.append(UsageChunk(usage_of(chunk.usage)))
    return Decoded(tuple(items), alive)


def usage_of(wire: WireUsage) -> Usage:
    prompt, completion = wire.prompt_tokens_details, wire.completion_tokens_details
    return Usage(
        input_tokens=max(0, wire.prompt_tokens),
        output_tokens=max(0, wire.completion_tokens),
        cached_tokens=max(0, prompt.cached_tokens or 0) if prompt else 0,
        reasoning_tokens=max(0, completion.reasoning_tokens or 0) if completion else 0,
    )


def in_band_error(error: WireError | str) -> InBandError:
    if isinstance(error, str):
        return InBandError("", None)
    for value in (error.code, error.status, error.type):
        status = int(value) if isinstance(value, int) or (isinstance(value, str) and value.isdecimal()) else None
        if status in STATUS_CODES:
            return InBandError(safe_code(error.type) or f"{status}", status)
        if isinstance(value, str) and value in STATUS_OF_CODE:
            return InBandError(value, STATUS_OF_CODE[value])
    return InBandError(safe_code(error.code) or safe_code(error.type), None)
