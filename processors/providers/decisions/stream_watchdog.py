"""Whether a provider's stream is still alive, and when to look again.

Five deadlines, of which the first is the network client's and one of the others the nearest at any time:

    connect         from the request to a connection that is set up, TLS included
    first_token     from the request to the first sign of life: headers and comments are none
    between_tokens  from one sign of life to the next: the role chunk and keep-alive comments are none
    trailer         from the finish reason to the stream's end: running out of it is no failure, the answer is whole
    total           from the request to the end of everything

A silent provider may be dead, or slow: loading its model, reading a long prompt, answering somebody else first. Giving
it up is worth something only where somebody else can take the call. So a call is `Late` once a second from `late_s` on,
for whoever waits to be told, and from `leave_s` on (`may_leave`) for the shell to leave it if it can reserve a place at
another target. At `first_token_s` it is given up whether there is another one or not.

Times are any monotonic clock's seconds. The shell asks before each wait and waits until `look_at_s` at most. Time
that the caller spends elsewhere counts against `total` alone: the shell adds it to `away_s`. Time in which it lets the
answer wait on purpose, for its readers, counts against nothing: `held_s`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

__all__ = [
    "DEFAULT_DEADLINES",
    "LOOK_AGAIN_S",
    "Deadline",
    "Healthy",
    "Late",
    "Stalled",
    "StreamDeadlines",
    "StreamProgress",
    "watch",
]

Deadline: TypeAlias = Literal["connect", "first_token", "between_tokens", "trailer", "total"]

DEFAULT_TRAILER_S: Final = 5.0
DEFAULT_LATE_S: Final = 5.0
LOOK_AGAIN_S: Final = 1.0
"""How often a late call looks for somebody else to take it, and one that nobody listens to yet is made again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamDeadlines:
    """How long each part of a stream may take, in seconds."""

    connect_s: float = 10.0
    late_s: float = DEFAULT_LATE_S
    """Silence before the first token that is worth telling."""
    leave_s: float = 5.0
    """Silence after which the call may be left for another target."""
    first_token_s: float = 120.0
    between_tokens_s: float = 30.0
    total_s: float = 900.0
    trailer_s: float = DEFAULT_TRAILER_S


DEFAULT_DEADLINES: Final = StreamDeadlines()


@dataclass(slots=True)
class StreamProgress:
    """How far a stream has come: moments, None for what has not happened."""

    requested_s: float
    alive_s: float | None = None
    """The newest sign of life."""
    finished_s: float | None = None
    """When the finish reason came."""
    away_s: float = 0.0
    """Time since the newest of these moments in which nobody waited for the provider."""
    held_s: float = 0.0
    """Time since the request in which the caller held the answer back on purpose; part of `away_s` where it is new."""
    looked_s: float | None = None
    """When it was last noticed that the first token is late."""


@dataclass(frozen=True, slots=True)
class Healthy:
    """Nothing is overdue. `look_at_s`: when the next deadline runs out if nothing happens."""

    look_at_s: float
    next_deadline: Deadline


@dataclass(frozen=True, slots=True)
class Late:
    """The first token is late. `may_leave`: this is the time to leave the call for another target, if one can take it.

    Whoever notes it as `looked_s` hears of it again after LOOK_AGAIN_S, and at `leave_s`.
    """

    may_leave: bool


@dataclass(frozen=True, slots=True)
class Stalled:
    """This deadline has run out."""

    deadline: Deadline


def watch(progress: StreamProgress, deadlines: StreamDeadlines, now_s: float) -> Healthy | Late | Stalled:
    """Judge a stream at a moment."""
    phase, ends_s = nearest_deadline(progress, deadlines)
    total_s = progress.requested_s + progress.held_s + deadlines.total_s
    if total_s < ends_s:
        phase, ends_s = "total", total_s
    if now_s >= ends_s:
        return Stalled(phase)
    if progress.finished_s is not None or progress.alive_s is not None:
        return Healthy(ends_s, phase)
    since_s = progress.requested_s + progress.away_s
    look_s = next_look_s(progress.looked_s, since_s + deadlines.late_s, since_s + deadlines.leave_s)
    if now_s >= look_s:
        return Late(may_leave=now_s >= since_s + deadlines.leave_s)
    return Healthy(min(look_s, ends_s), phase)


def next_look_s(looked_s: float | None, late_s: float, leave_s: float) -> float:
    """The next moment at which a late first token is noticed."""
    if looked_s is None:
        return min(late_s, leave_s)
    again_s = looked_s + LOOK_AGAIN_S
    return min(again_s, leave_s) if looked_s < leave_s else again_s


def nearest_deadline(progress: StreamProgress, deadlines: StreamDeadlines) -> tuple[Deadline, float]:
    if progress.finished_s is not None:
        return "trailer", progress.finished_s + progress.away_s + deadlines.trailer_s
    if progress.alive_s is not None:
        return "between_tokens", progress.alive_s + progress.away_s + deadlines.between_tokens_s
    return "first_token", progress.requested_s + progress.away_s + deadlines.first_token_s
