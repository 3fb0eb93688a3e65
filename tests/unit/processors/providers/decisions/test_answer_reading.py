"""What an answer's events come to, one after the other."""

from __future__ import annotations

import json

import pytest

from processors.providers.decisions.answer_reading import AnswerReading, SurrogateJoiner
from processors.providers.decisions.chat_chunks import Decoded, FinishChunk, ProviderChunk, TextChunk, read_chunk


def event(content: str | None = None, finish: str | None = None, **delta: object) -> dict[str, object]:
    said = delta | ({} if content is None else {"content": content})
    return {"choices": [{"index": 0, "delta": said, "finish_reason": finish}]}


def message(content: str) -> dict[str, object]:
    return {"choices": [{"message": {"content": content}}]}


def read(*events: dict[str, object]) -> tuple[AnswerReading, list[ProviderChunk]]:
    reading, items = AnswerReading(), []
    for value in events:
        decoded = read_chunk(value)
        assert isinstance(decoded, Decoded)
        items += reading.take(decoded)
    return reading, items + reading.rest()


def text_of(items: list[ProviderChunk]) -> str:
    return "".join(item.text for item in items if isinstance(item, TextChunk))


@pytest.mark.parametrize(
    ("texts", "joined"),
    [
        (["\ud83d", "\ude00"], "\U0001f600"),
        (["a\ud83d", "\ude00b"], "a\U0001f600b"),
        (["\ud83d", "a"], "\ufffda"),
        (["\ud83d", "\ud83d", "\ude00"], "\ufffd\U0001f600"),
        (["\ude00a"], "\ufffda"),
        (["a\ud83d"], "a\ufffd"),
        (["é", "\U0001f600"], "é\U0001f600"),
    ],
)
def test_halves_of_characters(texts: list[str], joined: str) -> None:
    """Two that belong together are one character, one alone is U+FFFD, and nothing else changes."""
    joiner = SurrogateJoiner()

    assert "".join(joiner.join(text) for text in texts) + joiner.rest() == joined


def test_halves_in_two_events() -> None:
    """The first is held back until the second comes."""
    _, items = read(json.loads(json.dumps(event("\ud83d"))), event("\ude00!", "stop"))

    assert items == [TextChunk("\U0001f600!"), FinishChunk("stop")]


def test_finish_reason_on_every_event() -> None:
    """Text after one is text; the answer is finished, and nobody can tell yet that it will not go on."""
    reading, items = read(event("a", "stop"), event("b", "stop"), event("c", "length"))

    assert text_of(items) == "abc"
    assert (reading.reason, reading.is_finished, reading.is_doubtful) == ("length", True, True)


def test_text_after_the_finish_reason() -> None:
    """It is text, and the answer is not finished until another reason or its proper end comes."""
    reading, items = read(event("a"), event(finish="stop"), event("b"))

    assert text_of(items) == "ab"
    assert (reading.reason, reading.is_finished, reading.is_doubtful) == ("stop", False, True)


def test_ordinary_end() -> None:
    """A reason of its own leaves no doubt, however often it is said."""
    reading, items = read(event("a"), event(finish="stop"), event(finish="stop"))

    assert items == [TextChunk("a"), FinishChunk("stop")]
    assert (reading.is_finished, reading.is_doubtful) == (True, False)


def test_second_reason_without_text() -> None:
    """What went wrong is not forgotten for a later word, nor hidden by an earlier one."""
    assert read(event("a"), event(finish="length"), event(finish="stop"))[0].reason == "length"
    assert read(event("a", "stop"), event(finish="length"))[0].reason == "length"


def test_whole_message() -> None:
    """After pieces it repeats them; alone it is the answer; piece after piece it is pieces."""
    assert text_of(read(event("a"), event("b"), message("ab"))[1]) == "ab"
    assert text_of(read(message("ab"))[1]) == "ab"
    assert text_of(read(message("a"), message("b"))[1]) == "ab"


def test_tool_call() -> None:
    """It is remembered."""
    assert read(event(tool_calls=[{"id": "1"}]), event(finish="stop"))[0].acts


@pytest.mark.parametrize(
    ("events", "wordless"),
    [
        ([event("", "stop")], True),
        ([event(reasoning="hm"), event(finish="eos")], True),
        ([event("a"), event(finish="stop")], False),
        ([event(tool_calls=[{"id": "1"}]), event(finish="stop")], False),
        ([event(refusal="No."), event(finish="stop")], False),
        ([event(finish="tool_calls")], False),
        ([event(finish="content_filter")], False),
        ([event(finish="length")], False),
        ([event("")], False),
    ],
)
def test_answer_without_a_word(events: list[dict[str, object]], wordless: bool) -> None:
    """Only one that is whole is; a tool call, a refusal and a filter are answers of their own."""
    assert read(*events)[0].is_wordless is wordless
