"""What a model is told of a session's past."""

from __future__ import annotations

import asyncio

from processors.sessions.conversation import CONVERSATION_BYTES, MESSAGE_BYTES, Conversations
from schemas.prompts import ChatMessage
from tests.fakes.one_worker import OneWorker, on_virtual_time, prompt
from tests.fakes.scripted_provider import answer_chunks

__all__: list[str] = []


def answer(prompt_id: str) -> str:
    return "".join(answer_chunks(f"ask {prompt_id}"))


async def asked(worker: OneWorker, *prompt_ids: str) -> list[str]:
    """Ask one after another; what the model was told with the last one."""
    for prompt_id in prompt_ids:
        await worker.send(prompt(prompt_id))
        await worker.until(lambda prompt_id=prompt_id: worker.reason(prompt_id) != "")  # type: ignore[misc]
        await asyncio.sleep(1)
    return [message.content for message in worker.provider.calls[-1].messages]


@on_virtual_time
async def test_prompts_in_a_row(worker: OneWorker) -> None:
    """Questions and answers, oldest first."""
    assert await asked(worker, "p1", "p2", "p3") == ["ask p1", answer("p1"), "ask p2", answer("p2"), "ask p3"]


@on_virtual_time
async def test_whole_history_sent_along(worker: OneWorker) -> None:
    """It replaces everything before it, also for later prompts."""
    await asked(worker, "p1")
    messages = (ChatMessage("system", "Be brief."), ChatMessage("user", "Why?"))
    await worker.send(prompt("p2", input="", messages=messages))
    await worker.until(lambda: worker.reason("p2") != "")
    await asyncio.sleep(1)

    assert await asked(worker, "p3") == ["Be brief.", "Why?", "".join(answer_chunks("Why?")), "ask p3"]


@on_virtual_time
async def test_conversation_dropped_from_memory(worker: OneWorker) -> None:
    """It is read from the log again."""
    expected = ["ask p1", answer("p1"), "ask p2", answer("p2"), "ask p3"]
    await asked(worker, "p1", "p2")
    worker.conversations.bytes_max = 0
    worker.conversations.shrink()
    assert (worker.conversations.kept, worker.conversations.size_bytes) == ({}, 0)

    assert await asked(worker, "p3") == expected
    assert worker.conversations.size_bytes == 0


@on_virtual_time
async def test_session_that_was_another_workers_meanwhile(worker: OneWorker) -> None:
    """What is remembered from before is not used."""
    await asked(worker, "p1")
    await worker.owner.stop()
    other = OneWorker(worker.clock, log=worker.log)
    other.owner.start()
    await asked(other, "p2")
    await other.owner.stop()
    worker.owner = worker.new_owner(3)
    worker.owner.start()

    assert await asked(worker, "p3") == ["ask p1", answer("p1"), "ask p2", answer("p2"), "ask p3"]


@on_virtual_time
async def test_two_readers_at_once(worker: OneWorker) -> None:
    """A conversation counts once against the memory's bound."""
    await asked(worker, "p1")
    writer = next(iter(worker.owner.sessions.lanes.values())).log()
    conversations = Conversations(bytes_max=10_000)
    await asyncio.gather(*(conversations.find(writer, read_from=0) for _ in range(3)))

    (kept,) = conversations.kept.values()
    texts = len("ask p1") + len(answer("p1"))
    assert conversations.size_bytes == kept.size_bytes == CONVERSATION_BYTES + 2 * MESSAGE_BYTES + texts
