"""The room for an answer, for any context, input and wish."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from processors.providers.decisions.answer_room import (
    ANSWER_TOKENS_LEAST,
    MARGIN_TOKENS_MAX,
    answer_room,
    kept_for_answer,
)

__all__: list[str] = []

tokens = st.integers(1, 2_000_000)


@given(wanted=tokens, given_tokens=st.integers(0, 2_000_000), context=st.integers(256, 2_000_000))
def test_what_is_sent_fits_as_far_as_it_can(wanted: int, given_tokens: int, context: int) -> None:
    """Never more than was wanted, never beyond the context unless the prompt leaves less than the least answer."""
    room = answer_room(wanted, input_tokens=given_tokens, context_tokens=context)

    assert 1 <= room <= wanted
    assert given_tokens + room <= context or room <= ANSWER_TOKENS_LEAST


@given(wanted=tokens, given_tokens=st.integers(0, 2_000_000), context=st.integers(256, 2_000_000))
def test_a_large_context_changes_nothing(wanted: int, given_tokens: int, context: int) -> None:
    """Where all of it fits with something to spare, the wish is what is sent."""
    if given_tokens + wanted + MARGIN_TOKENS_MAX <= context:
        assert answer_room(wanted, input_tokens=given_tokens, context_tokens=context) == wanted


@given(wanted=tokens, context=st.integers(256, 2_000_000), is_named=st.booleans())
def test_conversation_and_answer_share_the_context(wanted: int, context: int, *, is_named: bool) -> None:
    """A default takes half of it at most; an answer whose length was asked for may take all."""
    kept = kept_for_answer(wanted, is_named=is_named, context_tokens=context)

    assert kept <= min(wanted, context)
    assert is_named or kept <= context / 2
