"""Providers that fail: the next target at once, retries when none is left, limits kept. Rows R26, R28, R29."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from aiohttp import web

from infra.embedded.broker import EmbeddedBroker
from infra.simulated_provider.behaviour import Behaviour
from infra.simulated_provider.server import SimulatedProvider
from producers.sdk import Receipt
from tests.faults.several_targets import acting
from tests.integration.worker_line import WorkerLine, answer_text, open_line

TARGETS = """
default_model = "chat"
[models.chat]
targets = ["first:sim", "second:sim", "third:sim"]
{model_keys}
[providers.first]
base_url = "{first}"
{provider_keys}
[providers.second]
base_url = "{second}"
[providers.third]
base_url = "{third}"
"""


@pytest.fixture
def user() -> str:
    """A user of the test's own."""
    return f"user-{uuid4().hex}"


@asynccontextmanager
async def three_targets(
    broker: EmbeddedBroker, folder: Path, *faults: str, model_keys: str = "", provider_keys: str = ""
) -> AsyncIterator[tuple[WorkerLine, list[SimulatedProvider]]]:
    """A line whose model has three targets, each a simulated provider with its fault ("" = none)."""
    async with AsyncExitStack() as stack:
        providers = [await stack.enter_async_context(SimulatedProvider(behaviour=acting(fault))) for fault in faults]
        first, second, third = (provider.base_url for provider in providers)
        config = folder / "tokenwire.toml"
        config.write_text(
            TARGETS.format(first=first, second=second, third=third, model_keys=model_keys, provider_keys=provider_keys)
        )
        line = await stack.enter_async_context(open_line(broker, folder, config=config))
        line.start_worker()
        yield line, providers


async def test_r29_first_429_second_stalls_third_answers(broker: EmbeddedBroker, tmp_path: Path, user: str) -> None:
    """60 prompts, 60 whole answers; every attempt and its cause is on record, and stays explained by policy."""
    async with three_targets(broker, tmp_path, "429:1", "stall_after:10", "", model_keys="between_tokens_s = 1.0") as (
        line,
        providers,
    ):

        async def ask(number: int) -> Receipt:
            return await line.producer.submit(
                f"question {number}", user=f"{user}-{number % 7}", session=f"s{number}", model="chat"
            )

        receipts = [await ask(number) for number in range(8)]
        await asyncio.gather(*(line.ended(receipt, deadline_s=60) for receipt in receipts))
        receipts += [await ask(number) for number in range(8, 60)]  # by now the first target's breaker is open

        turns = await asyncio.gather(*(line.ended(receipt, deadline_s=90) for receipt in receipts))

        for n, turn in enumerate(turns):
            assert turn.ended is not None
            assert turn.ended.reason == "complete", turn.ended
            assert turn.text == answer_text(f"question {n}")
            assert turn.current is not None
            assert turn.current.started.provider == "third"
        records = await line.until_records(sum(turn.attempt for turn in turns), *receipts)
        outcomes = [record.outcome for record in records if record.outcome]
        causes = {(outcome.provider, outcome.reason, outcome.cause) for outcome in outcomes}
        assert ("third", "complete", "watchdog") in causes or ("third", "complete", "failover") in causes
        assert {reason for _, reason, _ in causes} == {"complete", "void"}
        stalled = [outcome for outcome in outcomes if outcome.provider == "second"]
        assert all(outcome.error_code == "provider_timed_out" and outcome.cost_nano_usd >= 0 for outcome in stalled)
        assert len(providers[0].calls) < 60, "the breaker of the first target never opened"


