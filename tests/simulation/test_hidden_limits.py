"""The learned limit beside a server's hidden one: what it comes to, what it costs, and who waits for it.

Short here; `make simulate` tries every pair of mode, limit and answer length, and prints what it measures.
"""

from __future__ import annotations

import os

import pytest

from processors.targets.decisions.call_limit import CallLimit
from tests.simulation.hidden_limit import STEP_S, Caller, FixedLimit, HiddenLimit, Limit, Mode, World

FULL = "TOKENWIRE_SIMULATION_SEEDS" in os.environ
MODES: tuple[Mode, ...] = ("queue", "slower", "429")
FACTOR = 1.5
LIMITS = (1, 4, 32)
ANSWERS_S = (1.5, 3.0, 8.0) if FULL else (3.0,)
SEEDS = range(5) if FULL else range(1)


def full_world(limit: Limit, mode: Mode, hidden: int, **options: float) -> World:
    """A batch that never ends."""
    shares_first = bool(options.pop("shares_first", False))
    seed, answer_s = int(options.pop("seed", 0)), options.pop("answer_s", 3.0)
    world = World(limit, HiddenLimit(mode, hidden, shares_first=shares_first), seed=seed, answer_s=answer_s)
    for _ in range(100 + 25 * hidden):
        world.come()
    return world


def assert_learned(world: World, hidden: int, since_s: float) -> None:
    median = world.median_limit(since_s)
    assert hidden / FACTOR <= median <= hidden * FACTOR, f"{median:g} calls at once, and the server takes {hidden}"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("answer_s", ANSWERS_S)
@pytest.mark.parametrize("hidden", LIMITS)
@pytest.mark.parametrize("mode", MODES)
def test_learned(mode: Mode, hidden: int, answer_s: float, seed: int) -> None:
    """After 20 calls, or thrice the limit, its median over a minute is right, and nearly as much text comes as with
    the limit that the server has."""
    world = full_world(CallLimit(1), mode, hidden, seed=seed, answer_s=answer_s)
    world.until(lambda: len(world.ended) >= max(20, 3 * hidden), at_most_s=1_000)
    learned_s = world.now_s
    world.run(60)
    best = full_world(FixedLimit(hidden), mode, hidden, seed=seed, answer_s=answer_s)
    best.run(world.now_s)

    assert_learned(world, hidden, learned_s)
    share = world.text_s(learned_s) / best.text_s(learned_s)
    assert share >= 0.9
    if FULL:
        figures = f"{world.median_limit(learned_s):g} learned, {share:.0%} of the text, from {learned_s:.0f} s on"
        print(f"{mode} {hidden}, answers of {answer_s:g} s: {figures}")  # noqa: T201  # what the full run is for


@pytest.mark.parametrize("hidden", LIMITS)
@pytest.mark.parametrize("mode", ["queue", "429"])
def test_learned_from_unlimited(mode: Mode, hidden: int) -> None:
    """As at a hosted provider: the burst itself is the evidence."""
    world = full_world(CallLimit(None), mode, hidden)
    world.until(lambda: len(world.ended) >= max(20, 3 * hidden), at_most_s=1_000)
    learned_s = world.now_s
    world.run(60)

    assert_learned(world, hidden, learned_s)


@pytest.mark.parametrize(("before", "after"), [(4, 32), (32, 4), (1, 4), (4, 1)] if FULL else [(4, 32), (32, 4)])
@pytest.mark.parametrize("mode", MODES)
def test_limit_changes(mode: Mode, before: int, after: int) -> None:
    """Thirty seconds later it is right again."""
    world = full_world(CallLimit(1), mode, before)
    for _ in range(2_000):
        world.come()
    world.run(60)
    world.server.limit = after
    world.run(30)
    changed_s = world.now_s
    world.run(60)

    assert_learned(world, after, changed_s)


@pytest.mark.parametrize("seed", range(20) if FULL else range(3))
@pytest.mark.parametrize("hidden", LIMITS)
def test_interactive_among_batch(hidden: int, seed: int) -> None:
    """Twenty interactive prompts among five hundred of a batch wait for no more than the rest of the answers that run
    as they come; the first one, which may meet a place that is tried out, for one answer more, and so does whoever
    comes while it waits."""
    limit = CallLimit(1)
    world = World(limit, HiddenLimit("queue", hidden), seed=seed)
    for _ in range(500):
        world.come()
    world.run(20)
    chats: list[Caller] = []
    for _ in range(20):
        world.run(world.draw.uniform(0, 4))
        chats.append(world.come(batch=False))
    world.until(lambda: all(chat.spoke_s for chat in chats), at_most_s=300)

    tried_out_s = 1.5 * world.answer_s + world.server.first_s
    for number, chat in enumerate(chats):
        assert chat.spoke_s is not None
        waited_s = chat.spoke_s - chat.came_s - world.server.first_s
        before = [one for one in chats[:number] if (one.ended_s or world.now_s) > chat.came_s]
        queued_s = sum(one.answer_s + world.server.first_s for one in before) if hidden == 1 else 0.0
        spare_s = tried_out_s if number == 0 or chat.came_s < (chats[0].spoke_s or 0.0) else 0.0
        assert waited_s <= chat.longest_rest_s + queued_s + spare_s + 5 * STEP_S, (number, hidden)


def test_batch_is_not_starved() -> None:
    """While interactive prompts need less than there is, the batch gets on."""
    world = World(CallLimit(1), HiddenLimit("queue", 4), seed=1)
    for _ in range(500):
        world.come()
    for _ in range(60):
        world.come(batch=False)
        world.run(2)

    assert sum(caller.batch for caller in world.ended) >= 60


def test_noise_is_no_limit() -> None:
    """A provider that takes any number, and one call in seven is late by a second or two: unlimited it stays."""
    limit = CallLimit(None)
    world = World(limit, HiddenLimit("queue", 10_000), seed=3)
    for _ in range(600):
        for _ in range(world.draw.randrange(4)):
            caller = world.come(batch=False)
            if world.draw.random() < 1 / 7:
                caller.done_s = -world.draw.uniform(0.5, 2.0)
        world.run(0.5)

    assert all(places is None for _, places in world.told)


def test_slow_day_is_no_limit() -> None:
    """A provider whose first tokens and pace become twice as slow for everybody, however few ask: no limit follows."""
    limit = CallLimit(None)
    world = World(limit, HiddenLimit("slower", 10_000), seed=5)
    for second in range(300):
        if second == 150:
            world.server.first_s, world.server.chunk_s = 0.5, 0.04
        for _ in range(world.draw.randrange(5)):
            world.come(batch=False)
        world.run(1)

    assert all(places is None for _, places in world.told)
