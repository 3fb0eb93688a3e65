"""What holds for a learned limit, whatever a target does.

Covers: processors.targets.decisions.call_limit, processors.targets.decisions.pace_levels,
processors.targets.decisions.usual_first_token.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from processors.targets.decisions.call_limit import CallLimit, SeenCall
from processors.targets.decisions.pace_levels import PaceLevels
from processors.targets.decisions.usual_first_token import UsualFirstToken
from schemas.permits import CallOutcome

gaps_s = st.one_of(st.just(0.0), st.floats(0, 2), st.floats(0, 400))
outcomes: st.SearchStrategy[CallOutcome] = st.sampled_from(["ended", "overloaded", "timed_out"])
acts = st.one_of(
    st.tuples(st.just("begin"), gaps_s, st.booleans()),
    st.tuples(st.just("heard"), gaps_s, st.integers(0, 99), st.integers(0, 5_000)),
    st.tuples(st.just("end"), gaps_s, st.integers(0, 99), outcomes),
    st.tuples(st.just("returned"), gaps_s, st.integers(0, 99), outcomes),
)


@dataclass
class Story:
    """One target's limit, and what happened to it so far."""

    limit: CallLimit
    now_s: float = 1_000.0
    calls: list[tuple[SeenCall, float]] = field(default_factory=list)
    chunks: int = 0

    def happen(self, act: Any) -> None:
        self.now_s += act[1]
        match act:
            case ("begin", _, batch):
                self.calls.append((self.limit.begin(self.now_s, batch=batch), self.now_s))
            case ("heard", _, number, tokens) if self.calls:
                call, sent_s = self.calls[number % len(self.calls)]
                self.chunks += number
                self.limit.heard(call, self.now_s, sent_s=sent_s, chunks=self.chunks, input_tokens=tokens)
            case ("end", _, number, outcome) if self.calls:
                call, _ = self.calls.pop(number % len(self.calls))
                self.limit.end(call, self.now_s, outcome, chunks=self.chunks)
            case ("returned", _, number, outcome) if self.calls:
                call, _ = self.calls.pop(number % len(self.calls))
                first_s = (self.now_s - call.began_s) / 2 if outcome == "ended" else None
                self.limit.returned(call, self.now_s, outcome, first_token_s=first_s, input_tokens=number)


@given(st.one_of(st.none(), st.integers(1, 8)), st.booleans(), st.lists(acts, max_size=80))
def test_any_story(start: int | None, has_neighbours: bool, story: list[Any]) -> None:
    """Never below 1, never more than doubled at once, no call lost count of; a batch is never given more places than
    an interactive prompt, and never none."""
    limit = CallLimit(start)
    limit.has_neighbours = has_neighbours
    told = Story(limit)
    for act in story:
        before = limit.limit
        told.happen(act)

        assert limit.running == len(told.calls)
        assert set(limit.silent) <= {call for call, _ in told.calls}
        assert limit.limit is None or limit.limit >= 1
        if before is not None and limit.limit not in (None, start):
            assert limit.limit <= 2 * before
        places, batch_places = limit.places(told.now_s), limit.places(told.now_s, batch=True)
        assert (places is None) == (batch_places is None)
        assert batch_places is None or places is None or 1 <= batch_places <= places
    while told.calls:
        told.happen(("end", 0.1, 0, "ended"))
    assert limit.running == 0
    assert not limit.silent


@given(st.lists(st.tuples(st.floats(1, 300), st.floats(0.0001, 10)), min_size=1, max_size=60))
def test_enough_is_no_more_than_there_were(measured: list[tuple[float, float]]) -> None:
    """And at least one."""
    pace = PaceLevels()
    for number, (calls, chunk_s) in enumerate(measured):
        enough = pace.enough(calls, chunk_s, float(number), fresh_s=600)
        assert enough is None or 1 <= enough <= 301


@given(st.integers(1, 64), st.integers(2, 128))
def test_server_that_shares_evenly(hidden: int, calls: int) -> None:
    """Seen at one and at many, it is asked for its own number where many were no use."""
    pace = PaceLevels()
    pace.enough(1, 0.02, 0.0, fresh_s=600)
    enough = pace.enough(calls, 0.02 * max(1.0, calls / hidden), 1.0, fresh_s=600)
    assert enough is None or abs(enough - hidden) <= 1
    if calls <= hidden:
        assert enough is None


@given(st.lists(st.tuples(st.integers(0, 200_000), st.floats(0.001, 100)), max_size=40), st.integers(0, 200_000))
def test_usual_first_token(samples: list[tuple[int, float]], asked: int) -> None:
    """Of a size that was seen: one of its samples. Of another: never less than the nearest smaller one's."""
    usual = UsualFirstToken()
    for size, first_token_s in samples:
        usual.add(size, first_token_s)
        assert usual.of(size) is not None

    known = usual.of(asked)
    assert (known is None) == (not samples)
    if known is not None:
        assert known >= min(first_token_s for _, first_token_s in samples)
