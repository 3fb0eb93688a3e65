"""No failure is ever called complete."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from processors.providers.decisions.finish_reasons import MEANINGS, meaning_of
from processors.sessions.decisions.turn_ending import COMPLETE, ending_of_failure, ending_of_finish
from schemas.session_events import TurnError

__all__: list[str] = []


@given(st.none() | st.text(max_size=20) | st.sampled_from(sorted(MEANINGS)), st.integers(0, 1_000))
def test_only_a_finished_answer_is_complete(finish_reason: str | None, chunks: int) -> None:
    """Complete and free of errors are the same thing, and both need the model's own word."""
    ending = ending_of_finish(finish_reason)

    is_whole = finish_reason is not None and meaning_of(finish_reason) in COMPLETE
    assert (ending.reason == "complete") == is_whole == (ending.error is None)
    assert ending_of_failure(TurnError(code="x", message="y"), chunks=chunks).reason in ("error", "incomplete")
