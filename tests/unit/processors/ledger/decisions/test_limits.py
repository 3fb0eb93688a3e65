"""Which limit is met, and how it is told.

Covers: schemas.refusals.
"""

from __future__ import annotations

from processors.ledger.decisions.limits import BLOCKED, REMEDIES, UNPRICED, WORDS, Measure, hardest, judge, sentence_of
from schemas.tiers import LimitName

__all__: list[str] = []


def test_refusal_for_people() -> None:
    """How much is allowed, taken and needed, when it fits, and what to do."""
    judged = judge(Measure("requests_per_minute", 10, 10, 0, 1), lambda *_: 12_340_000, 10_000_000)

    assert sentence_of(judged.refusal) == (
        "10 requests a minute are allowed, 10 are taken, this needs 1; it fits in 2.34 s; send prompts less often."
    )
    lasting = judge(Measure("tokens_per_turn", 1_000, 0, 0, 2_000), lambda *_: None, 0)
    assert sentence_of(lasting.refusal) == (
        "1,000 tokens a prompt and its answer are allowed, 0 are taken, this needs 2,000; "
        "send a shorter prompt, or ask for a shorter answer with max_tokens."
    )
    assert sentence_of(BLOCKED) == "You may send no prompts now; ask your operator."
    assert sentence_of(UNPRICED).startswith("Nobody knows what this model costs; ask for a model that has a price")


def test_moment_is_never_told_too_early() -> None:
    """Whole milliseconds, rounded up."""
    judged = judge(Measure("tokens_per_day", 10, 10, 0, 1), lambda *_: 1_001, 0)

    assert judged.refusal.retry_after_s == 0.002


def test_waiting_is_no_remedy_for_what_is_in_flight() -> None:
    """Nor where time would free enough if only it were not for what is in flight."""
    for measure in (Measure("tokens_per_day", 10, 2, 8, 5), Measure("tokens_per_day", 10, 9, 8, 5)):
        refusal = judge(measure, lambda *_: 5, 0).refusal
        assert (refusal.limit_source, refusal.temporary, refusal.retry_after_s) == ("in_flight", True, None)


def test_every_limit_has_its_words() -> None:
    """Each that can be met has a remedy and a name."""
    assert set(REMEDIES) == set(WORDS)


def test_closed_for_as_long_as_nothing_that_ends_can_help() -> None:
    """Shorter than the wait beside what is in flight; not at all where what runs may turn out to have used less."""

    def frees_us(_: LimitName, most: int) -> int:
        return (100 - most) * 1_000_000

    measure = Measure("tokens_per_day", 100, 90, 20, 40)
    judged = judge(measure, frees_us, 0)

    assert (judged.refusal.retry_after_s, judged.refusal.closed_for_s) == (60.0, 40.0)
    assert judge(measure, frees_us, 0, unsure=10).refusal.closed_for_s == 30.0
    assert judge(measure, frees_us, 0, unsure=50).refusal.closed_for_s == 0.0
    in_flight = judge(Measure("requests_per_minute", 100, 90, 80, 40), frees_us, 0)
    assert (in_flight.refusal.retry_after_s, in_flight.refusal.closed_for_s) == (None, 40.0)
    assert hardest([judged, in_flight]).limit_source == "in_flight"
    assert hardest([judge(measure, frees_us, 30_000_000), in_flight]).closed_for_s == 40.0
