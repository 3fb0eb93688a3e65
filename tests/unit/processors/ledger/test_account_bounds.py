"""Users' limits where a prompt has several turns, the partition is about to go, or something cannot be written.

Covers: processors.ledger.user_accounts, processors.ledger.run_meter, processors.attempts.run_budgets.
"""

from __future__ import annotations

import asyncio
from unittest.mock import patch

import msgspec
import pytest

from infra.clock import Clock
from processors.ledger.decisions.reservation import FLOOR_TOKENS, SLICE_TOKENS
from processors.ledger.decisions.rolling_minute import SECOND_US
from processors.ledger.user_accounts import ACCOUNTS_KEPT_MAX, UserAccounts
from processors.providers.provider import ProviderUnreachable
from processors.sessions.decisions.admission import body_hash_of, queued_entry
from processors.sessions.open_turn import OpenTurn
from processors.sessions.session_lane import SessionLane
from schemas.codec import encode
from schemas.journal import JournalEntry
from schemas.ledger import NOTHING, Amount, LedgerSnapshot, RunAccount
from schemas.prompts import CompareMode, PromptSubmitted
from schemas.session_events import PromptRefused
from schemas.tiers import Tier, Tiers
from tests.fakes.memory_log import Fate
from tests.fakes.one_worker import PARTITION, USER, OneWorker, on_virtual_time, prompt
from tests.fakes.scripted_provider import Script
from tests.fakes.topic_names import NAMES
from tests.unit.processors.attempts.test_hedged_call import SLOW as SILENT
from tests.unit.processors.attempts.test_hedged_call import hedged
from tests.unit.processors.ledger.test_user_accounts import ONE_CALL, SLOW, account, ended, error_code, limit, refusal
from tests.unit.processors.turns.compared_answers import compared, reasons, until_settled

__all__: list[str] = []


def begun(worker: OneWorker, asked: PromptSubmitted, *, try_offset: int, age_us: int = 0) -> JournalEntry:
    """What a worker that died has journalled of a prompt's turn that it was about to begin."""
    at_us = worker.clock.now_us() - age_us
    entry = queued_entry(
        asked, 0, body_hash=body_hash_of(asked), accepted_at_us=at_us, now_us=at_us, try_offset=try_offset
    )
    run = RunAccount(turn=entry.turn, run="r1", session=asked.session, at_us=at_us + 1, held=Amount(10, FLOOR_TOKENS))
    return msgspec.structs.replace(entry, phase="running", attempt=1, run="r1", counted_at_us=at_us, runs=(run,))


@pytest.mark.parametrize("mode", ["all", "first", "best", "merge"])
def test_comparison_with_room_for_one_model(mode: CompareMode) -> None:
    """The others are refused, each for itself, and what the prompt comes to is told."""

    @on_virtual_time
    async def play(worker: OneWorker) -> None:
        limit(worker, {"concurrent_turns": 1})
        worker.provider.script_of = lambda _: SLOW
        await worker.send(compared(mode))

        assert await until_settled(worker) == 0
        assert reasons(worker) == ["complete", "rejected", "rejected"]
        await worker.until(lambda: not account(worker).open)

    play()


@on_virtual_time
async def test_nothing_more_is_reserved_of_a_partition_that_is_left(worker: OneWorker) -> None:
    """What did not get all that it may need ends with what it holds."""
    most = 2 * ONE_CALL
    limit(worker, {"tokens_per_day": most})
    worker.provider.words = ["a few words more, "] * 400
    worker.provider.script_of = lambda _: Script(pace_s=0.05)
    await worker.send(prompt("p1"), prompt("p2", on_busy="parallel", max_tokens=600))
    await worker.until(lambda: len(worker.provider.calls) == 2)
    await worker.owner.lease_running()

    await ended(worker, "p1", "p2")
    assert worker.reason("p1") == "budget"
    await worker.until(lambda: not account(worker).open)
    assert account(worker).usage.day_tokens <= most + SLICE_TOKENS


@on_virtual_time
async def test_provider_that_says_more_than_the_prompt_allows(worker: OneWorker) -> None:
    """Its answer is counted on, and ends with what the user has."""
    most = ONE_CALL + 300
    limit(worker, {"tokens_per_day": most})
    worker.provider.words = ["a few words more, "] * 400
    await worker.send(prompt("p1", max_tokens=100))

    assert await ended(worker, "p1") == ["budget"]
    await worker.until(lambda: not account(worker).open)
    assert account(worker).usage.day_tokens <= most + SLICE_TOKENS


