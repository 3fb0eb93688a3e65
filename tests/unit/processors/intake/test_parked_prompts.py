"""New sessions in bad weather: their prompts wait apart, and nobody else waits for them."""

from __future__ import annotations

import asyncio

import pytest

from processors.intake.parked_prompts import UNMADE_S
from schemas.prompts import ExpireSession, PromptCancelled
from tests.fakes.memory_log import AWAY_S
from tests.fakes.one_worker import USER, OneWorker, on_virtual_time, prompt
from tests.fakes.scripted_provider import Script
from tests.fakes.virtual_loop import LoopClock, VirtualLoop, run_virtual

__all__: list[str] = []

NEW = 200
"""More than the slots of intake."""


def outcomes(worker: OneWorker) -> dict[str, list[tuple[str, str]]]:
    """By prompt id, how each of its attempts is on record."""
    found: dict[str, list[tuple[str, str]]] = {}
    for record in worker.records():
        if record.outcome is not None:
            found.setdefault(record.prompt_id, []).append((record.outcome.reason, record.outcome.error_code))
    return found


def complete(worker: OneWorker) -> int:
    return sum(("complete", "") in each for each in outcomes(worker).values())


@on_virtual_time
async def test_everybody_else_goes_on(worker: OneWorker) -> None:
    """Prompts, cancels and deletions of sessions that have a topic; later the others, in their order."""
    worker.provider.script_of = lambda _: Script(first_s=0.1, pace_s=0.01)
    await worker.send(prompt("old"))
    await worker.until(lambda: complete(worker) == 1)
    worker.topics.is_away = True
    await worker.send(*(prompt(f"n{number}", session=f"new-{number}") for number in range(NEW)))
    await worker.send(prompt("n0-again", session="new-0"))
    sent_s = worker.clock.monotonic_s()
    await worker.send(prompt("next"))
    await worker.until(lambda: complete(worker) == 2)
    worker.provider.script_of = lambda _: Script(first_s=60.0)
    await worker.send(prompt("long"), PromptCancelled(user=USER, session="s1", prompt_id="long"))
    await worker.until(lambda: "cancelled" in dict(outcomes(worker).get("long", [])))
    assert worker.clock.monotonic_s() - sent_s < AWAY_S

    await worker.send(ExpireSession(user=USER, session="new-9"))
    await asyncio.sleep(UNMADE_S / 2)
    assert complete(worker) == 2
    worker.provider.script_of = lambda _: Script(first_s=0.1, pace_s=0.01)
    worker.topics.is_away = False
    await worker.until(lambda: complete(worker) == 3 + NEW)
    asked = [call.messages[-1].content for call in worker.provider.calls]
    assert asked.index("ask n0") < asked.index("ask n0-again")
    assert len(asked) == len(set(asked))


@on_virtual_time
async def test_weather_that_stays(worker: OneWorker) -> None:
    """Each is refused as unavailable after its time, with nothing kept; sent again in better weather it is answered."""
    worker.topics.is_away = True
    await worker.send(*(prompt(f"n{number}", session=f"new-{number}") for number in range(NEW)))
    await worker.send(prompt("n0-again", session="new-0"))
    await asyncio.sleep(UNMADE_S - 1)
    assert outcomes(worker) == {}
    await worker.until(lambda: worker.finished[-1:] != [] and worker.finished[-1][1] == worker.offset)
    assert worker.clock.monotonic_s() < UNMADE_S + 2 * AWAY_S
    assert set(map(tuple, outcomes(worker).values())) == {(("rejected", "unavailable"),)}
    assert len(outcomes(worker)) == NEW + 1
    assert list(worker.owner.journal.open_entries()) == []

    worker.topics.is_away = False
    await worker.send(prompt("n7", session="new-7"))
    await worker.until(lambda: ("complete", "") in outcomes(worker)["n7"])


@on_virtual_time
async def test_prompt_that_is_cancelled_while_it_waits(worker: OneWorker) -> None:
    """It is not called for."""
    worker.topics.is_away = True
    await worker.send(prompt("n1", session="new"), PromptCancelled(user=USER, session="new", prompt_id="n1"))
    await asyncio.sleep(5 * AWAY_S)
    worker.topics.is_away = False
    await worker.until(lambda: "cancelled" in dict(outcomes(worker).get("n1", [])))

    assert worker.provider.calls == []


@pytest.mark.parametrize("room", [0, 3])
def test_more_bytes_than_may_wait(room: int) -> None:
    """They end at once, and take nothing from those that wait."""
    loop = VirtualLoop()

    async def play() -> int:
        worker = OneWorker(LoopClock(loop), parked_bytes_max=room * 1_000)
        worker.topics.is_away = True
        worker.owner.start()
        for number in range(10):
            await worker.send(prompt(f"n{number}", session=f"new-{number}", input="x" * 400))
        await worker.until(lambda: bool(outcomes(worker)))
        await asyncio.sleep(5.0)
        ended = len(outcomes(worker))
        worker.topics.is_away = False
        await worker.until(lambda: complete(worker) == 10 - ended)
        await worker.owner.stop()
        return ended

    ended = run_virtual(loop, play())
    assert ended == 10 if room == 0 else 0 < ended < 10
