"""Workers under everything at once, on virtual time: many seeds, one ledger.

A failing seed is printed and can be run alone: `TOKENWIRE_SIMULATION_SEEDS=1234 pytest tests/simulation`; a range is
`0-5000`, which is what `make simulate` runs.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
from collections import Counter
from collections.abc import MutableMapping
from typing import Any, Final, get_args

from structlog.testing import capture_logs

from infra.targets.model_catalogue import Ability
from processors.attempts.decisions.merge_question import TASK
from processors.providers.provider import ChatRequest, ProviderCut, ProviderUnreachable
from processors.turns.worker_parts import OwnerLimits
from schemas.codec import decode_session_event, encode
from schemas.identifiers import PromptId, SessionId, UserId, session_key_of, turn_id_of
from schemas.prompts import CompareMode, OnBusy, PromptCancelled, PromptSubmitted, turns_of
from schemas.session_events import PromptRefused
from schemas.topics import Layout, LogPlace, user_partition
from tests.fakes.memory_log import MemoryLog
from tests.fakes.one_target import COMPARED, one_model, some_targets
from tests.fakes.scripted_provider import Script, question_of
from tests.fakes.topic_names import PROMPTS, session_place
from tests.fakes.virtual_loop import LoopClock, VirtualLoop, run_virtual
from tests.simulation.account_check import account_faults, tiers_for
from tests.simulation.ledger import Accepted, Ledger
from tests.simulation.simulated_group import Climate, SimulatedGroup

__all__: list[str] = []

SEEDS: Final = os.environ.get("TOKENWIRE_SIMULATION_SEEDS", "0-99")
REST_S: Final = 600.0
SESSION_TIMEOUT_S: Final = 3.0
PREFIX: Final = frozenset[Ability]({"prefix"})
CATALOGUES: Final = (
    one_model(),
    some_targets(PREFIX, PREFIX),
    some_targets(PREFIX, PREFIX, hedge=True),
    some_targets(frozenset(), PREFIX, PREFIX),
)
SOMETIMES: Final = {
    "all of several answers",
    "attempt 2",
    "attempt 3",
    "best of several answers",
    "cancelled before its prompt",
    "cancelled in line",
    "cancelled while it ran",
    "closed by a successor",
    "complete",
    "continued",
    "dead letter: crashed",
    "dead letter: handler_error",
    "error",
    "first of several answers",
    "forgotten",
    "generation skipped",
    "hedge lost",
    "hedge won",
    "incomplete",
    "left to its worker",
    "lost_comparison",
    "merge of several answers",
    "merged",
    "none of several answers",
    "prompt parked",
    "run voided",
    "stopped by a successor",
    "resumed",
    "queue_full",
    "refused and answered",
    "rejected",
    "session_busy",
    "superseded",
}
QUESTION: Final = re.compile(r"([\w-]+)/(s\d)/(p\d+)/(\d?)/")
"""User, session, prompt id, and how many models are asked."""


class Campaign:
    """One seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.draw = draw = random.Random(seed)
        self.seen: Counter[str] = Counter()
        self.faults: list[str] = []
        self.accepted: dict[str, Accepted] = {}
        self.asked: dict[str, PromptSubmitted] = {}
        """By the first turn of each prompt."""
        self.sent: dict[str, int] = {}
        """By turn, the newest sending."""
        self.loop = VirtualLoop()
        clock = LoopClock(self.loop)
        layout: Layout = draw.choice(("dedicated", "dedicated", "shared"))
        self.log = MemoryLog(clock, layout=layout)
        self.users = [f"user-{number}" for number in range(draw.randint(1, 3))]
        self.group = SimulatedGroup(
            self.log,
            clock,
            draw,
            {user_partition(user) for user in self.users} | {0},
            limits=OwnerLimits(session_queue_max=3, lanes_max=draw.choice((1, 2, 4_096))),
            turns_running_max=draw.choice((1, 2, 16)),
            climate=self.climate(),
            script_of=self.script_of,
            catalogue=CATALOGUES[seed % len(CATALOGUES)],
            turn_of=self.turn_of,
            poison_kills=True,
            tiers=tiers_for(seed),
        )

    def run(self) -> None:
        """Simulate and check."""
        with capture_logs() as events:
            run_virtual(self.loop, self.simulate())
        for event in events:
            self.note(event)

    async def simulate(self) -> None:
        await self.group.join()
        chaos = asyncio.create_task(self.chaos(), name="chaos")
        sending_again = asyncio.create_task(self.send_again(), name="send again")
        await self.prompts(self.draw.randint(5, 25))
        await chaos
        await self.heal()
        sending_again.cancel()
        self.faults += await self.rest()
        ledger = Ledger(self.group, self.accepted, zombies=self.seen["zombie"] > 0, sent=self.sent)
        self.faults += ledger.check()
        self.faults += account_faults(self.group, self.users, self.seen, zombies=ledger.zombies)
        self.note_turns(ledger)
        await self.group.end()

    def climate(self) -> Climate:
        draw = self.draw
        bad = draw.choice((0.0, 0.3, 1.0))
        return Climate(
            fails=bad * draw.uniform(0, 0.05),
            unknown=bad * draw.uniform(0, 0.05),
            twice=bad * draw.uniform(0, 0.1),
            dies=bad * draw.uniform(0, 0.02),
            read_fails=bad * draw.uniform(0, 0.05),
            passed_over=bad * draw.uniform(0, 0.3),
            travel_s_max=draw.choice((0.0, 0.004, 0.1)),
            skips=draw.choice((0.0, 0.0, 0.3)),
            skew_s_max=draw.choice((0.0, 300.0)),
        )

    def script_of(self, request: ChatRequest) -> Script:
        draw = self.draw
        paced = Script(first_s=draw.choice((0.01, 0.5)), pace_s=draw.choice((0.0, 0.02, 0.5, 3.0)))
        if "faulty" in question_of(request):
            return Script(fails_at=0, failure=ValueError("our own fault"))
        match draw.randint(0, 12):
            case 0:
                return Script(fails_at=0, failure=ProviderUnreachable("away"))
            case 1:
                return Script(fails_at=1, failure=ProviderCut("broke off"))
            case 2:
                return Script(fails_at=2, failure=ValueError("our own fault"))
            case 3:
                return Script(finish_reason="length")
            case _:
                return paced

    def turn_of(self, question: str, model: str) -> str:
        """The turn that a call is made for: the model tells those of a comparison apart, the task the merging one."""
        found = QUESTION.search(question)
        assert found is not None
        user, session, prompt_id, models = found.groups()
        index = int(models or 0) if question.startswith(TASK) else COMPARED.index(model) if models else 0
        return turn_id_of(UserId(user), SessionId(session), PromptId(prompt_id), index)

    async def prompts(self, count: int) -> None:
        """The clients: new prompts, repetitions, reused ids, cancels early and late, prompts that can't be taken."""
        draw = self.draw
        for number in range(count):
            user, session, prompt_id = draw.choice(self.users), draw.choice(("s1", "s1", "s2")), f"p{number}"
            kind = draw.choices(("plain", "poison", "faulty", "too long"), (30, 1, 1, 1))[0]
            early = draw.random() < 0.08
            if early:
                self.publish(PromptCancelled(user=user, session=session, prompt_id=prompt_id))
            models = COMPARED[: draw.choice((0, 0, 0, 0, 2, 3))]
            text = f"{user}/{session}/{prompt_id}/{len(models) or ''}/{kind}"
            prompt = PromptSubmitted(
                user=user,
                session=session,
                prompt_id=prompt_id,
                input=text + ("x" * 20_000 if kind == "too long" else ""),
                on_busy=draw.choices(get_args(OnBusy), (12, 4, 1, 2, 2))[0],
                models=models,
                compare=draw.choice(get_args(CompareMode)) if models else "all",
            )
            self.accept(prompt)
            if draw.random() < 0.15:
                self.send(prompt)
            if draw.random() < 0.05 and not models:
                self.send(
                    PromptSubmitted(user=user, session=session, prompt_id=prompt_id, input=f"{text} in other words")
                )
            await asyncio.sleep(draw.choice((0.0, 0.0, 0.05, 0.5, 2.0)))
            if draw.random() < 0.15:
                old = f"p{draw.randint(max(0, number - 2), number)}"
                self.publish(PromptCancelled(user=user, session=session, prompt_id=old))

    def accept(self, prompt: PromptSubmitted) -> None:
        key = session_key_of(UserId(prompt.user), SessionId(prompt.session))
        place, mode = session_place(key, self.log.layout), prompt.compare if prompt.models else None
        for turn in turns_of(prompt)[: len(prompt.models) or 1]:
            self.accepted[turn] = Accepted(turn, key, place, prompt.input, mode)
        self.asked[turns_of(prompt)[0]] = prompt
        self.send(prompt)

    def send(self, prompt: PromptSubmitted) -> None:
        """Publish it, for the first time or again."""
        offset = self.publish(prompt)
        for turn in turns_of(prompt)[: len(prompt.models) or 1]:
            self.sent[turn] = offset

    def publish(self, command: PromptSubmitted | PromptCancelled) -> int:
        return self.log.put(PROMPTS, user_partition(command.user), encode(command), key=command.user.encode())

    async def send_again(self) -> None:
        """Clients that read what is told of their prompts, and send most that were refused for now again."""
        read: Counter[LogPlace] = Counter()
        while True:
            await asyncio.sleep(self.draw.choice((0.05, 0.5, 2.0)))
            for place in dict.fromkeys(accepted.place for accepted in self.accepted.values()):
                records = self.log.partitions.get((place.topic, place.partition), [])
                for record in records[read[place] :]:
                    event = decode_session_event(record.value or b"")
                    if isinstance(event, PromptRefused) and event.turns and self.draw.random() < 0.8:
                        self.send(self.asked[event.turns[0]])
                read[place] = len(records)

    async def chaos(self) -> None:
        """Processes come, go, die and are left behind."""
        draw, group = self.draw, self.group
        for _ in range(draw.randint(0, 8)):
            await asyncio.sleep(draw.choice((0.01, 0.1, 0.7, 3.0)))
            living = [process for process in group.processes if not process.dead]
            if not living:
                await asyncio.sleep(SESSION_TIMEOUT_S)
                await group.notice_deaths()
                await group.join()
                continue
            process = draw.choice(living)
            match draw.choice(("join", "kill", "zombie", "rejoin", "drain", "notice", "shuffle", "no topics")):
                case "join" if len(living) < 4:
                    await group.join()
                case "kill":
                    group.kill(process)
                case "zombie":
                    self.seen["zombie"] += 1
                    await group.leave_behind(process)
                case "rejoin":
                    await group.rejoin(process)
                case "drain":
                    await group.drain(process, draw.choice((0.0, 0.5, 10.0)))
                case "notice":
                    await asyncio.sleep(SESSION_TIMEOUT_S)
                    await group.notice_deaths()
                case "no topics":
                    group.make_topics(again=group.makes_no_topics)
                case _:
                    await group.shuffle()

    async def heal(self) -> None:
        """The weather clears; the dead are noticed, zombies come back, and as many workers as it takes are started."""
        group = self.group
        group.climate = Climate()
        group.make_topics(again=True)
        for _ in range(10):
            await asyncio.sleep(SESSION_TIMEOUT_S)
            await group.notice_deaths()
            for process in [process for process in group.processes if not process.dead]:
                await group.rejoin(process)
            if not any(not process.dead for process in group.members):
                await group.join()

    async def rest(self) -> list[str]:
        """Wait until nothing is open any more, restarting workers that a poisonous prompt kills."""
        group = self.group
        until_s = group.clock.monotonic_s() + REST_S
        while (busy := self.busy()) and group.clock.monotonic_s() < until_s:
            await asyncio.sleep(1.0)
            if any(process.dead for process in group.members):
                await asyncio.sleep(SESSION_TIMEOUT_S)
            await group.replace_dead()
        await asyncio.sleep(5.0)
        return [f"restless: {busy}"] if busy else []

    def busy(self) -> str:
        """What is still to be done; empty when everything rests."""
        owners = {
            partition: owner
            for process in self.group.members
            if not process.dead
            for partition, owner in process.ownership.owners.items()
        }
        for partition in self.group.partitions:
            owner = owners.get(partition)
            if owner is None or not owner.ready.is_set():
                return f"partition {partition} is not owned yet"
            if owner.queue.waiting or owner.inbox.window.open or owner.inbox.window.next_offset < 0:
                behind = len(self.log.records(PROMPTS, partition)) - max(0, self.group.committed.get(partition, 0))
                if owner.queue.waiting or owner.inbox.window.open or behind:
                    return f"partition {partition} has commands to take in: {list(owner.inbox.window.open)}"
            if any(lane.open_turns for lane in owner.sessions.lanes.values()):
                return f"partition {partition} has turns open"
            if any(True for _ in owner.journal.open_entries()):
                return f"partition {partition} has journal entries open"
        return ""

    def note(self, event: MutableMapping[str, Any]) -> None:
        match event["event"]:
            case "prompt_parked" | "run_voided" as happened:
                self.seen[happened.replace("_", " ")] += 1
            case "turn_recovered":
                decisions = {
                    "Close": "closed by a successor",
                    "TakenBack": "forgotten by a successor",
                    "Follow": "left to its worker",
                    "Stop": "stopped by a successor",
                    "Resume": "resumed",
                    "GiveUp": "given up",
                    "Expire": "expired by a successor",
                }
                self.seen[decisions[str(event["decision"])]] += 1
            case "dead_letter":
                self.seen[f"dead letter: {event['reason']}"] += 1
            case "partition_task_failed":
                self.faults.append(f"failed task: {event['task']}: {event.get('exc_info')!r}")
            case _:
                pass

    def note_turns(self, ledger: Ledger) -> None:
        for turn in ledger.turns.values():
            if turn.ended is None:
                continue
            self.seen[turn.ended.reason] += 1
            self.seen[f"attempt {turn.attempt}"] += 1
            hedges = {hedge.run for hedge in turn.hedges}
            self.seen["hedge won"] += len(hedges & {turn.run, *(run.run for run in turn.void_runs)})
            self.seen["hedge lost"] += len(hedges - {turn.run, *(run.run for run in turn.void_runs)})
            self.seen["continued"] += sum(run.stands for run in turn.void_runs)
            self.seen["forgotten"] += turn.ended.forgotten
            if turn.ended.error is not None and turn.ended.error.code == "lost_comparison":
                self.seen[turn.ended.error.code] += 1
            self.seen["merged"] += turn.queued.turn not in self.accepted and turn.ended.reason == "complete"
            if turn.ended.reason == "cancelled":
                early = turn.last_offset == turn.first_offset + 1
                where = "before its prompt" if early else "while it ran" if turn.text else "in line"
                self.seen[f"cancelled {where}"] += 1
        for name, refusals in ledger.refusals.items():
            self.seen.update(event.code for event in refusals)
            answered = ledger.turns.get(name)
            self.seen["refused and answered"] += answered is not None and bool(answered.text)
        for comparison in {id(found): found for found in ledger.comparisons.values()}.values():
            self.seen[f"{comparison.mode} of several answers" if comparison.turn else "none of several answers"] += 1
        self.seen.update({"generation skipped": self.group.skipped, "seeds": 1})
        self.seen.update({"turns": len(ledger.turns), "calls": len(self.group.calls)})


def seeds() -> list[int]:
    first, _, last = SEEDS.partition("-")
    return list(range(int(first), int(last or first) + 1))


def test_nothing_is_lost_whatever_happens() -> None:
    """Every accepted prompt ends once, with the right text, every call on record; and all the hard cases occurred."""
    seen: Counter[str] = Counter()
    failed: dict[int, list[str]] = {}
    for seed in seeds():
        campaign = Campaign(seed)
        try:
            campaign.run()
        except Exception as error:
            error.add_note(f"in seed {seed}")
            raise
        seen += campaign.seen
        if campaign.faults:
            failed[seed] = campaign.faults
    print(dict(sorted(seen.items())))  # noqa: T201  # what the campaign has seen, with pytest -s

    assert not failed, "\n".join(f"seed {seed}: {fault}" for seed, faults in failed.items() for fault in faults[:5])
    if len(seeds()) >= 100:
        assert set(seen) >= SOMETIMES, f"never seen: {sorted(SOMETIMES - set(seen))}"
