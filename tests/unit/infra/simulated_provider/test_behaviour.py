"""Directives in prompts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from infra.simulated_provider.behaviour import (
    FAULT_KINDS,
    Behaviour,
    DirectiveError,
    Fault,
    behaviour_for,
    parse_fault,
    split_directive,
)


def test_prompt_without_a_directive() -> None:
    """The server's own settings hold, and the text is untouched."""
    assert behaviour_for("hello [[sim tokens=4]]", Behaviour()) == Behaviour()
    assert split_directive("hello") == ("", "hello")


def test_every_option() -> None:
    """Each changes what it names."""
    text = "[[sim tokens=400 pace_ms=20 first_ms=300 jitter=0 seed=7 fault=stall_after:10 times=1]] hello"

    assert behaviour_for(text, Behaviour()) == Behaviour(
        first_ms=300, pace_ms=20, jitter=0, tokens=400, seed=7, fault=Fault("stall_after", 10), times=1
    )
    assert split_directive(text)[1] == "hello"


def test_fault_taken_away() -> None:
    """`fault=none` undoes the server's own fault."""
    assert behaviour_for("[[sim fault=none]] x", Behaviour(fault=Fault("500"))).fault is None


@pytest.mark.parametrize(
    ("directive", "named"),
    [
        ("tokens", "tokens"),
        ("tokens=many", "many"),
        ("tokens=-1", "between"),
        ("pace_ms=nan", "between"),
        ("jitter=2", "between"),
        ("colour=red", "colour"),
        ("fault=typo", "typo"),
        ("fault=cut_after:x", "x"),
    ],
)
def test_option_that_does_not_exist(directive: str, named: str) -> None:
    """It is an error that names it: a typo must not pass for a test without faults."""
    with pytest.raises(DirectiveError, match=named):
        behaviour_for(f"[[sim {directive}]] x", Behaviour())


def test_fault_with_and_without_a_number() -> None:
    """No number means at once, or the usual time."""
    assert parse_fault("429:7") == Fault("429", 7)
    assert parse_fault("cut_after") == Fault("cut_after")
    assert Fault("cut_after").after_tokens == 0


def test_page_tells_of_every_option_and_fault() -> None:
    """And each of its examples is understood."""
    page = (Path(__file__).parents[4] / "docs" / "simulated-model.md").read_text()
    options, faults = page.split("| fault | what the client meets |")
    told = set(re.findall(r"^\| `(\w+)`", options, re.MULTILINE))
    rows = re.findall(r"^\| (`[^|]*)\|", faults, re.MULTILINE)
    kinds = {kind for row in rows for kind in re.findall(r"`(\w+)(?::\w)?`", row)}
    examples = re.findall(r'"(\[\[sim [^"]*)"', page)

    assert told == {"tokens", "first_ms", "pace_ms", "jitter", "seed", "fault", "times"}
    assert kinds == set(FAULT_KINDS)
    assert len(examples) == 4
    assert all(behaviour_for(example, Behaviour()) != Behaviour() for example in examples)
