"""When is a child that exited started again, and when is it given up?

Theory. A child should never exit by itself, so every exit counts, whatever its code. A run that lasted `healthy_s`
forgives everything before it: what is punished is failing often, not having failed. Between short runs the pause
doubles from `pause_first_s` to `pause_max_s`, so that a broken child costs little and a killed one is back at once. A
child that was never once ready is broken by its configuration, which no restart mends: it gets few tries, so that the
operator sees the reason within seconds. There is no jitter: one supervisor restarts few children, all on one machine.

A child that could not have a port that we chose for it has done nothing wrong and is not broken: another program's
socket sits there, and leaves. Such runs count for themselves, by time: it is tried again for `port_wait_s`. (For a port
that the operator set there is no such patience; it is refused before anything starts.)

To give up a child is to stop all. One that the others can do without is therefore never given up: what is wrong with it
costs a start every `pause_max_s`, and an operator sees it in the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TypeAlias

from infra.decisions.backoff import Backoff

__all__ = ["ChildExit", "GiveUp", "RestartAt", "RestartDecision", "RestartPolicy", "decide_restart"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """The numbers of the decision."""

    pause_first_s: float = 0.5
    """Pause after the first short run."""
    pause_max_s: float = 15.0
    """Longest pause."""
    healthy_s: float = 30.0
    """A run this long forgives the ones before it."""
    short_runs_max: int = 10
    """Short runs in a row after which a child that worked once is given up."""
    starts_before_ready_max: int = 3
    """Short runs in a row after which a child that was never ready is given up."""
    port_wait_s: float = 120.0
    """Time in which a port chosen for it must become free; a client that left keeps its own for a minute."""


@dataclass(frozen=True, slots=True)
class ChildExit:
    """One run of a child, from its start to its end."""

    started_s: float
    ended_s: float
    was_ready: bool
    taken_port: int | None = None
    """The port, chosen for it, that another program had; it waited, or tried and ended."""


@dataclass(frozen=True, slots=True)
class RestartAt:
    """Start it again at this time."""

    at_s: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """It will not work; stop everything and say why."""

    reason: str


RestartDecision: TypeAlias = RestartAt | GiveUp


def decide_restart(policy: RestartPolicy, exits: Sequence[ChildExit], *, dispensable: bool = False) -> RestartDecision:
    """Decide after the last of `exits` (oldest first, at least one). A `dispensable` child is never given up."""
    decision = decide(policy, exits)
    if dispensable and isinstance(decision, GiveUp):
        return RestartAt(exits[-1].ended_s + policy.pause_max_s)
    return decision


def decide(policy: RestartPolicy, exits: Sequence[ChildExit]) -> RestartDecision:
    last = exits[-1]
    if last.taken_port is not None:
        row = list(takewhile(lambda run: run.taken_port is not None, reversed(exits)))
        if last.ended_s - row[-1].started_s >= policy.port_wait_s:
            waited = f"port {last.taken_port} was not free within {policy.port_wait_s:g} s"
            return GiveUp(f"{waited}; start again to have another chosen")
        return RestartAt(last.ended_s + pause_s(policy, len(row)))
    short_runs = count_short_runs(policy, exits)
    if short_runs >= policy.starts_before_ready_max and not any(run.was_ready for run in exits):
        return GiveUp(f"it was never ready in {short_runs} starts")
    if short_runs >= policy.short_runs_max:
        return GiveUp(f"it ran less than {policy.healthy_s:g} s {short_runs} times in a row")
    return RestartAt(last.ended_s + pause_s(policy, short_runs))


def pause_s(policy: RestartPolicy, failures: int) -> float:
    """The pause after so many in a row."""
    backoff = Backoff(policy.pause_first_s, growth="doubling", longest_pause_s=policy.pause_max_s)
    return backoff.pause_s(max(1, failures))


def count_short_runs(policy: RestartPolicy, exits: Sequence[ChildExit]) -> int:
    """Short runs at the end, in a row; those that had no port are passed over."""
    count = 0
    for run in reversed(exits):
        if run.taken_port is not None:
            continue
        if run.ended_s - run.started_s >= policy.healthy_s:
            break
        count += 1
    return count
