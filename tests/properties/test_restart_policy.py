"""The restart decision over any history of exits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from infra.embedded.decisions.restart_policy import ChildExit, RestartAt, RestartPolicy, decide_restart

POLICY = RestartPolicy()

runs = st.tuples(st.floats(0, 1e6), st.floats(0, 100), st.booleans())
histories = st.lists(runs, min_size=1, max_size=80).map(
    lambda values: [ChildExit(start_s, start_s + length_s, was_ready) for start_s, length_s, was_ready in values]
)


@given(histories)
def test_any_history(exits: list[ChildExit]) -> None:
    """A restart is never before the first pause nor after the longest, and a healthy last run is never given up."""
    decision = decide_restart(POLICY, exits)
    last = exits[-1]

    if isinstance(decision, RestartAt):
        pause_s = decision.at_s - last.ended_s
        assert POLICY.pause_first_s - 1e-6 <= pause_s <= POLICY.pause_max_s + 1e-6
    else:
        assert last.ended_s - last.started_s < POLICY.healthy_s


@given(histories, st.floats(0, 1e6))
def test_healthy_run_at_the_end(exits: list[ChildExit], start_s: float) -> None:
    """Whatever came before, the next start comes after the first pause."""
    healthy = ChildExit(start_s, start_s + POLICY.healthy_s * 2, True)

    assert decide_restart(POLICY, [*exits, healthy]) == RestartAt(healthy.ended_s + POLICY.pause_first_s)
