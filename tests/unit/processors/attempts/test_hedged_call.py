"""Two calls of one turn: who speaks first wins, and both are paid for, finished and on record.

Covers: processors.attempts.attempt_calls, processors.attempts.turn_records, processors.sessions.attempt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from infra.targets.model_catalogue import Ability
from processors.attempts.decisions.hedge_delay import OBSERVED_MIN
from processors.providers.provider import ProviderError, ProviderFailed, ProviderRefused
from schemas.prompts import PromptCancelled
from schemas.records import AttemptOutcome
from schemas.session_events import TurnEnded, TurnHedged, TurnStarted
from schemas.turn_fold import text_hash
from tests.fakes.memory_log import Fate
from tests.fakes.one_worker import SESSION, USER, OneWorker, on_virtual_time, prompt, turn_of
from tests.fakes.scripted_provider import Script, ScriptedProvider, answer_chunks
from tests.fakes.several_targets import ABLE, UNABLE, with_targets

__all__: list[str] = []

TEXT = "".join(answer_chunks("ask p2"))
USUALLY_S = 0.5
SLOW, SLOWER, QUICK = Script(first_s=5.0), Script(first_s=50.0), Script(first_s=0.2)


def hedged(worker: OneWorker, *scripts: Script, able: frozenset[Ability] = UNABLE) -> list[ScriptedProvider]:
    """Targets that are known to take half a second to their first token."""
    providers = with_targets(worker, *((able, script) for script in scripts), hedge=True)
    worker.parts.runner.attempts.first_tokens = {
        f"t{rank}": (USUALLY_S,) * OBSERVED_MIN for rank in range(len(scripts))
    }
    return providers


async def ended(worker: OneWorker) -> None:
    await worker.until(lambda: worker.reason("p2") != "")
    await worker.until(lambda: (entry := worker.entry("p2")) is not None and entry.phase == "ended")


async def answered(worker: OneWorker) -> None:
    await worker.send(prompt("p2"))
    await ended(worker)


def outcomes(worker: OneWorker) -> list[AttemptOutcome]:
    records = sorted(worker.records(), key=lambda record: record.attempt)
    return [record.outcome for record in records if record.outcome]


def told(worker: OneWorker) -> list[tuple[str, str, str, str]]:
    return [(found.provider, found.reason, found.cause, found.error_code) for found in outcomes(worker)]


def rests(worker: OneWorker) -> bool:
    return all(not state.in_flight for state in worker.parts.runner.pool.states.values())


@on_virtual_time
async def test_second_call_wins(worker: OneWorker) -> None:
    """It begins after what the first usually takes; its start counts before its first chunk is written."""
    first, second = hedged(worker, SLOW, QUICK)
    await answered(worker)

    turn = worker.turn("p2")
    assert turn.ended is not None
    assert (turn.ended.reason, turn.text, turn.attempt) == ("complete", TEXT, 2)
    assert turn.ended.text_sha256 == text_hash(TEXT)
    assert turn.current is not None
    assert (turn.current.started.cause, turn.current.started.provider) == ("hedge", "t1")
    assert turn.current.started.at_us - turn.void_runs[0].started.at_us < 1_000_000
    assert told(worker) == [("t0", "void", "first", "outpaced"), ("t1", "complete", "hedge", "")]
    lost, won = outcomes(worker)
    assert (lost.usage.estimated, lost.usage.output_tokens, lost.chunks) == (True, 0, 0)
    assert lost.cost_nano_usd > 0
    assert won.cost_nano_usd > lost.cost_nano_usd
    assert (len(first.calls), len(second.calls), first.open_calls) == (1, 1, 0)
    assert rests(worker)


@on_virtual_time
async def test_first_call_wins_after_all(worker: OneWorker) -> None:
    """Its answer goes on as any other; the second one is ended at once and on record."""
    first, second = hedged(worker, Script(first_s=2.0, pace_s=1.0), SLOWER)
    await worker.send(prompt("p2"))
    await worker.until(lambda: bool(worker.fold().turns) and worker.turn("p2").next_seq > 0)
    await asyncio.sleep(0.1)
    assert second.open_calls == 0
    assert first.open_calls == 1
    await ended(worker)

    assert (worker.turn("p2").text, worker.turn("p2").attempt) == (TEXT, 1)
    assert told(worker) == [("t0", "complete", "first", ""), ("t1", "void", "hedge", "outpaced")]
    assert outcomes(worker)[1].cost_nano_usd > 0
    assert rests(worker)


@pytest.mark.parametrize("first_s", [0.1, 0.45])
def test_call_that_is_as_quick_as_usual(first_s: float) -> None:
    """Nobody else is asked."""

    async def scene(worker: OneWorker) -> None:
        providers = hedged(worker, Script(first_s=first_s), QUICK)
        await answered(worker)

        assert [len(provider.calls) for provider in providers] == [1, 0]
        assert worker.turn("p2").hedges == []
        assert told(worker) == [("t0", "complete", "first", "")]

    on_virtual_time(scene)()


@on_virtual_time
async def test_target_that_little_is_known_of(worker: OneWorker) -> None:
    """It is given its time, and the times of its answers are noted."""
    providers = hedged(worker, SLOW, QUICK)
    worker.parts.runner.attempts.first_tokens.clear()
    await answered(worker)

    assert [len(provider.calls) for provider in providers] == [1, 0]
    ((name, times),) = worker.parts.runner.attempts.first_tokens.items()
    assert (name, [round(time_s, 3) for time_s in times]) == ("t0", [5.0])


@on_virtual_time
async def test_beaten_call_is_noted_as_slow(worker: OneWorker) -> None:
    """Else the delay would sink with each hedge that wins."""
    hedged(worker, SLOW, QUICK)
    await answered(worker)

    assert worker.parts.runner.attempts.first_tokens["t0"][-1] > USUALLY_S
    assert len(worker.parts.runner.attempts.first_tokens["t0"]) == OBSERVED_MIN + 1


@pytest.mark.parametrize("closing_s", [0.0, 2.0])
@pytest.mark.parametrize("firsts_s", [(50.0, 12.0), (12.0, 50.0), (50.0, 50.0)])
def test_both_calls_are_late(firsts_s: tuple[float, float], closing_s: float) -> None:
    """With nobody else to ask one is left and the other is kept, also while the first one's connection closes."""

    async def scene(worker: OneWorker) -> None:
        scripts = [Script(first_s=first_s, closing_s=closing_s) for first_s in firsts_s]
        first, second = hedged(worker, *scripts)
        await answered(worker)

        turn = worker.turn("p2")
        assert turn.ended is not None
        assert (turn.ended.reason, turn.text, turn.attempt) == ("complete", TEXT, 2)
        assert (len(first.calls), len(second.calls)) == (1, 1)
        assert told(worker) == [("t0", "void", "first", "provider_timed_out"), ("t1", "complete", "hedge", "")]
        assert rests(worker)

    on_virtual_time(scene)()


