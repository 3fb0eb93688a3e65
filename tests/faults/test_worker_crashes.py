"""Workers that are killed, frozen, joined and stopped: rows R7, R8, R9, R12, R15 and a worker joining under load."""

from __future__ import annotations

import asyncio
import signal
import time
from uuid import uuid4

import pytest

from producers.sdk import Receipt
from schemas.turn_fold import FoldedTurn, text_hash
from tests.integration.worker_line import WORKER_SESSION_TIMEOUT_S, WorkerLine, answer_text

SLOW = "[[sim tokens=60 pace_ms=50]] "


def assert_whole(turn: FoldedTurn, expected: str) -> None:
    assert turn.ended is not None
    assert turn.ended.reason == "complete", turn.ended
    assert turn.text == expected
    assert turn.ended.text_sha256 == text_hash(expected)


async def test_r7_worker_killed_in_mid_answer(line: WorkerLine) -> None:
    """Another owner starts attempt 2 in time; the client sees one whole answer, both attempts are on record."""
    user = f"r7-{uuid4().hex}"
    first = line.start_worker()
    receipt = await line.producer.submit(SLOW + "Why do rivers bend?", user=user, session="s1")
    await line.until_tokens(receipt, 5)
    second = line.start_worker()
    first.send_signal(signal.SIGKILL)
    await line.wait_for_log(second, "PromptsConsumerThread")
    up_s = time.monotonic()  # how long the machine takes to start a process says nothing of who takes over

    turn = await line.ended(receipt)

    assert_whole(turn, answer_text("Why do rivers bend?", tokens=60))
    assert turn.attempt == 2
    assert turn.current is not None
    assert turn.current.started.cause == "crash"
    assert time.monotonic() - up_s < WORKER_SESSION_TIMEOUT_S + 5 + 6  # 6 s: the answer's own length, twice
    records = await line.until_records(2, receipt)
    outcomes = {record.attempt: record.outcome for record in records if record.outcome}
    assert {attempt: outcome.reason for attempt, outcome in outcomes.items()} == {1: "void", 2: "complete"}
    assert outcomes[1].usage.estimated
    assert outcomes[1].usage.output_tokens > 0
    assert outcomes[1].cost_nano_usd > 0


@pytest.mark.parametrize("run", range(3))
async def test_r8_r9_slow_head_prompt_is_redone(line: WorkerLine, run: int) -> None:
    """50 later prompts are done, the first is not, on a group without a commit: after kill -9 it is redone."""
    user = f"r8-{run}-{uuid4().hex}"
    head_text = "[[sim tokens=30 pace_ms=100 first_ms=3000]] the slow head"
    worker = line.start_worker()
    head = await line.producer.submit(head_text, user=user, session="head")
    later = [await line.producer.submit("[[sim tokens=3]] quick", user=user, session=f"s{n}") for n in range(50)]
    await asyncio.gather(*(line.ended(receipt) for receipt in later))
    worker.send_signal(signal.SIGKILL)
    line.start_worker()

    turn = await line.ended(head)

    assert_whole(turn, answer_text("the slow head", tokens=30))
    assert turn.attempt == 2
    for receipt in later:
        again = await line.turn(receipt)
        assert again is not None
        assert again.attempt == 1, "a finished prompt was paid for twice"


async def test_r12_frozen_worker_writes_nothing_that_counts(line: WorkerLine) -> None:
    """SIGSTOP beyond the session timeout, then SIGCONT: its run is void, the turn ends once."""
    user = f"r12-{uuid4().hex}"
    zombie = line.start_worker()
    text = "[[sim tokens=100 pace_ms=80]] a long story"
    receipt = await line.producer.submit(text, user=user, session="s1")
    before = await line.until_tokens(receipt, 5)
    line.start_worker()
    zombie.send_signal(signal.SIGSTOP)
    await line.until_attempt(receipt, 2, 3)
    zombie.send_signal(signal.SIGCONT)

    turn = await line.ended(receipt)

    assert_whole(turn, answer_text("a long story", tokens=100))
    assert turn.attempt == 2
    assert turn.run != before.run
    records = await line.until_records(2, receipt)
    assert sorted(r.outcome.reason for r in records if r.outcome) == ["complete", "void"]


async def test_r15_stopped_worker_hands_over(line: WorkerLine) -> None:
    """SIGTERM in mid-answer: it leaves within 10 s and the next worker finishes the turn, no crash counted."""
    user = f"r15-{uuid4().hex}"
    worker = line.start_worker()
    receipt = await line.producer.submit("[[sim tokens=200 pace_ms=60]] long", user=user, session="s1")
    await line.until_tokens(receipt, 3)
    worker.send_signal(signal.SIGTERM)
    stopping_s = time.monotonic()
    await asyncio.to_thread(worker.wait, 15)

    assert time.monotonic() - stopping_s < 12
    assert worker.returncode == 0
    line.start_worker()
    turn = await line.ended(receipt)
    assert_whole(turn, answer_text("long", tokens=200))
    assert turn.current is not None
    assert turn.current.started.cause == "handover"


async def test_second_worker_joins_during_twenty_streams(line: WorkerLine) -> None:
    """A shuffle of the group under load: nothing lost, nothing twice, one paid call each."""
    user = f"join-{uuid4().hex}"
    first = line.start_worker()
    await line.wait_for_log(first, "partitions_owned")
    prompts = [f"{SLOW}question number {n}" for n in range(20)]
    receipts: list[Receipt] = [
        await line.producer.submit(text, user=f"{user}-{n % 7}", session=f"s{n}") for n, text in enumerate(prompts)
    ]
    await asyncio.gather(*(line.until_tokens(receipt, 3) for receipt in receipts))
    second = line.start_worker()
    await line.wait_for_log(second, "partitions_owned")

    turns = await asyncio.gather(*(line.ended(receipt) for receipt in receipts))

    for n, turn in enumerate(turns):
        assert_whole(turn, answer_text(f"question number {n}", tokens=60))
    assert [turn.attempt for turn in turns] == [1] * 20
    calls = [call for call in line.provider.calls if call.tokens_sent]
    assert len(calls) == 20
    await line.until_records(len(calls), *receipts)


async def test_r7_worker_killed_right_after_it_gave_partitions_away(line: WorkerLine) -> None:
    """Turns that stayed with their worker when the group was shuffled are redone as soon as any other's."""
    user = f"r7-lease-{uuid4().hex}"
    first = line.start_worker()
    await line.wait_for_log(first, "partitions_owned")
    text = "[[sim tokens=400 pace_ms=50]] a long way"
    receipts = [await line.producer.submit(text, user=f"{user}-{n}", session="s") for n in range(8)]
    await asyncio.gather(*(line.until_tokens(receipt, 3) for receipt in receipts))
    second = line.start_worker()
    await line.wait_for_log(second, "partitions_owned")
    first.send_signal(signal.SIGKILL)
    killed_s = time.monotonic()

    await asyncio.gather(*(line.until_attempt(receipt, 2, 1) for receipt in receipts))

    assert time.monotonic() - killed_s < 2 * WORKER_SESSION_TIMEOUT_S + 5
