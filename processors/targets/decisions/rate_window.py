"""Whether a call may go out now, under a limit per minute that no window of 60 s ever exceeds.

A plain token bucket of capacity C that refills at R admits C + 60·R in some window: more than the limit, or less than
it forever. So two conditions must hold, and each does what the other cannot:

log       what was granted in the last 60 s, in slots of 1 s. A slot is forgotten 60 s after its *end*, so every charge
          is remembered for more than 60 s, and granted amounts never sum to more than the limit in any window of 60 s,
          wherever it begins. This is the bound.
pace      a bucket (kept as the moment at which it is full again) that refills at the limit and holds BURST_S of it.
          An idle target takes a burst; nobody spends a whole minute's limit at its start. An amount above the bucket's
          size goes out when the bucket is full, and leaves a debt. This is the smoothness, not the bound.

Shared limits. A worker whose share shrinks has the lower limit at once; one whose share grows gets a higher rate but
no burst (`relimit` keeps the level, and cuts it to the new size). Shares never sum to more than 1, so whatever the
rebalances, what all workers together charge in any window stays within limit + BURST_S/60 of it (+ one call each that
is larger than its bucket).

A charge is made before the call and corrected after it: unused parts leave the slot they were charged to and may be
granted again; what was used beyond the charge is counted as of now, and holds others up until it has aged.

Providers' own headers only ever tighten: until the reset that they name no more goes out than they leave. From then on
it is what they call their limit, until the next answer says more: else all that waited for the reset would go out at
once, before any of it could say what is left. A call above that limit goes out after a reset, and finds out. Cost: a
state is at most 62 slots; asking and settling walk them once or twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Final, TypeAlias

__all__ = [
    "BURST_S",
    "RESET_S_MAX",
    "WINDOW_S",
    "AllGranted",
    "Charge",
    "Granted",
    "NeverFits",
    "RateAnswer",
    "RateState",
    "RetryAt",
    "ask",
    "ask_all",
    "headers_seen",
    "initial_state",
    "relimit",
    "room",
    "settle",
]

WINDOW_S: Final = 60.0
SLOT_S: Final = 1.0
BURST_S: Final = 10.0
"""Seconds of the limit that an idle target may take at once."""
RESET_S_MAX: Final = 3_600.0
"""Longest time that a provider's header is believed; then one call finds out."""

Slots: TypeAlias = tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class RateState:
    """What one worker knows of one limit (requests, or tokens) of one target."""

    limit: float | None
    """Amount per WINDOW_S; None: unlimited."""
    full_at_s: float
    """When the bucket is full if nothing more is granted."""
    slots: Slots = ()
    """Granted amounts by second, oldest first."""
    seen_remaining: float = math.inf
    """What the provider's newest headers leave, less what was granted since."""
    seen_until_s: float = -math.inf
    """Until when these headers count."""
    seen_limit: float = math.inf
    """What is there again after that, by the same headers."""


@dataclass(frozen=True, slots=True)
class Charge:
    """An amount granted at a moment: to be settled when the true amount is known."""

    amount: float
    at_s: float


@dataclass(frozen=True, slots=True)
class Granted:
    """A call that may go out now; the state has the charge in it."""

    state: RateState
    charge: Charge


@dataclass(frozen=True, slots=True)
class AllGranted:
    """Every limit grants its amount; none is charged otherwise."""

    states: tuple[RateState, ...]
    charges: tuple[Charge, ...]


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Not before then. If nothing else is granted meanwhile and the limit stays, it is granted then."""

    at_s: float


@dataclass(frozen=True, slots=True)
class NeverFits:
    """A call that is more than a whole minute's limit (or another worker holds the limit): waiting does not help."""

    limit: float


RateAnswer: TypeAlias = Granted | RetryAt | NeverFits


def initial_state(limit: float | None, now_s: float, *, burst: bool = True) -> RateState:
    """A target that was not called yet. `burst=False`: another worker may just have taken the burst."""
    return RateState(limit, full_at_s=now_s if burst else now_s + BURST_S)


def ask(state: RateState, amount: float, now_s: float) -> RateAnswer:
    """May `amount` (0 or more) go out now?"""
    if state.limit is not None and amount > state.limit:
        return NeverFits(state.limit)
    state = refilled(state, amount, now_s)
    slots = in_window(state.slots, now_s)
    cost_s = pace_s(state, amount)
    at_s = max(
        log_allows_at_s(slots, amount, state.limit),
        state.full_at_s - (BURST_S - min(cost_s, BURST_S)),
        state.seen_until_s if amount > state.seen_remaining else -math.inf,
    )
    if now_s < at_s:
        return RetryAt(at_s)
    charged = replace(
        state,
        full_at_s=max(state.full_at_s, now_s) + cost_s,
        slots=added(slots, slot_of(now_s), amount),
        seen_remaining=state.seen_remaining - amount,
    )
    return Granted(charged, Charge(amount, now_s))


