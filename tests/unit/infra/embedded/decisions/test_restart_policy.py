"""When a child that exited is started again."""

from __future__ import annotations

from infra.embedded.decisions.restart_policy import ChildExit, GiveUp, RestartAt, RestartPolicy, decide_restart

POLICY = RestartPolicy(pause_first_s=1.0, pause_max_s=5.0, healthy_s=30.0, short_runs_max=6, starts_before_ready_max=3)


def short_runs(count: int, *, was_ready: bool = True) -> list[ChildExit]:
    return [ChildExit(float(start), start + 0.5, was_ready) for start in range(count)]


def pause_after(exits: list[ChildExit]) -> float:
    decision = decide_restart(POLICY, exits)
    assert isinstance(decision, RestartAt)
    return decision.at_s - exits[-1].ended_s


def test_short_runs_in_a_row() -> None:
    """The pause doubles and stops growing at its limit."""
    pauses = [pause_after(short_runs(count)) for count in range(1, 6)]

    assert pauses == [1.0, 2.0, 4.0, 5.0, 5.0]


def test_long_run_after_short_ones() -> None:
    """It forgives them: the next pause is the first one again."""
    exits = [*short_runs(5), ChildExit(10.0, 40.0, True)]

    assert pause_after(exits) == 1.0


def test_worked_once_and_keeps_failing() -> None:
    """It is given up at the limit, with the figures in the reason."""
    decision = decide_restart(POLICY, short_runs(6))

    assert decision == GiveUp("it ran less than 30 s 6 times in a row")


def test_the_others_can_do_without_it() -> None:
    """It is tried again however often it fails, ready once or never, with its port or without, at the longest pause."""
    without_port = [ChildExit(float(start), start + 1.0, False, 20_001) for start in range(0, 200, 10)]
    for exits in (short_runs(60), short_runs(60, was_ready=False), without_port):
        assert isinstance(decide_restart(POLICY, exits), GiveUp)
        decision = decide_restart(POLICY, exits, dispensable=True)
        assert decision == RestartAt(exits[-1].ended_s + POLICY.pause_max_s)


def test_was_never_ready() -> None:
    """Few tries, then the operator hears of it."""
    assert isinstance(decide_restart(POLICY, short_runs(2, was_ready=False)), RestartAt)
    assert decide_restart(POLICY, short_runs(3, was_ready=False)) == GiveUp("it was never ready in 3 starts")


def test_was_ready_once_long_ago() -> None:
    """One ready run is enough to be treated as a child that works."""
    exits = [ChildExit(0.0, 0.5, True), *short_runs(4, was_ready=False)]

    assert isinstance(decide_restart(POLICY, exits), RestartAt)


def test_chosen_port_is_taken() -> None:
    """It is waited for, far longer than a broken child is tried, and given up with the port in the reason."""
    runs = [ChildExit(float(start), start + 1.0, False, 20_001) for start in range(0, 130, 10)]
    decisions = [decide_restart(POLICY, runs[: number + 1]) for number in range(len(runs))]

    assert all(isinstance(decision, RestartAt) for decision in decisions[:-1])
    assert decisions[0] == RestartAt(2.0)
    assert decisions[-1] == GiveUp("port 20001 was not free within 120 s; start again to have another chosen")


def test_chosen_port_was_taken_before() -> None:
    """Only the time since it last had its ports counts."""
    long_ago = ChildExit(0.0, 119.0, False, 20_001)

    exits = [long_ago, ChildExit(119.0, 120.0, True), ChildExit(1_000.0, 1_001.0, False, 20_001)]

    assert decide_restart(POLICY, exits) == RestartAt(1_002.0)
