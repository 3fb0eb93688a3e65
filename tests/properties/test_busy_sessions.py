"""A session's lane under any prompts and any order of endings."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from processors.sessions.decisions.busy_session import LaneTurn, may_start

__all__: list[str] = []

PROMPTS = st.lists(st.tuples(st.booleans(), st.integers(1, 4)), min_size=1, max_size=8)
"""Each runs beside others or not, and has so many turns."""


def lane_of(prompts: list[tuple[bool, int]]) -> list[LaneTurn]:
    return [LaneTurn(f"p{number}", beside) for number, (beside, turns) in enumerate(prompts) for _ in range(turns)]


def started(lane: list[LaneTurn], prompts_max: int) -> list[LaneTurn]:
    starting = may_start(lane, prompts_max=prompts_max)
    return [replace(turn, claimed=turn.claimed or place in starting) for place, turn in enumerate(lane)]


@given(PROMPTS, st.integers(1, 3), st.data())
def test_everybody_starts_and_within_the_limit(
    prompts: list[tuple[bool, int]], prompts_max: int, data: st.DataObject
) -> None:
    """Whoever ends when, the lane empties; no limit is passed, and who waits for others never runs beside them."""
    lane = lane_of(prompts)
    while lane:
        lane = started(lane, prompts_max)
        running = {turn.prompt_id for turn in lane if turn.claimed}
        assert 1 <= len(running) <= prompts_max
        assert may_start(lane, prompts_max=prompts_max) == ()
        for place, turn in enumerate(lane):
            if turn.claimed and not turn.beside:
                assert {before.prompt_id for before in lane[:place]} <= {turn.prompt_id}
            if turn.prompt_id in running and (turn.beside or turn.prompt_id == lane[0].prompt_id):
                assert turn.claimed  # the turns of a prompt run side by side
        lane.remove(data.draw(st.sampled_from([turn for turn in lane if turn.claimed])))


@given(PROMPTS, st.integers(1, 3))
def test_claimed_turns_are_left_alone(prompts: list[tuple[bool, int]], prompts_max: int) -> None:
    """What starts was waiting, each once."""
    lane = started(lane_of(prompts), prompts_max)[1:]
    starting = may_start(lane, prompts_max=prompts_max)

    assert len(set(starting)) == len(starting)
    assert not any(lane[place].claimed for place in starting)
