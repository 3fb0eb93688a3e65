"""One partition's owner: what is committed, what survives a shuffle of the group, what is bounded.

Covers: processors.intake.command_inbox, processors.intake.delivery, processors.sessions.partition_sessions,
processors.sessions.partition_tasks, processors.turns.worker_parts.
"""

from __future__ import annotations

import asyncio

from infra.kafka.lost_range import LostRange
from processors.group.ownership import Ownership
from processors.group.partition_owner import SWEEP_EVERY_S
from processors.intake.delivery import DELIVERY_OVERHEAD_BYTES
from processors.targets.permit_desk import PermitDesk
from schemas.codec import encode
from schemas.journal import ENDED_KEPT_S
from schemas.permits import PermitAsked, PermitCommand, PermitGranted
from schemas.prompts import PromptCancelled
from tests.fakes.memory_log import Fate
from tests.fakes.one_target import one_model
from tests.fakes.one_worker import PARTITION, SESSION, USER, OneWorker, on_virtual_time, prompt
from tests.fakes.scripted_provider import Script
from tests.fakes.topic_names import PROMPTS, TURNS
from tests.fakes.virtual_loop import LoopClock, VirtualLoop, run_virtual

__all__: list[str] = []

LONG = Script(first_s=0.5, pace_s=8.0)


@on_virtual_time
async def test_slow_head(worker: OneWorker) -> None:
    """R8: the offset to commit stays before a command that is not taken in yet, however many behind it are."""
    worker.fates[worker.place.topic] = [Fate.FAILS] * 3
    await worker.send(prompt(), *[prompt(f"p{number}", session=f"other{number}") for number in range(5)])
    await worker.until(lambda: len(worker.outcomes()) == 5, 0.9)
    assert worker.finished == []

    await worker.until(lambda: bool(worker.finished))
    assert worker.finished[-1] == (PARTITION, 6, 1)


@on_virtual_time
async def test_prompts_that_cannot_be_read(worker: OneWorker) -> None:
    """The offset to commit stays before them until they are told of, once, whoever met them first."""
    for number in range(3):
        worker.log.put(PROMPTS, PARTITION, encode(prompt(f"p{number}", session=f"s{number}")))
    worker.log.damage(PROMPTS, PARTITION, 1, 2)
    worker.slow_s = 0.2
    worker.fates["deadletters"] = [Fate.FAILS] * 4
    lost = LostRange(PROMPTS, PARTITION, 1, 2, "its checksum is wrong", end_is_known=True)
    ownership = Ownership(worker.parts)
    ownership.owners[PARTITION] = worker.owner
    ownership.on_lost(lost)
    await worker.send_to(worker.owner, 0, prompt("p0", session="s0"))
    await worker.send_to(worker.owner, 2, prompt("p2", session="s2"))
    await worker.until(lambda: len(worker.outcomes()) == 1)
    assert (worker.finished, worker.dead_letters()) == ([(PARTITION, 1, 1)], [])

    await worker.until(lambda: len(worker.outcomes()) == 2)
    assert worker.finished[-1] == (PARTITION, 3, 1)
    assert [(letter.offset, letter.reason) for letter in worker.dead_letters()] == [(1, "unreadable")]


@on_virtual_time
async def test_group_shuffled_while_commands_are_taken_in(worker: OneWorker) -> None:
    """What was not committed comes again and is answered once; old work commits nothing in the new generation."""
    worker.slow_s = 0.2
    commands = [prompt("p1"), prompt("p2"), prompt("p3", session="s3")]
    await worker.send(*commands)
    await asyncio.sleep(0.3)
    worker.owner.kept(2)
    for offset, command in enumerate(commands):
        await worker.send_to(worker.owner, offset, command)
    await worker.until(lambda: worker.reason("p2") != "")
    await asyncio.sleep(10)

    assert worker.finished[-1] == (PARTITION, 3, 2)
    assert all(generation == 2 for _, _, generation in worker.finished)
    assert len(worker.provider.calls) == 3


def test_group_shuffled_while_there_is_no_slot_for_a_command() -> None:
    """The command that waits belongs to the old generation, and commits nothing in the new one."""
    loop = VirtualLoop()

    async def play() -> list[tuple[int, int, int]]:
        worker = OneWorker(LoopClock(loop), intake_max=1)
        worker.slow_s = 1.0
        worker.owner.start()
        await asyncio.sleep(5)
        await worker.send(prompt("p1"), prompt("p2", session="s2"))
        await asyncio.sleep(0.1)
        worker.owner.kept(2)
        await asyncio.sleep(60)
        found = list(worker.finished)
        assert worker.owner.inbox.window.finished == set()
        await worker.owner.stop()
        return found

    assert run_virtual(loop, play()) == []


