"""What a provider may do to an answer, told to the user as it is: rows R26, R27, R28 and R29, through a real worker.

One worker takes every fault at once, so that each is also a neighbour of the others. Where a fault comes before the
first token the call is tried again (`times=1` lets the next one through); after it, the answer ends where it broke.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest_asyncio

from infra.embedded.broker import EmbeddedBroker
from infra.simulated_provider.answer_text import answer_for
from infra.simulated_provider.behaviour import Behaviour, parse_fault
from infra.simulated_provider.call_log import Call
from infra.simulated_provider.server import SimulatedProvider
from producers.sdk import Receipt
from schemas.prompts import ChatMessage
from schemas.records import AttemptOutcome
from schemas.session_events import EndReason
from schemas.turn_fold import FoldedTurn
from tests.faults.full_size import sized
from tests.faults.worker_ledger import check_worker_ledger
from tests.integration.ledger import Asked
from tests.integration.worker_line import WorkerLine, open_line

TOKENS: Final = 30
DEADLINE_S: Final = 1.0
FREED_S: Final = 1.0
JITTER_S: Final = 0.5
SLACK_S: Final = 1.0
"""What a machine with two cores may be late."""
COPIES: Final = sized(1, 12)
ENDED_S: Final = sized(60.0, 120.0)
BREAKER_FAILURES: Final = 5
BREAKER_OPEN_S: Final = 5.0

STALLS: Final = {"stall_headers": 0, "stall_first": 0, "stall_after:10": 10}
TRICKLE: Final = "pace_ms=30000"
ODD_BUT_RIGHT: Final = ("no_done", "double_done", "keep_alive", "crlf", "split")
GARBAGE: Final = {"broken_json:5": 5, "invalid_line:5": 5, "huge_line:5": 5, "error_after:5": 5}
GARBAGE_AT_ONCE: Final = ("html", "broken_json:0", "invalid_line:0", "huge_line:0", "error_after:0")
CUTS: Final = {"cut_after:5": 5, "drop_after:5": 5, "eof_after:5": 5}


@dataclass(slots=True)
class Answered:
    """A prompt with its fault, and what became of it."""

    fault: str
    receipt: Receipt
    turn: FoldedTurn
    outcomes: list[AttemptOutcome]
    calls: list[Call]

    @property
    def error_codes(self) -> list[str]:
        """Of each attempt on record, in order."""
        return [outcome.error_code for outcome in self.outcomes]


@pytest_asyncio.fixture
async def strict(broker: EmbeddedBroker, tmp_path: Path) -> AsyncIterator[WorkerLine]:
    """A line whose worker waits a second for each thing that it waits for."""
    async with open_line(
        broker, tmp_path, connect_s=DEADLINE_S, first_token_s=DEADLINE_S, between_tokens_s=DEADLINE_S
    ) as line:
        line.start_worker()
        yield line


def words_of(fault: str, number: int, run: str) -> str:
    return f"What about {fault.replace(':', ' ')}, number {number} of {run}?"


def pieces_of(words: str) -> tuple[str, ...]:
    return answer_for([ChatMessage(role="user", content=words)], tokens=TOKENS)


async def answered(line: WorkerLine, options: dict[str, str], *, copies: int = COPIES) -> list[Answered]:
    """Ask with each of these faults (name → options of the directive), all at once; what became of them."""
    run = uuid4().hex[:8]
    found = [(fault, words_of(fault, number, run), each) for fault, each in options.items() for number in range(copies)]

    async def ask(number: int, fault: str, words: str, directive: str) -> Answered:
        text = f"[[sim tokens={TOKENS} first_ms=10 pace_ms=5 {directive}]] {words}"
        receipt = await line.producer.submit(text, user=f"{run}-{number}", session="s1", prompt_id="p1")
        turn = await line.ended(receipt, deadline_s=ENDED_S)
        records = await line.until_records(turn.attempt, receipt)
        ordered = sorted(records, key=lambda record: record.attempt)
        outcomes = [record.outcome for record in ordered if record.outcome]
        return Answered(fault, receipt, turn, outcomes, line.provider.call_log.for_prompt(words))

    return await asyncio.gather(*(ask(number, *each) for number, each in enumerate(found)))


async def check(line: WorkerLine, all_answered: list[Answered], reason: EndReason) -> None:
    """The ledger, and that no fault took the worker with it."""
    asked = [
        Asked(user=each.receipt.user, session="s1", prompt_id="p1", text=each.turn.text, reason=reason)
        for each in all_answered
    ]
    await check_worker_ledger(line, asked, crashed=True)
    assert [worker.poll() for worker in line.workers] == [None], line.log_of(line.workers[0])


def assert_whole_at_second_attempt(each: Answered, code: str) -> None:
    """The first attempt failed with this code and is on record; the second one is flagged and whole."""
    assert each.turn.ended is not None
    assert (each.fault, each.turn.ended.reason, each.turn.attempt) == (each.fault, "complete", 2)
    assert each.turn.current is not None
    assert each.turn.current.started.cause == "retry"
    assert each.error_codes == [code, ""]
    assert [outcome.reason for outcome in each.outcomes] == ["void", "complete"]
    assert len(each.turn.text) > 0


async def test_r26_silence_is_ended_and_told(strict: WorkerLine) -> None:
    """No headers, no first token: tried again; silence or a trickle after k tokens: over. Connections free in 1 s."""
    options = {fault: f"fault={fault} times=1" for fault in STALLS} | {"trickle": TRICKLE}
    all_answered = await answered(strict, options)

    for each in all_answered:
        first = each.calls[0]
        assert first.state == "aborted"
        assert first.ended_at is not None
        sent = STALLS.get(each.fault, 1)
        assert first.ended_at - first.started_at < DEADLINE_S + FREED_S + 0.02 * sent, each.fault
        assert each.outcomes[0].error_code == "provider_timed_out"
        if sent:
            assert each.turn.ended is not None
            assert (each.turn.ended.reason, each.turn.attempt) == ("incomplete", 1)
            assert each.turn.next_seq == sent
            assert each.turn.ended.usage.output_tokens >= 1
            assert each.turn.ended.usage.estimated
        else:
            assert_whole_at_second_attempt(each, "provider_timed_out")
    whole = [each for each in all_answered if not STALLS.get(each.fault, 1)]
    await check(strict, whole, "complete")
    await check(strict, [each for each in all_answered if each not in whole], "incomplete")


async def test_r27_what_is_odd_but_right_is_read_right(strict: WorkerLine) -> None:
    """A missing or a double [DONE], comments, CRLF, characters cut in two: the whole answer, at the first attempt."""
    all_answered = await answered(strict, {fault: f"fault={fault}" for fault in ODD_BUT_RIGHT})

    for each in all_answered:
        assert each.turn.ended is not None
        assert (each.fault, each.turn.ended.reason, each.turn.attempt) == (each.fault, "complete", 1)
        assert not each.turn.ended.usage.estimated
        assert len(each.calls) == 1
    await check(strict, all_answered, "complete")


async def test_r27_garbage_never_becomes_an_answer(strict: WorkerLine) -> None:
    """Broken JSON, a foreign line, a 10 MB line, an error in the stream: the tokens before it, then an honest end."""
    all_answered = await answered(strict, {fault: f"fault={fault}" for fault in GARBAGE})

    for each in all_answered:
        assert each.turn.ended is not None
        assert (each.fault, each.turn.ended.reason, each.turn.next_seq) == (
            each.fault,
            "incomplete",
            GARBAGE[each.fault],
        )
        assert each.turn.ended.error is not None
        wanted = "provider_failed" if each.fault.startswith("error") else "provider_garbled"
        cut = {wanted, "provider_cut"}
        assert each.turn.ended.error.code in cut
        assert len(each.calls) == 1, "nothing is tried again after the first token"
    await check(strict, all_answered, "incomplete")


async def test_r27_garbage_before_the_first_token_is_tried_again(strict: WorkerLine) -> None:
    """A web page with status 200, or garbage in place of the first token: the next attempt is whole, and flagged."""
    all_answered = await answered(strict, {fault: f"fault={fault} times=1" for fault in GARBAGE_AT_ONCE})

    for each in all_answered:
        code = "provider_failed" if each.fault.startswith("error") else "provider_garbled"
        assert_whole_at_second_attempt(each, each.error_codes[0])
        assert each.error_codes[0] in {code, "provider_cut"}
    await check(strict, all_answered, "complete")


async def test_r28_cut_answers_are_incomplete_and_billed(strict: WorkerLine) -> None:
    """A reset, a dropped connection, a plain end without finish reason: `incomplete`, usage marked estimated."""
    all_answered = await answered(strict, {fault: f"fault={fault}" for fault in CUTS})

    for each in all_answered:
        assert each.turn.ended is not None
        assert (each.fault, each.turn.ended.reason, each.turn.next_seq) == (each.fault, "incomplete", CUTS[each.fault])
        assert each.turn.ended.usage.estimated
        assert each.turn.ended.usage.output_tokens > 0
        assert each.turn.ended.cost_nano_usd > 0
        assert each.turn.ended.error is not None
        assert each.turn.ended.error.code == "provider_cut"
        assert len(each.calls) == 1
    await check(strict, all_answered, "incomplete")


async def test_r29_retries_keep_their_schedule(strict: WorkerLine) -> None:
    """429 with Retry-After, 500, 503, an error in place of the first token: pauses of 2ⁿ s, or what was asked for.

    One after the other: five failures in a row would open the target's breaker.
    """
    schedules = {
        "429:3": ("fault=429:3 times=1", [3.0]),
        "500": ("fault=500 times=2", [1.0, 2.0]),
        "503:0": ("fault=503:0 times=2", [1.0, 2.0]),
        "error_after:0": ("fault=error_after:0 times=1", [1.0]),
    }
    all_answered: list[Answered] = []
    for fault, (options, _) in schedules.items():
        all_answered += await answered(strict, {fault: options}, copies=1)

    for each in all_answered:
        pauses_s = schedules[each.fault][1]
        assert each.turn.ended is not None
        assert (each.fault, each.turn.ended.reason, each.turn.attempt) == (each.fault, "complete", len(pauses_s) + 1)
        for pause_s, (failed, tried) in zip(pauses_s, pairwise(each.calls), strict=True):
            waited_s = tried.started_at - (failed.ended_at or failed.started_at)
            assert pause_s - 0.05 <= waited_s <= pause_s + JITTER_S + SLACK_S, (each.fault, waited_s)
    await check(strict, all_answered, "complete")


async def test_r29_retries_end(strict: WorkerLine) -> None:
    """A provider that never gets better: five attempts, each on record with its cause, then `error`."""
    (each, *_) = await answered(strict, {"500": "fault=500"}, copies=1)

    assert each.turn.ended is not None
    assert (each.turn.ended.reason, each.turn.attempt, len(each.calls)) == ("error", 5, 5)
    assert each.turn.ended.error is not None
    assert each.turn.ended.error.code == "provider_failed"
    assert [outcome.cause for outcome in each.outcomes] == ["first", *["retry"] * 4]
    pauses_s = [later.started_at - sooner.started_at for sooner, later in pairwise(each.calls)]
    assert all(
        low - 0.05 <= pause <= low + JITTER_S + SLACK_S for low, pause in zip((1, 2, 4, 8), pauses_s, strict=True)
    )


TWO_TARGETS: Final = """
default_model = "chat"
[models.chat]
targets = ["first:sim", "second:sim"]
[providers.first]
base_url = "{first}"
[providers.second]
base_url = "{second}"
"""


def phases(line: WorkerLine) -> list[str]:
    """How the first target's breaker has changed, by the worker's log."""
    lines = (json.loads(each) for each in line.log_of(line.workers[0]).splitlines() if '"breaker_changed"' in each)
    return [each["phase"] for each in lines if each["target"].startswith("first")]


async def test_r29_breaker_opens_probes_and_closes(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Five failures in a row: nobody calls the target for 5 s; then one call tries it; once it answers it has all."""
    quick = Behaviour(first_ms=5.0, pace_ms=1.0, jitter=0.0, tokens=10)
    broken = Behaviour(first_ms=5.0, pace_ms=1.0, jitter=0.0, tokens=10, fault=parse_fault("500"))
    async with SimulatedProvider(behaviour=broken) as first, SimulatedProvider(behaviour=quick) as second:
        config = tmp_path / "tokenwire.toml"
        config.write_text(TWO_TARGETS.format(first=first.base_url, second=second.base_url))
        async with open_line(broker, tmp_path, config=config) as line:
            line.start_worker()
            run, asked = uuid4().hex[:8], 0

            async def ask() -> str:
                nonlocal asked
                asked += 1
                receipt = await line.producer.submit(f"Number {asked}?", user=f"{run}-{asked}", session="s1")
                turn = await line.ended(receipt)
                assert turn.ended is not None
                assert turn.ended.reason == "complete"
                return turn.current.started.provider if turn.current else ""

            assert [await ask() for _ in range(BREAKER_FAILURES)] == ["second"] * BREAKER_FAILURES
            opened = len(first.calls)
            assert {await ask() for _ in range(10)} == {"second"}
            assert len(first.calls) == opened == BREAKER_FAILURES, "an open breaker lets nobody through"
            last_failure_s = first.calls[-1].ended_at or 0.0
            while len(first.calls) == opened:  # the probe fails: one call, and the breaker is open again for longer
                await ask()
            assert first.calls[-1].started_at - last_failure_s >= BREAKER_OPEN_S - 0.1
            assert {await ask() for _ in range(10)} == {"second"}
            assert len(first.calls) == opened + 1, "a failed probe opens it again"
            first.behaviour = quick
            async with asyncio.timeout(3 * BREAKER_OPEN_S):
                while await ask() != "first":
                    assert len(first.calls) == opened + 1
            assert {await ask() for _ in range(5)} == {"first"}
            assert phases(line) == ["open", "open", "closed"]
