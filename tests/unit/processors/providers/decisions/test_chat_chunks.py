"""What one event of a completion stream is read into."""

from __future__ import annotations

import json

import pytest

from processors.providers.decisions.chat_chunks import (
    Decoded,
    EndOfStream,
    FinishChunk,
    NotAChunk,
    TextChunk,
    UsageChunk,
    decode_chunk,
)
from processors.providers.decisions.stated_error import StatedError
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
        (b"{}", Decoded((), False)),
        (b'{"type":"ping"}', Decoded((), False)),
        (b'{"choices":null,"error":{}}', Decoded((), False)),
        (b"null", Decoded((), False)),
        (b"  ", Decoded((), False)),
        (b"[]", Decoded((), False)),
        (b'{"choices":[{"delta":"x"}]}', Decoded((TextChunk("x"),), True)),
        (b'{"choices":[{"delta":[{"type":"text","text":"x"}]}]}', Decoded((TextChunk("x"),), True)),
        (b'{"choices":[{"delta":{"type":"text_delta","text":"x"}}]}', Decoded((TextChunk("x"),), True)),
        (b'{"choices":[{"delta":{},"text":"x"}]}', Decoded((TextChunk("x"),), True, in_message=True)),
        (b'{"choices":[{"message":"x"}]}', Decoded((TextChunk("x"),), True, in_message=True)),
        (
            b'{"choices":[{"delta":{"role":"assistant","content":null},"message":{"content":"x"}}]}',
            Decoded((TextChunk("x"),), True, in_message=True),
        ),
        (
            b'{"choices":[{"delta":{"content":"x"},"text":"x","message":{"content":"xx"}}]}',
            Decoded((TextChunk("x"),), True),
        ),
        (b'{"choices":[{"delta":{"tool_calls":[{}]},"message":{"role":"assistant"}}]}', Decoded((), False)),
        (
            b'{"choices":[{"delta":{"content":"x"}}]}{"choices":[{"delta":{"content":"y"}}]}',
            Decoded((TextChunk("x"), TextChunk("y")), True),
        ),
        (b'{"choices":[{"delta":{"content":"x"}}]}data: {"choices":[]}[DONE]', Decoded((TextChunk("x"),), True)),
        (b'[{"choices":[{"delta":{"content":"x"}}]},{"choices":[]}]', Decoded((TextChunk("x"),), True)),
        (b'{"choices":{"index":null,"delta":{"content":"x"}}}', Decoded((TextChunk("x"),), True)),
        (b'{"choices":[{"text":"x","index":0}]}', Decoded((TextChunk("x"),), True, in_message=True)),
        (
            b'{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}]}',
            Decoded((TextChunk("x"), FinishChunk("stop")), True, in_message=True),
        ),
        (b"[DONE]", EndOfStream()),
        (b" [DONE] ", EndOfStream()),
        (b'"[DONE]"', EndOfStream()),
        (b"[done]", EndOfStream()),
    ],
)
def test_chunks(data: bytes, expected: object) -> None:
    """Text, refusals and finish reasons are items; a role, an empty delta and other choices are not."""
    assert decode_chunk(data) == expected


def test_usage() -> None:
    """Tokens as the provider counted them, none of them estimated or negative; a total beyond the prompt is output."""
    data = (
        b'{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":-1,"total_tokens":11,'
        b'"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":null}}}'
    )
    assert decode_chunk(data) == Decoded((UsageChunk(Usage(input_tokens=9, output_tokens=2, cached_tokens=4)),), False)


@pytest.mark.parametrize(
    "data",
    [
        b'{"choices": [',
        b"",
        b"7",
        b'"x"',
        b"bye",
        b'{"choices":[]}{"choices":[',
        b'{"choices":[{"delta":{"content":5}}]}',
        b'[{"choices":[]},{"choices":[{"delta":{"content":true}}]}]',
        b"\xff",
        b'{"choices":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_is_no_chunk(data: bytes) -> None:
    """JSON that is broken, too deep or no object, and a text that cannot be read, are told apart from a chunk."""
    assert decode_chunk(data) == NotAChunk()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab"),
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "a"}], "a"),
        ([{"type": "reasoning", "text": "hm"}], ""),
        ([{"type": "reasoning_summary", "text": "hm"}, {"type": "summary_text", "text": "hm"}], ""),
        ([{"type": "text", "text": "hm", "thought": True}, {"type": "output_text", "text": "a"}], "a"),
        (["a", {"text": {"value": "b"}}, None, 5], "ab"),
        ([{"type": "refusal", "refusal": "No."}], "No."),
        ({"type": "text", "text": "a"}, "a"),
        ([{"type": "image_url", "image_url": {"url": "x"}}], ""),
    ],
)
def test_content_in_parts(content: object, text: str) -> None:
    """Texts are joined, thoughts are no text; any part is a sign of life."""
    data = json.dumps({"choices": [{"delta": {"content": content}}]}).encode()

    assert decode_chunk(data) == Decoded((TextChunk(text),) if text else (), True)


