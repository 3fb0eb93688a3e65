"""Workers that join in quick steps under streams, so that members miss generations: every prompt is called for once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest

from schemas.codec import encode
from schemas.identifiers import PromptId, SessionId, UserId, session_key_of, turn_id_of
from schemas.prompts import PromptSubmitted
from schemas.topics import USER_PARTITIONS, user_partition
from tests.fakes.memory_log import MemoryLog
from tests.fakes.scripted_provider import Script
from tests.fakes.topic_names import PROMPTS, session_place
from tests.fakes.virtual_loop import LoopClock, VirtualLoop, run_virtual
from tests.simulation.ledger import Accepted, Ledger
from tests.simulation.simulated_group import Climate, SimulatedGroup

__all__: list[str] = []

STREAMS = 100
WORKERS = 4
STEP_S = 0.2
REST_S = 300.0


@pytest.mark.parametrize("skew_s", [0.0, 300.0])
@pytest.mark.parametrize("seed", range(5))
def test_r10_r31_from_one_worker_to_four(seed: int, skew_s: float) -> None:
    """100 streams, 100 calls: who stays a member keeps its running turns, however many generations it has missed, and
    whatever its clock says."""
    loop = VirtualLoop()
    clock, draw = LoopClock(loop), random.Random(seed)
    group = SimulatedGroup(
        MemoryLog(clock),
        clock,
        draw,
        set(range(USER_PARTITIONS)),
        turns_running_max=STREAMS,
        climate=Climate(skips=0.4, skew_s_max=skew_s),
        script_of=lambda _: Script(first_s=0.5, pace_s=draw.uniform(2.0, 4.0)),
    )
    asked = [f"user-{number}" for number in range(STREAMS)]
    group.turn_of = lambda question, _: turn_of(question)

    async def play() -> list[str]:
        await group.join()
        for user in asked:
            command = PromptSubmitted(user=user, session="s1", prompt_id="p1", input=user)
            group.log.put(PROMPTS, user_partition(user), encode(command), key=user.encode())
        await until(lambda: len(group.calls) == STREAMS)
        for _ in range(WORKERS - 1):
            await asyncio.sleep(STEP_S)
            await group.join()
        accepted = {turn_of(user): accepted_of(user) for user in asked}
        await until(lambda: not Ledger(group, accepted, zombies=False).check())
        await group.end()
        return [call.question for call in group.calls]

    assert sorted(run_virtual(loop, play())) == sorted(asked)
    assert group.skipped


def turn_of(user: str) -> str:
    return turn_id_of(UserId(user), SessionId("s1"), PromptId("p1"), 0)


def accepted_of(user: str) -> Accepted:
    key = session_key_of(UserId(user), SessionId("s1"))
    return Accepted(turn_of(user), key, session_place(key, "dedicated"), user, None)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(REST_S):
        while not condition():  # noqa: ASYNC110  # virtual time costs nothing
            await asyncio.sleep(0.5)
