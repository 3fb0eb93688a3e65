"""Workers that come and go while answers stream: rows R10 and R11. `make faults`: 20 changes during 200 streams."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from infra.embedded.broker import EmbeddedBroker
from schemas.topics import RECORD_PARTITIONS, USER_PARTITIONS
from tests.fakes.topic_names import RECORDS
from tests.faults.full_size import sized
from tests.faults.worker_ledger import WorkerLedger, check_worker_ledger, until_no_lag
from tests.integration.ledger import Asked
from tests.integration.worker_line import WorkerLine, answer_text, open_line
from tests.integration.worker_template import Worker

STREAMS: Final = sized(40, 200)
CHANGES: Final = sized(3, 20)
TOKENS: Final = 100
"""An answer is longer than a worker that leaves waits for it, so that some are handed over."""
PACE_MS: Final = sized(80, 160)
WORKERS_MAX: Final = 3
STUCK_S: Final = 60.0
"""Beside other tests on two cores the process of a worker that joins takes 25 s to start."""
RESTART_S_MAX: Final = 60.0
"""As long as that: a worker that is away for longer than the session timeout has left, whatever its name."""
FIRST_TOKEN_S: Final = 10.0
QUICK_STREAMS: Final = sized(30, 100)
QUICK_TOKENS: Final = 150
QUICK_PACE_MS: Final = sized(150, 250)
PAUSE_S: Final = 3.0
"""Two cores start a worker's process meanwhile; a turn that waited for the group would stand still for longer."""
NO_LAG_S: Final = 15.0
ENDED_S: Final = sized(60.0, 180.0)
POLL_S: Final = 0.2


@dataclass(slots=True)
class Conversations:
    """Sessions that ask, read to the end and ask again, until they are told to stop.

    Ends are heard from the records topic, which is one reader for all of them.
    """

    line: WorkerLine
    run: str = field(default_factory=lambda: uuid4().hex[:8])
    ended: set[str] = field(default_factory=set)
    asked: list[Asked] = field(default_factory=list)
    asked_s: dict[str, float] = field(default_factory=dict)
    stopping: bool = False
    positions: dict[int, int] = field(default_factory=dict)

    async def converse(self, number: int) -> None:
        """One session: each answer depends on all before it."""
        prompts: list[str] = []
        await asyncio.sleep(TOKENS * PACE_MS / 1_000 * number / STREAMS)  # the starts are spread, as in life
        while not self.stopping:
            prompts.append(f"Question {len(prompts)} of session {number} in run {self.run}?")
            user, prompt_id = f"user-{self.run}-{number}", f"p{len(prompts)}"
            expected = answer_text(*prompts, tokens=TOKENS)
            asked = Asked(user=user, session="s1", prompt_id=prompt_id, text=expected)
            self.asked.append(asked)
            self.asked_s[asked.turn] = time.time()
            words = f"[[sim tokens={TOKENS} pace_ms={PACE_MS}]] {prompts[-1]}"
            await self.line.producer.submit(words, user=user, session="s1", prompt_id=prompt_id)
            async with asyncio.timeout(ENDED_S):
                while asked.turn not in self.ended:  # noqa: ASYNC110 - `listen` looks as often
                    await asyncio.sleep(POLL_S)

    async def listen(self) -> None:
        """Note which turns have ended."""
        while True:
            for partition in range(RECORD_PARTITIONS):
                bounds = await self.line.reader.bounds(RECORDS, partition)
                start = self.positions.get(partition, bounds.start)
                async for records in self.line.reader.read(RECORDS, partition, start, bounds.end):
                    for record in records:
                        found: dict[str, Any] = json.loads(record.value or b"{}")
                        if found.get("outcome", {}).get("reason", "void") != "void":
                            self.ended.add(found["turn"])
                self.positions[partition] = bounds.end
            await asyncio.sleep(POLL_S)


def assignments(line: WorkerLine, worker: Worker) -> list[dict[str, Any]]:
    """Every assignment that a worker has logged."""
    return [json.loads(each) for each in line.log_of(worker).splitlines() if '"partitions_owned"' in each]


async def settled(line: WorkerLine, workers: Sequence[Worker]) -> float:
    """Wait until these workers share all partitions in one generation; the seconds it took."""
    begun_s = time.monotonic()
    async with asyncio.timeout(STUCK_S):
        while True:
            newest = [found[-1] for worker in workers if (found := assignments(line, worker))]
            owned = sorted(partition for each in newest for partition in each["owned"])
            one_generation = len(newest) == len(workers) and len({each["generation"] for each in newest}) == 1
            if one_generation and owned == list(range(USER_PARTITIONS)):
                return time.monotonic() - begun_s
            await asyncio.sleep(POLL_S)


async def change(line: WorkerLine, workers: list[Worker], number: int) -> float:
    """The next join or leave; seconds until the group had settled. The first worker always stays."""
    joins = len(workers) == 1 or (len(workers) < WORKERS_MAX and number % 2 == 0)
    if joins:
        workers.append(line.start_worker())
    else:
        leaver = workers.pop(1)
        leaver.send_signal(signal.SIGTERM)
        await asyncio.to_thread(leaver.wait, STUCK_S)
    return await settled(line, workers)


def longest_pauses_s(ledger: WorkerLedger) -> list[float]:
    """Of each turn that went through in one attempt: the longest time between two of its records, sorted."""
    runs = [turn.run for turn in ledger.turns.values() if turn.attempt == 1]
    times = [ledger.written_us.get(run, []) for run in runs]
    return sorted(max(later - sooner for sooner, later in pairwise(run)) / 1e6 for run in times if len(run) > 1)


