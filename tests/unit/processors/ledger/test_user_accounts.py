"""What a user's limits do to prompts: who is let in, what a call holds, what it is counted with, and what a successor
finds of all that.

Covers: processors.ledger.user_accounts, processors.ledger.run_meter, processors.attempts.run_budgets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from infra.telemetry.metric_names import WORKER_LIMITS_MET
from processors.ledger.decisions.account import Account
from processors.ledger.decisions.reservation import FLOOR_TOKENS, SLICE_TOKENS
from processors.ledger.user_accounts import ACCOUNTS_KEPT_MAX
from processors.providers.provider import ProviderUnreachable
from schemas.codec import decode_ledger_snapshot
from schemas.ledger import NOTHING
from schemas.prompts import PromptCancelled
from schemas.session_events import PromptRefused
from schemas.tiers import LimitName, Standing, Tier, Tiers
from tests.fakes.memory_log import Fate
from tests.fakes.one_worker import PARTITION, SESSION, USER, OneWorker, on_virtual_time, prompt
from tests.fakes.scripted_provider import Script, answer_chunks
from tests.fakes.topic_names import NAMES

__all__: list[str] = []

SLOW = Script(pace_s=5.0)
ONE_CALL = FLOOR_TOKENS + 100
"""What a first call reserves, and not twice."""


def limit(
    worker: OneWorker, limits: Mapping[LimitName, int], *, rate: int = 0, shadow: frozenset[LimitName] = frozenset()
) -> None:
    """Have everybody limited so from now on."""
    tier = Tier(name="small", limits=limits, bucket_tokens_per_s=rate, shadow=shadow)
    worker.tiers = Tiers(tiers={"small": tier, "open": Tier(name="open")}, default="small")


def account(worker: OneWorker) -> Account:
    """The user's."""
    return worker.owner.accounts._built[USER]


async def ended(worker: OneWorker, *prompt_ids: str) -> list[str]:
    """How these prompts end; `refused`: for now."""
    ends: list[str] = []

    def all_told() -> bool:
        known = {turn.queued.prompt_id for turn in worker.fold().turns.values()}
        refused = {event.prompt_id for _, event in worker.told() if isinstance(event, PromptRefused)} - known
        ends[:] = ["refused" if each in refused else worker.reason(each) for each in prompt_ids]
        return all(ends)

    await worker.until(all_told)
    return ends


def refusal(worker: OneWorker, prompt_id: str) -> PromptRefused:
    """Why a prompt was refused for now."""
    refused = (event for _, event in worker.told() if isinstance(event, PromptRefused))
    return next(event for event in refused if event.prompt_id == prompt_id)


def error_code(worker: OneWorker, prompt_id: str) -> str:
    """What it was refused or cut for."""
    end = worker.turn(prompt_id).ended
    return end.error.code if end is not None and end.error is not None else ""


@on_virtual_time
async def test_nobody_is_limited(worker: OneWorker) -> None:
    """There is no account, and nothing of one is written."""
    await worker.send(prompt("p1"))

    assert await ended(worker, "p1") == ["complete"]
    assert not worker.owner.accounts._built
    entry = worker.entry("p1")
    assert entry is not None
    assert (entry.runs, entry.counted_at_us) == ((), 0)
    await asyncio.sleep(10)
    assert not worker.log.records(NAMES.ledger, PARTITION)


@on_virtual_time
async def test_requests_of_a_minute(worker: OneWorker) -> None:
    """One more than may be is told when it fits, and then it does."""
    limit(worker, {"requests_per_minute": 2})
    await worker.send(prompt("p1"), prompt("p2"), prompt("p3"))

    assert await ended(worker, "p1", "p2", "p3") == ["complete", "complete", "refused"]
    refused = refusal(worker, "p3")
    assert (refused.code, refused.temporary) == ("requests_per_minute", True)
    assert refused.retry_after_s is not None
    await asyncio.sleep(refused.retry_after_s)
    await worker.send(prompt("p3"))
    await worker.until(lambda: worker.reason("p3") == "complete")
    assert len(worker.provider.calls) == 3


