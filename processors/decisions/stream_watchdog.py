"""Whether a provider's stream is still alive, and when to look again.

Five deadlines, one of which is the nearest at any time:

    connect         from the request to the response's headers
    first_token     from the request to the first sign of life
    between_tokens  from one sign of life to the next: the role chunk and keep-alive comments are none
    trailer         from the finish reason to the stream's end: running out of it is no failure, the answer is whole
    total           from the request to the end of everything

Times are any monotonic clock's seconds. The shell asks before each wait and waits until `look_at_s` at most. Time
that the caller spends elsewhere counts against `total` alone: the shell adds it to `away_s`. Time in which it lets the
answer wait on purpose, for its readers, counts against nothing: `held_s`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

__all__ = ["Deadline", "Healthy", "Stalled", "StreamDeadlines", "StreamProgress", "watch"]

Deadline: TypeAlias = Literal["connect", "first_token", "between_tokens", "trailer", "total"]

DEFAULT_TRAILER_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamDeadlines:
    """How long each part of a stream may take, in seconds."""

    connect_s: float = 10.0
    first_token_s: float = 5.0
    between_tokens_s: float = 30.0
    total_s: float = 900.0
    trailer_s: float = DEFAULT_TRAILER_S


@dataclass(slots=True)
class StreamProgress:
    """How far a stream has come: moments, None for what has not happened."""

    requested_s: float
    connected_s: float | None = None
    alive_s: float | None = None
    """The newest sign of life."""
    finished_s: float | None = None
    """When the finish reason came."""
    away_s: float = 0.0
    """Time since the newest of these moments in which nobody waited for the provider."""
    held_s: float = 0.0
    """Time since the request in which the caller held the answer back on purpose; part of `away_s` where it is new."""


@dataclass(frozen=True, slots=True)
class Healthy:
    """Nothing is overdue. `look_at_s`: when the next deadline runs out if nothing happens."""

    look_at_s: float
    next_deadline: Deadline


@dataclass(frozen=True, slots=True)
class Stalled:
    """This deadline has run out."""

    deadline: Deadline


def watch(progress: StreamProgress, deadlines: StreamDeadlines, now_s: float) -> Healthy | Stalled:
    """Judge a stream at a moment."""
    phase, ends_s = nearest_deadline(progress, deadlines)
    total_s = progress.requested_s + progress.held_s + deadlines.total_s
    if total_s < ends_s:
        phase, ends_s = "total", total_s
    return Stalled(phase) if now_s >= ends_s else Healthy(ends_s, phase)


def nearest_deadline(progress: StreamProgress, deadlines: StreamDeadlines) -> tuple[Deadline, float]:
    if progress.finished_s is not None:
        return "trailer", progress.finished_s + progress.away_s + deadlines.trailer_s
    if progress.alive_s is not None:
        return "between_tokens", progress.alive_s + progress.away_s + deadlines.between_tokens_s
    first_token_s = progress.requested_s + progress.away_s + deadlines.first_token_s
    if progress.connected_s is None:
        connect_s = progress.requested_s + deadlines.connect_s
        return ("connect", connect_s) if connect_s <= first_token_s else ("first_token", first_token_s)
    return "first_token", first_token_s
