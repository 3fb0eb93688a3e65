"""What tests of comparisons ask, and what they look at."""

from __future__ import annotations

from processors.providers.provider import ChatRequest
from schemas.codec import decode_session_event
from schemas.identifiers import PromptId, SessionId, UserId, turn_id_of
from schemas.prompts import CompareMode, PromptCancelled, PromptSubmitted
from schemas.session_events import ComparisonEnded
from schemas.turn_fold import FoldedTurn
from tests.fakes.one_target import COMPARED
from tests.fakes.one_worker import SESSION, USER, OneWorker, prompt
from tests.fakes.scripted_provider import Script, answer_chunks

__all__ = [
    "ANSWER",
    "CANCEL",
    "PACES",
    "compared",
    "paced",
    "reasons",
    "settled",
    "times_settled",
    "told_next",
    "turn_at",
    "until_settled",
]

ANSWER = "".join(answer_chunks("ask p1"))
CANCEL = PromptCancelled(user=USER, session=SESSION, prompt_id="p1")
PACES = {"model-a": 2.0, "model-b": 1.0, "model-c": 3.0}


def compared(mode: CompareMode = "all", prompt_id: str = "p1", **fields: object) -> PromptSubmitted:
    return prompt(prompt_id, models=COMPARED, compare=mode, **fields)


def paced(request: ChatRequest) -> Script:
    """The second model is the quickest, the third the slowest."""
    return Script(first_s=PACES.get(request.model, 0.1), pace_s=0.0)


def turn_at(worker: OneWorker, index: int, prompt_id: str = "p1") -> FoldedTurn | None:
    turn = turn_id_of(UserId(USER), SessionId(SESSION), PromptId(prompt_id), index)
    return worker.fold().turns.get(turn)


def reasons(worker: OneWorker, prompt_id: str = "p1") -> list[str]:
    """How the prompt's turns have ended, by model; those that there are."""
    turns = [turn_at(worker, index, prompt_id) for index in range(4)]
    return [turn.ended.reason if turn.ended else "" for turn in turns if turn is not None]


def settled(worker: OneWorker, prompt_id: str = "p1") -> ComparisonEnded | None:
    return worker.fold().comparisons.get(prompt_id)


async def until_settled(worker: OneWorker, prompt_id: str = "p1", limit_s: float = 300.0) -> int:
    """Wait for the comparison's end; the index of the turn that was chosen, -1 for none."""
    await worker.until(lambda: settled(worker, prompt_id) is not None, limit_s)
    await worker.until(lambda: worker.owner.sessions.lane_of(USER, SESSION).idle)
    comparison = settled(worker, prompt_id)
    assert comparison is not None
    turns: list[str] = [turn_id_of(UserId(USER), SessionId(SESSION), PromptId(prompt_id), index) for index in range(4)]
    return turns.index(comparison.turn) if comparison.turn else -1


async def told_next(worker: OneWorker) -> list[str]:
    """What the model is told with the session's next prompt."""
    await worker.send(prompt("next"))
    await worker.until(lambda: worker.reason("next") != "")
    return [message.content for message in worker.provider.calls[-1].messages]


def times_settled(worker: OneWorker) -> int:
    records = worker.log.records(worker.place.topic, worker.place.partition)
    return sum(isinstance(decode_session_event(record.value or b""), ComparisonEnded) for record in records)
