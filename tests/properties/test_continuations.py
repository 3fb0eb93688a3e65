"""Going on from a text, whatever was said and whoever is asked."""

from __future__ import annotations

from hypothesis import event as note
from hypothesis import given
from hypothesis import strategies as st

from processors.sessions.decisions.continuation import (
    ANSWER_TOKENS_MIN,
    PREFIX_CHARS_MAX,
    GoOn,
    TextSoFar,
    decide_start,
)

__all__: list[str] = []

texts = st.builds(
    TextSoFar,
    text=st.one_of(st.text(max_size=20), st.just("x" * (PREFIX_CHARS_MAX + 1))),
    chunks=st.integers(0, 1_000),
    tokens=st.integers(0, 5_000),
    babbled=st.booleans(),
)


@given(texts, st.booleans(), st.integers(1, 4_000))
def test_what_goes_on_is_sound_and_has_room(said: TextSoFar, able: bool, answer_tokens: int) -> None:  # drawn by name
    """It begins at the number of chunks said, may say something, and never more than the whole answer might."""
    decision = decide_start(said, able=able, answer_tokens=answer_tokens)

    note(type(decision).__name__)
    if isinstance(decision, GoOn):
        assert able
        assert not said.babbled
        assert decision.from_seq == said.chunks > 0
        assert 0 < len(said.text) <= PREFIX_CHARS_MAX
        assert ANSWER_TOKENS_MIN <= decision.answer_tokens <= max(answer_tokens, ANSWER_TOKENS_MIN)
    elif able and said.text and said.chunks and not said.babbled:
        assert len(said.text) > PREFIX_CHARS_MAX