@on_virtual_time
async def test_two_at_once_where_there_is_room_for_one(worker: OneWorker) -> None:
    """The second is refused for what the first holds, and costs no call; once the first has ended there is room."""
    limit(worker, {"tokens_per_day": ONE_CALL + 200})
    worker.provider.script_of = lambda _: SLOW
    await worker.send(prompt("p1"), prompt("p2", on_busy="parallel"))

    assert await ended(worker, "p2") == ["refused"]
    assert (refusal(worker, "p2").code, len(worker.provider.calls)) == ("tokens_per_day", 1)
    assert await ended(worker, "p1") == ["complete"]
    worker.provider.script_of = lambda _: Script()
    await worker.send(prompt("p2"))
    await worker.until(lambda: worker.reason("p2") == "complete")
    await worker.until(lambda: account(worker).flight == NOTHING)


@on_virtual_time
async def test_what_was_used_is_counted_once(worker: OneWorker) -> None:
    """A repetition costs nothing; what is counted is what the records say."""
    limit(worker, {"tokens_per_day": 100_000})
    await worker.send(prompt("p1"), prompt("p1"), prompt("p2"), prompt("p1"))
    assert await ended(worker, "p1", "p2") == ["complete", "complete"]
    await worker.until(lambda: len(worker.outcomes()) == 2)

    usages = [record.outcome.usage for record in worker.records() if record.outcome is not None]
    assert account(worker).usage.day_tokens == sum(usage.input_tokens + usage.output_tokens for usage in usages) > 0
    assert account(worker).flight == NOTHING


@on_virtual_time
async def test_failed_call_gives_back_what_it_held(worker: OneWorker) -> None:
    """The next attempt of the turn finds room where there is room for one."""
    limit(worker, {"tokens_per_day": ONE_CALL})
    scripts = iter([Script(fails_at=0, failure=ProviderUnreachable("gone"))])
    worker.provider.script_of = lambda _: next(scripts, Script())
    await worker.send(prompt("p1"))

    assert await ended(worker, "p1") == ["complete"]
    assert len(worker.provider.calls) == 2
    await worker.until(lambda: account(worker).flight == NOTHING)


@on_virtual_time
async def test_cancelled_call_gives_back_what_it_has_not_used(worker: OneWorker) -> None:
    """What it has said is counted."""
    limit(worker, {"tokens_per_day": 100_000})
    worker.provider.script_of = lambda _: SLOW
    await worker.send(prompt("p1"))
    await worker.until(lambda: bool(worker.fold().turns) and worker.turn().next_seq > 0)
    await worker.send(PromptCancelled(user=USER, session=SESSION, prompt_id="p1"))

    assert await ended(worker, "p1") == ["cancelled"]
    await worker.until(lambda: account(worker).flight == NOTHING)
    assert 0 < account(worker).usage.day_tokens < FLOOR_TOKENS


@on_virtual_time
async def test_answer_that_needs_more_than_there_is(worker: OneWorker) -> None:
    """It ends `budget`, within a slice of the limit, and what it said stays."""
    most = ONE_CALL + 300
    limit(worker, {"tokens_per_day": most})
    words = ["a few words more, "] * 400
    worker.provider.words = words
    await worker.send(prompt("p1"))

    assert await ended(worker, "p1") == ["budget"]
    assert error_code(worker, "p1") == "tokens_per_day"
    await worker.until(lambda: account(worker).flight == NOTHING)
    assert most - SLICE_TOKENS <= account(worker).usage.day_tokens <= most + SLICE_TOKENS
    assert worker.turn().text