@on_virtual_time
async def test_both_calls_are_late_and_a_third_target_stands_by(worker: OneWorker) -> None:
    """It is asked when both have been left, and answers."""
    providers = hedged(worker, SLOWER, SLOWER, QUICK)
    await answered(worker)

    assert worker.turn("p2").text == TEXT
    assert [len(provider.calls) for provider in providers] == [1, 1, 1]
    assert [found[0] for found in told(worker)] == ["t0", "t1", "t2"]
    assert rests(worker)


@on_virtual_time
async def test_model_that_does_not_hedge(worker: OneWorker) -> None:
    """It is opt-in."""
    providers = with_targets(worker, (UNABLE, SLOW), (UNABLE, QUICK))
    worker.parts.runner.attempts.first_tokens = {"t0": (USUALLY_S,) * OBSERVED_MIN}
    await answered(worker)

    assert [len(provider.calls) for provider in providers] == [1, 0]


@on_virtual_time
async def test_no_other_target_has_room(worker: OneWorker) -> None:
    """The first one is waited for."""
    hedged(worker, SLOW)
    await answered(worker)

    assert told(worker) == [("t0", "complete", "first", "")]
    assert worker.turn("p2").hedges == []


@pytest.mark.parametrize("failure", [ProviderFailed("500"), ProviderRefused("400")])
def test_first_call_fails_beside_the_second(failure: ProviderError) -> None:
    """The second one is waited for, and its answer stands."""

    async def scene(worker: OneWorker) -> None:
        hedged(worker, Script(fails_at=0, failure=failure, fails_s=2.0), SLOW)
        await answered(worker)

        assert (worker.turn("p2").text, worker.turn("p2").attempt) == (TEXT, 2)
        assert told(worker) == [("t0", "void", "first", failure.code), ("t1", "complete", "hedge", "")]
        assert rests(worker)

    on_virtual_time(scene)()


