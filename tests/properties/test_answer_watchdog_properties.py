"""The watches for any text, cut in any way."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from processors.attempts.decisions.answer_watchdog import AnswerWatchdog, AnswerWatchdogLimits, Suspicion
from processors.attempts.decisions.code_fence import CodeFence
from processors.attempts.decisions.gibberish_watchdog import GibberishLimits, GibberishWatchdog
from processors.attempts.decisions.number_mask import NumberMask
from processors.attempts.decisions.repetition_watchdog import RepetitionLimits, RepetitionWatchdog

pieces = st.sampled_from(
    ("a", "word ", "Step ", "12", "3", "\n", "```", "`", "~~~\n", "\n```\n", "你", "\ufffd", "Ã©", "😀")
)
markdown = st.lists(pieces, max_size=60).map("".join)
STRICT = AnswerWatchdogLimits(
    repetition=RepetitionLimits(
        run_chars_min=256, repeats_min=3, running_run_chars_min=384, running_repeats_min=4, running_letters_min=4
    ),
    gibberish=GibberishLimits(sure_blocks=1, letter_blocks=2, blob_blocks=2, soup_windows=1),
)
"""So that short texts are judged, too."""


@st.composite
def answers(draw: st.DrawFn) -> str:
    """An ordinary beginning, then a loop, a loop that counts, or noise."""
    said = draw(markdown) + "some words to say"
    repeats = range(4_000 // len(said))
    seed = draw(st.integers(0, 1_000))
    broken = draw(
        st.sampled_from(
            (
                said * len(repeats),
                "".join(f"{said} {number} " for number in repeats),
                "".join(random.Random(seed).choices(list(map(chr, range(33, 0x3000))), k=4_000)),
                "".join(random.Random(seed).choices("bcdfghjklm npqrst 12", k=4_000)),
            )
        )
    )
    return draw(markdown) + broken


def cut(text: str, draw: random.Random, longest: int) -> list[str]:
    chunks: list[str] = []
    at = 0
    while at < len(text):
        chunks.append(text[at : at + draw.randint(1, longest)])
        at += len(chunks[-1])
    return chunks


@settings(deadline=None)
@given(text=answers(), seed=st.integers(), longest=st.sampled_from((1, 3, 9, 127, 1_000)), strict=st.booleans())
def test_verdict_does_not_depend_on_the_chunks(text: str, seed: int, longest: int, strict: bool) -> None:
    """Any cut gives the same verdict at the same place, and it comes with the chunk that completes its block."""
    limits = STRICT if strict else AnswerWatchdogLimits()
    whole = AnswerWatchdog(limits).add(text)
    watch = AnswerWatchdog(limits)
    found: Suspicion | None = None
    read_chars = 0
    for chunk in cut(text, random.Random(seed), longest):
        read_chars += len(chunk)
        found = watch.add(chunk)
        if found is not None:
            assert read_chars - len(chunk) < found.at_chars <= read_chars
            break

    assert found == whole


@settings(deadline=None)
@given(text=answers(), seed=st.integers())
def test_front_and_watches_agree(text: str, seed: int) -> None:
    """Alone, fed chunk by chunk, each watch says what the front says."""
    repetition, gibberish = RepetitionWatchdog(RepetitionLimits()), GibberishWatchdog(GibberishLimits())
    for chunk in cut(text, random.Random(seed), 9):
        repetition.add(chunk)
        gibberish.add(chunk)
    verdicts = [verdict for verdict in (repetition.verdict, gibberish.verdict) if verdict is not None]
    suspicion = AnswerWatchdog(AnswerWatchdogLimits()).add(text)

    assert (suspicion is None) == (not verdicts)
    assert suspicion is None or suspicion.at_chars == min(verdict.at_chars for verdict in verdicts)


@given(texts=st.lists(markdown, max_size=8))
def test_fences_do_not_depend_on_the_pieces(texts: list[str]) -> None:
    """Open or closed is a matter of the text alone."""
    parted, whole = CodeFence(), CodeFence()
    for text in texts:
        parted.add(text)
    whole.add("".join(texts))

    assert parted.is_open == whole.is_open


@given(texts=st.lists(markdown, max_size=8))
def test_masks_do_not_depend_on_the_pieces(texts: list[str]) -> None:
    """Masked text and numbers are a matter of the text alone."""
    parted, whole = NumberMask(), NumberMask()
    masked = "".join(parted.add(text) for text in texts)

    assert masked == whole.add("".join(texts))
    assert parted.numbers == whole.numbers
    assert parted.held == whole.held
