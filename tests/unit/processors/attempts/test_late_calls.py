"""Calls whose first token is late: left where somebody else can take them, kept where nobody can.

Covers: processors.attempts.turn_route.
"""

from __future__ import annotations

from dataclasses import replace

from processors.providers.provider import ProviderEmpty, ProviderLoading
from processors.targets.decisions.retry_policy import WAITED_S_MAX
from schemas.codec import decode_session_event
from schemas.session_events import TurnWaiting
from tests.fakes.one_worker import OneWorker, on_virtual_time, prompt
from tests.fakes.scripted_provider import Script, ScriptedProvider, answer_chunks
from tests.fakes.several_targets import ABLE, UNABLE, Named, with_targets

__all__: list[str] = []

SILENT = Script(first_s=1_000)
SLOW = Script(first_s=40)
TEXT = "".join(answer_chunks("ask p1"))


async def answered(worker: OneWorker) -> str:
    await worker.send(prompt())
    await worker.until(lambda: worker.reason() != "", limit_s=900)
    return worker.reason()


def told(worker: OneWorker) -> list[str]:
    """What the session was told that the turn waits for."""
    records = worker.log.records(worker.place.topic, worker.place.partition)
    events = [decode_session_event(record.value or b"") for record in records]
    return [event.waits_for for event in events if isinstance(event, TurnWaiting)]


def limited_to_one(worker: OneWorker, rank: int) -> None:
    """Let this target take one call at a time."""
    catalogue = worker.parts.runner.calls.catalogue()
    served = catalogue.models[catalogue.default]
    targets = tuple(replace(each, concurrent_max=1) if each.rank == rank else each for each in served.targets)
    catalogue.models[catalogue.default] = replace(served, targets=targets)  # type: ignore[index]  # a dict


@on_virtual_time
async def test_dead_target_with_another_standing_by(worker: OneWorker) -> None:
    """It is left after 5 s."""
    providers = with_targets(worker, (UNABLE, SILENT), (UNABLE, Script()))

    assert await answered(worker) == "complete"
    assert 5 <= worker.clock.monotonic_s() < 6
    assert [len(provider.calls) for provider in providers] == [1, 1]
    assert worker.turn().text == TEXT
    assert worker.parts.runner.pool.calls == 0


@on_virtual_time
async def test_slow_target_alone(worker: OneWorker) -> None:
    """It is called once and waited for, and the session is told why nothing comes, once."""
    (provider,) = with_targets(worker, (UNABLE, SLOW))

    assert await answered(worker) == "complete"
    assert 40 <= worker.clock.monotonic_s() < 42
    assert len(provider.calls) == 1
    assert told(worker) == ["answer"]


@on_virtual_time
async def test_dead_target_alone(worker: OneWorker) -> None:
    """It is given up after 120 s, and not asked four times more."""
    (provider,) = with_targets(worker, (UNABLE, SILENT))

    assert await answered(worker) == "error"
    assert 120 <= worker.clock.monotonic_s() < 122
    assert len(provider.calls) == 1
    assert WAITED_S_MAX < 120


@on_virtual_time
async def test_other_target_is_full_for_a_while(worker: OneWorker) -> None:
    """The call is kept until a place at the other one is free, and then given to it."""
    first, second = Named("t0", SILENT), Named("t1", Script(first_s=12), Script())
    with_targets(worker, (UNABLE, first), (UNABLE, second))
    limited_to_one(worker, 1)
    await worker.send(prompt("p0", on_busy="parallel"), prompt("p1", on_busy="parallel"))
    await worker.until(lambda: worker.reason("p0") != "" and worker.reason("p1") != "", limit_s=900)

    assert [worker.reason("p0"), worker.reason("p1")] == ["complete", "complete"]
    assert 17 <= worker.clock.monotonic_s() < 20  # one leaves t0 after 5 s; t1 answers it 12 s later, then the other
    assert [len(first.calls), len(second.calls)] == [2, 2]


@on_virtual_time
async def test_place_that_is_kept_for_a_turn_that_is_stopped(worker: OneWorker) -> None:
    """It is given back with the turn's end, whichever way that comes."""
    with_targets(worker, (UNABLE, SILENT), (UNABLE, Script(fails_at=0, failure=ProviderEmpty("nothing"))))

    assert await answered(worker) == "error"
    await worker.until(lambda: worker.parts.runner.pool.calls == 0)
    assert [state.in_flight for state in worker.parts.runner.pool.states.values()] == [0, 0]


@on_virtual_time
async def test_target_that_loads_its_model_while_another_stands_by(worker: OneWorker) -> None:
    """It is left, and its breaker does not hear of it, however often."""
    loading = Script(fails_at=0, failure=ProviderLoading("loading"))
    providers = with_targets(worker, (UNABLE, loading), (UNABLE, Script()))
    for number in range(8):
        await worker.send(prompt(f"p{number}"))
        await worker.until(lambda number=number: worker.reason(f"p{number}") != "")  # type: ignore[misc]  # bound now

    assert [len(provider.calls) for provider in providers] == [8, 8]


@on_virtual_time
async def test_empty_answer(worker: OneWorker) -> None:
    """Another target is asked; where there is none the same one is not asked again."""
    empty = Script(fails_at=0, failure=ProviderEmpty("nothing"))
    (provider,) = with_targets(worker, (ABLE, empty))

    assert await answered(worker) == "error"
    assert len(provider.calls) == 1
    ended = worker.turn().ended
    assert ended is not None
    assert ended.error is not None
    assert ended.error.code == "provider_empty"


@on_virtual_time
async def test_two_models_on_one_target(worker: OneWorker) -> None:
    """Deadlines travel with the call: each has those of its own place in its own model."""
    provider = ScriptedProvider()
    with_targets(worker, (UNABLE, provider))
    catalogue = worker.parts.runner.calls.catalogue()
    for served, first_token_s in ((catalogue.models["simulated"], 33.0), (catalogue.models["model-a"], 77.0)):
        targets = tuple(replace(each, name="t0", first_token_s=first_token_s) for each in served.targets)
        catalogue.models[served.name] = replace(served, targets=targets)  # type: ignore[index]  # a dict
    await worker.send(prompt("p1", on_busy="parallel"), prompt("p2", model="model-a", on_busy="parallel"))
    await worker.until(lambda: worker.reason("p1") != "" and worker.reason("p2") != "")

    assert [call.deadlines.first_token_s for call in provider.calls] == [33, 77]
