"""What of a dead letter can be sent again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.dead_letters.decisions.dead_letter_retry import NotRetriable, retried_id, retried_prompt
from schemas.codec import encode
from schemas.dead_letters import DeadLetter
from schemas.identifiers import check_prompt_id
from schemas.prompts import PromptCancelled, PromptSubmitted

PROMPT = PromptSubmitted(user="u", session="s", prompt_id="p", input="Hi", model="m", submitted_at_us=5)


def letter_of(value: bytes | None, value_bytes: int | None = None) -> DeadLetter:
    size = len(value or b"") if value_bytes is None else value_bytes
    return DeadLetter(
        reason="crashed", message="…", topic="t", partition=0, offset=3, value=value, value_bytes=size, user="u"
    )


def test_retry_is_the_same_prompt_under_a_new_id() -> None:
    """The old id is answered already, with an error; the time of sending is a new one."""
    again = retried_prompt(letter_of(encode(PROMPT)))

    assert again == PromptSubmitted(user="u", session="s", prompt_id="p.retry-1", input="Hi", model="m")


def test_same_letter_names_the_same_retry_and_a_failed_retry_the_next() -> None:
    """So nobody pays twice without having asked for it."""
    assert retried_prompt(letter_of(encode(PROMPT))) == retried_prompt(letter_of(encode(PROMPT)))
    assert retried_id("p.retry-1") == "p.retry-2"
    assert retried_id("p.retry-1", 7) == retried_id("p", 7) == "p.retry-7"
    assert retried_id(".retry-x") == ".retry-x.retry-1"


@pytest.mark.parametrize(
    ("letter", "words"),
    [
        (letter_of(None), "no value"),
        (letter_of(encode(PROMPT), 900_000), "900000 bytes were cut"),
        (letter_of(b"{"), "not valid JSON"),
        (letter_of(encode(PromptCancelled(user="u", session="s", prompt_id="p"))), "prompt.cancelled"),
    ],
)
def test_what_cannot_be_sent_again_says_why(letter: DeadLetter, words: str) -> None:
    """Without quoting a byte of it."""
    with pytest.raises(NotRetriable, match=words):
        retried_prompt(letter)


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}", fullmatch=True), st.integers(1, 999_999))
def test_any_id_has_a_retry_that_is_an_id(prompt_id: str, number: int) -> None:
    """However long it is; different originals stay different."""
    retried = check_prompt_id(retried_id(prompt_id, number))

    assert retried.endswith(f".retry-{number}")
    assert retried != retried_id(prompt_id + "x", number)