@on_virtual_time
async def test_provider_that_says_more_than_there_is_as_the_partition_is_left(worker: OneWorker) -> None:
    """It ends with what it holds."""
    limit(worker, {"tokens_per_day": ONE_CALL})
    worker.provider.words = ["a few words more, "] * 400
    worker.provider.script_of = lambda _: Script(pace_s=0.05)
    await worker.send(prompt("p1"))
    await worker.until(lambda: bool(worker.provider.calls))
    await worker.owner.lease_running()

    assert await ended(worker, "p1") == ["budget"]
    assert error_code(worker, "p1") == "moved"


@on_virtual_time
async def test_nobody_is_asked_beside_a_silent_one_as_the_partition_is_left(worker: OneWorker) -> None:
    """It would be reserved where another owner decides."""
    limit(worker, {"tokens_per_day": 100_000})
    first, second = hedged(worker, SILENT, Script())
    await worker.send(prompt("p2"))
    await worker.until(lambda: len(first.calls) == 1)
    await worker.owner.lease_running()

    assert await ended(worker, "p2") == ["complete"]
    assert second.calls == []


@on_virtual_time
async def test_partition_that_is_left_as_an_attempt_begins(worker: OneWorker) -> None:
    """The next owner goes on with its turn: nothing is refused where nobody decides any more."""
    limit(worker, {"tokens_per_day": 100_000})
    scripts = iter([Script(fails_at=0, failure=ProviderUnreachable("gone"))])
    worker.provider.script_of = lambda _: next(scripts, Script())
    trim, may_go_on = worker.parts.records.trim_left, asyncio.Event()

    async def trim_slowly(lane: SessionLane, turn: OpenTurn) -> None:
        await trim(lane, turn)
        if turn.failed is not None:
            waiting.set()
            await may_go_on.wait()

    waiting = asyncio.Event()
    worker.parts.records.trim_left = trim_slowly  # type: ignore[method-assign]
    await worker.send(prompt("p1"))
    await waiting.wait()
    await worker.owner.retire()
    may_go_on.set()
    await asyncio.sleep(5)
    assert worker.reason("p1") == ""

    worker.owner = worker.new_owner(2)
    worker.owner.start()
    assert await ended(worker, "p1") == ["complete"]


def test_run_of_a_turn_that_a_refusal_takes_back() -> None:
    """It holds nothing any more."""

    @on_virtual_time
    async def play(worker: OneWorker) -> None:
        limit(worker, {"tokens_per_day": 100_000})
        await worker.owner.stop()
        refused = begun(worker, prompt("p1"), try_offset=5)
        worker.journal(begun(worker, prompt("p0"), try_offset=4, age_us=10_000))
        worker.journal(refused)
        worker.write(
            PromptRefused(prompt_id="p1", code="session_busy", message="", turns=(refused.turn,), try_offset=6, at_us=1)
        )
        worker.owner = worker.new_owner(2)
        asked = worker.owner.recovery.recover_session

        async def first(entries: list[JournalEntry]) -> None:
            worker.owner.accounts.open_runs(entries[0].user, "")  # another session of the user's asks first
            await asked(entries)

        worker.owner.recovery.recover_session = first  # type: ignore[method-assign]
        worker.owner.start()
        assert await ended(worker, "p0") == ["complete"]
        await worker.until(lambda: worker.entry("p1") is None)
        await worker.until(lambda: not account(worker).open, 30)

    play()


@on_virtual_time
async def test_refused_sending_that_comes_again_as_a_later_one_runs(worker: OneWorker) -> None:
    """What the later one holds stays held."""
    limit(worker, {"tokens_per_day": 100_000})
    worker.provider.script_of = lambda _: SLOW
    await worker.send(prompt("p1"), prompt("p2", on_busy="reject"))
    assert await ended(worker, "p2", "p1") == ["refused", "complete"]
    await worker.send(prompt("p2", on_busy="reject"))
    await worker.until(lambda: len(worker.provider.calls) == 2)
    await worker.send_to(worker.owner, 1, prompt("p2", on_busy="reject"))
    await asyncio.sleep(1)

    assert len(account(worker).open) == 1
    await worker.until(lambda: worker.reason("p2") == "complete")


