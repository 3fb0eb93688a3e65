"""A session's line under any prompts and any order of endings."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from processors.sessions.decisions.busy_session import LineTurn, may_start

__all__: list[str] = []

PROMPTS = st.lists(st.tuples(st.booleans(), st.integers(1, 4)), min_size=1, max_size=8)
"""Each runs beside others or not, and has so many turns."""


def line_of(prompts: list[tuple[bool, int]]) -> list[LineTurn]:
    return [LineTurn(f"p{number}", beside) for number, (beside, turns) in enumerate(prompts) for _ in range(turns)]


def started(line: list[LineTurn], prompts_max: int) -> list[LineTurn]:
    starting = may_start(line, prompts_max=prompts_max)
    return [replace(turn, claimed=turn.claimed or place in starting) for place, turn in enumerate(line)]


@given(PROMPTS, st.integers(1, 3), st.data())
def test_everybody_starts_and_within_the_limit(
    prompts: list[tuple[bool, int]], prompts_max: int, data: st.DataObject
) -> None:
    """Whoever ends when, the line empties; no limit is passed, and who waits for others never runs beside them."""
    line = line_of(prompts)
    while line:
        line = started(line, prompts_max)
        running = {turn.prompt_id for turn in line if turn.claimed}
        assert 1 <= len(running) <= prompts_max
        assert may_start(line, prompts_max=prompts_max) == ()
        for place, turn in enumerate(line):
            if turn.claimed and not turn.beside:
                assert {before.prompt_id for before in line[:place]} <= {turn.prompt_id}
            if turn.prompt_id in running and (turn.beside or turn.prompt_id == line[0].prompt_id):
                assert turn.claimed  # the turns of a prompt run side by side
        line.remove(data.draw(st.sampled_from([turn for turn in line if turn.claimed])))


@given(PROMPTS, st.integers(1, 3))
def test_claimed_turns_are_left_alone(prompts: list[tuple[bool, int]], prompts_max: int) -> None:
    """What starts was waiting, each once."""
    line = started(line_of(prompts), prompts_max)[1:]
    starting = may_start(line, prompts_max=prompts_max)

    assert len(set(starting)) == len(starting)
    assert not any(line[place].claimed for place in starting)
