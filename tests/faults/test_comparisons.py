"""Several models side by side, and prompts in a busy session, on a real broker, with the worker killed in between."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from infra.embedded.broker import EmbeddedBroker
from infra.simulated_provider.behaviour import Behaviour
from infra.simulated_provider.server import SimulatedProvider
from producers.sdk import Receipt
from schemas.identifiers import PromptId, SessionId, UserId, turn_id_of
from schemas.session_events import ComparisonEnded, TurnEnded
from schemas.turn_fold import FoldedTurn, SessionFold
from tests.integration.worker_line import POLL_S, WorkerLine, answer_text, open_line

TOKENS = 20
QUICK, MIDDLE, SLOW = MODELS = ("quick", "middle", "slow")
SECONDS = {QUICK: 1.0, MIDDLE: 2.0, SLOW: 3.0}
"""What an answer of each model takes."""


@pytest_asyncio.fixture
async def compared(broker: EmbeddedBroker, tmp_path: Path) -> AsyncIterator[WorkerLine]:
    """A line with three models, each at a simulated provider of its own pace."""
    async with AsyncExitStack() as stack:
        config = ['default_model = "quick"']
        for model, seconds in SECONDS.items():
            pace_ms = (seconds * 1_000 - 100) / (TOKENS - 1)
            behaviour = Behaviour(first_ms=100.0, pace_ms=pace_ms, jitter=0.0, tokens=TOKENS)
            provider = await stack.enter_async_context(SimulatedProvider(behaviour=behaviour))
            config.append(f'[providers.at-{model}]\nbase_url = "{provider.base_url}"')
            config.append(
                f'[models.{model}]\ntargets = ["at-{model}:sim"]\nwatch_repetition = false\nwatch_gibberish = false'
            )
        path = tmp_path / "tokenwire.toml"
        path.write_text("\n".join(config))
        line = await stack.enter_async_context(open_line(broker, tmp_path, config=path))
        line.start_worker()
        await settled_line(line)
        yield line


async def settled_line(line: WorkerLine) -> None:
    """A first answer: the worker has its partitions and its encoding."""
    await line.ended(await line.producer.submit("[[sim first_ms=0 pace_ms=0]] hi", user="warm", session="s"))


@pytest.fixture
def user() -> str:
    """A user of the test's own."""
    return f"user-{uuid4().hex}"


def turns_in(fold: SessionFold, receipt: Receipt) -> list[FoldedTurn]:
    """The prompt's turns, by model."""
    ids = [
        turn_id_of(UserId(receipt.user), SessionId(receipt.session), PromptId(receipt.prompt_id), index)
        for index in range(len(MODELS) + 1)
    ]
    return [fold.turns[turn] for turn in ids if turn in fold.turns]


async def settled(
    line: WorkerLine, receipt: Receipt, deadline_s: float = 40.0
) -> tuple[ComparisonEnded, list[FoldedTurn]]:
    """Wait until the comparison has ended, and every turn of it with it."""
    async with asyncio.timeout(deadline_s):
        while True:
            fold = await line.fold(receipt.user, receipt.session)
            comparison, turns = fold.comparisons.get(receipt.prompt_id), turns_in(fold, receipt)
            if comparison is not None and all(turn.ended for turn in turns):
                return comparison, turns
            await asyncio.sleep(POLL_S)


def reasons(turns: list[FoldedTurn]) -> list[str]:
    return [turn.ended.reason if turn.ended else "" for turn in turns]


def took_s(turns: list[FoldedTurn]) -> float:
    """From the first record of the prompt to the end of its last turn."""
    ends_us = [turn.ended.at_us for turn in turns if turn.ended]
    return (max(ends_us) - min(turn.queued.at_us for turn in turns)) / 1e6


def started_us(turns: list[FoldedTurn]) -> list[int]:
    """When each of them began."""
    return [turn.current.started.at_us for turn in turns if turn.current]


async def ask(line: WorkerLine, user: str, text: str = "Why?", session: str = "s1", **options: Any) -> Receipt:
    return await line.producer.submit(text, user=user, session=session, **options)


async def test_three_models_in_the_time_of_the_slowest(compared: WorkerLine, user: str) -> None:
    """Answers of 1, 2 and 3 s run side by side and are whole; the first model's is what the next prompt is told."""
    receipt = await ask(compared, user, models=MODELS)
    comparison, turns = await settled(compared, receipt)

    assert max(started_us(turns)) < min(turn.ended.at_us for turn in turns if turn.ended)
    assert took_s(turns) < 1.0 + 2.0 + 3.0
    assert reasons(turns) == ["complete"] * 3
    assert {turn.text for turn in turns} == {answer_text("Why?", tokens=TOKENS)}
    assert [turn.current.started.provider for turn in turns if turn.current] == [f"at-{model}" for model in MODELS]
    assert (comparison.mode, comparison.turn) == ("all", turns[0].queued.turn)
    following = await compared.ended(await ask(compared, user, "And then?"))
    assert following.text == answer_text("Why?", "And then?", tokens=TOKENS)


