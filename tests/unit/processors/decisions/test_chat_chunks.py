"""What one event of a completion stream is read into."""

from __future__ import annotations

import pytest

from processors.decisions.chat_chunks import (
    Decoded,
    EndOfStream,
    FinishChunk,
    InBandError,
    NotAChunk,
    TextChunk,
    UsageChunk,
    decode_chunk,
    safe_code,
)
from schemas.session_events import Usage


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            b'{"choices":[{"index":0,"delta":{"content":" hi"},"finish_reason":null}]}',
            Decoded((TextChunk(" hi"),), True),
        ),
        (b'{"choices":[{"delta":{"role":"assistant","content":""}}]}', Decoded((), False)),
        (b'{"choices":[{"delta":{"refusal":"No."}}]}', Decoded((TextChunk("No."),), True)),
        (b'{"choices":[{"delta":{"reasoning_content":"hm"}}]}', Decoded((), True)),
        (b'{"choices":[{"delta":{},"finish_reason":"stop"}]}', Decoded((FinishChunk("stop"),), False)),
        (
            b'{"choices":[{"delta":{"content":"x"},"finish_reason":"length"}]}',
            Decoded((TextChunk("x"), FinishChunk("length")), True),
        ),
        (b'{"choices":[{"index":1,"delta":{"content":"other"}}]}', Decoded((), False)),
        (b'{"choices":[{"delta":null}],"usage":null}', Decoded((), False)),
        (b'{"choices":[]}', Decoded((), False)),
        (b"[DONE]", EndOfStream()),
        (b" [DONE] ", EndOfStream()),
    ],
)
def test_chunks(data: bytes, expected: object) -> None:
    """Text, refusals and finish reasons are items; a role, an empty delta and other choices are not."""
    assert decode_chunk(data) == expected


def test_usage() -> None:
    """Tokens as the provider counted them, none of them estimated or negative."""
    data = (
        b'{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":-1,"total_tokens":11,'
        b'"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":null}}}'
    )
    assert decode_chunk(data) == Decoded((UsageChunk(Usage(input_tokens=9, cached_tokens=4)),), False)


@pytest.mark.parametrize(
    "data",
    [
        b'{"choices": [',
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"choices":[{"delta":{"content":5}}]}',
        b'{"choices":"\xff"}',
        b"\xff",
    ],
)
def test_what_is_no_chunk(data: bytes) -> None:
    """Broken or foreign JSON and broken UTF-8 are told apart from a chunk."""
    assert decode_chunk(data) == NotAChunk()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"error":{"message":"m","type":"server_error","code":null}}', InBandError("server_error", 500)),
        (b'{"error":{"message":"m","code":429}}', InBandError("429", 429)),
        (b'{"error":{"message":"m","code":"503","type":"overloaded"}}', InBandError("overloaded", 503)),
        (b'{"error":{"message":"m","code":"rate_limit_exceeded"}}', InBandError("rate_limit_exceeded", 429)),
        (b'{"error":{"message":"m","code":"odd_thing"}}', InBandError("odd_thing", None)),
        (b'{"error":{"message":"m","code":"a sentence about the prompt"}}', InBandError("", None)),
        (b'{"error":"it broke"}', InBandError("", None)),
    ],
)
def test_errors_in_the_stream(data: bytes, expected: InBandError) -> None:
    """The code is kept if it looks like one, the message never."""
    assert decode_chunk(data) == expected


def test_codes_that_are_safe_to_show() -> None:
    """Short words of plain letters only."""
    assert safe_code("model_not_found") == "model_not_found"
    assert safe_code(404) == "404"
    assert safe_code("x" * 65) == ""
    assert safe_code(None) == ""
