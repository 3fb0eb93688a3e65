"""What to do when a call failed before its first token: another target at once, the same ones later, or the end.

Failing over comes first and costs the user nothing, so it is asked first (`may_fail_over`) and goes to the router,
which never names a target twice in a round. When the router has none left, the round has failed: it is retried as a
whole after 2ⁿ s (1, 2, 4, 8 after the first, second, third, fourth) and up to 500 ms of jitter, since all that failed
together would come back together. A provider's Retry-After replaces the pause where it is longer, and is never cut
short: where it reaches beyond the turn's one deadline, the turn ends at once instead of waiting for nothing.

What may pass elsewhere may also pass later, except where the operator is at fault and not the prompt: a target that
does not serve us at all (a bad key, an unknown model, no money), or that cannot be reached as it is set up (its host
name does not exist, its certificate is not trusted). Others are asked at once, but it is no reason to wait.
So it is with an answer that ended without a word (perhaps the prompt is too long for that server, or the model had
nothing to say), and with a target that does not take a field of the request.
A round is retried if any of its failures may pass. What a provider refuses for the prompt's own sake (malformed, too
long) the next one would refuse as well: it ends the turn. After the first token none of this is asked.

A call that was kept waiting in vain for WAITED_S_MAX or longer, since nobody else could take it, is not made again: the
prompt would wait as long once more, and an error after two minutes is worth more than one after ten.

One refusal is asked elsewhere all the same (`turn_route`): a prompt beyond a context, where another target's is larger.

Codes are those of `processors/providers/provider.py`; statuses 408, 409 and 5xx arrive as `provider_failed`, 429 as
`provider_overloaded`, 400, 413 and 422 as `provider_refused` where they are about the prompt, other 4xx as
`provider_denied` (a few as temporary), a field that is not taken as `provider_unfit`, connect errors as
`provider_unreachable` or, where waiting cannot mend them, as `provider_misplaced`, read errors before the finish as
`provider_cut`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from infra.decisions.backoff import Backoff

__all__ = [
    "ATTEMPTS_MAX",
    "BLAMELESS_CODES",
    "CALL_BACKOFF",
    "ELSEWHERE_CODES",
    "JITTER_S",
    "PASSING_CODES",
    "WAITED_S_MAX",
    "FailureView",
    "GiveUp",
    "RetryAt",
    "RetryDecision",
    "decide_retry",
    "may_fail_over",
]

ATTEMPTS_MAX: Final = 5
JITTER_S: Final = 0.5
CALL_BACKOFF: Final = Backoff(1.0, growth="doubling", jitter_s=JITTER_S, tries_max=ATTEMPTS_MAX)
WAITED_S_MAX: Final = 60.0

PASSING_CODES: Final = frozenset(
    {
        "provider_unreachable",
        "provider_loading",
        "provider_timed_out",
        "provider_overloaded",
        "provider_failed",
        "provider_garbled",
        "provider_babbled",
        "provider_cut",
    }
)
"""Failures that may pass, elsewhere at once or here in a while."""
ELSEWHERE_CODES: Final = frozenset(
    {"provider_denied", "provider_empty", "empty", "provider_misplaced", "provider_unfit"}
)
"""May pass elsewhere, and not by waiting."""
BLAMELESS_CODES: Final = frozenset({"provider_loading", "provider_empty", "empty", "provider_unfit"})
"""Say nothing of how well the target is: its breaker does not hear of them."""


@dataclass(frozen=True, slots=True)
class FailureView:
    """What a failed call said of itself."""

    code: str
    temporary: bool
    retry_after_s: float | None = None
    waited_s: float = 0.0
    """How long the call was kept in vain."""


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Try every target again, not before then."""

    at_s: float
    reason: Literal["backoff", "retry_after"]


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The failure stands."""

    reason: Literal["lasting", "waited", "attempts_used_up", "deadline"]


RetryDecision: TypeAlias = RetryAt | GiveUp


def may_fail_over(code: str) -> bool:
    """Whether another target may be called at once after this failure."""
    return code in PASSING_CODES or code in ELSEWHERE_CODES


def decide_retry(failure: FailureView, *, attempt: int, draw: float, now_s: float, deadline_s: float) -> RetryDecision:
    """After the failure of `attempt` (from 1), with no target left in this round. `draw` is from 0 to below 1."""
    if not failure.temporary or failure.code not in PASSING_CODES:
        return GiveUp("lasting")
    if failure.waited_s >= WAITED_S_MAX:
        return GiveUp("waited")
    if attempt >= ATTEMPTS_MAX:
        return GiveUp("attempts_used_up")
    pause_s = CALL_BACKOFF.pause_s(attempt)
    asked_s = failure.retry_after_s or 0.0
    at_s = now_s + max(pause_s, asked_s) + draw * JITTER_S
    if at_s >= deadline_s:
        return GiveUp("deadline")
    return RetryAt(at_s, "retry_after" if asked_s > pause_s else "backoff")
