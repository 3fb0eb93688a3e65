"""Any JSON value in any place off the path to the text, and the text that was there comes out.

Covers: processors.providers.decisions.json_values.
"""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from processors.attempts.decisions.pricing import cost_of
from processors.providers.decisions.answer_reading import AnswerReading
from processors.providers.decisions.chat_chunks import Decoded, NotAChunk, TextChunk, decode_chunk, read_chunk
from processors.providers.decisions.json_values import COUNT_MAX
from processors.providers.decisions.usage_reading import read_usage

values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
PLACES: tuple[tuple[str | int, ...], ...] = (
    *(
        (name,)
        for name in (
            "id",
            "object",
            "type",
            "created",
            "model",
            "usage",
            "error",
            "x_groq",
            "message",
            "code",
            "status",
        )
    ),
    *(("usage", name) for name in ("prompt_tokens", "completion_tokens", "total_tokens", "cost", "cached_tokens")),
    *(("usage", "prompt_tokens_details", name) for name in ("cached_tokens", "cache_write_tokens")),
    ("error", "code"),
    ("error", "message"),
    ("choices", 1),
    *(
        ("choices", 0, name)
        for name in ("finish_reason", "logprobs", "error", "usage", "message", "text", "native_finish_reason", "x")
    ),
    *(
        ("choices", 0, "delta", name)
        for name in ("role", "refusal", "reasoning", "reasoning_content", "reasoning_details", "tool_calls", "name")
    ),
)
"""`index` is not among them: text of another answer is none."""
INPUT_TOKENS_MAX = 3 * COUNT_MAX
NOT_INDICES = values.filter(lambda value: not isinstance(value, int | float | str))


def chunk(text: str) -> dict[str, Any]:
    return {
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}, {"index": 1}],
        "usage": {"prompt_tokens_details": {}},
        "error": {},
    }


def put(value: object, place: tuple[str | int, ...], holder: Any) -> None:
    for name in place[:-1]:
        holder = holder[name]
    holder[place[-1]] = value


def texts_in(decoded: object) -> str:
    assert isinstance(decoded, Decoded)
    return "".join(item.text for item in decoded.items if isinstance(item, TextChunk))


@given(text=st.text(min_size=1, max_size=10), place=st.sampled_from(PLACES), value=values)
@example(text="a", place=("choices", 0, "finish_reason"), value="error")
@example(text="a", place=("error",), value={"code": 500})
@example(text="a", place=("usage", "total_tokens"), value=float("-inf"))
def test_any_value_off_the_path(text: str, place: tuple[str | int, ...], value: object) -> None:
    """An error or a finish reason may fail the call, but neither loses text."""
    changed = copy.deepcopy(chunk(text))
    put(value, place, changed)

    assert texts_in(decode_chunk(json.dumps(changed).encode())) == text


@given(text=st.text(min_size=1, max_size=10), index=NOT_INDICES)
def test_index_that_is_none(text: str, index: object) -> None:
    """It is the only answer."""
    assert texts_in(read_chunk({"choices": [{"index": index, "delta": {"content": text}}]})) == text


@given(value=values)
def test_any_event(value: object) -> None:
    """Nothing that is JSON is more than no chunk."""
    decoded = decode_chunk(json.dumps(value).encode())

    assert isinstance(decoded, Decoded | NotAChunk)


@given(data=st.binary(max_size=60))
def test_any_bytes(data: bytes) -> None:
    """Nor are any bytes."""
    decode_chunk(b"{" + data)


@given(text=st.text(st.characters(), max_size=12), place=st.integers(0, 24))
def test_text_cut_between_its_utf_16_halves(text: str, place: int) -> None:
    """However an answer is cut, also within a character, it comes out as it was."""
    raw = text.encode("utf-16-le", "surrogatepass")
    whole = raw.decode("utf-16-le", "replace")
    pieces = [
        raw[: 2 * place].decode("utf-16-le", "surrogatepass"),
        raw[2 * place :].decode("utf-16-le", "surrogatepass"),
    ]
    reading, said = AnswerReading(), ""
    for piece in pieces:
        decoded = decode_chunk(json.dumps({"choices": [{"delta": {"content": piece}}]}).encode())
        assert isinstance(decoded, Decoded)
        said += "".join(item.text for item in reading.take(decoded) if isinstance(item, TextChunk))
    said += "".join(item.text for item in reading.rest() if isinstance(item, TextChunk))

    assert said == whole


@given(text=st.text(max_size=10), cut=st.integers(1, 40))
def test_json_cut_in_half(text: str, cut: int) -> None:
    """It is no chunk."""
    data = json.dumps({"choices": [{"delta": {"content": text}}]}).encode()

    assert decode_chunk(data[: max(1, len(data) - cut)]) == NotAChunk()


@given(
    usage=st.dictionaries(
        st.sampled_from(
            [
                *("prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "cached_tokens"),
                *("cache_read_input_tokens", "cache_creation_input_tokens", "reasoning_tokens", "cost"),
                *("prompt_tokens_details", "completion_tokens_details"),
            ]
        ),
        st.one_of(
            st.integers(0, 500),
            values,
            st.dictionaries(st.sampled_from(["cached_tokens", "reasoning_tokens"]), st.integers(0, 500)),
        ),
    )
)
def test_any_usage(usage: dict[str, object]) -> None:
    """The parts are never more than the whole, nothing is negative, and a cost can be told of it."""
    read = read_usage(usage)
    if read is None:
        return
    assert read.cached_tokens + read.cache_write_tokens <= read.input_tokens <= INPUT_TOKENS_MAX
    assert 0 <= read.reasoning_tokens <= read.output_tokens
    assert cost_of(read, "m", 1_795_000_000_000_000, price_ref="anthropic:claude-sonnet-4-5").cost_nano_usd >= 0
