"""A prompt that kills every worker it runs on, among prompts that do nothing: on virtual time, over many seeds."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

import pytest

from processors.providers.provider import ChatRequest
from processors.sessions.decisions.recovery import HOLD_S, runs_max
from processors.turns.worker_parts import OwnerLimits
from schemas.codec import decode_dead_letter, encode
from schemas.identifiers import PromptId, SessionId, UserId, session_key_of, turn_id_of
from schemas.prompts import PromptSubmitted
from schemas.topics import user_partition
from schemas.turn_fold import FoldedTurn
from tests.fakes.memory_log import MemoryLog
from tests.fakes.scripted_provider import Script, answer_chunks
from tests.fakes.topic_names import PROMPTS, session_place
from tests.fakes.virtual_loop import LoopClock, VirtualLoop, run_virtual
from tests.simulation.ledger import Accepted, Ledger, dead_letter_records
from tests.simulation.simulated_group import Climate, SimulatedGroup

__all__: list[str] = []

ATTEMPTS_MAX = 3
DEATH_NOTICED_S = 3.0
REST_S = 7_200.0
ANSWER_S_MAX = HOLD_S - 1


@dataclass
class Household:
    """Workers that are started again whenever one dies, and what they were asked."""

    seed: int
    kills_after_s: float
    workers: int
    killers: int = 1
    answer_s_max: float = ANSWER_S_MAX
    accepted: dict[str, Accepted] = field(default_factory=dict)
    ledger: Ledger | None = None
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.loop = VirtualLoop()
        self.draw = random.Random(self.seed)
        self.log = MemoryLog(LoopClock(self.loop), layout="dedicated")
        self.users = [f"user-{number}" for number in range(4)]
        self.group = SimulatedGroup(
            self.log,
            LoopClock(self.loop),
            self.draw,
            {user_partition(user) for user in self.users},
            limits=OwnerLimits(attempts_max=ATTEMPTS_MAX),
            climate=Climate(travel_s_max=0.01),
            script_of=self.script_of,
            turn_of=lambda question, _: self.turn_of(*question.split("/")[:3]),
            poison_kills=True,
            poison_after_s=self.kills_after_s,
        )

    def script_of(self, request: ChatRequest) -> Script:
        question = request.messages[-1].content
        if "poison" in question:
            return Script(first_s=self.kills_after_s + 1)
        chunks = len(answer_chunks(question))
        return Script(first_s=0.1, pace_s=self.draw.uniform(0, self.answer_s_max) / chunks)

    def turn_of(self, user: str, session: str, prompt_id: str) -> str:
        return turn_id_of(UserId(user), SessionId(session), PromptId(prompt_id))

    def ask(self, number: int, kind: str) -> None:
        user, session, prompt_id = self.draw.choice(self.users), f"s{number}", f"p{number}"
        text = f"{user}/{session}/{prompt_id}/{kind}"
        key = session_key_of(UserId(user), SessionId(session))
        turn = self.turn_of(user, session, prompt_id)
        self.accepted[turn] = Accepted(turn, key, session_place(key, "dedicated"), text)
        prompt = PromptSubmitted(user=user, session=session, prompt_id=prompt_id, input=text)
        self.log.put(PROMPTS, user_partition(user), encode(prompt), key=user.encode())

    async def live(self) -> None:
        for _ in range(self.workers):
            await self.group.join()
        keeper = asyncio.create_task(self.keep_workers(), name="keeper")
        for number in range(12):
            self.ask(number, "plain")
        for number in range(self.killers):
            self.ask(100 + number, "poison")
        for number in range(12, 24):
            await asyncio.sleep(self.draw.uniform(0, 4))
            self.ask(number, "plain")
        async with asyncio.timeout(REST_S):
            while self.open_turns():  # noqa: ASYNC110  # virtual time costs nothing
                await asyncio.sleep(15)
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)
        self.ledger = Ledger(self.group, self.accepted, zombies=False)
        self.faults = self.ledger.check()
        await self.group.end()

    def open_turns(self) -> bool:
        ledger = Ledger(self.group, self.accepted, zombies=False)
        return bool(ledger.check())

    async def keep_workers(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            dead = sum(process.dead for process in self.group.members)
            if dead:
                await asyncio.sleep(DEATH_NOTICED_S)
                await self.group.notice_deaths()
                while len([process for process in self.group.members if not process.dead]) < self.workers:
                    await self.group.join()

    def turns(self, kind: str) -> list[FoldedTurn]:
        assert self.ledger is not None
        return [self.ledger.turns[prompt.turn] for prompt in self.accepted.values() if prompt.question.endswith(kind)]

    def buried(self) -> list[str]:
        return [decode_dead_letter(record.value or b"").prompt_id for record in dead_letter_records(self.log)]


def lived(seed: int, kills_after_s: float, *, workers: int, killers: int = 1, answer_s_max: float = 9.0) -> Household:
    household = Household(seed, kills_after_s, workers, killers, answer_s_max)
    run_virtual(household.loop, household.live())
    assert not household.faults, f"seed {seed}: {household.faults[:5]}"
    for turn in household.turns("plain"):
        assert turn.ended is not None
        assert turn.ended.reason == "complete", f"seed {seed}: {turn.ended}"
    for turn in household.turns("poison"):
        assert turn.ended is not None
        assert (turn.ended.reason, turn.ended.error and turn.ended.error.code) == ("error", "crashed"), f"seed {seed}"
    assert set(household.buried()) == {f"p{100 + number}" for number in range(killers)}
    return household


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("kills_after_s", [0.0, 1.5, 8.0])
def test_one_killer_is_buried_and_nobody_else(workers: int, kills_after_s: float) -> None:
    """It is given up at its third crash; whoever ran beside it is answered, by the third attempt at the latest."""
    for seed in range(4):
        household = lived(seed, kills_after_s, workers=workers)

        assert [turn.attempt for turn in household.turns("poison")] == [ATTEMPTS_MAX], f"seed {seed}"
        assert max(turn.attempt for turn in household.turns("plain")) <= ATTEMPTS_MAX, f"seed {seed}"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killer_that_takes_its_time(workers: int) -> None:
    """Killing later than a suspect is alone at first, among answers that last longer than it waits: it takes more
    crashes to be sure, and nobody else is blamed."""
    for seed in range(4):
        household = lived(seed, 35.0, workers=workers, answer_s_max=60.0)

        assert household.turns("poison")[0].attempt <= runs_max(ATTEMPTS_MAX)


def test_three_killers_at_once() -> None:
    """Each is found; the innocent are answered."""
    for seed in range(4):
        lived(seed, 1.0, workers=2, killers=3)