@on_virtual_time
async def test_second_call_fails_beside_the_first(worker: OneWorker) -> None:
    """It is on record with its failure, and the first one is waited for."""
    hedged(worker, SLOW, Script(fails_at=0, failure=ProviderFailed("500")))
    await answered(worker)

    assert (worker.turn("p2").text, worker.turn("p2").attempt) == (TEXT, 1)
    assert told(worker) == [("t0", "complete", "first", ""), ("t1", "void", "hedge", "provider_failed")]


@on_virtual_time
async def test_both_fail_before_they_speak(worker: OneWorker) -> None:
    """The turn goes on at a third target; neither of the two is asked again."""
    failed = Script(fails_at=0, failure=ProviderFailed("500"), fails_s=1.0)
    providers = hedged(worker, failed, failed, QUICK)
    await answered(worker)

    assert [len(provider.calls) for provider in providers] == [1, 1, 1]
    assert worker.turn("p2").text == TEXT
    assert [outcome[:3] for outcome in told(worker)] == [
        ("t0", "void", "first"),
        ("t1", "void", "hedge"),
        ("t2", "complete", "failover"),
    ]
    assert len({record.attempt for record in worker.records()}) == 3


@on_virtual_time
async def test_winner_breaks_off(worker: OneWorker) -> None:
    """The answer goes on at a target that can; every attempt has a number of its own."""
    broken = Script(first_s=0.2, fails_at=2, failure=ProviderFailed("in the stream"))
    hedged(worker, SLOW, broken, QUICK, able=ABLE)
    await answered(worker)

    assert worker.turn("p2").text == TEXT
    assert sorted(record.attempt for record in worker.records()) == [1, 2, 3]
    assert [outcome.reason for outcome in outcomes(worker)] == ["void", "continued", "complete"]


@pytest.mark.parametrize("after_s", [0.3, 0.7, 3.0])
@pytest.mark.parametrize("scripts", [(SLOWER, SLOWER), (Script(fails_at=0, failure=ProviderFailed("x")), SLOWER)])
def test_cancel_before_anybody_speaks(after_s: float, scripts: tuple[Script, Script]) -> None:
    """Both calls end within a second, and both are on record."""

    async def scene(worker: OneWorker) -> None:
        providers = hedged(worker, *scripts)
        await worker.send(prompt("p2"))
        await asyncio.sleep(after_s)
        await worker.send(PromptCancelled(user=USER, session=SESSION, prompt_id="p2"))
        await asyncio.sleep(0.9)

        assert worker.reason("p2") == "cancelled"
        assert [provider.open_calls for provider in providers] == [0, 0]
        await ended(worker)
        assert len(outcomes(worker)) == sum(len(provider.calls) for provider in providers)
        assert rests(worker)

    on_virtual_time(scene)()


@on_virtual_time
async def test_cancel_after_the_second_has_won(worker: OneWorker) -> None:
    """It ends the call that speaks."""
    providers = hedged(worker, SLOWER, Script(first_s=0.2, pace_s=5.0))
    await worker.send(prompt("p2"))
    await worker.until(lambda: bool(worker.fold().turns) and worker.turn("p2").next_seq == 1)
    await worker.send(PromptCancelled(user=USER, session=SESSION, prompt_id="p2"))
    await asyncio.sleep(0.9)

    assert worker.reason("p2") == "cancelled"
    assert [provider.open_calls for provider in providers] == [0, 0]
    await ended(worker)
    assert [outcome[:3] for outcome in told(worker)] == [("t0", "void", "first"), ("t1", "cancelled", "hedge")]


