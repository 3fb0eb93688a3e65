"""Admission under anything the journal may hold."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from processors.sessions.decisions.admission import Admit, EndAtOnce, IdReused, Repetition, decide_admission
from schemas.journal import ENDED_KEPT_S, JournalEntry

__all__: list[str] = []

NOW_US = 1_750_000_000_000_000
DAY_US = ENDED_KEPT_S * 1_000_000

ENTRIES = st.none() | st.builds(
    JournalEntry,
    turn=st.just("t"),
    user=st.just("u"),
    session=st.just("s"),
    prompt_id=st.just("p"),
    phase=st.sampled_from(["cancelled_early", "queued", "running", "ended"]),
    body_hash=st.sampled_from(["", "same", "other"]),
    updated_at_us=st.integers(NOW_US - 2 * DAY_US, NOW_US),
)


@given(ENTRIES, st.integers(NOW_US - 2 * DAY_US, NOW_US), st.integers(0, 9), st.integers(0, 5))
def test_one_paid_call_per_prompt(
    known: JournalEntry | None, accepted_at_us: int, waiting: int, waiting_max: int
) -> None:
    """A turn that was ever taken in is never admitted again; an admitted one is young and has room."""
    decision = decide_admission(
        known, "same", accepted_at_us=accepted_at_us, now_us=NOW_US, waiting=waiting, waiting_max=waiting_max
    )

    if known is not None and known.phase != "cancelled_early":
        assert decision == (Repetition() if known.body_hash == "same" else IdReused())
    else:
        assert isinstance(decision, Admit | EndAtOnce)
    if isinstance(decision, Admit):
        assert waiting <= waiting_max
        assert NOW_US - accepted_at_us <= DAY_US
