"""Which target a call goes to: the best that can take it now.

Targets are tried in the order of their rank; those of one rank are equals, and the one with the most room is taken,
the first named among the same. A target is passed over for the first of these reasons that holds (`obstacle_of`):

    failover           it was tried in this round already
    other_model        its model is not the first one's, and the prompt wants no substitute
    no_ability         it cannot do what the prompt needs (vision, tools)
    context_too_small  the conversation does not fit
    never_fits         the call is more than its limit
    breaker_open       its breaker lets nothing through
    rate_limited       its requests or tokens of this minute are used up, or the holder of its limit said so
    no_permit          another worker holds the limit, and has to be asked
    crowded            as many calls run as it was seen to take at once (`call_limit`)
    busy               as many calls run as it may have, or somebody who came before waits for it

The last five pass with time. A permit is asked for a target that goes before everything that could be used at once
(not patiently: where the holder has no room, the next one is used), or where nothing else can be used (patiently: in
the holder's queue). Where nothing can be used now but something can later, the call waits for it rather than
burn a 429; an open breaker is waited for only by a call that has tried nothing yet in this round, since one that has
is the retry policy's to pace. Slots of concurrency come free unannounced: whoever waits is woken by the end of any
call, and looks again after LOOK_AGAIN_S at the latest.

A crowded target is waited for: that it answers so many at once and no more was learned and not stated, and somebody
who lists targets in an order wants the first of them. So what is over it goes to its equals, if they cost no money
where it costs none, and to lower ranks only where the model says so (`overflow`).

What the first in the queue waits for is kept for it (`waited_for`), so that a smaller call of another queue does not
take it away for ever.

A turn that has text prefers targets that can go on from it (`preferred`), whatever their rank: a restart pays for the
whole answer again and takes from its reader what stands there already. It never waits for one, and never passes over
an obstacle for it.

Reasons are short codes that go to ClickHouse: `first_choice`, `headroom` (an equal had more room), `preferred` (the
first choice could not go on), otherwise why the first choice was passed over. Nothing with an obstacle is ever picked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

__all__ = [
    "LOOK_AGAIN_S",
    "AskPermit",
    "CallNeeds",
    "GiveUp",
    "Obstacle",
    "RouteDecision",
    "TargetView",
    "UseTarget",
    "WaitUntil",
    "choose_target",
    "obstacle_of",
    "waited_for",
]

LOOK_AGAIN_S: Final = 1.0

LastingObstacle: TypeAlias = Literal["failover", "other_model", "no_ability", "context_too_small", "never_fits"]
PassingObstacle: TypeAlias = Literal["breaker_open", "rate_limited", "no_permit", "crowded", "busy"]
Obstacle: TypeAlias = LastingObstacle | PassingObstacle


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetView:
    """A target as it stands at this moment."""

    name: str
    provider: str
    model: str
    """Two targets have the same model where this is the same, whatever their providers call it."""
    rank: int = 0
    """Lower is preferred."""
    abilities: frozenset[str] = frozenset()
    context_tokens: int
    breaker_allows: bool = True
    breaker_retry_at_s: float = -math.inf
    room: float = 1.0
    """The share of its limits that is free, from 0 to 1."""
    free_at_s: float = -math.inf
    """When this call's requests and tokens are free: not after now = they are; infinite = never."""
    in_flight: int = 0
    concurrent_max: int | None = None
    """None: unlimited; 0: nothing may run."""
    needs_permit: bool = False
    """Another worker holds its limit."""
    crowded: bool = False
    """As many calls run as it was seen to take at once."""
    paid: bool = False
    """Its calls cost money."""
    kept: bool = False
    """Somebody who came before waits for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallNeeds:
    """What a call asks of its target."""

    abilities: frozenset[str] = frozenset()
    preferred: frozenset[str] = frozenset()
    """Abilities that come before rank among the targets that can take the call now."""
    context_tokens: int = 0
    """Input and the longest answer."""
    substitute: bool = True
    """Whether a target with another model than the first one's will do."""
    overflow: bool = False
    """Whether a target of lower rank, or a paid one in place of one that is not, takes what is too much for a crowded
    one."""


@dataclass(frozen=True, slots=True)
class UseTarget:
    """Call this one now."""

    name: str
    reason: Literal["first_choice", "headroom", "preferred"] | Obstacle