async def test_retries_when_no_target_is_left(broker: EmbeddedBroker, tmp_path: Path, user: str) -> None:
    """Every target answers 503 once: after a pause of a second or so the prompt is answered; causes say why."""
    async with three_targets(broker, tmp_path, "", "", "") as (line, providers):
        text = "[[sim tokens=40 fault=503:1 times=1]] hello again"
        receipt = await line.producer.submit(text, user=user, session="s1")

        turn = await line.ended(receipt)

        assert turn.ended is not None
        assert (turn.ended.reason, turn.attempt) == ("complete", 4)
        assert turn.text == answer_text("hello again")
        assert [run.started.cause for run in turn.void_runs] == ["first", "failover", "failover"]
        assert turn.current is not None
        assert turn.current.started.cause == "retry"
        assert [len(provider.calls) for provider in providers] == [2, 1, 1]


async def test_a_refused_prompt_goes_nowhere_else(broker: EmbeddedBroker, tmp_path: Path, user: str) -> None:
    """A provider that refuses the prompt itself is not a reason to ask another."""
    async with three_targets(broker, tmp_path, "400", "", "") as (line, providers):
        receipt = await line.producer.submit("hello", user=user, session="s1")

        turn = await line.ended(receipt)

        assert turn.ended is not None
        assert turn.ended.error is not None
        assert (turn.ended.reason, turn.ended.error.code) == ("error", "provider_refused")
        assert [len(provider.calls) for provider in providers] == [1, 0, 0]


@pytest.mark.parametrize("fault", ["401", "404"])
async def test_target_that_does_not_serve_us(broker: EmbeddedBroker, tmp_path: Path, user: str, fault: str) -> None:
    """A bad key or an unknown model at one target is the operator's fault: the next one answers."""
    async with three_targets(broker, tmp_path, fault, "", "") as (line, providers):
        receipts, turns = [], []
        for number in range(10):
            receipts.append(await line.producer.submit("hello", user=user, session=f"s{number}"))
            turns.append(await line.ended(receipts[-1]))

        assert {turn.ended.reason for turn in turns if turn.ended} == {"complete"}
        records = await line.until_records(sum(turn.attempt for turn in turns), *receipts)
        failed = [record.outcome for record in records if record.outcome and record.outcome.reason == "void"]
        assert {(outcome.provider, outcome.error_code) for outcome in failed} == {("first", "provider_denied")}
        assert len(providers[0].calls) < 10, "the breaker of a target that does not serve us never opened"


async def test_concurrency_limit_is_never_passed(broker: EmbeddedBroker, tmp_path: Path, user: str) -> None:
    """50 prompts at one instant against 12 places: nobody is refused, at most 12 calls run at once."""
    async with three_targets(broker, tmp_path, "", "", "", model_keys="", provider_keys="concurrent_max = 12") as (
        line,
        providers,
    ):
        (tmp_path / "tokenwire.toml").write_text(
            (tmp_path / "tokenwire.toml")
            .read_text()
            .replace('["first:sim", "second:sim", "third:sim"]', '["first:sim"]')
        )
        await line.stop_worker(line.workers[0])
        line.start_worker()
        receipts = [
            await line.producer.submit(
                f"[[sim tokens=40 pace_ms=10]] question {n}", user=f"{user}-{n % 9}", session=f"s{n}"
            )
            for n in range(50)
        ]
        turns = await asyncio.gather(*(line.ended(receipt, deadline_s=90) for receipt in receipts))

        assert {turn.ended.reason for turn in turns if turn.ended} == {"complete"}
        moments = [(call.started_at, 1) for call in providers[0].calls]
        moments += [(call.ended_at or 0.0, -1) for call in providers[0].calls]
        running, most = 0, 0
        for _, step in sorted(moments):
            running += step
            most = max(most, running)
        assert len(providers[0].calls) == 50
        assert 6 <= most <= 12