async def test_first_model_ends_the_others(compared: WorkerLine, user: str) -> None:
    """They are cancelled within a second, with what they wrote."""
    receipt = await ask(compared, user, models=(SLOW, QUICK, MIDDLE), compare="first")
    comparison, turns = await settled(compared, receipt)

    assert comparison.turn == turns[1].queued.turn
    assert reasons(turns) == ["cancelled", "complete", "cancelled"]
    assert took_s(turns) < 2.0
    for loser in (turns[0], turns[2]):
        assert loser.ended is not None
        assert loser.ended.error is not None
        assert loser.ended.error.code == "lost_comparison"
        assert loser.ended.usage.output_tokens > 0
        assert 0 < len(loser.text) < len(turns[1].text)


async def test_best_answer_and_merged_answer(compared: WorkerLine, user: str) -> None:
    """A scorer chooses; a further turn makes one answer of them, which is what the next prompt is told."""
    best = await ask(compared, user, models=MODELS, compare="best", session="best")
    merge = await ask(compared, user, models=MODELS, compare="merge", merge_model=MIDDLE, session="merge")
    comparison, turns = await settled(compared, best)
    assert set(comparison.scores) == {turn.queued.turn for turn in turns}
    assert comparison.turn == max(comparison.scores, key=lambda turn: comparison.scores[turn])
    merged, turns = await settled(compared, merge)

    assert reasons(turns) == ["complete"] * 4
    assert (merged.turn, turns[3].queued.model, turns[3].queued.index) == (turns[3].queued.turn, MIDDLE, 3)
    assert turns[3].text
    assert turns[3].text != turns[0].text


async def test_prompts_in_a_busy_session(compared: WorkerLine, user: str) -> None:
    """Each does as it asks for while another one runs."""
    running, newer = {}, {}
    modes = ("enqueue", "parallel", "reject", "interrupt", "rollback")
    for mode in modes:
        running[mode] = await ask(compared, user, "One?", session=mode, model=SLOW)
    await asyncio.gather(*(compared.until_tokens(receipt, 3) for receipt in running.values()))
    for mode in modes:
        newer[mode] = await ask(compared, user, "Two?", session=mode, model=QUICK, on_busy=mode)
    before = {mode: await compared.ended(receipt) for mode, receipt in running.items()}
    after = {mode: await compared.ended(receipt) for mode, receipt in newer.items() if mode != "reject"}

    assert reasons([before[mode] for mode in modes]) == ["complete"] * 3 + ["superseded"] * 2
    assert reasons(list(after.values())) == ["complete"] * 4
    refused = await compared.fold(user, "reject")
    assert (len(refused.turns), list(refused.refused)) == (1, [newer["reject"].prompt_id])
    starts = {mode: turn.current.started.at_us for mode, turn in after.items() if turn.current}
    ends = {mode: turn.ended.at_us for mode, turn in before.items() if turn.ended}
    assert starts["enqueue"] >= ends["enqueue"]
    assert starts["parallel"] < ends["parallel"]
    for mode in ("interrupt", "rollback"):
        assert ends[mode] - after[mode].queued.at_us < 1e6
        assert starts[mode] >= ends[mode]
    partial = before["interrupt"].text
    assert 0 < len(partial) < len(before["enqueue"].text)
    assert after["rollback"].text == answer_text("Two?", tokens=TOKENS)
    assert after["interrupt"].text != after["rollback"].text  # it was told what had been said


async def test_worker_killed_in_the_middle_of_a_comparison(compared: WorkerLine, user: str) -> None:
    """R7: every turn ends once, by another worker, and the comparison is settled once."""
    receipt = await ask(compared, user, models=MODELS, compare="merge")
    await compared.until_tokens(receipt, 5)
    compared.start_worker()
    compared.workers[0].send_signal(signal.SIGKILL)
    comparison, turns = await settled(compared, receipt)

    assert reasons(turns) == ["complete"] * 4
    assert all(turn.text == answer_text("Why?", tokens=TOKENS) for turn in turns[:3])
    assert {turn.attempt for turn in turns[:3]} <= {1, 2}
    assert comparison.turn == turns[3].queued.turn
    events = [event for _, event in await compared.events(user, "s1")]
    assert sum(isinstance(event, ComparisonEnded) for event in events) == 1
    assert sum(isinstance(event, TurnEnded) for event in events) == 4
    recorded = {(r.turn, r.attempt) for r in await compared.all_records() if r.user == user and r.outcome}
    assert recorded == {(turn.queued.turn, attempt) for turn in turns for attempt in range(1, turn.attempt + 1)}
