"""What becomes of partitions when the group is shuffled, and when the worker stops."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from processors.group.ownership import Ownership
from schemas.codec import encode
from schemas.session_events import TurnStarted
from tests.fakes.memory_log import Fate
from tests.fakes.one_worker import PARTITION, USER, OneWorker, on_virtual_time, prompt, turn_of
from tests.fakes.scripted_provider import Script
from tests.fakes.topic_names import PROMPTS

__all__: list[str] = []

OTHER = (PARTITION + 1) % 12
LONG = Script(first_s=0.5, pace_s=8.0)


@dataclass
class Message:
    """A consumed message, as far as it is used."""

    offset: int
    value: bytes
    generation_id: int
    partition: int = PARTITION
    key: bytes = USER.encode()
    timestamp: float = 1_750_000_000.0


MEMBER = "member-1"


async def owning(worker: OneWorker, *partitions: int, generation: int = 5) -> Ownership:
    """This worker's ownership in place of the single owner."""
    await worker.owner.stop()
    ownership = Ownership(worker.parts)
    ownership.mark_finished = lambda *finished: worker.finished.append(finished)
    await own(ownership, {PARTITION, *partitions}, generation)
    worker.owner = ownership.owners[PARTITION]
    return ownership


async def own(ownership: Ownership, partitions: set[int], generation: int, member: str = MEMBER) -> None:
    """What the consumer tells of an assignment: who owns what, then where it is read on."""
    await ownership.on_owned(partitions, generation, member)
    ownership.on_sought(dict.fromkeys(partitions, 0))


async def running(worker: OneWorker, ownership: Ownership, prompt_id: str = "p2") -> None:
    worker.provider.script_of = lambda _: LONG
    await ownership.deliver(Message(0, encode(prompt(prompt_id)), ownership.generation))
    await worker.until(lambda: bool(worker.provider.calls))


async def stop(ownership: Ownership) -> None:
    for owner in (*ownership.owners.values(), *ownership.retired):
        await owner.stop()


@on_virtual_time
async def test_partition_that_comes_back(worker: OneWorker) -> None:
    """In the very next generation it was nobody else's: its turn goes on."""
    ownership = await owning(worker, OTHER)
    await running(worker, ownership)
    owner = ownership.owners[PARTITION]
    await ownership.on_leaving()
    await own(ownership, {PARTITION}, 6)
    await worker.until(lambda: worker.reason("p2") != "")

    assert ownership.owners == {PARTITION: owner}
    assert (worker.turn("p2").attempt, ownership.ready, ownership.running_turns()) == (1, True, 0)
    await stop(ownership)


@on_virtual_time
async def test_group_that_went_on_without_us(worker: OneWorker) -> None:
    """It is another member now, and another worker has begun the turn anew: it is stopped without a word."""
    ownership = await owning(worker)
    await running(worker, ownership)
    owner = ownership.owners[PARTITION]
    await worker.until(lambda: bool(worker.fold().turns))
    worker.write(TurnStarted(turn=turn_of("p2"), attempt=2, run="another's", model="simulated"))
    await ownership.on_leaving()
    await own(ownership, {PARTITION}, 7, "member-2")

    assert ownership.owners[PARTITION] is not owner
    assert (owner.tasks.running, worker.provider.open_calls) == (set(), 0)
    await stop(ownership)


@pytest.mark.parametrize("fate", [None, Fate.FAILS])
def test_r3_group_that_gave_everybody_up(fate: Fate | None) -> None:
    """It is another member now, and nobody has begun its turn anew: it goes on, unless that cannot be known."""

    @on_virtual_time
    async def scene(worker: OneWorker) -> None:
        ownership = await owning(worker)
        await running(worker, ownership)
        await worker.until(lambda: bool(worker.fold().turns))
        await ownership.on_leaving()
        worker.read_fates["tokenwire.session"] = [fate] if fate else []
        await own(ownership, {OTHER}, 7, "member-2")

        assert (ownership.running_turns(), worker.provider.open_calls) == ((0, 0) if fate else (1, 1))
        await stop(ownership)

    scene()


@on_virtual_time
async def test_generation_that_was_over_before_we_heard_of_it(worker: OneWorker) -> None:
    """Still a member: the turn was leased and goes on, and the partition's new owner, also here, follows it."""
    ownership = await owning(worker)
    await running(worker, ownership)
    owner = ownership.owners[PARTITION]
    await ownership.on_leaving()
    await own(ownership, {PARTITION}, 7)
    assert ownership.owners[PARTITION] is not owner
    await worker.until(lambda: worker.reason("p2") != "")
    await worker.until(lambda: not ownership.retired)

    assert (worker.reason("p2"), worker.turn("p2").attempt, len(worker.provider.calls)) == ("complete", 1, 1)
    await worker.until(lambda: not list(ownership.owners[PARTITION].journal.open_entries()))
    await stop(ownership)