async def test_r29_headers_are_honoured(broker: EmbeddedBroker, tmp_path: Path, user: str) -> None:
    """A provider that takes 3 requests in 4 s and says so is never asked for a fourth; no limit is set of ours."""
    async with (
        three_targets(broker, tmp_path, "", "", "") as (line, providers),
        SimulatedProvider(behaviour=Behaviour(first_ms=5.0, pace_ms=1.0, jitter=0.0, tokens=40, quota=3)) as limited,
    ):
        config = tmp_path / "tokenwire.toml"
        config.write_text(
            config.read_text()
            .replace(providers[0].base_url, limited.base_url)
            .replace('["first:sim", "second:sim", "third:sim"]', '["first:sim"]')
        )
        await line.stop_worker(line.workers[0])
        line.start_worker()
        await line.ended(await line.producer.submit("question 0", user=user, session="s0"))
        receipts = [await line.producer.submit(f"question {n}", user=user, session=f"s{n}") for n in range(1, 8)]

        turns = [await line.ended(receipt) for receipt in receipts]

        assert {turn.ended.reason for turn in turns if turn.ended} == {"complete"}
        assert [call.status for call in limited.calls] == [200] * 8


async def test_models_are_reloaded_on_sighup(broker: EmbeddedBroker, tmp_path: Path, user: str) -> None:
    """A bad file is refused whole and the old one stays in force; a good one brings its model, and no stream drops."""
    async with three_targets(broker, tmp_path, "", "", "") as (line, _):
        worker, config = line.workers[0], tmp_path / "tokenwire.toml"
        running = await line.producer.submit("[[sim tokens=100 pace_ms=40]] long", user=user, session="s1")
        await line.until_tokens(running, 3)
        good = config.read_text()
        config.write_text(good.replace("targets =", "tragets ="))
        worker.send_signal(signal.SIGHUP)
        await line.wait_for_log(worker, "models_refused")
        again = await line.producer.submit("still there?", user=user, session="s2", model="chat")
        assert (await line.ended(again)).text == answer_text("still there?")
        config.write_text(good + '[models.newer]\ntargets = ["second:sim"]\n')
        worker.send_signal(signal.SIGHUP)
        await line.wait_for_log(worker, "models_reloaded")
        newer = await line.producer.submit("new model", user=user, session="s3", model="newer")

        turn = await line.ended(newer)

        assert turn.current is not None
        assert (turn.text, turn.current.started.provider) == (answer_text("new model"), "second")
        assert "tragets" in line.log_of(worker)
        whole = await line.ended(running)
        assert (whole.attempt, whole.text) == (1, answer_text("long", tokens=100))


async def test_endless_repetition_is_stopped_and_answered_elsewhere(
    broker: EmbeddedBroker, tmp_path: Path, user: str
) -> None:
    """A model that goes round in circles is cut off; the next target answers."""
    async with three_targets(broker, tmp_path, "", "", "") as (line, providers):
        looping = Looping()
        async with looping:
            config = tmp_path / "tokenwire.toml"
            config.write_text(config.read_text().replace(providers[0].base_url, looping.base_url))
            await line.stop_worker(line.workers[0])
            line.start_worker()
            receipt = await line.producer.submit("round and round", user=user, session="s1")

            turn = await line.ended(receipt)

        assert turn.ended is not None
        assert (turn.ended.reason, turn.text, turn.attempt) == ("complete", answer_text("round and round"), 2)
        assert turn.current is not None
        assert turn.current.started.cause == "watchdog"
        records = await line.until_records(2, receipt)
        assert [record.outcome.error_code for record in records if record.outcome] == ["provider_babbled", ""]


class Looping:
    """An OpenAI-compatible server whose answer never ends and never says anything new."""

    def __init__(self) -> None:
        self.runner: web.AppRunner | None = None
        self.base_url = ""

    async def __aenter__(self) -> Looping:
        application = web.Application()
        application.router.add_post("/v1/chat/completions", self.answer)
        self.runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        self.base_url = f"http://127.0.0.1:{self.runner.addresses[0][1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.runner is not None:
            await self.runner.cleanup()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        line = {"choices": [{"index": 0, "delta": {"content": "and so it goes on and on, again and again, "}}]}
        with contextlib.suppress(ConnectionError):
            for _ in range(2_000):
                await response.write(f"data: {json.dumps(line)}\n\n".encode())
        return response