@on_virtual_time
async def test_partition_lost_while_a_turn_runs(worker: OneWorker) -> None:
    """The leased turn ends on its own; the one behind it is the new owner's, and nothing is left over."""
    worker.provider.script_of = lambda _: LONG
    await worker.send(prompt("p2"), prompt("p3"))
    await worker.until(lambda: bool(worker.provider.calls))
    gone: list[object] = []
    await worker.owner.lease_running()
    await worker.owner.retire()
    worker.owner.tasks.when_all_done(lambda: gone.append(worker.owner))
    successor = worker.new_owner(2)
    successor.start()
    await worker.until(lambda: worker.reason("p3") != "")
    await worker.until(lambda: bool(gone))

    assert (worker.reason("p2"), worker.turn("p2").attempt) == ("complete", 1)
    assert len(worker.provider.calls) == 2
    assert worker.owner.tasks.running == set()
    await successor.stop()


@on_virtual_time
async def test_partition_lost_while_a_turn_waits_at_the_gate(worker: OneWorker) -> None:
    """It is the new owner's: the retired one ends, and gives its place among the running turns back."""
    await worker.owner.lease_running()
    await worker.send(prompt("p1"))
    await asyncio.sleep(1)
    assert worker.provider.calls == []
    await worker.owner.retire()

    await asyncio.sleep(1)
    assert worker.owner.tasks.running == set()
    assert worker.parts.runner.pool.calls == 0


@on_virtual_time
async def test_partition_lost_between_two_attempts(worker: OneWorker) -> None:
    """No further attempt begins here; the place among the running turns is given back."""
    worker.provider.script_of = lambda _: LONG
    await worker.send(prompt("p2"))
    await worker.until(lambda: bool(worker.fold().turns) and worker.turn("p2").next_seq > 0)
    worker.fates["tokenwire.session"] = [Fate.FAILS]
    await asyncio.sleep(16.2)  # the second chunk is lost, which the third one finds out
    await worker.owner.lease_running()
    await worker.owner.retire()
    await asyncio.sleep(5)

    assert worker.owner.tasks.running == set()
    assert worker.parts.runner.pool.calls == 0
    assert worker.turn("p2").attempt == 1


@on_virtual_time
async def test_cancel_and_lease_at_once(worker: OneWorker) -> None:
    """Neither entry forgets what the other says."""
    worker.provider.script_of = lambda _: Script(first_s=50.0)
    worker.slow_s = 0.2
    await worker.send(prompt("p1"))
    await worker.until(lambda: bool(worker.provider.calls))
    await worker.send(PromptCancelled(user=USER, session=SESSION, prompt_id="p1"))
    await worker.owner.lease_running()
    await worker.until(lambda: worker.reason() != "")
    entries = [record.value or b"" for record in worker.log.records(TURNS, PARTITION)]

    leased = [entry for entry in entries if b"lease_until_us" in entry and b'"ended"' not in entry]
    assert worker.reason() == "cancelled"
    assert leased == [] or b"cancel_requested" in leased[-1] or b"cancel_requested" in entries[-1]


@on_virtual_time
async def test_leases_after_the_ending(worker: OneWorker) -> None:
    """A turn that has ended is not journalled as running again."""
    worker.slow_s = 0.2
    await worker.send(prompt("p1"))
    await worker.until(lambda: worker.reason() != "")
    await worker.owner.lease_running()
    await asyncio.sleep(10)

    assert b'"ended"' in (worker.log.records(TURNS, PARTITION)[-1].value or b"")


def test_inbox_is_bounded() -> None:
    """A consumer waits while too much is waiting to be taken in, empty commands included; stopping lets it go."""
    loop = VirtualLoop()

    async def play() -> None:
        worker = OneWorker(LoopClock(loop), inbox_bytes_max=10 * DELIVERY_OVERHEAD_BYTES)
        sending = asyncio.create_task(worker.send(*[b""] * 100))
        await asyncio.sleep(1)
        assert len(worker.owner.queue.waiting) == 10
        assert not sending.done()
        worker.owner.start()
        await sending
        await worker.until(lambda: bool(worker.finished) and worker.finished[-1][1] == 100)
        await worker.owner.stop()

    run_virtual(loop, play())


