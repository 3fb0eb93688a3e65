"""The restart decision over any history of exits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from infra.embedded.decisions.restart_policy import ChildExit, RestartAt, RestartPolicy, decide_restart

POLICY = RestartPolicy()

runs = st.builds(
    lambda start_s, length_s, was_ready, taken_port: ChildExit(
        start_s, start_s + length_s, was_ready and taken_port is None, taken_port
    ),
    st.floats(0, 1e6),
    st.floats(0, 100),
    st.booleans(),
    st.none() | st.integers(20_000, 29_999),
)
histories = st.lists(runs, min_size=1, max_size=80)


@given(histories)
def test_any_history(exits: list[ChildExit]) -> None:
    """A restart is never before the first pause nor after the longest, and a healthy last run is never given up."""
    decision = decide_restart(POLICY, exits)
    last = exits[-1]

    if isinstance(decision, RestartAt):
        pause_s = decision.at_s - last.ended_s
        assert POLICY.pause_first_s - 1e-6 <= pause_s <= POLICY.pause_max_s + 1e-6
    elif last.taken_port is None:
        assert last.ended_s - last.started_s < POLICY.healthy_s
    else:
        assert last.ended_s - min(run.started_s for run in exits if run.taken_port) >= POLICY.port_wait_s


@given(histories, st.floats(0, 1e6))
def test_healthy_run_at_the_end(exits: list[ChildExit], start_s: float) -> None:
    """Whatever came before, the next start comes after the first pause."""
    healthy = ChildExit(start_s, start_s + POLICY.healthy_s * 2, True)

    assert decide_restart(POLICY, [*exits, healthy]) == RestartAt(healthy.ended_s + POLICY.pause_first_s)


@given(histories, st.integers(1, 20))
def test_runs_without_a_port_are_no_failures(exits: list[ChildExit], waits: int) -> None:
    """However many lie between, the runs that did have their ports are judged as if there were none."""
    proper = [run for run in exits if run.taken_port is None] or [ChildExit(0.0, 1.0, False)]
    without = ChildExit(0.0, 1.0, False, 20_000)

    assert decide_restart(POLICY, [*[without] * waits, *proper]) == decide_restart(POLICY, proper)
    assert decide_restart(POLICY, [*proper[:-1], *[without] * waits, proper[-1]]) == decide_restart(POLICY, proper)