def ask_all(states: Sequence[RateState], amounts: Sequence[float], now_s: float) -> AllGranted | RetryAt | NeverFits:
    """May a call that counts against several limits go out now? All or nothing."""
    answers = [ask(state, amount, now_s) for state, amount in zip(states, amounts, strict=True)]
    for answer in answers:
        if isinstance(answer, NeverFits):
            return answer
    waits_s = [answer.at_s for answer in answers if isinstance(answer, RetryAt)]
    if waits_s:
        return RetryAt(max(waits_s))
    granted = [answer for answer in answers if isinstance(answer, Granted)]
    return AllGranted(tuple(answer.state for answer in granted), tuple(answer.charge for answer in granted))


def settle(state: RateState, charge: Charge, used: float, now_s: float) -> RateState:
    """Correct a charge once: `used` is the amount it turned out to be."""
    excess = used - charge.amount
    slots = in_window(state.slots, now_s)
    if excess > 0:
        slots = added(slots, slot_of(now_s), excess)
    elif any(slot == slot_of(charge.at_s) for slot, _ in slots):  # else it has aged: there is nothing to give back
        slots = added(slots, slot_of(charge.at_s), excess)
    return replace(state, full_at_s=state.full_at_s + pace_s(state, excess), slots=slots)


def room(state: RateState, now_s: float) -> float:
    """The share that is free, from 0 (nothing) to 1 (idle, or unlimited)."""
    used = total(in_window(state.slots, now_s))
    left = math.inf if state.limit is None else max(0.0, state.limit - used)
    if now_s < state.seen_until_s:
        left = min(left, max(0.0, state.seen_remaining))
    if left == math.inf:
        return 1.0
    whole = state.limit if state.limit is not None else left + used
    return left / whole if whole else 0.0


def headers_seen(
    state: RateState,
    remaining: float,
    reset_s: float,
    now_s: float,
    *,
    answered: Charge | None = None,
    limit: float = math.inf,
) -> RateState:
    """Honour the headers of an answer: until `reset_s` from now, no more than `remaining` goes out, then `limit`.

    `remaining` is what is left to this worker (its share of what the key has). The newest headers replace older ones;
    our own limit holds beside them. `answered`: the charge of the call that brought them; whatever was granted after
    it may have arrived at the provider later than it, so it is taken off.
    """
    since = 0.0
    if answered is not None:
        first = slot_of(answered.at_s)
        since = max(0.0, total(tuple(entry for entry in state.slots if entry[0] >= first)) - answered.amount)
    until_s = now_s + min(max(0.0, reset_s), RESET_S_MAX)
    return replace(state, seen_remaining=max(0.0, remaining - since), seen_until_s=until_s, seen_limit=limit)


def relimit(state: RateState, limit: float | None, now_s: float) -> RateState:
    """The share or the settings changed: less counts at once, more brings rate but no burst."""
    if limit is None or state.limit is None:
        return replace(state, limit=limit, full_at_s=now_s)
    if limit == 0:
        return replace(state, limit=limit, full_at_s=now_s + BURST_S)
    level_s = BURST_S - max(0.0, state.full_at_s - now_s)
    level = min(level_s * state.limit, BURST_S * limit)
    return replace(state, limit=limit, full_at_s=now_s + BURST_S - level / limit)


def refilled(state: RateState, amount: float, now_s: float) -> RateState:
    """After the reset that headers named: their whole limit, for a window at most."""
    if now_s < state.seen_until_s or state.seen_limit == math.inf:
        return state
    return replace(state, seen_remaining=max(state.seen_limit, amount), seen_until_s=now_s + WINDOW_S)


def pace_s(state: RateState, amount: float) -> float:
    """How long the bucket takes to refill by an amount."""
    return amount * WINDOW_S / state.limit if state.limit else 0.0


def log_allows_at_s(slots: Slots, amount: float, limit: float | None) -> float:
    """When so much has aged that the amount fits."""
    allowed_at_s = -math.inf
    if limit is None:
        return allowed_at_s
    sums = accumulate(held for _, held in reversed(slots))
    for (slot, _), held in zip(reversed(slots), sums, strict=True):
        if held + amount > limit:
            return forgotten_at_s(slot)
    return allowed_at_s


def in_window(slots: Slots, now_s: float) -> Slots:
    return tuple(entry for entry in slots if now_s < forgotten_at_s(entry[0]))


def forgotten_at_s(slot: int) -> float:
    return (slot + 1) * SLOT_S + WINDOW_S


def slot_of(at_s: float) -> int:
    return math.floor(at_s / SLOT_S)


def added(slots: Slots, at_slot: int, amount: float) -> Slots:
    """The slots with an amount more (or less) in one of them, never below zero."""
    amounts = dict(slots)
    amounts[at_slot] = max(0.0, amounts.get(at_slot, 0.0) + amount)
    return tuple(sorted((slot, held) for slot, held in amounts.items() if held))


def total(slots: Slots) -> float:
    return sum(held for _, held in slots)
