"""What to do when a call failed before its first token."""

from __future__ import annotations

import pytest

from processors.providers import provider
from processors.providers.provider import (
    ProviderDenied,
    ProviderEmpty,
    ProviderError,
    ProviderLoading,
    ProviderMisplaced,
    ProviderUnfit,
    ProviderWordless,
)
from processors.targets.decisions.retry_policy import (
    BLAMELESS_CODES,
    ELSEWHERE_CODES,
    PASSING_CODES,
    WAITED_S_MAX,
    FailureView,
    GiveUp,
    RetryAt,
    decide_retry,
    may_fail_over,
)

FAILED = FailureView("provider_failed", temporary=True)
KINDS = [kind for kind in vars(provider).values() if isinstance(kind, type) and issubclass(kind, ProviderError)]


@pytest.mark.parametrize(("attempt", "pause_s"), [(1, 1), (2, 2), (3, 4), (4, 8)])
def test_pause_doubles(attempt: int, pause_s: float) -> None:
    """1, 2, 4, 8 s, and half of the jitter at a draw of a half."""
    decision = decide_retry(FAILED, attempt=attempt, draw=0.5, now_s=100, deadline_s=200)

    assert decision == RetryAt(100 + pause_s + 0.25, "backoff")


def test_fifth_attempt_failed() -> None:
    """There is no sixth."""
    assert decide_retry(FAILED, attempt=5, draw=0, now_s=0, deadline_s=1e9) == GiveUp("attempts_used_up")


@pytest.mark.parametrize(
    ("asked_s", "expected"),
    [(7.0, RetryAt(107, "retry_after")), (0.5, RetryAt(102, "backoff")), (50.0, GiveUp("deadline"))],
)
def test_retry_after(asked_s: float, expected: RetryAt | GiveUp) -> None:
    """The longer of the two pauses; never shorter than asked, so beyond the deadline there is no use in waiting."""
    failure = FailureView("provider_overloaded", temporary=True, retry_after_s=asked_s)

    assert decide_retry(failure, attempt=2, draw=0, now_s=100, deadline_s=150) == expected


def test_deadline_before_the_pause_ends() -> None:
    """The turn ends at once."""
    assert decide_retry(FAILED, attempt=4, draw=0, now_s=100, deadline_s=108) == GiveUp("deadline")


@pytest.mark.parametrize(
    "failure",
    [FailureView(code, temporary=False) for code in ("provider_refused", *sorted(ELSEWHERE_CODES), "provider_failed")],
)
def test_lasting_failure(failure: FailureView) -> None:
    """It is not tried again."""
    assert decide_retry(failure, attempt=1, draw=0, now_s=0, deadline_s=100) == GiveUp("lasting")


ELSEWHERE = (ProviderDenied, ProviderEmpty, ProviderWordless, ProviderMisplaced, ProviderUnfit)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not ProviderError])
def test_every_kind_of_failure(kind: type[ProviderError]) -> None:
    """What is temporary may fail over and be retried; one that does not serve us, or says nothing, has others asked."""
    assert may_fail_over(kind.code) == (kind.temporary or kind in ELSEWHERE)


@pytest.mark.parametrize(("waited_s", "decision"), [(WAITED_S_MAX, GiveUp("waited")), (59.0, RetryAt(101, "backoff"))])
def test_call_that_was_kept_for_minutes(waited_s: float, decision: object) -> None:
    """It is not made again: the prompt would wait as long once more."""
    failure = FailureView("provider_timed_out", temporary=True, waited_s=waited_s)

    assert decide_retry(failure, attempt=1, draw=0, now_s=100, deadline_s=1_000) == decision


def test_blameless_failures() -> None:
    """A target is not blamed for loading its model, for having no words, nor for a field that it does not take."""
    kinds = (ProviderLoading, ProviderEmpty, ProviderWordless, ProviderUnfit)
    assert {kind.code for kind in kinds} == BLAMELESS_CODES


def test_no_code_is_made_up() -> None:
    """Each is one of the provider's."""
    assert {kind.code for kind in KINDS} >= PASSING_CODES | ELSEWHERE_CODES