async def test_r10_workers_join_and_leave_while_answers_stream(line: WorkerLine) -> None:
    """0 lost; turns that stay go on, new prompts start within 10 s, nobody is stuck, the lag is 0 in the end."""
    conversations = Conversations(line)
    workers = [line.start_worker()]
    await settled(line, workers)
    async with asyncio.TaskGroup() as tasks:
        listener = tasks.create_task(conversations.listen())
        asking = [tasks.create_task(conversations.converse(number)) for number in range(STREAMS)]
        settled_s = [await change(line, workers, number) for number in range(CHANGES)]
        conversations.stopping = True
        await asyncio.gather(*asking)
        listener.cancel()

    ledger = await check_worker_ledger(line, conversations.asked, crashed=True)
    lag_s = await until_no_lag(line, NO_LAG_S)
    waits_s = sorted(first_token_s(ledger, turn, asked_s) for turn, asked_s in conversations.asked_s.items())
    pauses_s = longest_pauses_s(ledger)
    moved = [turn for turn in ledger.turns.values() if turn.attempt > 1]
    print(  # noqa: T201 - `make faults` shows it
        f"\nR10: {len(ledger.turns)} turns, {CHANGES} changes (settled in at most {max(settled_s):.1f} s), "
        f"{len(moved)} handed over; first token p50 {waits_s[len(waits_s) // 2]:.2f} s, at most {waits_s[-1]:.2f} s; "
        f"longest pause of a turn that stayed p50 {pauses_s[len(pauses_s) // 2]:.2f} s, at most {pauses_s[-1]:.2f} s; "
        f"no lag after {lag_s:.1f} s"
    )
    assert waits_s[-1] < max(FIRST_TOKEN_S, *settled_s), "nobody waits for longer than a change takes"
    assert pauses_s[-1] < PAUSE_S
    assert {turn.current.started.cause for turn in moved if turn.current} <= {"handover"}
    assert len(pauses_s) > len(ledger.turns) / 2, "most turns were not touched"


def first_token_s(ledger: WorkerLedger, turn: str, asked_s: float) -> float:
    """From asking to the first token that anybody saw."""
    folded = ledger.turns[turn]
    firsts = [run.first_at_us for run in (*folded.void_runs, folded.current) if run is not None and run.first_at_us]
    return min(firsts) / 1e6 - asked_s


async def test_r10_four_workers_in_quick_steps(line: WorkerLine) -> None:
    """From one worker to four in the middle of the answers: as many calls as prompts."""
    workers = [line.start_worker()]
    await settled(line, workers)
    run = uuid4().hex[:8]
    asked, receipts = [], []
    for number in range(QUICK_STREAMS):
        words, user = f"Question {number} of run {run}?", f"{run}-{number}"
        asked.append(Asked(user=user, session="s1", prompt_id="p1", text=answer_text(words, tokens=QUICK_TOKENS)))
        sim = f"[[sim tokens={QUICK_TOKENS} pace_ms={QUICK_PACE_MS}]]"
        receipts.append(await line.producer.submit(f"{sim} {words}", user=user, session="s1", prompt_id="p1"))
    await asyncio.gather(*(line.until_tokens(receipt, 1, deadline_s=60) for receipt in receipts))
    workers += [line.start_worker() for _ in range(3)]
    settled_s = await settled(line, workers)
    ledger = await check_worker_ledger(line, asked)
    missed = [
        later["generation"] - sooner["generation"] - 1
        for worker in workers
        for sooner, later in pairwise(assignments(line, worker))
    ]
    print(f"\nR10: {sum(missed)} generations missed by members, settled in {settled_s:.1f} s")  # noqa: T201
    assert len(line.provider.calls) == QUICK_STREAMS
    assert {turn.attempt for turn in ledger.turns.values()} == {1}


async def test_r11_rolling_restart_moves_no_partition(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Workers with names of their own are restarted in turn, within the timeout: each finds its partitions as before.

    The others are not disturbed: they hear of no new assignment. Answers that ran are handed over to the successor.
    """
    async with open_line(broker, tmp_path, session_timeout_s=RESTART_S_MAX) as line:
        workers = [line.start_worker(worker_instance=f"worker-{number}") for number in range(2)]
        await settled(line, workers)
        before = [assignments(line, worker)[-1] for worker in workers]
        run = uuid4().hex[:8]
        asked = [
            Asked(user=f"{run}-{n}", session="s1", prompt_id="p1", text=answer_text(f"Question {n}?", tokens=90))
            for n in range(8)
        ]
        receipts = [
            await line.producer.submit(
                f"[[sim tokens=90 pace_ms=100]] Question {n}?", user=each.user, session="s1", prompt_id="p1"
            )
            for n, each in enumerate(asked)
        ]
        await asyncio.gather(*(line.until_tokens(receipt, 3) for receipt in receipts))
        for number in range(2):
            workers[number].send_signal(signal.SIGTERM)
            await asyncio.to_thread(workers[number].wait, STUCK_S)
            workers[number] = line.start_worker(worker_instance=f"worker-{number}")
            await line.wait_for_log(workers[number], "partitions_owned")
        await asyncio.gather(*(line.ended(receipt, deadline_s=60) for receipt in receipts))

        ledger = await check_worker_ledger(line, asked, crashed=True)
        after = [assignments(line, worker) for worker in workers]
        assert [each[-1]["owned"] for each in after] == [each["owned"] for each in before]
        assert [len(each) for each in after] == [1, 1], "a restart disturbed the other worker"
        causes = {turn.current.started.cause for turn in ledger.turns.values() if turn.current}
        assert causes <= {"first", "handover"}
        assert max(turn.attempt for turn in ledger.turns.values()) <= 3, "one hand-over for each restart at most"