@pytest.mark.parametrize(
    ("delta", "alive"),
    [
        ({"reasoning": "hm"}, True),
        ({"reasoning": {"text": "hm"}}, True),
        ({"reasoning_content": ["hm"]}, True),
        ({"reasoning_details": [{"type": "reasoning.encrypted", "data": "a"}]}, True),
        ({"thinking": "hm"}, True),
        ({"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}, True),
        ({"reasoning": None, "reasoning_details": [], "thinking": {}, "tool_calls": [None]}, False),
        ({"content": []}, False),
        ({"content": None, "refusal": 7, "audio": None}, False),
    ],
)
def test_signs_of_life(delta: dict[str, object], alive: bool) -> None:
    """Thoughts in any shape and tool calls are some; fields with nothing in them are none."""
    decoded = decode_chunk(json.dumps({"choices": [{"delta": {"role": "assistant", **delta}}]}).encode())

    assert isinstance(decoded, Decoded)
    assert (decoded.items, decoded.alive, decoded.acts) == ((), alive, alive and "tool_calls" in delta)


@pytest.mark.parametrize(
    "data",
    [
        b'{"choices":[{"index":0,"delta":{"content":"x"},"logprobs":{"content":[{"logprob":-Infinity}]}}]}',
        b'{"choices":[{"delta":{"content":"x","role":"\xff"}}],"created":1e999,"seed":' + b"9" * 5_000 + b"}",
        b'{"choices":[{"delta":{"content":"x","name":"a\tb"}}]}',
        b'{"choices":[{"delta":{"content":"x","name":"\\ud83d"}}]}',
        b'{"choices":[{"delta":{"content":"x"},"index":"0"}],"usage":"none"}',
        b'{"choices":[null,{"delta":{"content":"x"},"finish_reason":{"type":null}},[]],"usage":{"prompt_tokens":[]}}',
    ],
)
def test_what_the_standard_forbids(data: bytes) -> None:
    """It is read all the same where the text can be told."""
    assert decode_chunk(data) == Decoded((TextChunk("x"),), True)


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"a\tb", "a\tb"), (b"a\xffb", "a\ufffdb"), (b"\\ud83d", "\ud83d"), (b"\\ude00!", "\ude00!")],
)
def test_odd_text(content: bytes, text: str) -> None:
    """A raw tab is one, broken UTF-8 is U+FFFD, halves of surrogate pairs are left to whoever joins them."""
    assert decode_chunk(b'{"choices":[{"delta":{"content":"%b"}}]}' % content) == Decoded((TextChunk(text),), True)


@pytest.mark.parametrize(
    ("finish", "items"),
    [
        ('"end_turn"', (FinishChunk("end_turn"),)),
        ('{"type":"stop"}', (FinishChunk("stop"),)),
        ('{"type":null}', ()),
        ('"null"', ()),
        ("true", ()),
        ("[]", ()),
        ("0", ()),
    ],
)
def test_finish_reasons(finish: str, items: tuple[FinishChunk, ...]) -> None:
    """A word, wherever it stands; anything else is none."""
    assert decode_chunk(b'{"choices":[{"delta":{},"finish_reason":%b}]}' % finish.encode()) == Decoded(items, False)


@pytest.mark.parametrize(
    ("data", "items", "error"),
    [
        (b'{"error":{"code":429},"choices":[{"delta":{"content":"x"}}]}', (TextChunk("x"),), StatedError("429", 429)),
        (
            b'{"choices":[{"delta":{"content":"x"},"finish_reason":"error","error":{"code":504,"message":"m"}}]}',
            (TextChunk("x"), FinishChunk("error")),
            StatedError("504", 504),
        ),
        (
            b'{"choices":[{"delta":{},"finish_reason":"insufficient_system_resource"}]}',
            (FinishChunk("insufficient_system_resource"),),
            StatedError("insufficient_system_resource"),
        ),
        (
            b'{"object":"error","message":"maximum context length is 1024","type":"BadRequestError","code":400}',
            (),
            StatedError("BadRequestError", 400, concerns="context"),
        ),
        (b'{"type":"error","error":{"type":"overloaded_error"}}', (), StatedError("overloaded_error", 503)),
        (b'{"message":"slow down","status":429}', (), StatedError("429", 429)),
        (b'[{"error":{"code":429}}]', (), StatedError("429", 429)),
        (
            b'{"choices":[{"delta":{},"finish_reason":"error"}],"error":{"code":"server_error"}}',
            (FinishChunk("error"),),
            StatedError("server_error", 500),
        ),
        (b'{"error":"Model is overloaded","error_type":"overloaded"}', (), StatedError("overloaded", 503)),
        (b'{"code":"InternalError","message":"m","request_id":"7"}', (), StatedError("InternalError", 500)),
        (b'{"choices":null,"base_resp":{"status_code":1008,"status_msg":"m"}}', (), StatedError("")),
        (b'{"error_code":18,"error_msg":"request limit reached"}', (), StatedError("", concerns="pace")),
        (b'{"success":false,"errors":[{"code":7009,"message":"m"}],"result":null}', (), StatedError("7009")),
        (b'{"choices":[],"x_groq":{"error":"over capacity"}}', (), StatedError()),
    ],
)
def test_errors_beside_text(data: bytes, items: tuple[object, ...], error: StatedError) -> None:
    """Wherever the error stands, what the model has said comes out with it."""
    decoded = decode_chunk(data)

    assert isinstance(decoded, Decoded)
    assert (decoded.items, decoded.error) == (items, error)


@pytest.mark.parametrize(
    "error",
    [
        "{}",
        '""',
        "false",
        "null",
        "[]",
        "0",
        '{"message":"","code":null}',
        '{"code":0,"message":"success"}',
        '{"code":200}',
    ],
)
def test_errors_that_are_none(error: str) -> None:
    """They say nothing."""
    assert decode_chunk(b'{"choices":[],"error":%b}' % error.encode()) == Decoded((), False)


@pytest.mark.parametrize(
    "event",
    [
        b'{"code":0,"message":"Success"}',
        b'{"code":200,"message":"OK"}',
        b'{"code":"success","msg":"m"}',
        b'{"status":"processing","message":"in queue"}',
        b'{"type":"status","message":"warming up"}',
        b'{"choices":null,"base_resp":{"status_code":0,"status_msg":"success"}}',
    ],
)
def test_messages_that_are_no_errors(event: bytes) -> None:
    """An event without choices is one only if a code says so."""
    assert decode_chunk(event) == Decoded((), False)
