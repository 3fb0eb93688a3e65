"""Where the time to first text goes, by what the client saw and what analytics kept.

Covers: tokenwire.benchmark.observed_answer.
"""

from __future__ import annotations

import pytest

from tokenwire.benchmark.hop_times import HOPS, HopRow, hops_of
from tokenwire.benchmark.observed_answer import ObservedAnswer

__all__: list[str] = []

SENT_US = 1_000_000


def seen(turn: str, fault: str = "") -> ObservedAnswer:
    """Its first text came 30 ms after it was asked for, two chunks at once, and the last one 5 ms later."""
    answer = ObservedAnswer(sent_s=7.0, sent_at_us=SENT_US, turn=turn, fault=fault)
    answer.arrived("It is ", 2, 7.030)
    answer.arrived("blue.", 1, 7.035)
    return answer


def row(turn: str, first_chunk_at_us: int = SENT_US + 25_000) -> HopRow:
    return HopRow(turn, SENT_US + 4_000, SENT_US + 5_000, first_chunk_at_us, SENT_US + 28_000)


def test_answer_as_it_arrived() -> None:
    """Text, time to first text, and the gaps; chunks that came together have none between them."""
    answer = seen("t")

    assert answer.text == "It is blue."
    assert answer.ttft_ms == pytest.approx(30.0)
    assert answer.gaps_ms == pytest.approx([0.0, 5.0])
    assert answer.first_at_us == SENT_US + 30_000


def test_answer_that_never_came() -> None:
    """No text has no time."""
    assert ObservedAnswer().ttft_ms == float("inf")
    assert ObservedAnswer().gaps_ms == []


def test_hops_add_up_to_the_time_to_first_text() -> None:
    """The first four do; the last runs beside the fourth."""
    hops = hops_of([seen("t")], {"t": row("t")})

    assert list(hops) == list(HOPS)
    assert [spread.p50 for spread in hops.values()] == pytest.approx([4.0, 1.0, 20.0, 5.0, 3.0])


def test_answers_that_say_nothing_of_hops() -> None:
    """Without a row, with a fault, or without a first chunk: left out, not counted as nought."""
    answers = [seen("no row"), seen("wrong", fault="wrong text"), seen("no chunk")]

    assert hops_of(answers, {"wrong": row("wrong"), "no chunk": row("no chunk", first_chunk_at_us=0)}) == {}
