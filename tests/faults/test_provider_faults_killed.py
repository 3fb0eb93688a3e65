"""Rows R26 to R30 with `kill -9` in between: whatever a provider does, whoever dies meanwhile, every prompt ends once.

Two workers share the prompts. While these fail, stall, break off, wait for their retry or are cancelled, first one
worker is killed and started again, then the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest_asyncio

from infra.embedded.broker import EmbeddedBroker
from infra.simulated_provider.answer_text import answer_for
from producers.sdk import Receipt
from schemas.prompts import ChatMessage
from schemas.turn_fold import FoldedTurn
from tests.faults.full_size import sized
from tests.faults.worker_ledger import check_worker_ledger
from tests.integration.ledger import Asked
from tests.integration.worker_line import WorkerLine, open_line

TOKENS: Final = 60
COPIES: Final = sized(1, 10)
KILLS: Final = sized(2, 6)
DEADLINE_S: Final = 1.0
ENDED_S: Final = sized(150.0, 240.0)
FAULTS: Final = {
    "no fault": "",
    "no headers": "fault=stall_headers times=1",
    "no first token": "fault=stall_first times=1",
    "silence after tokens": "fault=stall_after:10",
    "broken json": "fault=broken_json:5",
    "web page": "fault=html times=1",
    "cut": "fault=cut_after:5",
    "reset": "fault=drop_after:5",
    "no finish": "fault=eof_after:5",
    "429": "fault=429:1 times=2",
    "500": "fault=500 times=1",
    "503 and later": "fault=503:2 times=1",
    "error in the stream": "fault=error_after:0 times=1",
}
CANCELLED: Final = {"running": "", "waiting to be tried again": "fault=503:3 times=3", "silent": "fault=stall_headers"}


@pytest_asyncio.fixture
async def strict(broker: EmbeddedBroker, tmp_path: Path) -> AsyncIterator[WorkerLine]:
    """Two workers that wait a second for each thing that they wait for, and never give a prompt up for its crashes."""
    async with open_line(
        broker,
        tmp_path,
        connect_s=DEADLINE_S,
        first_token_s=DEADLINE_S,
        between_tokens_s=DEADLINE_S,
        attempts_max=20,
    ) as line:
        for _ in range(2):
            await line.wait_for_log(line.start_worker(), "partitions_owned")
        yield line


async def asked(line: WorkerLine, kind: str, directive: str, number: int, run: str) -> tuple[str, Receipt]:
    words = f"What about {kind}, number {number} of {run}?"
    text = f"[[sim tokens={TOKENS} first_ms=50 pace_ms=60 {directive}]] {words}"
    user = f"{kind.replace(' ', '-')}-{number}-{run}"
    return words, await line.producer.submit(text, user=user, session="s1", prompt_id="p1")


async def kill_in_turn(line: WorkerLine, watched: Receipt) -> None:
    """Kill the worker that has run longest, in the middle of an answer, and start another; again and again."""
    for kill in range(KILLS):
        await line.until_tokens(watched, chunks=5 * (kill + 1))
        victim = next(worker for worker in line.workers if worker.poll() is None)
        victim.kill()
        await asyncio.to_thread(victim.wait)
        await line.wait_for_log(line.start_worker(), "partitions_owned")


def assert_as_provider_said(words: str, turn: FoldedTurn) -> None:
    """Whole, or as far as it came before it broke; nothing that is not whole is called complete."""
    whole = "".join(answer_for([ChatMessage(role="user", content=words)], tokens=TOKENS))
    assert turn.ended is not None
    assert turn.ended.reason in ("complete", "incomplete", "error", "cancelled"), words
    assert (turn.text == whole) == (turn.ended.reason == "complete") or turn.ended.reason == "cancelled", words
    assert whole.startswith(turn.text), words


async def test_r26_to_r30_with_kill_in_between(strict: WorkerLine) -> None:
    """Every prompt ends once, as its provider and its user wanted; attempts are on record, and calls are attempts."""
    run = uuid4().hex[:8]
    prompts = [
        await asked(strict, kind, directive, number, run)
        for kind, directive in (FAULTS | CANCELLED).items()
        for number in range(COPIES)
    ]
    cancelled = [receipt for words, receipt in prompts if any(f"about {kind}," in words for kind in CANCELLED)]
    killing = asyncio.create_task(kill_in_turn(strict, prompts[0][1]), name="kills")
    for receipt in cancelled:
        await strict.producer.cancel(user=receipt.user, session=receipt.session, prompt_id=receipt.prompt_id)
    await killing

    turns = [await strict.ended(receipt, deadline_s=ENDED_S) for _, receipt in prompts]

    for (words, receipt), turn in zip(prompts, turns, strict=True):
        assert_as_provider_said(words, turn)
        assert turn.ended is not None
        assert (turn.ended.reason == "cancelled") == (receipt in cancelled), words
        calls = strict.provider.call_log.for_prompt(words)
        assert len(calls) <= turn.attempt, f"{words}: a call that is no attempt"
    ledger = [
        Asked(user=receipt.user, session="s1", prompt_id="p1", text=turn.text, reason=turn.ended.reason)
        for (_, receipt), turn in zip(prompts, turns, strict=True)
        if turn.ended is not None
    ]
    await check_worker_ledger(strict, ledger, crashed=True)
    attempts = sum(turn.attempt for turn in turns)
    print(f"{len(prompts)} prompts, {KILLS} kills, {attempts} attempts")  # noqa: T201
    assert attempts > len(prompts)
