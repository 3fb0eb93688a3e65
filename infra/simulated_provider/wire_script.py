"""What the simulated provider writes, in order: an answer and a fault become beats, one per instant of the answer.

Pure: the script knows no clock and no socket. A beat is what is written at once and what happens then; the player
(`answer_player`) adds time. Chunks are put together from a prefix that is encoded once per answer and pieces whose
JSON is remembered, because this process shares its cores with whatever is being measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum, auto
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from infra.simulated_provider.behaviour import Fault, FaultKind

__all__ = ["HUGE_LINE_BYTES", "AnswerHead", "Beat", "Then", "error_body", "wire_script"]

HUGE_LINE_BYTES: Final = 10 * 1024 * 1024
REMEMBERED_PIECES_MAX: Final = 8_192
KEEP_ALIVE_EVERY_TOKENS: Final = 3
SPLIT_GAP_S: Final = 0.002  # long enough for each part to reach the client in a read of its own

DONE: Final = b"data: [DONE]\n\n"
KEEP_ALIVE: Final = b": keep-alive\n\n"


class Then(Enum):
    """What follows a beat."""

    GO_ON = auto()
    END = auto()
    """The body ends as HTTP wants it."""
    STALL = auto()
    """Nothing more, until the client leaves."""
    DROP = auto()
    """The connection is closed in the middle of the body."""
    RESET = auto()
    """The connection is reset."""


class Beat(NamedTuple):
    """Bytes that are written at once, how many tokens they hold, what follows and how long until then."""

    payload: bytes
    tokens: int = 0
    then: Then = Then.GO_ON
    gap_s: float | None = None
    """None: the answer's own pace."""


class AnswerHead(NamedTuple):
    """What every chunk of an answer repeats, and how the answer ends."""

    answer_id: str
    created_s: int
    model: str
    finish_reason: str
    usage: dict[str, object] | None
    """Sent in a last chunk of its own; None: not asked for."""


def wire_script(head: AnswerHead, pieces: Sequence[str], fault: Fault | None) -> Iterator[Beat]:
    """The whole answer as beats, with the fault where it belongs."""
    kind = fault.kind if fault else None
    beats = plain_beats(head, pieces, kind)
    match kind:
        case None | "no_done" | "double_done" | "late_headers":
            return beats
        case "keep_alive":
            return with_keep_alive(beats)
        case "crlf":
            return (part for beat in beats for part in parted_beat(with_crlf(beat), at=-1))
        case "split":
            return (part for beat in beats for part in parted_beat(beat, at=split_place(beat.payload)))
        case _:
            return interrupted(beats, head, kind, 0 if fault is None else fault.after_tokens)


def error_body(message: str, kind: str, code: str | None = None) -> bytes:
    """An error as OpenAI words it."""
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": None, "code": code}})


def plain_beats(head: AnswerHead, pieces: Sequence[str], kind: FaultKind | None) -> Iterator[Beat]:
    """Role and first token together, a token each, then at once the finish reason, the usage and [DONE]."""
    before, after = chunk_frame(head)
    opening = before + b'{"role":"assistant","content":"","refusal":null}' + after
    for piece in pieces:
        yield Beat(opening + before + delta_json(piece) + after, 1)
        opening = b""
    end = opening + before + b"{}" + after.replace(b"null}]", msgspec.json.encode(head.finish_reason) + b"}]")
    if head.usage is not None:
        start = before.partition(b'"choices":')[0]
        end += start + b'"choices":[],"usage":' + msgspec.json.encode(head.usage) + b"}\n\n"
    done = {"no_done": b"", "double_done": DONE + DONE}.get(kind or "", DONE)
    yield Beat(end + done, 0, Then.END)


def interrupted(beats: Iterator[Beat], head: AnswerHead, kind: FaultKind, after_tokens: int) -> Iterator[Beat]:
    """The first tokens, then the fault. It is its own beat, so that everything before it is on its way."""
    sent = 0
    for beat in beats:
        if sent >= after_tokens or not beat.tokens:
            break
        yield beat
        sent += beat.tokens
    yield fault_beat(head, kind)


def fault_beat(head: AnswerHead, kind: FaultKind) -> Beat:
    before, after = chunk_frame(head)
    match kind:
        case "cut_after":
            return Beat(b"", 0, Then.RESET)
        case "drop_after":
            return Beat(before[: len(before) // 2], 0, Then.DROP)
        case "eof_after" | "empty":
            return Beat(b"", 0, Then.END)
        case "interrupt_after":
            return Beat(DONE, 0, Then.END)
        case "broken_json":
            return Beat(before + b'{"content": "lost' + b"\n\n" + DONE, 0, Then.END)
        case "invalid_line":
            return Beat(b"this line is no event stream\n\n" + before + b"{}" + after + DONE, 0, Then.END)
        case "huge_line":
            return Beat(before + b'{"content":"' + b"x" * HUGE_LINE_BYTES + b'"}' + after + DONE, 0, Then.END)
        case "error_after":
            error = error_body("The server had an error while processing your request.", "server_error", "server_error")
            return Beat(b"data: " + error + b"\n\n", 0, Then.END)
        case _:
            return Beat(b"", 0, Then.STALL)


def with_keep_alive(beats: Iterator[Beat]) -> Iterator[Beat]:
    yield Beat(KEEP_ALIVE, gap_s=SPLIT_GAP_S)
    for number, beat in enumerate(beats):
        yield beat._replace(payload=KEEP_ALIVE + beat.payload) if number % KEEP_ALIVE_EVERY_TOKENS == 0 else beat


def with_crlf(beat: Beat) -> Beat:
    return beat._replace(payload=beat.payload.replace(b"\n", b"\r\n"))


def parted_beat(beat: Beat, *, at: int) -> tuple[Beat, Beat]:
    """One beat as two writes: the second part carries what the first would have led to."""
    return Beat(beat.payload[:at], 0, Then.GO_ON, SPLIT_GAP_S), beat._replace(payload=beat.payload[at:])


def split_place(payload: bytes) -> int:
    """The most awkward place to cut: inside a character of several bytes, else inside the word `content`."""
    wide = next((place for place, byte in enumerate(payload) if byte >= 0xC0), None)
    return wide + 1 if wide is not None else max(1, payload.rfind(b"content") + 3)


def chunk_frame(head: AnswerHead) -> tuple[bytes, bytes]:
    start = msgspec.json.encode(
        {
            "id": head.answer_id,
            "object": "chat.completion.chunk",
            "created": head.created_s,
            "model": head.model,
            "service_tier": "default",
            "system_fingerprint": "fp_simulated",
        }
    )
    usage = b"" if head.usage is None else b',"usage":null'
    before = b"data: " + start[:-1] + b',"choices":[{"index":0,"delta":'
    return before, b',"logprobs":null,"finish_reason":null}]' + usage + b"}\n\n"


@lru_cache(maxsize=REMEMBERED_PIECES_MAX)
def delta_json(piece: str) -> bytes:
    return b'{"content":' + msgspec.json.encode(piece) + b"}"
