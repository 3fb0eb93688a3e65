"""A prompt that is refused for now and sent again, wherever its worker dies: every append, one by one."""

from __future__ import annotations

import asyncio
import random
from typing import Final

import pytest

from processors.providers.provider import ChatRequest
from schemas.codec import decode_session_event, encode
from schemas.identifiers import PromptId, SessionId, UserId, session_key_of, turn_id_of
from schemas.prompts import OnBusy, PromptSubmitted
from schemas.session_events import PromptRefused
from schemas.topics import Layout, user_partition
from tests.fakes.memory_log import MemoryLog
from tests.fakes.one_target import one_model
from tests.fakes.scripted_provider import Script, answer_chunks, question_of
from tests.fakes.topic_names import PROMPTS, session_place
from tests.fakes.virtual_loop import LoopClock, VirtualLoop, run_virtual
from tests.simulation.ledger import Accepted, Ledger
from tests.simulation.simulated_group import Climate, SimulatedGroup

__all__: list[str] = []

USER, SESSION = UserId("user-1"), SessionId("s1")
KEY: Final = session_key_of(USER, SESSION)
SLOW: Final = next(text for text in map(str, range(1_000)) if len(answer_chunks(text)) == 4)
BUSY: Final = "one that does not wait"
IDS: Final = {SLOW: PromptId("p1"), BUSY: PromptId("p2")}
TURNS: Final = {text: turn_id_of(USER, SESSION, prompt_id) for text, prompt_id in IDS.items()}
APPENDS_MAX: Final = 100
SENDINGS_MAX: Final = 9
DEAD_S: Final = 5.0


class Play:
    """One answer takes its time; beside it comes a prompt that is not to wait, as often as it is refused."""

    def __init__(self, layout: Layout, deaths: dict[int, bool]) -> None:
        self.loop = VirtualLoop()
        clock = LoopClock(self.loop)
        self.log = MemoryLog(clock, layout=layout)
        self.place = session_place(KEY, layout)
        self.sent: dict[str, int] = {}
        self.group = SimulatedGroup(
            self.log,
            clock,
            random.Random(1),
            {user_partition(USER)},
            climate=Climate(travel_s_max=0.03),
            script_of=self.script_of,
            catalogue=one_model(),
            turn_of=lambda question, _: TURNS[question],
            deaths=deaths,
        )

    def script_of(self, request: ChatRequest) -> Script:
        return Script(pace_s=4.0 if question_of(request) == SLOW else 0.01)

    def send(self, text: str, on_busy: OnBusy = "enqueue") -> None:
        prompt = PromptSubmitted(
            user=USER, session=SESSION, prompt_id=IDS[text], input=text, on_busy=on_busy, metadata={"a": "b"}
        )
        self.sent[TURNS[text]] = self.log.put(PROMPTS, user_partition(USER), encode(prompt), key=USER.encode())

    def ledger(self) -> Ledger:
        """Play it and read everything."""
        run_virtual(self.loop, self.play())
        accepted: dict[str, Accepted] = {turn: Accepted(turn, KEY, self.place, text) for text, turn in TURNS.items()}
        return Ledger(self.group, accepted, zombies=False, sent=self.sent)

    async def play(self) -> None:
        await self.group.join()
        self.send(SLOW)
        await asyncio.sleep(0.5)
        self.send(BUSY, "reject")
        for _ in range(SENDINGS_MAX):
            await asyncio.sleep(DEAD_S)
            await self.group.notice_deaths()
            if not self.group.members:
                await self.group.join()
                await asyncio.sleep(DEAD_S)
            if self.was_refused():
                self.send(BUSY, "reject")
        await self.group.end()

    def was_refused(self) -> bool:
        """Whether the newest sending was."""
        records = self.log.records(self.place.topic, self.place.partition)
        events = [decode_session_event(record.value or b"") for record in records]
        return self.sent[TURNS[BUSY]] in [event.try_offset for event in events if isinstance(event, PromptRefused)]


@pytest.mark.parametrize("layout", ["dedicated", "shared"])
def test_worker_dies_at_any_append(layout: Layout) -> None:
    """Whether that append lands or not: each sending is answered or refused, each refusal is one row, and the
    prompt is answered once."""
    calm = Play(layout, {}).ledger()
    assert calm.check() == []
    assert len(calm.refusals[TURNS[BUSY]]) > 1
    assert calm.group.appends < APPENDS_MAX

    failed = {}
    for number in range(1, calm.group.appends + 1):
        for landed in (True, False):
            ledger = Play(layout, {number: landed}).ledger()
            faults = ledger.check()
            answered = ledger.turns.get(TURNS[BUSY])
            if answered is None or answered.ended is None or answered.ended.reason != "complete":
                faults.append("the prompt was sent again and not answered")
            if faults:
                failed[number, landed] = faults
    assert failed == {}
