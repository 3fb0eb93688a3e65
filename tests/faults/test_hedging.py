"""A second target is asked when the first is slower to begin than it nearly ever is. Rows R7 and R26."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from infra.embedded.broker import EmbeddedBroker
from infra.simulated_provider.behaviour import Behaviour
from infra.simulated_provider.server import SimulatedProvider
from processors.attempts.decisions.hedge_delay import OBSERVED_MIN
from producers.sdk import Receipt
from schemas.records import AttemptOutcome
from tests.faults.several_targets import acting, several_targets
from tests.integration.worker_line import WorkerLine, answer_text

__all__: list[str] = []

TEXT = answer_text("who is first")
ABORT_S_MAX = 1.0
LATE_S = 2.5
"""Later than any call of the warm-up, also beside other tests: twenty at once."""
POLL_S = 0.03


@pytest.fixture
def user() -> str:
    """A user of the test's own."""
    return f"user-{uuid4().hex}"


@asynccontextmanager
async def hedged_line(
    broker: EmbeddedBroker, folder: Path, user: str, *then: Behaviour
) -> AsyncIterator[tuple[WorkerLine, list[SimulatedProvider]]]:
    """Two targets that the worker knows to be quick; from now on they act otherwise."""
    async with several_targets(broker, folder, acting(), acting(), model_keys="hedge = true") as (line, providers):
        receipts = [await line.producer.submit(f"warm {n}", user=user, session=f"w{n}") for n in range(OBSERVED_MIN)]
        await asyncio.gather(*(line.ended(receipt) for receipt in receipts))
        for provider, behaviour in zip(providers, then, strict=True):
            provider.behaviour = behaviour
        yield line, providers


async def outcomes_of(line: WorkerLine, receipt: Receipt, count: int) -> list[AttemptOutcome]:
    """The outcomes of its attempts, in their order."""
    records = await line.until_records(count, receipt)
    return [record.outcome for record in sorted(records, key=lambda record: record.attempt) if record.outcome]


async def until_hedged(line: WorkerLine, receipt: Receipt) -> None:
    """Wait until the log tells of a second call."""
    async with asyncio.timeout(20):
        while True:
            turn = await line.turn(receipt)
            if turn is not None and turn.hedges:
                return
            await asyncio.sleep(POLL_S)


async def test_second_target_wins(broker: EmbeddedBroker, tmp_path: Path, user: str) -> None:
    """The first one is silent: the answer comes from the second; the first call is aborted, both costs are shown."""
    async with hedged_line(broker, tmp_path, user, acting(first_ms=4_000.0), acting()) as (line, (first, second)):
        receipt = await line.producer.submit("who is first", user=user, session="s1")

        turn = await line.ended(receipt)

        assert turn.ended is not None
        assert (turn.ended.reason, turn.text) == ("complete", TEXT)
        assert turn.current is not None
        assert (turn.current.started.provider, turn.current.started.cause) == ("t1", "hedge")
        outcomes = await outcomes_of(line, receipt, 2)
        assert [(outcome.provider, outcome.reason, outcome.cause) for outcome in outcomes] == [
            ("t0", "void", "first"),
            ("t1", "complete", "hedge"),
        ]
        assert outcomes[0].error_code == "outpaced"
        assert (outcomes[0].usage.estimated, outcomes[0].usage.output_tokens) == (True, 0)
        assert all(outcome.usage.input_tokens > 0 for outcome in outcomes)
        (lost,), (won,) = first.call_log.for_prompt("who is first"), second.call_log.for_prompt("who is first")
        assert (lost.state, won.state) == ("aborted", "finished")
        assert lost.ended_at is not None
        assert lost.ended_at - won.started_at < ABORT_S_MAX


async def test_first_target_wins_after_all(broker: EmbeddedBroker, tmp_path: Path, user: str) -> None:
    """It was only a little late: its answer stands, the second call is aborted, its cost is on record."""
    async with hedged_line(broker, tmp_path, user, acting(first_ms=LATE_S * 1e3), acting(first_ms=6_000.0)) as (
        line,
        calls,
    ):
        receipt = await line.producer.submit("who is first", user=user, session="s1")

        turn = await line.ended(receipt)

        assert turn.ended is not None
        assert (turn.ended.reason, turn.text, turn.attempt) == ("complete", TEXT, 1)
        assert len(turn.hedges) == 1
        outcomes = await outcomes_of(line, receipt, 2)
        assert [(outcome.provider, outcome.reason, outcome.cause) for outcome in outcomes] == [
            ("t0", "complete", "first"),
            ("t1", "void", "hedge"),
        ]
        assert outcomes[1].usage.input_tokens > 0
        (won,), (lost,) = (provider.call_log.for_prompt("who is first") for provider in calls)
        assert (won.state, lost.state) == ("finished", "aborted")
        assert lost.ended_at is not None
        assert lost.ended_at - won.started_at < LATE_S + ABORT_S_MAX


async def test_r7_worker_killed_between_two_calls(broker: EmbeddedBroker, tmp_path: Path, user: str) -> None:
    """Neither has spoken: the next owner answers, and each of the two calls is on record once."""
    slow = acting(first_ms=4_000.0)
    async with hedged_line(broker, tmp_path, user, slow, slow) as (line, providers):
        receipt = await line.producer.submit("who is first", user=user, session="s1")
        await until_hedged(line, receipt)
        line.workers[0].kill()
        for provider in providers:
            provider.behaviour = acting()
        line.start_worker()

        ended = await line.ended(receipt)

        assert ended.ended is not None
        assert (ended.ended.reason, ended.text, ended.attempt) == ("complete", TEXT, 3)
        outcomes = await outcomes_of(line, receipt, 3)
        assert [(outcome.provider, outcome.reason, outcome.cause) for outcome in outcomes] == [
            ("t0", "void", "first"),
            ("t1", "void", "hedge"),
            ("t0", "complete", "crash"),
        ]
        assert outcomes[1].usage.estimated
        assert outcomes[1].usage.input_tokens > 0