@on_virtual_time
async def test_partition_that_is_lost(worker: OneWorker) -> None:
    """Its leased turn ends here, then nothing of it is left."""
    ownership = await owning(worker)
    await running(worker, ownership)
    await ownership.on_leaving()
    await own(ownership, {OTHER}, 6)
    assert (set(ownership.owners), len(ownership.retired), ownership.running_turns()) == ({OTHER}, 1, 1)
    await worker.until(lambda: worker.reason("p2") != "")
    await worker.until(lambda: not ownership.retired)

    assert worker.turn("p2").attempt == 1
    await stop(ownership)


@on_virtual_time
async def test_leases_that_cannot_be_written(worker: OneWorker) -> None:
    """The group is not held up for longer than a moment."""
    ownership = await owning(worker)
    await running(worker, ownership)
    worker.slow_s = 500.0
    began_s = worker.clock.monotonic_s()
    await ownership.on_leaving()

    assert worker.clock.monotonic_s() - began_s < 3
    worker.slow_s = 0.0
    worker.fates["tokenwire.turns"] = [Fate.FAILS]
    await ownership.on_leaving()
    await stop(ownership)


@on_virtual_time
async def test_message_of_the_past(worker: OneWorker) -> None:
    """Of another generation or partition it is not taken: it comes again to its owner."""
    ownership = await owning(worker)
    await ownership.deliver(Message(0, encode(prompt("p1")), 4))
    await ownership.deliver(Message(0, encode(prompt("p1")), 5, partition=OTHER))
    await asyncio.sleep(5)

    assert worker.provider.calls == []
    await stop(ownership)


@on_virtual_time
async def test_before_the_position_is_known(worker: OneWorker) -> None:
    """Nothing is taken then, for it comes again from there; taken at once, it would hide what lies before it."""
    ownership = await owning(worker)
    await ownership.on_owned({PARTITION}, 6, MEMBER)
    await ownership.deliver(Message(3, encode(prompt("p3")), 6))
    await asyncio.sleep(5)

    assert (worker.provider.calls, worker.finished) == ([], [])
    await stop(ownership)


@on_virtual_time
async def test_commands_that_the_consumer_passes_over(worker: OneWorker) -> None:
    """They are taken from the log, in their order, before what follows; a position that comes late changes nothing."""
    for number in range(4):
        worker.log.put(PROMPTS, PARTITION, encode(prompt(f"p{number}", session=f"s{number}")), key=USER.encode())
    worker.read_fates[PROMPTS] = [Fate.FAILS]
    ownership = await owning(worker)
    await ownership.deliver(Message(3, encode(prompt("p3", session="s3")), 5))
    await worker.until(lambda: len(worker.provider.calls) == 4)
    await worker.until(lambda: worker.finished[-1:] == [(PARTITION, 4, 5)])
    ownership.on_sought({PARTITION: 9, OTHER: 9})

    assert ownership.owners[PARTITION].inbox.window.due == 4
    await stop(ownership)


@on_virtual_time
async def test_worker_that_stops(worker: OneWorker) -> None:
    """R15: it waits for its turns until the deadline, then hands the rest over without counting a crash."""
    ownership = await owning(worker)
    await running(worker, ownership)
    began_s = worker.clock.monotonic_s()
    await ownership.drain(3.0)
    await ownership.deliver(Message(1, encode(prompt("p3")), 5))

    assert 3.0 <= worker.clock.monotonic_s() - began_s < 4.0
    successor = worker.new_owner(6)
    successor.start()
    await worker.until(lambda: worker.reason("p2") != "")
    entry = successor.journal.get(worker.turn("p2").queued.turn)
    assert entry is not None
    assert (entry.crashes, worker.turn("p2").attempt) == (0, 2)
    assert worker.turn("p2").current is not None
    await successor.stop()


@on_virtual_time
async def test_worker_that_stops_while_the_broker_is_away(worker: OneWorker) -> None:
    """Stopping takes no longer than its deadlines, and does not raise."""
    ownership = await owning(worker)
    await running(worker, ownership)
    worker.fates["tokenwire.turns"] = [Fate.FAILS]
    await ownership.drain(1.0)

    assert ownership.owners == {}
    ownership = await owning(worker, generation=9)
    worker.slow_s = 500.0
    await ownership.drain(1.0)


@on_virtual_time
async def test_partition_given_to_a_worker_that_stops(worker: OneWorker) -> None:
    """It begins nothing there."""
    ownership = await owning(worker)
    await ownership.drain(0.1)
    await ownership.on_leaving()
    await own(ownership, {PARTITION, OTHER}, 6)

    assert ownership.owners == {}
    assert ownership.ready
