"""Rows for analytics are what the session's log says, wherever a worker dies: every append of an answer, one by one."""

from __future__ import annotations

import asyncio
import random
from typing import Final

import pytest

from processors.providers.provider import ChatRequest, ProviderCut
from schemas.codec import decode_record, encode
from schemas.identifiers import PromptId, SessionId, UserId, session_key_of, turn_id_of
from schemas.prompts import PromptSubmitted
from schemas.topics import Layout, user_partition
from tests.fakes.memory_log import MemoryLog
from tests.fakes.one_target import some_targets
from tests.fakes.recorded_attempts import recorded_attempts
from tests.fakes.scripted_provider import Script, answer_chunks
from tests.fakes.topic_names import PROMPTS, session_place
from tests.fakes.virtual_loop import LoopClock, VirtualLoop, run_virtual
from tests.simulation.ledger import Accepted, Ledger
from tests.simulation.simulated_group import Climate, SimulatedGroup

__all__: list[str] = []

USER, SESSION = UserId("user-1"), SessionId("s1")
QUESTION: Final = next(text for text in map(str, range(1_000)) if len(answer_chunks(text)) == 12)
TURN = turn_id_of(USER, SESSION, PromptId("p1"))
APPENDS_MAX: Final = 100
DEAD_S: Final = 5.0


class Play:
    """One answer of twelve chunks: its first target breaks off after seven, the next one goes on from them."""

    def __init__(self, layout: Layout, deaths: dict[int, bool]) -> None:
        self.loop = VirtualLoop()
        clock = LoopClock(self.loop)
        self.log = MemoryLog(clock, layout=layout)
        self.group = SimulatedGroup(
            self.log,
            clock,
            random.Random(1),
            {user_partition(USER)},
            climate=Climate(travel_s_max=0.03),
            script_of=self.script_of,
            catalogue=some_targets(frozenset({"prefix"}), frozenset({"prefix"})),
            turn_of=lambda *_: TURN,
            deaths=deaths,
        )

    def script_of(self, request: ChatRequest) -> Script:
        goes_on = request.messages[-1].role == "assistant"
        return Script(pace_s=0.01) if goes_on else Script(pace_s=0.01, fails_at=7, failure=ProviderCut("broke off"))

    def faults(self) -> list[str]:
        """Play it and compare everything."""
        run_virtual(self.loop, self.play())
        key = session_key_of(USER, SESSION)
        place = session_place(key, self.log.layout)
        faults = Ledger(self.group, {TURN: Accepted(TURN, key, place, QUESTION)}, zombies=False).check()
        records = [decode_record(record) for record in self.group.recorded()]
        counted = [part for attempt in recorded_attempts(records).values() for part in attempt.parts]
        streams = [record for record in records if record.outcome is None]
        return faults + [f"stray: part {part.part} of {part.run}" for part in streams if part not in counted]

    async def play(self) -> None:
        await self.group.join()
        asked = PromptSubmitted(
            user=USER, session=SESSION, prompt_id="p1", input=QUESTION, metadata={"about": "crashes" * 10}
        )
        self.log.put(PROMPTS, user_partition(USER), encode(asked), key=USER.encode())
        await asyncio.sleep(DEAD_S)
        await self.group.replace_dead()
        await asyncio.sleep(DEAD_S)
        await self.group.end()


@pytest.mark.parametrize("layout", ["dedicated", "shared"])
def test_worker_dies_at_any_append(layout: Layout) -> None:
    """Whether that append lands or not: each attempt is one row with its own text, gaps, hash and reason, and no part
    of its record holds what the session's log does not."""
    calm = Play(layout, {})
    assert calm.faults() == []
    recorded = recorded_attempts(map(decode_record, calm.group.recorded()))
    assert [len(attempt.parts) for attempt in recorded.values()] == [4, 3]
    assert calm.group.appends < APPENDS_MAX

    failed = {}
    for number in range(1, calm.group.appends + 1):
        for landed in (True, False):
            faults = Play(layout, {number: landed}).faults()
            if faults:
                failed[number, landed] = faults
    assert failed == {}
