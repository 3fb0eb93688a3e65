"""How a call's outcome becomes the end of a turn."""

from __future__ import annotations

import pytest

from processors.sessions.decisions.turn_ending import Ending, ending_of_failure, ending_of_finish, ending_of_stop
from schemas.journal import StopKind
from schemas.session_events import TurnError

__all__: list[str] = []


@pytest.mark.parametrize("finish_reason", ["stop", "tool_calls", "function_call", "STOP", "eos_token"])
def test_model_said_that_it_is_done(finish_reason: str) -> None:
    """The turn is complete, without an error."""
    assert ending_of_finish(finish_reason) == Ending("complete")


@pytest.mark.parametrize(
    ("finish_reason", "code"),
    [
        (None, "provider_cut"),
        ("length", "max_output_tokens"),
        ("MAX_TOKENS", "max_output_tokens"),
        ("model_length", "context_full"),
        ("content_filter", "content_filter"),
        ("SAFETY", "content_filter"),
        ("pause_turn", "paused"),
        ("sleepy", "sleepy"),
        ("\n\x1b[2J" * 20, "2J" * 12 + "2"),
        ("", "unknown"),
    ],
)
def test_answer_was_cut_short(finish_reason: str | None, code: str) -> None:
    """The turn is incomplete and says why."""
    ending = ending_of_finish(finish_reason)

    assert ending.reason == "incomplete"
    assert ending.error is not None
    assert ending.error.code == code
    assert ending.error.message


@pytest.mark.parametrize(("finish_reason", "shown"), [("SAFETY", "SAFETY"), ("\x1b[1m", "1m"), ("…", "did not say")])
def test_provider_s_own_word(finish_reason: str, shown: str) -> None:
    """It is told as far as it is fit to be."""
    ending = ending_of_finish(finish_reason)

    assert ending.error is not None
    assert shown in ending.error.message
    assert ending.error.message.isprintable()


def test_failed_call() -> None:
    """Before the first chunk it is an error, after it an incomplete answer; the cause is shown either way."""
    error = TurnError(code="provider_failed", message="It failed.")

    assert ending_of_failure(error, chunks=0) == Ending("error", error)
    assert ending_of_failure(TurnError(code="empty", message="."), chunks=0).reason == "incomplete"
    assert ending_of_failure(error, chunks=1) == Ending("incomplete", error)


@pytest.mark.parametrize(
    ("stop", "reason", "code", "forgotten"),
    [
        ("cancelled", "cancelled", "cancelled", False),
        ("superseded", "superseded", "superseded", False),
        ("rolled_back", "superseded", "superseded", True),
        ("left", "cancelled", "left", False),
        ("lost_comparison", "cancelled", "lost_comparison", False),
    ],
)
def test_stopped_turn(stop: StopKind, reason: str, code: str, *, forgotten: bool) -> None:
    """It says why, and whether it belongs to the conversation."""
    ending = ending_of_stop(stop)

    assert ending.error is not None
    assert (ending.reason, ending.error.code, ending.forgotten) == (reason, code, forgotten)
