"""An answer's text in bounded memory."""

from __future__ import annotations

import tracemalloc

from processors.attempts.decisions.answer_text import JOINED_CHUNKS, KEPT_TEXT_CHARS_MAX, AnswerText
from processors.sessions.decisions.token_count import count_tokens

__all__: list[str] = []

MEMORY_BYTES_MAX = 4_000_000


def test_text_is_whole_however_it_comes() -> None:
    """Chunks that were joined and those that were not are one text, counted as one."""
    answer, chunks = AnswerText(), [f"word{number} " for number in range(3 * JOINED_CHUNKS + 7)]
    for chunk in chunks:
        answer.add([chunk])

    assert answer.text == "".join(chunks)
    assert (answer.chunks, answer.chars) == (len(chunks), len("".join(chunks)))
    assert answer.tokens() == count_tokens("".join(chunks))


def test_text_that_is_let_go() -> None:
    """Beyond the bound nothing is kept, and tokens are counted in proportion."""
    answer, chunk = AnswerText(), "ten chars " * 100
    for _ in range(2 * KEPT_TEXT_CHARS_MAX // len(chunk)):
        answer.add([chunk])

    assert answer.text == ""
    assert answer.chars > KEPT_TEXT_CHARS_MAX
    assert abs(answer.tokens() / count_tokens(chunk * 1_000) * 1_000 / (answer.chars / len(chunk)) - 1) < 0.01


def test_endless_answer_of_tiny_chunks() -> None:
    """400,000 tokens, more text than is kept, take no more memory than a few of them."""
    answer = AnswerText()
    count_tokens("the encoding is loaded before anything is measured")
    tracemalloc.start()
    for number in range(400_000):
        answer.add([f"{number:04}"])
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert answer.chunks == 400_000
    assert answer.chars > KEPT_TEXT_CHARS_MAX
    assert most_bytes < MEMORY_BYTES_MAX
