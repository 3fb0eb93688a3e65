"""What the holder of a limit does about an ask."""

from __future__ import annotations

import pytest

from processors.targets.decisions.permit_rules import ANSWER_S, LEASE_S, RENEW_S, PermitAct, PermitPhase, on_asked

LEADS_TO: dict[PermitAct, PermitPhase] = {
    "queue": "waiting",
    "renew": "waiting",
    "grant_again": "granted",
    "adopt": "granted",
}


@pytest.mark.parametrize(
    ("known", "held", "act"),
    [
        (None, False, "queue"),
        (None, True, "adopt"),
        ("waiting", False, "renew"),
        ("waiting", True, "adopt"),
        ("granted", False, "grant_again"),
        ("granted", True, "renew"),
    ],
)
def test_every_row(known: PermitPhase | None, held: bool, act: PermitAct) -> None:
    """The table, row by row."""
    assert on_asked(known, held=held) == act


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("known", [None, "waiting", "granted"])
def test_twice_changes_nothing(known: PermitPhase | None, held: bool) -> None:
    """What is asked again after it was acted on adds neither a position in the queue nor a place at the provider."""
    act = on_asked(known, held=held)
    then = "granted" if known == "granted" else LEADS_TO[act]

    assert on_asked(then, held=held) in ("renew", "grant_again")


def test_times_fit_each_other() -> None:
    """Several repetitions may be lost before a lease ends; an answer is waited for less long than a repetition."""
    assert LEASE_S >= 3 * RENEW_S
    assert ANSWER_S < RENEW_S
