"""What a run of a batch sends, beside what earlier runs have brought: a decision over the lines and the results file.

A line whose newest prompt is answered whole is left alone. One that has not ended, or that no run has sent, is sent
under its own id, which is answered once however often it is sent. One that ended otherwise is left alone too, or, where
that is wanted, asked anew: under the id that follows from the one that failed. So a retry that is killed and run again
names the same prompt again, and pays once; and one that fails can be retried in its turn.

In a conversation only the line that failed is asked anew, after everything that was said since: what follows it has its
answers already, and they stay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from producers.batches.batch_file import BatchLine
from producers.batches.batch_results import FinishedPrompt
from producers.dead_letters.decisions.dead_letter_retry import next_id

__all__ = ["BatchPlan", "plan_batch"]


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """The lines to send, and how many need not be."""

    send: list[BatchLine] = field(default_factory=list)
    answered_before: int = 0
    failed_before: int = 0
    """Ended otherwise than whole, and not asked anew."""
    retried: int = 0
    """Of those to send: asked anew."""
    retried_amid: int = 0
    """Of those: what was said after them in their conversation stays."""


def plan_batch(
    lines: Sequence[BatchLine], finished: Mapping[tuple[str, str, str], FinishedPrompt], *, retry_failed: bool
) -> BatchPlan:
    """Decide what to send. `finished`: the newest ended prompt of each line, by the line's key."""
    taken = {line.key for line in lines}
    followed = ended_before_another(lines, finished)
    send: list[BatchLine] = []
    counted: Counter[str] = Counter()
    for line in lines:
        ended = finished.get(line.key)
        if ended is None:
            send.append(line)
        elif ended.answered:
            counted["answered"] += 1
        elif not retry_failed:
            counted["failed"] += 1
        else:
            send.append(retried(line, ended.prompt_id, taken))
            counted["retried"] += 1
            counted["amid"] += line.key in followed
    return BatchPlan(
        send=send,
        answered_before=counted["answered"],
        failed_before=counted["failed"],
        retried=counted["retried"],
        retried_amid=counted["amid"],
    )


def retried(line: BatchLine, failed_id: str, taken: set[tuple[str, str, str]]) -> BatchLine:
    """The line under the next id that no other line of the file has."""
    own_id = line.prompt.prompt_id
    prompt_id = next_id(own_id, failed_id)
    while (line.prompt.user, line.prompt.session, prompt_id) in taken:
        prompt_id = next_id(own_id, prompt_id)
    prompt = msgspec.structs.replace(line.prompt, prompt_id=prompt_id)
    return BatchLine(line.number, prompt, retry_of=own_id)


def ended_before_another(
    lines: Sequence[BatchLine], finished: Mapping[tuple[str, str, str], FinishedPrompt]
) -> set[tuple[str, str, str]]:
    """Lines after which an ended one follows in the same conversation."""
    found: set[tuple[str, str, str]] = set()
    said_later: set[tuple[str, str]] = set()
    for line in reversed(lines):
        conversation = (line.prompt.user, line.prompt.session)
        if conversation in said_later:
            found.add(line.key)
        if line.key in finished:
            said_later.add(conversation)
    return found
