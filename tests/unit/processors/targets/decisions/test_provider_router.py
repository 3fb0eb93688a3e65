"""Which target a call goes to."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from processors.targets.decisions.provider_router import (
    LOOK_AGAIN_S,
    AskPermit,
    CallNeeds,
    GiveUp,
    Obstacle,
    RouteDecision,
    TargetView,
    UseTarget,
    WaitUntil,
    choose_target,
    waited_for,
)

NOW_S = 100.0
GROQ = TargetView(name="groq", provider="groq", model="llama", rank=0, context_tokens=8_000)
TOGETHER = TargetView(name="together", provider="together", model="llama", rank=1, context_tokens=8_000)
OPENAI = TargetView(
    name="openai",
    provider="openai",
    model="gpt",
    rank=2,
    context_tokens=100_000,
    abilities=frozenset({"vision"}),
)
CHAIN = (GROQ, TOGETHER, OPENAI)


def choose(*views: TargetView, tried: frozenset[str] = frozenset(), needs: CallNeeds | None = None) -> RouteDecision:
    return choose_target(views, needs or CallNeeds(), tried=tried, now_s=NOW_S)


def test_all_are_well() -> None:
    """The first is taken, however much room the others have."""
    assert choose(replace(GROQ, room=0.1), TOGETHER, OPENAI) == UseTarget("groq", "first_choice")


def test_rank_goes_before_place() -> None:
    """The order of the list counts among equals alone."""
    assert choose(OPENAI, TOGETHER, GROQ) == UseTarget("groq", "first_choice")


def test_equals() -> None:
    """The one with more room, the first named where it is the same."""
    equal = replace(TOGETHER, rank=0)

    assert choose(replace(GROQ, room=0.5), replace(equal, room=0.6)) == UseTarget("together", "headroom")
    assert choose(GROQ, equal) == UseTarget("groq", "first_choice")


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (replace(GROQ, breaker_allows=False), "breaker_open"),
        (replace(GROQ, free_at_s=NOW_S + 1), "rate_limited"),
        (replace(GROQ, free_at_s=math.inf), "never_fits"),
        (replace(GROQ, concurrent_max=0), "never_fits"),
        (replace(GROQ, concurrent_max=3, in_flight=3), "busy"),
        (replace(GROQ, context_tokens=10), "context_too_small"),
    ],
)
def test_first_choice_is_passed_over(first: TargetView, reason: Obstacle) -> None:
    """The next takes the call, and the reason says why."""
    assert choose(first, TOGETHER, needs=CallNeeds(context_tokens=11)) == UseTarget("together", reason)


def test_first_choice_failed() -> None:
    """The next is tried, not the same again."""
    assert choose(*CHAIN, tried=frozenset({"groq"})) == UseTarget("together", "failover")


def test_ability_is_missing() -> None:
    """Only the able one is asked."""
    assert choose(*CHAIN, needs=CallNeeds(abilities=frozenset({"vision"}))) == UseTarget("openai", "no_ability")


def test_no_substitute() -> None:
    """Another provider of the same model will do; another model will not."""
    needs = CallNeeds(substitute=False)

    assert choose(*CHAIN, needs=needs, tried=frozenset({"groq"})) == UseTarget("together", "failover")
    assert choose(*CHAIN, needs=needs, tried=frozenset({"groq", "together"})) == GiveUp("all_tried")
    assert choose(GROQ, OPENAI, needs=replace(needs, context_tokens=9_000)) == GiveUp("context_too_small")


def test_all_are_out_of_room() -> None:
    """The call waits for the first of them."""
    first, second = replace(GROQ, free_at_s=NOW_S + 30), replace(TOGETHER, free_at_s=NOW_S + 20)

    assert choose(first, second) == WaitUntil(NOW_S + 20, "rate_limited")
    assert choose(first, replace(GROQ, concurrent_max=1, in_flight=1)) == WaitUntil(NOW_S + LOOK_AGAIN_S, "busy")


def test_all_breakers_are_open() -> None:
    """A call that has tried nothing waits for the first probe; one that has is the retry policy's."""
    first = replace(GROQ, breaker_allows=False, breaker_retry_at_s=NOW_S + 9)
    probing = replace(TOGETHER, breaker_allows=False, breaker_retry_at_s=NOW_S - 1)

    assert choose(first) == WaitUntil(NOW_S + 9, "breaker_open")
    assert choose(first, probing) == WaitUntil(NOW_S + LOOK_AGAIN_S, "breaker_open")
    assert choose(first, TOGETHER, tried=frozenset({"together"})) == GiveUp("all_tried")


def test_nobody_is_able() -> None:
    """The prompt is told why the first choice cannot."""
    assert choose(GROQ, TOGETHER, needs=CallNeeds(abilities=frozenset({"tools"}))) == GiveUp("no_ability")


def test_no_targets() -> None:
    """There is nothing to choose."""
    assert choose() == GiveUp("no_targets")


HELD_ELSEWHERE = replace(GROQ, needs_permit=True, concurrent_max=None)