@dataclass(frozen=True, slots=True)
class AskPermit:
    """Ask the holder of this one's limit. `patient`: wait in the holder's queue; else another can be used at once."""

    name: str
    patient: bool


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Ask again then, or when a call ends."""

    at_s: float
    reason: PassingObstacle


@dataclass(frozen=True, slots=True)
class GiveUp:
    """No target of this round can take the call, now or later. `all_tried`: the retry policy may begin another."""

    reason: Literal["no_targets", "all_tried"] | Obstacle


RouteDecision: TypeAlias = UseTarget | AskPermit | WaitUntil | GiveUp


def choose_target(
    views: Sequence[TargetView], needs: CallNeeds, *, tried: frozenset[str], now_s: float
) -> RouteDecision:
    """Choose among the targets of a model, in the order of its settings; `tried`: names failed in this round."""
    if not views:
        return GiveUp("no_targets")
    ordered = sorted(views, key=lambda view: view.rank)
    model = ordered[0].model
    obstacles = [(view, obstacle_of(view, needs, model=model, tried=tried, now_s=now_s)) for view in ordered]
    first, first_obstacle = obstacles[0]
    if not needs.overflow:
        crowded = [view for view, obstacle in obstacles if obstacle == "crowded"]
        obstacles = [
            (view, obstacle) for view, obstacle in obstacles if all(relieves(view, other) for other in crowded)
        ]
    usable = [view for view, obstacle in obstacles if obstacle is None]

    def in_order(view: TargetView) -> tuple[bool, int, float]:
        return (not needs.preferred <= view.abilities, view.rank, -view.room)

    held_elsewhere = min((view for view, obstacle in obstacles if obstacle == "no_permit"), key=in_order, default=None)
    if not usable:
        return AskPermit(held_elsewhere.name, patient=True) if held_elsewhere else wait_or_give_up(obstacles, now_s)
    chosen = min(usable, key=in_order)
    if held_elsewhere is not None and in_order(held_elsewhere)[:2] < in_order(chosen)[:2]:
        return AskPermit(held_elsewhere.name, patient=False)
    if chosen is first:
        return UseTarget(chosen.name, "first_choice")
    return UseTarget(chosen.name, first_obstacle or ("headroom" if needs.preferred <= first.abilities else "preferred"))


def relieves(view: TargetView, crowded: TargetView) -> bool:
    """Whether a target may take what is too much for a crowded one: it is that one's equal."""
    return view.rank < crowded.rank or (view.rank == crowded.rank and (crowded.paid or not view.paid))


def obstacle_of(
    view: TargetView, needs: CallNeeds, *, model: str, tried: frozenset[str], now_s: float
) -> Obstacle | None:
    """Why a target cannot take the call now, if so. `model`: the first choice's."""
    return lasting_obstacle(view, needs, model=model, tried=tried) or passing_obstacle(view, now_s)


def waited_for(views: Sequence[TargetView], needs: CallNeeds, *, tried: frozenset[str], now_s: float) -> frozenset[str]:
    """The targets that a waiting call would take as soon as their limits let it."""
    model = min(views, key=lambda view: view.rank).model if views else ""
    return frozenset(
        view.name
        for view in views
        if obstacle_of(view, needs, model=model, tried=tried, now_s=now_s) in ("rate_limited", "crowded", "busy")
    )


def lasting_obstacle(
    view: TargetView, needs: CallNeeds, *, model: str, tried: frozenset[str]
) -> LastingObstacle | None:
    if view.name in tried:
        return "failover"
    if not needs.substitute and view.model != model:
        return "other_model"
    if not needs.abilities <= view.abilities:
        return "no_ability"
    if needs.context_tokens > view.context_tokens:
        return "context_too_small"
    if view.free_at_s == math.inf or view.concurrent_max == 0:
        return "never_fits"
    return None


def passing_obstacle(view: TargetView, now_s: float) -> PassingObstacle | None:
    if not view.breaker_allows:
        return "breaker_open"
    if view.free_at_s > now_s:
        return "rate_limited"
    if view.needs_permit:
        return "no_permit"
    if view.crowded:
        return "crowded"
    if view.kept or (view.concurrent_max is not None and view.in_flight >= view.concurrent_max):
        return "busy"
    return None


def wait_or_give_up(obstacles: Sequence[tuple[TargetView, Obstacle | None]], now_s: float) -> WaitUntil | GiveUp:
    """Nothing can be used now: the earliest that can be, else the reason of the first choice."""
    was_tried = any(obstacle == "failover" for _, obstacle in obstacles)
    waits: list[WaitUntil] = []
    for view, obstacle in obstacles:
        match obstacle:
            case "rate_limited":
                waits.append(WaitUntil(view.free_at_s, obstacle))
            case "crowded" | "busy":
                waits.append(WaitUntil(now_s + LOOK_AGAIN_S, obstacle))
            case "breaker_open" if not was_tried:
                waits.append(WaitUntil(probe_at_s(view, now_s), obstacle))
            case _:
                continue
    if waits:
        return min(waits, key=lambda wait: wait.at_s)
    if was_tried:
        return GiveUp("all_tried")
    return GiveUp(obstacles[0][1] or "no_targets")


def probe_at_s(view: TargetView, now_s: float) -> float:
    """When the breaker may let something through: a probe that is out ends unannounced."""
    return view.breaker_retry_at_s if view.breaker_retry_at_s > now_s else now_s + LOOK_AGAIN_S
