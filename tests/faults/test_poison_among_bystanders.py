"""A prompt whose every call kills its worker, among ten that do nothing: the full row R16 on real processes."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from uuid import uuid4

from infra.simulated_provider.call_log import prompt_sha256
from producers.sdk import Receipt
from tests.integration.worker_line import WorkerLine, answer_text

BYSTANDERS = 10
ATTEMPTS_MAX = 3
KILLER = "the killer"
POLL_S = 0.02


async def kill_on_each_call(line: WorkerLine) -> None:
    """SIGKILL the worker whenever the killer's call arrives, and start another, as a supervisor does."""
    deaths = 0
    while True:
        calls = sum(call.prompt_sha256 == prompt_sha256(KILLER) for call in line.provider.calls)
        if calls > deaths:
            deaths = calls
            line.workers[-1].send_signal(signal.SIGKILL)
            await asyncio.to_thread(line.workers[-1].wait, 10)
            line.start_worker()
        await asyncio.sleep(POLL_S)


async def attempts_of(line: WorkerLine, receipts: list[Receipt]) -> Counter[str]:
    """Attempts on record, by turn."""
    records = await line.records_of(*receipts)
    return Counter(turn for turn, _, _ in {(r.turn, r.attempt, r.run) for r in records if r.outcome})


async def test_r16_killer_prompt_among_ten_that_stream(line: WorkerLine) -> None:
    """It is given up at its third crash, when it ran alone; everybody else is answered whole."""
    name = uuid4().hex
    line.start_worker()
    questions = [f"question {number}" for number in range(BYSTANDERS)]
    bystanders = [
        await line.producer.submit(
            f"[[sim tokens=60 pace_ms=50]] {question}", user=f"{name}-{number % 4}", session=f"s{number}"
        )
        for number, question in enumerate(questions)
    ]
    await asyncio.gather(*(line.until_tokens(receipt, 3) for receipt in bystanders))
    reaper = asyncio.create_task(kill_on_each_call(line))
    killer = await line.producer.submit(f"[[sim first_ms=30000]] {KILLER}", user=f"{name}-killer", session="s")
    try:
        dead = await line.ended(killer, deadline_s=90)
        turns = await asyncio.gather(*(line.ended(receipt, deadline_s=90) for receipt in bystanders))
    finally:
        reaper.cancel()

    assert dead.ended is not None
    assert dead.ended.error is not None
    assert (dead.ended.reason, dead.ended.error.code, dead.attempt) == ("error", "crashed", ATTEMPTS_MAX)
    letters = [letter for letter in await line.dead_letters() if letter.user.startswith(name)]
    assert [(letter.reason, letter.prompt_id) for letter in letters] == [("crashed", killer.prompt_id)]
    for question, turn in zip(questions, turns, strict=True):
        assert turn.ended is not None
        assert turn.ended.reason == "complete", turn.ended
        assert turn.text == answer_text(question, tokens=60)
        assert turn.attempt <= ATTEMPTS_MAX
    attempts = {receipt.turn: turn.attempt for receipt, turn in zip(bystanders, turns, strict=True)}
    await line.until_records(sum(attempts.values()) + ATTEMPTS_MAX, killer, *bystanders)
    assert await attempts_of(line, [killer, *bystanders]) == {killer.turn: ATTEMPTS_MAX, **attempts}
    print("attempts of bystanders:", sorted(attempts.values()))  # noqa: T201  # what it cost them, with pytest -s