@on_virtual_time
async def test_log_lost_under_a_running_call(worker: OneWorker) -> None:
    """It can't be told anew; what it held is free."""
    limit(worker, {"tokens_per_day": 100_000})
    worker.provider.script_of = lambda _: Script(first_s=3.0)
    await worker.send(prompt())
    await worker.until(lambda: bool(worker.provider.calls))
    worker.topics.refuses = True
    worker.log.delete(worker.place.topic)
    await worker.until(lambda: (entry := worker.entry()) is not None and entry.phase == "ended")
    await worker.until(lambda: not account(worker).open, 30)


@on_virtual_time
async def test_accounts_are_put_away_while_no_snapshot_can_be_written(worker: OneWorker) -> None:
    """None is lost, and all are written once it can be."""
    limit(worker, {"requests_per_minute": 5})
    await worker.owner.ready.wait()
    worker.fates["ledger"] = [Fate.FAILS] * 50
    accounts: UserAccounts = worker.owner.accounts
    users = [f"user-{number}" for number in range(ACCOUNTS_KEPT_MAX + 5)]
    for user in users:
        accounts.admit(user, "s", NOTHING)
    await worker.until(lambda: len(accounts._built) == ACCOUNTS_KEPT_MAX)
    assert accounts._changed == set(users)
    accounts.admit(users[0], "s", NOTHING)
    await worker.until(lambda: not accounts._changed)
    assert accounts._built[users[0]].usage.requests.total == 2


@on_virtual_time
async def test_models_of_a_tier(worker: OneWorker) -> None:
    """No other is asked: neither the default one, nor one of several, nor one that merges."""
    worker.tiers = Tiers(tiers={"small": Tier(name="small", models=("model-a", "model-b"))}, default="small")
    both = ("model-a", "model-b")
    await worker.send(
        prompt("p1"),
        prompt("p2", model="model-c"),
        prompt("p3", models=("model-a", "model-c")),
        prompt("p4", models=both, compare="merge"),
        prompt("p5", model="model-a"),
        prompt("p6", models=both, compare="merge", merge_model="model-b"),
    )
    assert await ended(worker, *(f"p{number}" for number in range(1, 7))) == [*["rejected"] * 4, "complete", "complete"]
    assert error_code(worker, "p1") == "unknown_model"
    await asyncio.sleep(5)
    assert {call.model for call in worker.provider.calls} == set(both)


@pytest.mark.parametrize("ahead_s", [600, 400 * 86_400])
def test_clock_that_was_ahead(ahead_s: int) -> None:
    """The broker's was put right since the snapshot: what the user may use comes back in the time that it takes."""

    @on_virtual_time
    async def play(worker: OneWorker) -> None:
        limit(worker, {"requests_per_minute": 1, "tokens_per_day": 2 * ONE_CALL})
        await worker.owner.stop()
        snapshot = LedgerSnapshot(user=USER, at_us=worker.clock.now_us() + ahead_s * SECOND_US)
        worker.log.put(NAMES.ledger, PARTITION, encode(snapshot), key=USER.encode())
        worker.owner = worker.new_owner(2)
        worker.owner.start()
        await worker.send(prompt("p1"), prompt("p2"))
        assert await ended(worker, "p1", "p2") == ["complete", "refused"]
        await asyncio.sleep(refusal(worker, "p2").retry_after_s or 0)
        await worker.send(prompt("p2"))
        await worker.until(lambda: worker.reason("p2") == "complete")

    play()


@on_virtual_time
async def test_clock_of_the_worker_was_ahead_as_limits_came(worker: OneWorker) -> None:
    """Its own is asked until the broker's is known, and nobody waits for the difference."""
    await worker.owner.ready.wait()
    limit(worker, {"requests_per_minute": 1})
    accounts = worker.owner.accounts
    with patch.object(accounts, "clock", SkewedClock(worker.clock)):
        await worker.send(prompt("p1"))
        assert await ended(worker, "p1") == ["complete"]
    await worker.until(lambda: accounts._ahead_us is not None)
    await asyncio.sleep(62)
    await worker.send(prompt("p2"))
    assert await ended(worker, "p2") == ["complete"]


class SkewedClock:
    """An hour ahead."""

    def __init__(self, clock: Clock) -> None:
        self.monotonic_s = clock.monotonic_s
        self.right = clock

    def now_us(self) -> int:
        """The wrong time."""
        return self.right.now_us() + 3_600 * SECOND_US
