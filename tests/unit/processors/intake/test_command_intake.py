"""How commands are taken in, and what is left when something breaks in between.

Covers: processors.sessions.session_logs, processors.turns.turn_stops.
"""

from __future__ import annotations

import asyncio

import pytest

from processors.sessions.decisions.admission import CANCEL_REMEMBERED_S
from schemas.codec import decode_session_event
from schemas.prompts import ExpireSession, PromptCancelled, PromptSubmitted
from schemas.session_events import PromptRefused
from schemas.topics import user_partition
from tests.fakes.memory_log import Fate
from tests.fakes.one_worker import PARTITION, SESSION, USER, OneWorker, on_virtual_time, prompt
from tests.fakes.scripted_provider import Script, answer_chunks
from tests.fakes.topic_names import TURNS

__all__: list[str] = []

CANCEL = PromptCancelled(user=USER, session=SESSION, prompt_id="p1")
CANCEL_SECOND = PromptCancelled(user=USER, session=SESSION, prompt_id="p2")
SLOW = Script(first_s=5.0, pace_s=1.0)


@on_virtual_time
async def test_prompt(worker: OneWorker) -> None:
    """It is answered with one call, recorded, closed in the journal and committed."""
    await worker.send(prompt())
    await worker.until(lambda: worker.reason() != "")
    await asyncio.sleep(1)

    assert worker.turn().text == "".join(answer_chunks("ask p1"))
    assert worker.reason() == "complete"
    assert list(worker.outcomes().values()) == ["complete"]
    entry = worker.entry()
    assert entry is not None
    assert (entry.phase, entry.prompt, entry.last_offset) == ("ended", None, worker.turn().last_offset)
    assert worker.finished == [(PARTITION, 1, 1)]
    assert len(worker.provider.calls) == 1


@on_virtual_time
async def test_prompt_sent_again(worker: OneWorker) -> None:
    """While it runs and after it has ended, the same words are answered once; other words are refused."""
    await worker.send(prompt(), prompt(), prompt(input="other words"))
    await worker.until(lambda: worker.reason() != "")
    await worker.send(prompt())
    await asyncio.sleep(1)

    assert len(worker.provider.calls) == 1
    values = [record.value for record in worker.log.records(worker.place.topic, 0)]
    refused = [event for event in map(decode_session_event, filter(None, values)) if isinstance(event, PromptRefused)]
    assert [event.code for event in refused] == ["id_reused"]
    assert worker.finished[-1] == (PARTITION, 4, 1)


@pytest.mark.parametrize("broken", ["session", "records"])
@pytest.mark.parametrize("queue", [False, True])
@pytest.mark.parametrize("fate", [Fate.FAILS, Fate.UNKNOWN, Fate.TWICE])
def test_append_that_fails_while_a_prompt_is_taken_in(broken: str, fate: Fate, *, queue: bool) -> None:
    """The journal has the prompt, the session's log perhaps not: it is taken up again, and answered once."""

    async def scene(worker: OneWorker) -> None:
        worker.provider.script_of = lambda _: Script(first_s=0.5)
        if queue:
            await worker.send(prompt("p0"))
            await worker.until(lambda: bool(worker.provider.calls))
        worker.fates["tokenwire." + broken] = [fate] * 2
        await worker.send(prompt())
        await worker.until(lambda: worker.reason() != "")
        await asyncio.sleep(3)

        assert worker.reason() == "complete"
        assert worker.turn().text == "".join(answer_chunks("ask p1"))
        entry = worker.entry()
        assert entry is not None
        assert entry.phase == "ended"
        assert len(worker.provider.calls) <= 2 + queue

    on_virtual_time(scene)()


@on_virtual_time
async def test_journal_that_fails_while_a_prompt_is_taken_in(worker: OneWorker) -> None:
    """The session's log has the prompt, the journal does not: the next try goes on from there."""
    worker.fates[TURNS] = [Fate.FAILS, Fate.UNKNOWN]
    await worker.send(prompt())
    await worker.until(lambda: worker.reason() != "")

    assert worker.reason() == "complete"


@on_virtual_time
async def test_prompts_of_a_session_in_bad_weather(worker: OneWorker) -> None:
    """A later prompt does not overtake one whose taking-in is tried again."""
    worker.fates["tokenwire.session"] = [Fate.FAILS] * 3
    await worker.send(prompt("p1"), prompt("p2"), prompt("p3"))
    await worker.until(lambda: worker.reason("p3") != "")

    assert [turn.queued.prompt_id for turn in worker.fold().turns.values()] == ["p1", "p2", "p3"]
    assert [call.messages[-1].content for call in worker.provider.calls] == ["ask p1", "ask p2", "ask p3"]


@on_virtual_time
async def test_cancel_before_the_prompt(worker: OneWorker) -> None:
    """It is remembered for ten minutes: the prompt ends at once, unpaid."""
    await worker.send(CANCEL, CANCEL, prompt())
    await worker.until(lambda: worker.reason() != "")
    await worker.send(CANCEL_SECOND)
    await asyncio.sleep(CANCEL_REMEMBERED_S + 1)
    await worker.send(prompt("p2"))
    await worker.until(lambda: worker.reason("p2") != "")

    assert (worker.reason(), worker.reason("p2")) == ("cancelled", "complete")
    assert len(worker.provider.calls) == 1


