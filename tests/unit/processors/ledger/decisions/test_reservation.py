from __future__ import annotations

from processors.ledger.decisions.reservation import (
    FLOOR_TOKENS,
    SAMPLES_KEPT_MAX,
    SAMPLES_MIN,
    SLICE_TOKENS,
    AnswerLengths,
    answer_tokens_max,
    grown,
    warnings_due,
)
from schemas.ledger import Amount

__all__: list[str] = []


def lengths_of(*tokens: int) -> AnswerLengths:
    lengths = AnswerLengths()
    for each in tokens:
        lengths.add(each)
    return lengths


def test_until_something_is_known_the_input_says_how_much() -> None:
    """Three times the input, no less than the floor, no more than was asked for."""
    lengths = lengths_of(*[5] * (SAMPLES_MIN - 1))

    assert lengths.expected(10, None) == FLOOR_TOKENS
    assert lengths.expected(1_000, None) == 3_000
    assert lengths.expected(1_000, 40) == 40


def test_later_what_answers_take() -> None:
    """The ninetieth percentile: a tenth of the answers is longer."""
    lengths = lengths_of(*range(1, 101))

    assert lengths.expected(10_000, None) == 91
    assert lengths.expected(10, 32_000) == 91
    assert lengths_of(*[0] * 20).expected(1, None) == 1


def test_only_the_newest_answers_count() -> None:
    """A model that has become terse is terse."""
    lengths = lengths_of(*[5_000] * SAMPLES_KEPT_MAX, *[10] * SAMPLES_KEPT_MAX)

    assert lengths.expected(1_000, None) == 10
    assert len(lengths.ascending) == SAMPLES_KEPT_MAX


def test_slice_more_before_it_is_needed() -> None:
    """Half a slice ahead, priced, and never beyond what the answer may have."""
    held = Amount(100, 512, 612)

    assert grown(held, 512 - SLICE_TOKENS // 2, output_nano_usd=1, most_tokens=None) is None
    assert grown(held, 500, output_nano_usd=2, most_tokens=None) == Amount(100, 768, 612 + 512)
    assert grown(held, 500, output_nano_usd=2, most_tokens=520) == Amount(100, 520, 612 + 16)
    assert grown(held, 510, output_nano_usd=2, most_tokens=512) is None
    assert grown(held, 600, output_nano_usd=0, most_tokens=None) == Amount(100, 856, 612)


def test_provider_is_asked_for_what_the_user_has() -> None:
    """The lesser of what the prompt asks for and what is left."""
    assert answer_tokens_max(512, 100, 32_000) == 612
    assert answer_tokens_max(512, 100, 50) == 50
    assert answer_tokens_max(512, None, 50) == 50
    assert answer_tokens_max(512, None, None) is None


def test_each_warning_is_due_once() -> None:
    """At 80 and at 95 percent; one that was leapt over is not told late."""
    assert warnings_due(79, 100, 0) == 0
    assert warnings_due(80, 100, 0) == 80
    assert warnings_due(85, 100, 80) == 0
    assert warnings_due(99, 100, 0) == 95
    assert warnings_due(99, 100, 95) == 0