@pytest.mark.parametrize("fate", [Fate.FAILS, Fate.UNKNOWN, Fate.TWICE])
@pytest.mark.parametrize("appends_before", [0, 1])
def test_appends_of_the_second_call_are_lost(fate: Fate, appends_before: int) -> None:
    """Whatever becomes of `TurnHedged` or of the winner's start: one whole answer, each call on record once."""

    async def scene(worker: OneWorker) -> None:
        providers = hedged(worker, SLOW, Script(first_s=1.0))
        await worker.send(prompt("p2"))
        await asyncio.sleep(0.2)
        worker.fates["tokenwire.session"] = [Fate.LANDS] * appends_before + [fate]
        await ended(worker)

        assert (worker.reason("p2"), worker.turn("p2").text) == ("complete", TEXT)
        assert rests(worker)
        assert [provider.open_calls for provider in providers] == [0, 0]
        names = [(record.attempt, record.run) for record in worker.records() if record.outcome]
        assert len(names) == len(set(names)) >= sum(len(provider.calls) for provider in providers)

    on_virtual_time(scene)()


def started_by_another() -> TurnStarted:
    return TurnStarted(turn=turn_of("p2"), attempt=5, run="foreign")


@pytest.mark.parametrize("after_s", [0.3, 0.6])
def test_another_worker_takes_the_turn_over(after_s: float) -> None:
    """No call goes on that does not count, and nothing is written for it."""

    async def scene(worker: OneWorker) -> None:
        providers = hedged(worker, SLOW, Script(first_s=1.0))
        await worker.send(prompt("p2"))
        await asyncio.sleep(after_s)
        worker.write(started_by_another())
        await asyncio.sleep(8.0)
        assert [provider.open_calls for provider in providers] == [0, 0]
        worker.write(TurnEnded(turn=turn_of("p2"), attempt=5, run="foreign", reason="complete"))
        await ended(worker)

        assert worker.turn("p2").text == ""
        assert {outcome.reason for outcome in outcomes(worker)} == {"void", "complete"}

    on_virtual_time(scene)()


def is_hedged(worker: OneWorker) -> Callable[[], bool]:
    return lambda: bool(worker.fold().turns) and bool(worker.turn("p2").hedges)


@on_virtual_time
async def test_successor_finds_two_calls(worker: OneWorker) -> None:
    """A worker dies between the second call and its first word: both are recorded, once, by whoever comes after."""
    hedged(worker, SLOWER, SLOWER)
    await worker.send(prompt("p2"))
    await worker.until(is_hedged(worker))
    await asyncio.sleep(1.0)
    await worker.owner.stop()
    worker.parts.runner.attempts.first_tokens.clear()
    with_targets(worker, (UNABLE, QUICK))
    worker.owner = worker.new_owner(2)
    worker.owner.start()
    await ended(worker)

    assert (worker.turn("p2").text, worker.turn("p2").attempt) == (TEXT, 3)
    assert told(worker) == [("t0", "void", "first", ""), ("t1", "void", "hedge", ""), ("t0", "complete", "crash", "")]
    assert outcomes(worker)[1].usage.estimated
    assert outcomes(worker)[1].cost_nano_usd > 0


@on_virtual_time
async def test_second_call_is_announced_and_not_made(worker: OneWorker) -> None:
    """The first one spoke meanwhile: what was announced is on record, and costs nothing."""
    worker.slow_s = 0.3
    providers = hedged(worker, Script(first_s=0.7), QUICK)
    await answered(worker)

    assert [len(provider.calls) for provider in providers] == [1, 0]
    assert worker.turn("p2").text == TEXT
    assert isinstance(worker.turn("p2").hedges[0], TurnHedged)
    assert told(worker) == [("t0", "complete", "first", ""), ("t1", "void", "hedge", "outpaced")]
    assert outcomes(worker)[1].cost_nano_usd == 0
    assert rests(worker)
