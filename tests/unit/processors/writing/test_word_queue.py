"""Words that are sent soon, never waited for."""

from __future__ import annotations

import asyncio

from processors.writing.word_queue import QUEUE_MAX, WordQueue

__all__: list[str] = []


async def test_words_that_gather() -> None:
    """What gathers while others are sent goes out together, in order; beyond the limit the oldest are dropped."""
    sent: list[list[int]] = []
    room = asyncio.Event()

    async def send_all(words: list[int]) -> None:
        sent.append(words)
        await room.wait()

    queue: WordQueue[int] = WordQueue(send_all, name="words")
    queue.say(-1)
    await asyncio.sleep(0)
    for word in range(QUEUE_MAX + 1):
        queue.say(word)
    assert sent == [[-1]]

    room.set()
    assert queue.task is not None
    await queue.task
    assert sent == [[-1], list(range(1, QUEUE_MAX + 1))]


async def test_queue_that_was_closed() -> None:
    """Nothing more is sent, what was under way included, and no task is left."""
    ended: list[int] = []

    async def send_all(words: list[int]) -> None:
        await asyncio.Event().wait()
        ended.extend(words)

    queue: WordQueue[int] = WordQueue(send_all, name="words")
    queue.say(1)
    await asyncio.sleep(0)
    await queue.aclose()
    queue.say(2)

    assert ended == []
    assert queue.task is not None
    assert queue.task.cancelled()
    assert not queue.words
