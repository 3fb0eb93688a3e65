"""Counting tokens without a provider."""

from __future__ import annotations

from processors.sessions.decisions.token_count import COUNTED_CHARS_MAX, count_tokens, estimated_usage, load_encoding
from schemas.prompts import ChatMessage


def test_known_counts() -> None:
    """The encodings are OpenAI's own."""
    load_encoding()

    assert count_tokens("") == 0
    assert count_tokens("hello world") == 2
    assert count_tokens("hello world", "gpt-4") == 2
    assert count_tokens("<|endoftext|>") > 1  # text of a user is never a special token


def test_long_text() -> None:
    """Beyond the limit the count is taken in proportion."""
    text = "hello world " * COUNTED_CHARS_MAX

    assert abs(count_tokens(text) / (2 * COUNTED_CHARS_MAX) - 1) < 0.01


def test_usage_of_a_cut_answer() -> None:
    """All messages and the text so far are counted, and the result says that it is an estimate."""
    usage = estimated_usage([ChatMessage("system", "hello"), ChatMessage("user", "hello world")], "hello")

    assert (usage.input_tokens, usage.output_tokens) == (3 + 4 + 1 + 4 + 2, 1)
    assert usage.estimated