def test_limit_held_elsewhere() -> None:
    """Its holder is asked: patiently where nothing else can be used, else for an answer at once."""
    assert choose(HELD_ELSEWHERE) == AskPermit("groq", patient=True)
    assert choose(HELD_ELSEWHERE, TOGETHER) == AskPermit("groq", patient=False)
    assert choose(HELD_ELSEWHERE, replace(TOGETHER, breaker_allows=False)) == AskPermit("groq", patient=True)


def test_holder_is_not_asked() -> None:
    """Where a target that goes before it, or is its equal, can be used, and where it has just refused."""
    refused = replace(HELD_ELSEWHERE, free_at_s=NOW_S + 5)

    assert choose(TOGETHER, replace(HELD_ELSEWHERE, rank=2)) == UseTarget("together", "first_choice")
    assert choose(HELD_ELSEWHERE, replace(TOGETHER, rank=0)) == UseTarget("together", "no_permit")
    assert choose(refused, TOGETHER) == UseTarget("together", "rate_limited")
    assert choose(refused) == WaitUntil(NOW_S + 5, "rate_limited")


def test_kept_for_whoever_came_before() -> None:
    """It is passed over, and waited for."""
    kept = replace(GROQ, kept=True)

    assert choose(kept, TOGETHER) == UseTarget("together", "busy")
    assert choose(kept) == WaitUntil(NOW_S + LOOK_AGAIN_S, "busy")


def test_what_is_waited_for() -> None:
    """What only lacks room; not what was tried, or will never do."""
    busy = replace(GROQ, in_flight=3, concurrent_max=3)
    limited = replace(TOGETHER, free_at_s=NOW_S + 9)
    tried = replace(busy, name="tried")

    found = waited_for((busy, limited, tried, OPENAI), CallNeeds(), tried=frozenset({"tried"}), now_s=NOW_S)

    assert found == {"groq", "together"}
    assert waited_for((), CallNeeds(), tried=frozenset(), now_s=NOW_S) == frozenset()


CAN_GO_ON = CallNeeds(preferred=frozenset({"prefix"}))
ABLE = frozenset({"prefix"})


def test_target_that_goes_on_from_the_text() -> None:
    """It goes before one of better rank that would begin again."""
    assert choose(GROQ, replace(TOGETHER, abilities=ABLE), needs=CAN_GO_ON) == UseTarget("together", "preferred")
    assert choose(GROQ, replace(TOGETHER, rank=0, abilities=ABLE), needs=CAN_GO_ON) == UseTarget(
        "together", "preferred"
    )
    assert choose(replace(GROQ, abilities=ABLE), TOGETHER, needs=CAN_GO_ON) == UseTarget("groq", "first_choice")


def test_target_that_would_go_on_is_not_waited_for() -> None:
    """Whoever can take the call now takes it."""
    busy = replace(TOGETHER, abilities=ABLE, concurrent_max=1, in_flight=1)

    assert choose(GROQ, busy, needs=CAN_GO_ON) == UseTarget("groq", "first_choice")
    assert choose(GROQ, busy, OPENAI, needs=CAN_GO_ON, tried=frozenset({"groq"})) == UseTarget("openai", "failover")


def test_crowded() -> None:
    """What was learned makes nobody change the model: the call waits for the first choice, not for a lower rank."""
    crowded = replace(GROQ, crowded=True)

    assert choose(crowded, TOGETHER, OPENAI) == WaitUntil(NOW_S + LOOK_AGAIN_S, "crowded")
    assert choose(crowded, replace(TOGETHER, needs_permit=True)) == WaitUntil(NOW_S + LOOK_AGAIN_S, "crowded")
    assert waited_for((crowded, TOGETHER), CallNeeds(), tried=frozenset(), now_s=NOW_S) == {"groq"}


def test_crowded_equals() -> None:
    """What is over one goes to the other; not to a paid one beside one that costs nothing."""
    equal = replace(TOGETHER, rank=0)

    assert choose(replace(GROQ, crowded=True), equal) == UseTarget("together", "crowded")
    assert choose(replace(GROQ, crowded=True, paid=True), replace(equal, paid=True)) == UseTarget("together", "crowded")
    assert choose(replace(GROQ, crowded=True, paid=True), equal) == UseTarget("together", "crowded")
    assert choose(replace(GROQ, crowded=True), replace(equal, paid=True)) == WaitUntil(NOW_S + LOOK_AGAIN_S, "crowded")


def test_crowded_with_overflow() -> None:
    """Where the file says so, whoever has room."""
    overflow = CallNeeds(overflow=True)

    assert choose(replace(GROQ, crowded=True), TOGETHER, needs=overflow) == UseTarget("together", "crowded")


def test_crowded_and_failed() -> None:
    """A target that failed this call, or whose breaker is open, is waited for by nobody."""
    failed, ill = replace(GROQ, crowded=True), replace(GROQ, crowded=True, breaker_allows=False)

    assert choose(failed, TOGETHER, tried=frozenset({"groq"})) == UseTarget("together", "failover")
    assert choose(ill, TOGETHER) == UseTarget("together", "breaker_open")
