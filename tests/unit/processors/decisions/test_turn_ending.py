"""How a call's outcome becomes the end of a turn."""

from __future__ import annotations

import pytest

from processors.decisions.turn_ending import CANCELLED, Ending, ending_of_failure, ending_of_finish
from schemas.session_events import TurnError

__all__: list[str] = []


@pytest.mark.parametrize("finish_reason", ["stop", "tool_calls", "function_call"])
def test_model_said_that_it_is_done(finish_reason: str) -> None:
    """The turn is complete, without an error."""
    assert ending_of_finish(finish_reason) == Ending("complete")


@pytest.mark.parametrize(
    ("finish_reason", "code"),
    [(None, "provider_cut"), ("length", "max_output_tokens"), ("content_filter", "content_filter"), ("", "")],
)
def test_answer_was_cut_short(finish_reason: str | None, code: str) -> None:
    """The turn is incomplete and says why."""
    ending = ending_of_finish(finish_reason)

    assert ending.reason == "incomplete"
    assert ending.error is not None
    assert ending.error.code == code
    assert ending.error.message


def test_failed_call() -> None:
    """Before the first chunk it is an error, after it an incomplete answer; the cause is shown either way."""
    error = TurnError(code="provider_failed", message="It failed.")

    assert ending_of_failure(error, chunks=0) == Ending("error", error)
    assert ending_of_failure(error, chunks=1) == Ending("incomplete", error)


def test_cancelled_turn() -> None:
    """It says so."""
    assert CANCELLED.reason == "cancelled"
