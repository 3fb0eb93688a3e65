"""What a model is asked that makes one answer out of several.

The question and every answer, labelled by its model, go into one message. All of it has to fit the model's context:
the question stays whole, and the answers share the room that is left, short ones as they are, the long ones cut to
equal length, so that none is lost for another's sake. Cost: each text is counted once, a cut one a few times more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

__all__ = ["merge_question"]

TASK: Final = (
    "Several models were asked the same question. Make one answer out of theirs: keep what is right, prefer what they"
    " agree on, leave out what is wrong or said twice. Write it as the only answer there is, without a word about them."
)
CUT_MARK: Final = " […]"
SHRINK: Final = 0.9


def merge_question(
    question: str, answers: Sequence[tuple[str, str]], *, tokens_max: int, count: Callable[[str], int]
) -> str:
    """The message for (model, answer) pairs. `count` gives the tokens of a text."""
    labels = [f"Answer {number} ({model}):" for number, (model, _) in enumerate(answers, 1)]
    frame = "\n\n".join((TASK, f"Question:\n{question}", *(f"{label}\n{CUT_MARK}\n\n" for label in labels)))
    rooms = shares([count(answer) for _, answer in answers], max(0, tokens_max - count(frame)))
    texts = [fitting(answer, room, count) for (_, answer), room in zip(answers, rooms, strict=True)]
    labelled = (f"{label}\n{text}" for label, text in zip(labels, texts, strict=True))
    return "\n\n".join((TASK, f"Question:\n{question}", *labelled))


def shares(wanted: Sequence[int], room: int) -> list[int]:
    """Room for each, the smallest first, so that what a small one leaves goes to the larger ones."""
    given = [0] * len(wanted)
    waiting = sorted(range(len(wanted)), key=lambda number: wanted[number])
    while waiting:
        number, share = waiting[0], room // len(waiting)
        given[number] = min(wanted[number], share)
        room -= given[number]
        waiting.pop(0)
    return given


def fitting(text: str, tokens_max: int, count: Callable[[str], int]) -> str:
    """The beginning of a text that has no more tokens than that, and a mark where it was cut."""
    tokens = count(text)
    if tokens <= tokens_max:
        return text
    chars = len(text) * tokens_max // tokens
    while chars and count(text[:chars]) > tokens_max:
        chars = int(chars * SHRINK)
    return text[:chars].rstrip() + CUT_MARK