@on_virtual_time
async def test_provider_is_asked_for_no_more_than_there_is(worker: OneWorker) -> None:
    """`max_tokens` is what is left, where the prompt allows more; the end that it makes is not the model's."""
    limit(worker, {"tokens_per_day": ONE_CALL})
    worker.provider.script_of = lambda _: Script(finish_reason="length")
    await worker.send(prompt("p1"))

    assert await ended(worker, "p1") == ["budget"]
    request = worker.provider.calls[0]
    assert request.max_tokens is not None
    assert FLOOR_TOKENS <= request.max_tokens <= ONE_CALL


@on_virtual_time
async def test_prompt_that_never_fits(worker: OneWorker) -> None:
    """It is told so, and not to come again."""
    limit(worker, {"bucket_tokens": 5}, rate=1)
    await worker.send(prompt("p1", input="many words " * 50))

    assert await ended(worker, "p1") == ["rejected"]
    end = worker.turn().ended
    assert end is not None
    assert end.error is not None
    assert (end.error.code, end.error.temporary, end.error.retry_after_s) == ("bucket_tokens", False, None)
    assert worker.provider.calls == []


@on_virtual_time
async def test_limit_in_shadow_refuses_nobody(worker: OneWorker) -> None:
    """It is decided all the same."""
    limit(worker, {"requests_per_minute": 1}, shadow=frozenset({"requests_per_minute"}))
    await worker.send(prompt("p1"), prompt("p2"))

    assert await ended(worker, "p1", "p2") == ["complete", "complete"]
    labels = {"limit": "requests_per_minute", "effect": "shadow"}
    assert worker.metrics.registry.get_sample_value(WORKER_LIMITS_MET.name, labels) == 1


@on_virtual_time
async def test_stranger_is_told_where_there_is_a_log(worker: OneWorker) -> None:
    """His prompt becomes a dead letter; no topic is made, and nothing is asked."""
    worker.tiers = Tiers(default=None)
    await worker.send(prompt("p1"))
    await worker.until(lambda: len(worker.dead_letters()) == 1)
    assert worker.dead_letters()[0].reason == "unknown_user"
    assert worker.told() == []

    worker.tiers = Tiers()
    await worker.send(prompt("p2"))
    assert await ended(worker, "p2") == ["complete"]
    worker.tiers = Tiers(default=None)
    await worker.send(prompt("p3"))
    await worker.until(lambda: len(worker.dead_letters()) == 2)
    refused = [event for _, event in worker.told() if isinstance(event, PromptRefused)]
    assert [(event.prompt_id, event.code) for event in refused] == [("p3", "unknown_user")]
    assert len(worker.provider.calls) == 1


@on_virtual_time
async def test_successor_knows_what_was_used(worker: OneWorker) -> None:
    """By the snapshot, and without it by the journal."""
    limit(worker, {"requests_per_minute": 2, "tokens_per_day": 100_000})
    await worker.send(prompt("p1"))
    await ended(worker, "p1")
    await worker.until(lambda: bool(worker.log.records(NAMES.ledger, PARTITION)))
    await worker.send(prompt("p2"))
    await ended(worker, "p2")
    await worker.until(lambda: len(worker.outcomes()) == 2)
    used = account(worker).usage.day_tokens
    await worker.owner.stop()
    written = decode_ledger_snapshot(worker.log.records(NAMES.ledger, PARTITION)[-1].value or b"")
    assert written.day_tokens < used

    worker.owner = worker.new_owner(2)
    worker.owner.start()
    await worker.send(prompt("p3"))
    assert await ended(worker, "p3") == ["refused"]
    assert account(worker).usage.day_tokens == used