def test_lanes_are_bounded() -> None:
    """Idle sessions are forgotten with their topics' metadata; busy ones and the one being opened are not."""
    loop = VirtualLoop()

    async def play() -> None:
        worker = OneWorker(LoopClock(loop), lanes_max=2)
        worker.provider.script_of = lambda request: LONG if "p0" in request.messages[-1].content else Script()
        worker.owner.start()
        for number in range(8):
            await worker.send(prompt(f"p{number}", session=f"s{number}"))
            await asyncio.sleep(1)
        assert len(worker.owner.sessions.lanes) == 2
        assert "s0" in {lane.session for lane in worker.owner.sessions.lanes.values()}
        assert len(worker.appender.forgotten) == 6
        await worker.send(prompt("again", session="s3"))
        await asyncio.sleep(60)
        assert len(worker.provider.calls[-1].messages) == 3
        await worker.owner.stop()

    run_virtual(loop, play())


@on_virtual_time
async def test_a_day_of_turns(worker: OneWorker) -> None:
    """All of them are forgotten when their day is over, not only a batch."""
    await worker.send(*(prompt(f"p{number}", session=f"s{number}") for number in range(600)))
    await worker.until(lambda: len(worker.outcomes()) == 600)
    await asyncio.sleep(ENDED_KEPT_S + 700)

    assert worker.owner.journal.ended == {}
    assert worker.owner.journal.open == {}


@on_virtual_time
async def test_quiet_sessions_are_forgotten(worker: OneWorker) -> None:
    """With their conversations and topics; a busy one is not, and one that comes back is read again."""
    slow = Script(pace_s=1_000.0)
    worker.provider.script_of = lambda request: slow if "p0" in request.messages[-1].content else Script()
    idle_s = worker.owner.parts.limits.lane_idle_s
    await worker.send(prompt("p0", session="busy"), prompt("p1", session="quiet"))
    await worker.until(lambda: len(worker.outcomes()) == 1)
    await asyncio.sleep(idle_s / 2)
    await worker.send(prompt("p2", session="later"))
    await asyncio.sleep(idle_s / 2 + 2 * SWEEP_EVERY_S)
    assert {lane.session for lane in worker.owner.sessions.lanes.values()} == {"busy", "later"}
    assert len(worker.appender.forgotten) == 1
    assert len(worker.conversations.kept) == 2

    await worker.send(prompt("p3", session="quiet"))
    await worker.until(lambda: len(worker.outcomes()) == 3)
    assert [message.content for message in worker.provider.calls[-1].messages][::2] == ["ask p1", "ask p3"]


@on_virtual_time
async def test_word_between_workers(worker: OneWorker) -> None:
    """It is answered before prompts that came earlier are taken in, is none itself, and its offset passes in order."""
    answers: list[PermitCommand] = []
    served = one_model().models[one_model().default]

    async def send(_: int, command: PermitCommand) -> None:
        answers.append(command)

    pool = worker.parts.runner.pool
    pool.targets.find_target = {served.targets[0].name: served.targets[0]}.get
    pool.desk = PermitDesk(send, pool.targets, pool.next_number, pool.dispatch)
    worker.fates[worker.place.topic] = [Fate.FAILS] * 3
    asked = PermitAsked(permit="w-1", target=served.targets[0].name, reply_partition=3)
    await worker.send(prompt(), encode(asked), b'{"type":"permit.unheard_of"}', encode(asked))
    await asyncio.sleep(0)
    await worker.until(lambda: bool(answers), 0.1)
    assert worker.finished == []

    await worker.until(lambda: bool(worker.finished))
    await worker.until(lambda: worker.finished[-1] == (PARTITION, 4, 1))
    granted = PermitGranted(permit="w-1", target=served.targets[0].name, holder=PARTITION)
    assert answers == [granted, granted]
    assert pool.states[served.targets[0].name].in_flight >= 1
    assert worker.dead_letters() == []
    assert len(worker.owner.sessions.lanes) == 1


@on_virtual_time
async def test_word_to_a_worker_without_a_desk(worker: OneWorker) -> None:
    """It is left out, and its offset passes."""
    await worker.send(encode(PermitAsked(permit="w-1", target="groq:llama", reply_partition=3)))
    await worker.until(lambda: worker.finished == [(PARTITION, 1, 1)])

    assert worker.owner.sessions.lanes == {}
