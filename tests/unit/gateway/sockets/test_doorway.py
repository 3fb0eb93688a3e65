"""Who finds a place at the door, and who loses it."""

from __future__ import annotations

import resource

from gateway.sockets.decisions.client_outbox import HeldBytes
from gateway.sockets.decisions.connection_limits import ConnectionLimits
from gateway.sockets.doorway import TURNED_AWAY_AT_ONCE_MAX, ComeIn, Doorway, ShutOut, TurnAway, files_for_sockets

LIMITS = ConnectionLimits(accepted_max=4, pending_max=2, held_bytes_max=1_000)


class Caller:
    """An accepted socket."""

    def __init__(self) -> None:
        self.aborted = False

    def abort(self) -> None:
        """It is dropped."""
        self.aborted = True


def doorway() -> tuple[Doorway, list[str]]:
    refused: list[str] = []
    return Doorway(LIMITS, HeldBytes(LIMITS.held_bytes_max), refused.append), refused


def test_full_house() -> None:
    """One more is told when to come back; whoever leaves makes room."""
    door, refused = doorway()
    inside = [Caller() for _ in range(4)]
    for caller in inside:
        assert door.enter(caller) == ComeIn()
        door.welcome(caller)
    answer = door.enter(Caller())
    door.leave(inside[0])

    assert isinstance(answer, TurnAway)
    assert LIMITS.refused_retry_s <= answer.retry_after_s <= 2 * LIMITS.refused_retry_s
    assert door.enter(Caller()) == ComeIn()
    assert refused == ["door"]


def test_crowd_before_a_full_house() -> None:
    """Only so many are answered at once; whoever has its answer makes room for the next."""
    door, _ = doorway()
    for _ in range(4):
        caller = Caller()
        door.enter(caller)
        door.welcome(caller)
    crowd = [Caller() for _ in range(TURNED_AWAY_AT_ONCE_MAX + 1)]
    answers = [door.enter(caller) for caller in crowd]
    door.leave(crowd[0])

    assert all(isinstance(answer, TurnAway) for answer in answers[:-1])
    assert answers[-1] == ShutOut()
    assert isinstance(door.enter(Caller()), TurnAway)


def test_line_that_somebody_fills() -> None:
    """Who has waited longest goes; who said hello is not in line any more, and who left neither."""
    door, refused = doorway()
    welcome, gone, slow, newer, newest = (Caller() for _ in range(5))
    door.enter(welcome)
    door.welcome(welcome)
    door.enter(gone)
    door.leave(gone)
    for caller in (slow, newer, newest):
        door.enter(caller)

    assert [caller.aborted for caller in (welcome, gone, slow, newer, newest)] == [False, False, True, False, False]
    assert refused == ["pending"]


def test_process_that_holds_all_the_bytes_it_may() -> None:
    """Nobody is let in."""
    door, _ = doorway()
    door.held.total = LIMITS.held_bytes_max

    assert isinstance(door.enter(Caller()), TurnAway)
    assert door.accepted == 0


def test_files_are_kept_back() -> None:
    """Fewer sockets than the process may have files."""
    files = files_for_sockets()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    assert soft == hard
    assert files > 0
    assert files < soft or soft == resource.RLIM_INFINITY