@pytest.mark.parametrize("with_snapshot", [True, False])
def test_worker_dies_while_it_answers(with_snapshot: bool) -> None:
    """Its successor settles what the dead one's call has used by the log, and has room for its own."""

    @on_virtual_time
    async def play(worker: OneWorker) -> None:
        limit(worker, {"tokens_per_day": ONE_CALL + 100})
        worker.provider.script_of = lambda _: SLOW
        if not with_snapshot:
            worker.fates["ledger"] = [Fate.FAILS] * 1_000
        await worker.send(prompt("p1"))
        await worker.until(lambda: bool(worker.fold().turns) and worker.turn().next_seq > 0)
        await asyncio.sleep(4)
        await worker.owner.stop()

        worker.provider.script_of = lambda _: Script()
        worker.fates.clear()
        worker.owner = worker.new_owner(2)
        worker.owner.start()
        assert await ended(worker, "p1") == ["complete"]
        assert worker.turn().text == "".join(answer_chunks("ask p1"))
        await worker.until(lambda: len(worker.outcomes()) == 2)
        usages = [record.outcome.usage for record in worker.records() if record.outcome is not None]
        assert account(worker).usage.day_tokens == sum(each.input_tokens + each.output_tokens for each in usages)
        assert account(worker).flight == NOTHING

    play()


@on_virtual_time
async def test_prompt_that_was_not_journalled_is_counted_once(worker: OneWorker) -> None:
    """Its taking-in broke off, and was repeated."""
    limit(worker, {"requests_per_minute": 1})
    worker.fates["turns"] = [Fate.FAILS, Fate.UNKNOWN]
    await worker.send(prompt("p1"))

    assert await ended(worker, "p1") == ["complete"]
    assert account(worker).usage.requests.total == 1


@on_virtual_time
async def test_answer_of_a_worker_that_lost_its_user(worker: OneWorker) -> None:
    """It goes on within what was reserved for it when it was left to this worker, and no further."""
    limit(worker, {"tokens_per_day": ONE_CALL + 100})
    worker.provider.words = ["a few words more, "] * 400
    worker.provider.script_of = lambda _: Script(pace_s=0.1)
    await worker.send(prompt("p1"))
    await worker.until(lambda: bool(worker.fold().turns) and worker.turn().next_seq > 0)
    await worker.owner.lease_running()
    entry = worker.entry("p1")
    assert entry is not None
    (held,) = (run.held for run in entry.runs)
    assert held.output_tokens > FLOOR_TOKENS
    await worker.owner.retire()

    assert await ended(worker, "p1") == ["budget"]
    usage = worker.turn().ended
    assert usage is not None
    assert usage.usage.output_tokens <= held.output_tokens + SLICE_TOKENS


@on_virtual_time
async def test_users_file_is_asked_anew_for_each_decision(worker: OneWorker) -> None:
    """Another tier holds from the next prompt on."""
    limit(worker, {"requests_per_minute": 1})
    await worker.send(prompt("p1"), prompt("p2"))
    assert await ended(worker, "p1", "p2") == ["complete", "refused"]
    worker.tiers = Tiers(tiers=worker.tiers.tiers, default="small", users={USER: Standing("open")})
    await worker.send(prompt("p3"))
    assert await ended(worker, "p3") == ["complete"]


@on_virtual_time
async def test_idle_accounts_go_back_to_their_snapshots(worker: OneWorker) -> None:
    """So many are kept built, and one that says nothing any more leaves a tombstone after a day."""
    limit(worker, {"requests_per_minute": 5})
    await worker.owner.ready.wait()
    accounts = worker.owner.accounts
    users = [f"user-{number}" for number in range(ACCOUNTS_KEPT_MAX + 5)]
    for user in users:
        accounts.admit(user, "s", NOTHING)
    await accounts.save()
    assert len(accounts._built) == ACCOUNTS_KEPT_MAX
    assert set(accounts._snapshots) == set(users[:5])

    await asyncio.sleep(2 * 86_400)
    await accounts.sweep()
    assert accounts._snapshots == {}
    last = worker.log.records(NAMES.ledger, PARTITION)[-5:]
    assert [(record.key, record.value) for record in last] == [(user.encode(), None) for user in users[:5]]
