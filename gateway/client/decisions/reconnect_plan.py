"""Whether a client comes back after a close, and when. The twin of `gateway/web/reconnect_plan.js`, number for number.

The gateway's own word (`disconnect`) decides; without one the range of the code does: 44xx do not come back as they
are, everything else does. 4429 comes back after its pause in any case. The wait is what the gateway asked for (or the
slot that a leaving one gave, if later) plus a random part of an exponentially growing step, so that a thousand clients
of a gateway that died do not come back as one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from infra.decisions.backoff import Backoff
from schemas.close_codes import FLOOD
from schemas.gateway_messages import Disconnect

__all__ = [
    "FLOOD_PAUSE_S",
    "LINE_BACKOFF",
    "ComeBack",
    "ReconnectPlan",
    "StayAway",
    "plan_reconnect",
]

LINE_BACKOFF: Final = Backoff(0.5, growth="doubling", longest_pause_s=30.0)
FLOOD_PAUSE_S: Final = 30.0
REFUSALS: Final = range(4400, 4500)


@dataclass(frozen=True, slots=True)
class ComeBack:
    """Connect again after so many seconds."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class StayAway:
    """The same would only end the same way."""


ReconnectPlan: TypeAlias = ComeBack | StayAway


def plan_reconnect(
    code: int, words: Disconnect | None, *, failures: int, draw: float, slot_in_s: float = 0.0
) -> ReconnectPlan:
    """What to do after a close with `code`, before which the gateway said `words`.

    `failures`: attempts in a row that did not hold; `draw`: from 0 to 1; `slot_in_s`: until the slot that it gave.
    """
    close_code = code if words is None else words.code
    comes_back = close_code not in REFUSALS if words is None else words.reconnect
    if not comes_back and close_code != FLOOD.number:
        return StayAway()
    pause_s = FLOOD_PAUSE_S if close_code == FLOOD.number else 0.0
    if words is not None and words.retry_after_s is not None:
        pause_s = words.retry_after_s
    return ComeBack(max(pause_s, slot_in_s) + draw * LINE_BACKOFF.pause_s(failures + 1))
