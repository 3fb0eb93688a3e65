from __future__ import annotations

import sys

import pytest

from processors.attempts.decisions.answer_watchdog import AnswerWatchdog, AnswerWatchdogLimits, Suspicion
from processors.attempts.decisions.gibberish_watchdog import GibberishLimits
from processors.attempts.decisions.repetition_watchdog import RepetitionLimits

LOOP = "I should look at the log again before I answer. " * 60
COUNT = "".join(f"{at}. I should look at the log again before I answer. " for at in range(200))
NOISE = "\ufffd" * 1_024
MEMORY_BYTES_MAX = 16_384


def test_both_watches_answer_through_one_front() -> None:
    """With a code for programs and figures for people, never with the text itself."""
    assert AnswerWatchdog(AnswerWatchdogLimits()).add(LOOP) == Suspicion(
        "repetition", "the same 48 characters 33 times over", 1_664
    )
    counted = AnswerWatchdog(AnswerWatchdogLimits()).add(COUNT)
    assert counted is not None
    assert counted.detail.endswith("over, but for a running number")
    assert AnswerWatchdog(AnswerWatchdogLimits()).add(NOISE) == Suspicion(
        "gibberish", "replacement characters (1.0)", 768
    )


def test_suspicion_stays() -> None:
    """Whatever comes later."""
    watch = AnswerWatchdog(AnswerWatchdogLimits())
    suspicion = watch.add(LOOP)

    assert suspicion is not None
    assert watch.add("Good. ") is suspicion


@pytest.mark.parametrize(
    ("limits", "codes"),
    [
        (AnswerWatchdogLimits(repetition=None), [None, "gibberish"]),
        (AnswerWatchdogLimits(gibberish=None), ["repetition", "repetition"]),
        (AnswerWatchdogLimits(repetition=None, gibberish=None), [None, None]),
    ],
)
def test_parts_can_be_switched_off(limits: AnswerWatchdogLimits, codes: list[str | None]) -> None:
    """What is off neither judges nor keeps anything. (A thousand equal signs are a loop, too.)"""
    found = [AnswerWatchdog(limits).add(text) for text in (LOOP, NOISE * 2)]

    assert [suspicion and suspicion.code for suspicion in found] == codes


def test_front_keeps_nothing_when_all_is_off() -> None:
    """No block is cut for nobody."""
    watch = AnswerWatchdog(AnswerWatchdogLimits(repetition=None, gibberish=None))
    watch.add("abc")

    assert watch.blocks.pending == ""


@pytest.mark.parametrize("letters", ["abcdefgh ", "是的不了在人有我他这", "😀😁😂🤣😃😄😅"])
def test_memory_is_bounded(letters: str) -> None:
    """At most 16 KiB an answer, whatever its script and length."""
    watch = AnswerWatchdog(
        AnswerWatchdogLimits(repetition=RepetitionLimits(), gibberish=GibberishLimits(sure_blocks=16))
    )
    for at in range(40_000):
        watch.add(letters[at * at * 7 % 1_009 % len(letters)] + str(at)[-1])

    assert watch.suspicion is None
    assert bytes_kept(watch) <= MEMORY_BYTES_MAX


def bytes_kept(part: object) -> int:
    names = getattr(type(part), "__slots__", ())
    kept = sys.getsizeof(part)
    for name in names if isinstance(names, tuple | list) else ():
        value = getattr(part, name)
        if name != "limits":
            kept += bytes_kept(value)
    return kept
