"""What becomes of a prompt."""

from __future__ import annotations

import pytest

from processors.sessions.decisions.admission import (
    CANCEL_REMEMBERED_S,
    Admission,
    Admit,
    EndAtOnce,
    IdReused,
    Repetition,
    body_hash_of,
    decide_admission,
)
from schemas.journal import ENDED_KEPT_S, JournalEntry, TurnPhase
from schemas.prompts import ChatMessage, PromptSubmitted

__all__: list[str] = []

NOW_US = 1_750_000_000_000_000
SECOND_US = 1_000_000
PROMPT = PromptSubmitted(user="u", session="s", prompt_id="p", input="Why?", submitted_at_us=5)
HASH = body_hash_of(PROMPT)


def entry_of(phase: TurnPhase, *, body_hash: str = HASH, age_s: float = 0) -> JournalEntry:
    updated_at_us = NOW_US - round(age_s * SECOND_US)
    return JournalEntry(
        turn="t", user="u", session="s", prompt_id="p", phase=phase, body_hash=body_hash, updated_at_us=updated_at_us
    )


def decided(known: JournalEntry | None, *, age_s: float = 0, waiting: int = 0, waiting_max: int = 2) -> Admission:
    accepted_at_us = NOW_US - round(age_s * SECOND_US)
    return decide_admission(
        known, HASH, accepted_at_us=accepted_at_us, now_us=NOW_US, waiting=waiting, waiting_max=waiting_max
    )


def reason_of(decision: Admission) -> tuple[str, str, bool]:
    assert isinstance(decision, EndAtOnce)
    assert decision.message
    return decision.reason, decision.code, decision.temporary


def test_new_prompt() -> None:
    """It is admitted."""
    assert decided(None) == Admit()


@pytest.mark.parametrize("phase", ["queued", "running", "ended"])
def test_prompt_seen_before(phase: TurnPhase) -> None:
    """The same words change nothing, however old; other words are refused."""
    assert decided(entry_of(phase), age_s=2 * ENDED_KEPT_S) == Repetition()
    assert decided(entry_of(phase, body_hash="other")) == IdReused()


def test_prompt_cancelled_before_it_came() -> None:
    """It ends at once while the cancel is remembered, and is a new prompt afterwards."""
    assert reason_of(decided(entry_of("cancelled_early", age_s=CANCEL_REMEMBERED_S))) == (
        "cancelled",
        "cancelled",
        False,
    )
    assert decided(entry_of("cancelled_early", age_s=CANCEL_REMEMBERED_S + 1)) == Admit()


def test_prompt_older_than_the_memory_of_ended_turns() -> None:
    """It can't be told from a repetition, so it ends expired."""
    assert decided(None, age_s=ENDED_KEPT_S) == Admit()
    assert reason_of(decided(None, age_s=ENDED_KEPT_S + 1)) == ("expired", "expired", False)


@pytest.mark.parametrize(("waiting_max", "admitted"), [(0, 0), (2, 2)])
def test_line_of_a_session(waiting_max: int, admitted: int) -> None:
    """One turn runs, as many as allowed wait; one more is rejected for now."""
    assert decided(None, waiting=admitted, waiting_max=waiting_max) == Admit()
    assert reason_of(decided(None, waiting=admitted + 1, waiting_max=waiting_max)) == ("rejected", "queue_full", True)


def test_body_hash() -> None:
    """It tells what is asked, not when it was sent."""
    later = PromptSubmitted(user="u", session="s", prompt_id="p", input="Why?", submitted_at_us=9)
    other = PromptSubmitted(user="u", session="s", prompt_id="p", messages=(ChatMessage("user", "Why?"),))

    assert body_hash_of(later) == HASH
    assert body_hash_of(other) != HASH
