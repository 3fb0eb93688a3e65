"""What a client that attaches is owed, and where that will come from.

Three ways to ask: a cursor (everything behind it), "start" (everything the log still holds) and "tail" (from now on,
with one picture of the open turns, since nobody could make sense of the middle of an answer). Memory decides
alone where it can; otherwise the bounds of the log are needed. Nothing is ever skipped in silence: what cannot be
given in full is a gap, told as such, followed by a snapshot. Where the log does not reach back, ClickHouse is asked
for the turns that have ended; a client that wants everything is told them in one picture with what the log holds.

A picture and not a replay of the open turns: whoever joins late wants the text so far, not how it came; one message
tells it, and what follows is exactly what everybody else is told.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, assert_never

from gateway.fetching.decisions.resume_cursor import (
    Gap,
    GapReason,
    LogPosition,
    ReplayFrom,
    SignedPosition,
    UpToDate,
    plan_resume,
)

__all__ = [
    "AttachPlan",
    "AttachWish",
    "HubView",
    "plan_from_archive",
    "plan_from_log",
    "plan_from_memory",
    "plan_without_log",
]

AttachWish: TypeAlias = Literal["start", "tail"] | SignedPosition | Gap
Recovered: TypeAlias = Literal["live", "replayed", "snapshot", "gap"]
Source: TypeAlias = Literal["none", "memory", "log", "archive"]


@dataclass(frozen=True, slots=True)
class HubView:
    """What the session's hub knows."""

    epoch: bytes
    position: LogPosition
    fold_from: int
    open_turns: frozenset[str]
    """The open turns, and the prompts of comparisons among them."""
    covers_from: LogPosition
    """Memory reaches back to here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachPlan:
    """Where the client is taken to stand, and what it is told about that."""

    position: LogPosition
    fold_from: int
    recovered: Recovered
    source: Source = "none"
    gap: GapReason | None = None
    """Say so, and tell the session as it stands before anything else."""
    picture_of: frozenset[str] | None = None
    """Tell these turns (and comparisons) as they stand at `position` before anything else; they lie on the log from
    `fold_from` on."""
    log_is_short: bool = False
    """The log holds less than was asked for: older turns may be in the archive."""
    log_is_absent: bool = False
    """There is no log: nothing of it is to be read."""

    @property
    def tells_all(self) -> bool:
        """Whether the session as it stands, from its beginning, is told before anything else."""
        return self.gap is not None or (self.recovered == "snapshot" and self.picture_of is None)


def plan_without_log(wish: AttachWish, hub: HubView) -> AttachPlan:
    """The plan for a session that has no log: nothing was ever said there, unless a cursor of ours shows otherwise."""
    match wish:
        case "tail" | "start":
            return AttachPlan(position=hub.position, fold_from=hub.fold_from, recovered="live", log_is_absent=True)
        case Gap(reason):
            return replace(after_gap(reason, hub), log_is_absent=True)
        case SignedPosition():
            return replace(after_gap("expired", hub), log_is_absent=True)


def plan_from_memory(wish: AttachWish, hub: HubView) -> AttachPlan | None:
    """The plan, or None where the bounds of the log must be known."""
    match wish:
        case "tail":
            return tail(hub)
        case Gap(reason):
            return after_gap(reason, hub)
        case SignedPosition() if wish.epoch == hub.epoch and wish.position == hub.position:
            return AttachPlan(position=wish.position, fold_from=wish.fold_from, recovered="live")
        case SignedPosition() if wish.epoch == hub.epoch and hub.covers_from <= wish.position < hub.position:
            return AttachPlan(position=wish.position, fold_from=wish.fold_from, recovered="replayed", source="memory")
        case _:
            return None


def plan_from_log(wish: Literal["start"] | SignedPosition, hub: HubView, *, log_start: int, log_end: int) -> AttachPlan:
    """The plan where memory does not reach."""
    if wish == "start":
        start, is_short = LogPosition(log_start), log_start > 0
        if start >= hub.position:
            return AttachPlan(position=hub.position, fold_from=hub.fold_from, recovered="live", log_is_short=is_short)
        return AttachPlan(
            position=start, fold_from=log_start, recovered="replayed", source="log", log_is_short=is_short
        )
    decision = plan_resume(wish, hub.epoch, log_start=log_start, log_end=log_end)
    match decision:
        case UpToDate(position):
            return AttachPlan(position=position, fold_from=wish.fold_from, recovered="live")
        case ReplayFrom(position, fold_from):
            return AttachPlan(position=position, fold_from=fold_from, recovered="replayed", source="log")
        case Gap(reason):
            return after_gap(reason, hub)
        case unreachable:
            assert_never(unreachable)


def plan_from_archive(plan: AttachPlan, hub: HubView) -> AttachPlan:
    """The plan where the archive knows turns of the session that the log may hold no more."""
    if plan.gap is not None:
        return replace(plan, source="archive")
    return AttachPlan(position=hub.position, fold_from=hub.fold_from, recovered="snapshot", source="archive")


def tail(hub: HubView) -> AttachPlan:
    if not hub.open_turns:
        return AttachPlan(position=hub.position, fold_from=hub.fold_from, recovered="live")
    return AttachPlan(
        position=hub.position, fold_from=hub.fold_from, recovered="snapshot", source="log", picture_of=hub.open_turns
    )


def after_gap(reason: GapReason, hub: HubView) -> AttachPlan:
    return AttachPlan(
        position=hub.position, fold_from=hub.fold_from, recovered="gap", source="log", gap=reason, log_is_short=True
    )