@on_virtual_time
async def test_cancel_while_it_runs(worker: OneWorker) -> None:
    """The call is closed within a moment and billed; what was written stays."""
    worker.provider.script_of = lambda _: Script(pace_s=100.0)
    await worker.send(prompt("p2"))
    await worker.until(lambda: bool(worker.fold().turns) and worker.turn("p2").next_seq > 0)
    await worker.send(CANCEL_SECOND)
    await worker.until(lambda: worker.reason("p2") != "", 1.0)

    ended = worker.turn("p2").ended
    assert ended is not None
    assert (ended.reason, ended.text_chars, worker.provider.open_calls) == ("cancelled", len(worker.turn("p2").text), 0)
    assert ended.usage.output_tokens > 0


@on_virtual_time
async def test_cancel_in_line_while_the_log_is_away(worker: OneWorker) -> None:
    """Its ending fails at first; the turn is not lost, and is never paid for."""
    worker.provider.script_of = lambda _: SLOW
    await worker.send(prompt("p1"), prompt("p2"))
    await worker.until(lambda: len(worker.fold().turns) == 2)
    worker.fates["tokenwire.session"] = [Fate.FAILS] * 2
    await worker.send(CANCEL_SECOND)
    await worker.until(lambda: worker.reason("p2") != "")
    await worker.until(lambda: worker.reason("p1") != "")

    assert (worker.reason("p1"), worker.reason("p2")) == ("complete", "cancelled")
    assert len(worker.provider.calls) == 1


@on_virtual_time
async def test_cancel_as_the_turn_ends(worker: OneWorker) -> None:
    """Whichever comes first counts; the journal holds the end, not the cancel."""
    worker.slow_s = 0.05
    await worker.send(prompt())
    await worker.until(lambda: worker.reason() != "")
    await worker.send(CANCEL)
    await asyncio.sleep(5)

    entry = worker.entry()
    assert entry is not None
    assert (worker.reason(), entry.phase) == ("complete", "ended")
    newest = worker.log.records(TURNS, PARTITION)[-1]
    assert b'"phase":"ended"' in (newest.value or b"")


@on_virtual_time
async def test_too_many_prompts_in_a_session(worker: OneWorker) -> None:
    """Those beyond the line are refused for now; the others are answered in order."""
    worker.provider.script_of = lambda _: Script(first_s=1.0)
    limit = worker.parts.limits.session_queue_max
    await worker.send(*(prompt(f"p{number}") for number in range(limit + 3)))
    await worker.until(lambda: worker.reason(f"p{limit}") != "", 3_000)

    assert [worker.reason(f"p{number}") for number in (0, limit)] == ["complete", "complete"]
    assert list(worker.fold().refused) == [f"p{limit + 1}", f"p{limit + 2}"]
    assert len(worker.fold().turns) == limit + 1


@pytest.mark.parametrize(
    ("value", "reason"),
    [(b"", "malformed"), (b"{", "malformed"), (b'{"type":"prompt.shouted"}', "unknown_type")],
)
def test_unreadable_command(value: bytes, reason: str) -> None:
    """It becomes a dead letter with its place, and the partition goes on."""

    async def scene(worker: OneWorker) -> None:
        await worker.send(value, prompt())
        await worker.until(lambda: worker.reason() != "")

        letters = worker.dead_letters()
        assert [(letter.reason, letter.partition, letter.offset) for letter in letters] == [(reason, PARTITION, 0)]
        assert worker.finished[-1] == (PARTITION, 2, 1)

    on_virtual_time(scene)()


@on_virtual_time
async def test_prompt_outside_its_limits(worker: OneWorker) -> None:
    """It ends rejected with the field's code, and only its beginning lies on the log."""
    await worker.send(prompt(input="x" * 20_000))
    await worker.until(lambda: worker.reason() != "")

    turn = worker.turn()
    assert turn.ended is not None
    assert turn.ended.error is not None
    assert (turn.ended.reason, turn.ended.error.code, len(turn.queued.input)) == ("rejected", "prompt_too_large", 1_024)
    assert worker.provider.calls == []


@on_virtual_time
async def test_command_on_the_wrong_partition(worker: OneWorker) -> None:
    """It is published again where it belongs, then committed here."""
    stranger = next(f"user-{n}" for n in range(2, 99) if user_partition(f"user-{n}") != PARTITION)
    await worker.send(PromptSubmitted(user=stranger, session=SESSION, prompt_id="p1", input="hm"))
    await worker.until(lambda: bool(worker.finished))

    assert worker.published() == 1
    assert worker.fold().turns == {}


@on_virtual_time
async def test_session_expired(worker: OneWorker) -> None:
    """Not while a turn is open; then its log is deleted, and nothing said before is told to the model again."""
    worker.provider.script_of = lambda _: Script(first_s=1.0)
    expire = ExpireSession(user=USER, session=SESSION)
    await worker.send(prompt("p1"), expire)
    await worker.until(lambda: worker.reason() != "")
    await asyncio.sleep(1)
    await worker.send(expire)
    await asyncio.sleep(1)
    assert worker.place.topic not in worker.log.epochs

    await worker.send(prompt("p2"))
    await worker.until(lambda: worker.reason("p2") != "")

    assert [message.content for message in worker.provider.calls[-1].messages] == ["ask p2"]


@on_virtual_time
async def test_command_that_our_own_code_fails_on(worker: OneWorker) -> None:
    """After three tries it is a dead letter, its session is told, and the offset passes."""
    failures = 0

    async def broken(*_: object) -> None:
        nonlocal failures
        failures += 1
        raise ZeroDivisionError

    worker.owner.intake.prompts.submit = broken  # type: ignore[method-assign, assignment]  # a fault cannot be provoked from outside
    await worker.send(prompt())
    await worker.until(lambda: bool(worker.finished))

    assert failures == 3
    assert worker.reason() == "error"
    assert [letter.reason for letter in worker.dead_letters()] == ["handler_error"]
