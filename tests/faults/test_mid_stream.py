"""Providers that fail in the middle of an answer: another goes on, or begins again. Rows R26, R28, R29."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest

from infra.embedded.broker import EmbeddedBroker
from producers.sdk import Receipt
from schemas.records import AttemptOutcome
from schemas.turn_fold import text_hash
from tests.faults.several_targets import acting, several_targets
from tests.integration.worker_line import WorkerLine, answer_text

__all__: list[str] = []

TEXT = answer_text("tell me more")


@pytest.fixture
def user() -> str:
    """A user of the test's own."""
    return f"user-{uuid4().hex}"


async def outcomes_of(line: WorkerLine, receipt: Receipt, count: int) -> list[AttemptOutcome]:
    """The outcomes of its attempts, in their order."""
    records = await line.until_records(count, receipt)
    found = {(record.attempt, record.run): record.outcome for record in records if record.outcome}
    return [outcome for _, outcome in sorted(found.items())]


@pytest.mark.parametrize(
    "fault", ["cut_after:10", "eof_after:10", "error_after:10", "stall_after:10", "broken_json:10"]
)
async def test_r28_second_target_goes_on(broker: EmbeddedBroker, tmp_path: Path, user: str, fault: str) -> None:
    """One unbroken answer; each span with its provider and its cost; the second call says only what was left."""
    async with several_targets(broker, tmp_path, acting(fault), acting(), model_keys="between_tokens_s = 1.0") as (
        line,
        providers,
    ):
        receipt = await line.producer.submit("tell me more", user=user, session="s1")

        turn = await line.ended(receipt)

        assert turn.ended is not None
        assert (turn.ended.reason, turn.text) == ("complete", TEXT)
        assert (turn.ended.text_sha256, turn.ended.text_chars) == (text_hash(TEXT), len(TEXT))
        (first,) = turn.void_runs
        assert turn.current is not None
        assert (first.stands, turn.current.started.from_seq, len(first.chunks)) == (True, 10, 10)
        assert [call.prefix_chars for call in providers[1].calls] == [len("".join(first.chunks))]
        outcomes = await outcomes_of(line, receipt, 2)
        assert [(outcome.provider, outcome.reason, outcome.chunks) for outcome in outcomes] == [
            ("t0", "continued", 10),
            ("t1", "complete", 30),
        ]
        assert all(outcome.cost_nano_usd > 0 or outcome.price_version == "unpriced" for outcome in outcomes)
        assert outcomes[1].cause == ("watchdog" if fault.startswith("stall") else "failover")
        assert outcomes[1].usage.output_tokens == 30


async def test_target_that_cannot_go_on_begins_again(broker: EmbeddedBroker, tmp_path: Path, user: str) -> None:
    """The earlier text is void, and nothing of it is left in the answer."""
    async with several_targets(broker, tmp_path, acting("cut_after:10"), acting(), able=(True, False)) as (line, calls):
        receipt = await line.producer.submit("tell me more", user=user, session="s1")

        turn = await line.ended(receipt)

        assert turn.ended is not None
        assert (turn.ended.reason, turn.text) == ("complete", TEXT)
        assert turn.current is not None
        assert turn.current.started.from_seq == 0
        assert [call.prefix_chars for call in calls[1].calls] == [0]
        assert [outcome.reason for outcome in await outcomes_of(line, receipt, 2)] == ["void", "complete"]


async def test_r7_worker_killed_after_the_switch(broker: EmbeddedBroker, tmp_path: Path, user: str) -> None:
    """The next owner answers anew; what was gone on from, and what went on from it, are both on record once."""
    async with several_targets(broker, tmp_path, acting("cut_after:10"), acting(pace_ms=100.0), acting()) as (line, _):
        receipt = await line.producer.submit("tell me more", user=user, session="s1")
        await line.until_attempt(receipt, 2, 13)
        line.workers[0].kill()
        line.start_worker()

        turn = await line.ended(receipt)

        assert turn.ended is not None
        assert (turn.ended.reason, turn.text) == ("complete", TEXT)
        outcomes = await outcomes_of(line, receipt, turn.attempt)
        assert [outcome.reason for outcome in outcomes[:2]] == ["continued", "void"]
        assert outcomes[-1].reason == "complete"
        records = await line.records_of(receipt)
        names = {(record.attempt, record.run, record.part) for record in records}
        assert sum(1 for record in records if record.outcome) >= len(outcomes)
        assert len({name[:2] for name in names}) == turn.attempt


async def test_many_answers_break_off(broker: EmbeddedBroker, tmp_path: Path, user: str) -> None:
    """40 prompts at once, each broken off twice: 40 whole answers, and no token paid for twice."""
    async with several_targets(broker, tmp_path, acting("cut_after:10"), acting("eof_after:7"), acting()) as (line, _):
        receipts = [
            await line.producer.submit(f"question {n}", user=f"{user}-{n % 5}", session=f"s{n}") for n in range(40)
        ]

        turns = await asyncio.gather(*(line.ended(receipt, deadline_s=60) for receipt in receipts))

        for n, turn in enumerate(turns):
            assert turn.ended is not None
            assert (turn.ended.reason, turn.text) == ("complete", answer_text(f"question {n}"))
            assert turn.ended.text_sha256 == text_hash(turn.text)
        records = await line.until_records(sum(turn.attempt for turn in turns), *receipts)
        outcomes = [record.outcome for record in records if record.outcome]
        standing = [outcome for outcome in outcomes if outcome.reason in ("continued", "complete")]
        assert sum(outcome.chunks for outcome in standing) == 40 * 40
