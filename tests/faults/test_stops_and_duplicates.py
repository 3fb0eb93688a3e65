"""Workers frozen or asked to stop, records that are none, prompts sent twice, cancels: rows R12, R15, R16, R18, R30.

Beside `test_worker_crashes.py` and `test_prompts_and_poison.py`: here with many turns at once, with the clock in
hand, and with the ledger at the end.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import time
import urllib.request
from typing import Final
from uuid import uuid4

from confluent_kafka import Producer as PlainProducer

from infra.simulated_provider.call_log import Call
from infra.telemetry.metric_names import WORKER_DEAD_LETTERS
from producers.sdk import Producer, Receipt
from schemas.codec import decode_dead_letter
from schemas.dead_letters import DeadLetter
from schemas.session_events import EndReason
from schemas.topics import LogPlace, user_partition
from tests.fakes.topic_names import DEAD_LETTERS, PROMPTS
from tests.faults.full_size import sized
from tests.faults.worker_ledger import check_worker_ledger, until_no_lag
from tests.integration.ledger import Asked, read_places
from tests.integration.worker_line import WorkerLine, answer_text

FROZEN_TURNS: Final = sized(6, 40)
FREEZES: Final = sized(1, 5)
STOPPED_TURNS: Final = sized(8, 60)
DUPLICATES: Final = sized(10, 100)
POISON_ROUNDS: Final = sized(2, 40)
CANCELS: Final = sized(6, 60)
HANDED_OVER_S: Final = 10.0
DEAD_LETTER_S: Final = 1.0
CANCELLED_S: Final = 1.0
NO_LAG_S: Final = 15.0
ENDED_S: Final = 90.0
STOP_S: Final = 20.0
POLL_S: Final = 0.03
LONG: Final = 90


def asked_of(receipt: Receipt, words: str, tokens: int, reason: EndReason = "complete") -> Asked:
    text = answer_text(words, tokens=tokens) if reason == "complete" else None
    return Asked(user=receipt.user, session=receipt.session, prompt_id=receipt.prompt_id, text=text, reason=reason)


async def ask_all(line: WorkerLine, count: int, *, tokens: int, pace_ms: int) -> tuple[list[Receipt], list[Asked]]:
    """So many prompts at once, each of a user of its own."""
    run = uuid4().hex[:8]
    words = [f"Question {number} of {run}?" for number in range(count)]
    receipts = [
        await line.producer.submit(f"[[sim tokens={tokens} pace_ms={pace_ms}]] {each}", user=f"{run}-{n}", session="s1")
        for n, each in enumerate(words)
    ]
    return receipts, [asked_of(receipt, each, tokens) for receipt, each in zip(receipts, words, strict=True)]


async def test_r12_zombie_with_many_turns(line: WorkerLine) -> None:
    """Frozen beyond the session timeout while it streams, then woken: its records are void, every turn ends once."""
    line.start_worker()
    for _ in range(FREEZES):
        zombie = line.workers[-1]
        receipts, asked = await ask_all(line, FROZEN_TURNS, tokens=LONG, pace_ms=80)
        await asyncio.gather(*(line.until_tokens(receipt, 3) for receipt in receipts))
        line.start_worker()
        zombie.send_signal(signal.SIGSTOP)
        await asyncio.gather(*(line.until_attempt(receipt, 2, 1) for receipt in receipts))
        zombie.send_signal(signal.SIGCONT)
        await asyncio.gather(*(line.ended(receipt, ENDED_S) for receipt in receipts))

        ledger = await check_worker_ledger(line, asked, crashed=True)
        assert {turn.attempt for turn in ledger.turns.values()} == {2}
        assert zombie.poll() is None, "a zombie finds out and lives on"
        await line.stop_worker(zombie)


async def test_r15_sigterm_with_short_and_long_answers(line: WorkerLine) -> None:
    """Short answers end where they run, long ones are handed over, later prompts wait: all of it within 10 s."""
    worker = line.start_worker()
    short, asked_short = await ask_all(line, STOPPED_TURNS, tokens=40, pace_ms=80)
    long, asked_long = await ask_all(line, STOPPED_TURNS, tokens=LONG, pace_ms=120)
    await asyncio.gather(*(line.until_tokens(receipt, 3, ENDED_S) for receipt in (*short, *long)))
    worker.send_signal(signal.SIGTERM)
    asked_s = time.monotonic()
    late, asked_late = await ask_all(line, STOPPED_TURNS, tokens=20, pace_ms=5)
    await asyncio.to_thread(worker.wait, STOP_S)
    stopped_s = time.monotonic() - asked_s
    unanswered = await asyncio.gather(*(line.turn(receipt) for receipt in late))
    line.start_worker()
    await asyncio.gather(*(line.ended(receipt, ENDED_S) for receipt in (*short, *long, *late)))

    ledger = await check_worker_ledger(line, [*asked_short, *asked_long, *asked_late], crashed=True)
    await until_no_lag(line, NO_LAG_S)
    assert worker.returncode == 0
    assert stopped_s < HANDED_OVER_S
    assert not any(turn is not None and turn.attempt for turn in unanswered), (
        "it took prompts after it was told to stop"
    )
    assert {ledger.turns[each.turn].attempt for each in asked_short} == {1}
    handed_over = [ledger.turns[each.turn] for each in asked_long]
    assert {turn.attempt for turn in handed_over} == {2}
    assert {turn.current.started.cause for turn in handed_over if turn.current} == {"handover"}


def poison(user: str) -> list[bytes | None]:
    """One record of every kind that is no prompt."""
    body = {"type": "prompt.submitted", "user": user, "session": "s1", "prompt_id": "p", "input": "x"}
    return [
        b'{"type": "prompt.submitted", ' + user.encode(),
        None,
        json.dumps(body | {"user": 7}).encode(),
        json.dumps(body | {"type": "prompt.submitted.v9"}).encode(),
        json.dumps(body | {"type": "prompt.submitted", "session": "../x"}).encode(),
        b"\xff\xfe" + user.encode(),
        b"\x00" * 1_200_000,
        ("[" * 100_000 + user).encode(),
    ]


def dead_letters_of(line: WorkerLine, user: str) -> list[tuple[DeadLetter, int]]:
    """This user's dead letters, each with the broker's time at which it lay there."""
    place = LogPlace(DEAD_LETTERS, 0, shared=False)
    found = read_places(line.broker.bootstrap_servers, {place})
    letters = [(decode_dead_letter(message.value() or b""), message.timestamp()[1]) for _, message in found]
    return [(letter, at_ms) for letter, at_ms in letters if letter.key == user.encode()]


def dead_letters_counted(line: WorkerLine) -> float:
    """What the worker's metrics say."""
    port = re.search(r'"metrics_port":\s*(\d+)', line.log_of(line.workers[-1]))
    assert port is not None
    with urllib.request.urlopen(f"http://127.0.0.1:{port[1]}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(each.rpartition(" ")[2]) for each in lines if each.startswith(WORKER_DEAD_LETTERS.name))


async def test_r16_poison_is_dead_lettered_within_a_second(line: WorkerLine) -> None:
    """Each with reason, topic, partition and offset; the partition advances, the prompts between are answered."""
    user = f"r16-{uuid4().hex}"
    partition = user_partition(user)
    worker = line.start_worker()
    await line.ended(await line.producer.submit("[[sim tokens=3]] ready?", user=user, session="first"))
    counted_before = dead_letters_counted(line)
    producer = PlainProducer({"bootstrap.servers": line.broker.bootstrap_servers, "message.max.bytes": 2_000_000})
    sent_ms: dict[int, int] = {}
    asked: list[Asked] = []
    for number in range(POISON_ROUNDS):
        for value in poison(user):
            producer.produce(
                PROMPTS,
                value=value,
                key=user.encode(),
                partition=partition,
                on_delivery=lambda _, message: sent_ms.update({message.offset(): message.timestamp()[1]}),
            )
        assert producer.flush(20) == 0
        receipt = await line.producer.submit(f"[[sim tokens=20]] {number}?", user=user, session=f"s{number}")
        await line.ended(receipt)
        asked.append(asked_of(receipt, f"{number}?", 20))

    await check_worker_ledger(line, asked)
    lag_s = await until_no_lag(line, NO_LAG_S)
    letters = await asyncio.to_thread(dead_letters_of, line, user)
    assert {letter.offset for letter, _ in letters} == set(sent_ms)
    assert len(letters) == len(sent_ms) == POISON_ROUNDS * len(poison(user))
    assert {(letter.topic, letter.partition) for letter, _ in letters} == {(PROMPTS, partition)}
    assert {letter.reason for letter, _ in letters} <= {"malformed", "unknown_type", "invalid_field", "too_large"}
    assert max(at_ms - sent_ms[letter.offset] for letter, at_ms in letters) <= DEAD_LETTER_S * 1_000
    assert dead_letters_counted(line) - counted_before == len(letters)
    assert worker.poll() is None
    assert lag_s < NO_LAG_S


async def test_r18_same_prompts_from_two_producers_at_once(line: WorkerLine) -> None:
    """Each four times, by two processes' producers, while it runs and after its end: one call, one bill, one end."""
    line.start_worker()
    run = uuid4().hex[:8]
    other = Producer(line.settings)
    await other.start()
    try:

        async def submit(producer: Producer, number: int) -> Receipt:
            words = f"[[sim tokens=20 pace_ms=10]] Say {number} of {run} once."
            return await producer.submit(words, user=f"{run}-{number % 7}", session=f"s{number}", prompt_id="same")

        twice = [submit(producer, number) for number in range(DUPLICATES) for producer in (line.producer, other)]
        receipts = await asyncio.gather(*twice)
        await asyncio.gather(*(submit(other, number) for number in range(DUPLICATES)))
        await asyncio.gather(*(line.ended(receipt, ENDED_S) for receipt in receipts[::2]))
        await asyncio.gather(*(submit(line.producer, number) for number in range(DUPLICATES)))
        await until_no_lag(line, NO_LAG_S)
    finally:
        await other.stop()

    asked = [asked_of(receipt, f"Say {number} of {run} once.", 20) for number, receipt in enumerate(receipts[::2])]
    await check_worker_ledger(line, asked)
    calls = [len(line.provider.call_log.for_prompt(f"Say {number} of {run} once.")) for number in range(DUPLICATES)]
    assert calls == [1] * DUPLICATES


async def test_r30_cancels_abort_their_calls_within_a_second(line: WorkerLine) -> None:
    """Before the headers, before the first token, in mid-answer: aborted at the provider; what came is billed."""
    line.start_worker()
    await line.ended(await line.producer.submit("[[sim tokens=3]] ready?", user="r30", session=uuid4().hex))
    run = uuid4().hex[:8]
    kinds = {
        "no headers": "fault=stall_headers",
        "no token": "first_ms=60000",
        "in mid-answer": "tokens=2000 pace_ms=20",
    }

    async def cancelled(number: int, kind: str) -> tuple[Receipt, str, Call, float]:
        words = f"Stop {kind}, {number} of {run}."
        receipt = await line.producer.submit(f"[[sim {kinds[kind]}]] {words}", user=f"{run}-{number}", session=kind[:2])
        async with asyncio.timeout(ENDED_S):
            while not line.provider.call_log.for_prompt(words):  # noqa: ASYNC110 - the provider's log tells nobody
                await asyncio.sleep(POLL_S)
        if kind == "in mid-answer":
            await line.until_tokens(receipt, 5, ENDED_S)
        at_s = time.time()
        await line.producer.cancel(user=receipt.user, session=receipt.session, prompt_id=receipt.prompt_id)
        turn = await line.ended(receipt, ENDED_S)
        assert turn.ended is not None
        assert turn.ended.reason == "cancelled"
        (call,) = line.provider.call_log.for_prompt(words)
        return receipt, kind, call, at_s

    found = await asyncio.gather(
        *(cancelled(number, kind) for number, kind in enumerate(kind for kind in kinds for _ in range(CANCELS // 3)))
    )

    asked = [asked_of(receipt, "", 0, "cancelled") for receipt, *_ in found]
    ledger = await check_worker_ledger(line, asked)
    for receipt, kind, call, at_s in found:
        assert (kind, call.state) == (kind, "aborted")
        assert call.ended_at is not None
        assert call.ended_at - at_s <= CANCELLED_S, kind
        ended = ledger.turns[receipt.turn].ended
        assert ended is not None
        seen = ledger.turns[receipt.turn].next_seq
        assert bool(seen) == (kind == "in mid-answer")
        assert bool(ended.usage.output_tokens) == bool(ended.cost_nano_usd) == bool(seen)
        if seen:
            assert call.tokens_sent >= seen, "billed for what was generated"
            assert ended.usage.estimated
    assert [worker.poll() for worker in line.workers] == [None]
