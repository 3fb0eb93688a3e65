"""How the highest figure that is kept up with is looked for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from benchmarks.gateway.search import highest
from benchmarks.gateway.wave import Wave

__all__: list[str] = []


def gateway_that_can(most: float, tried: list[float]) -> Callable[[float], Awaitable[Wave]]:
    async def trial(value: float) -> Wave:
        tried.append(value)
        lost = 0 if value <= most else 1
        return Wave(
            design="tokenwire",
            streaming=1,
            tokens_per_record=1,
            records_per_s_asked=value,
            records_per_s=value,
            tokens_lost=lost,
            answers_ended=1,
            relay_ms=[1.0, 1.0, 1.0, 1.0],
        )

    return trial


def silent(_: str) -> None:
    pass


async def test_most_is_tried_first_and_enough() -> None:
    """Nothing above the most is asked for."""
    tried: list[float] = []
    best = await highest(gateway_that_can(100, tried), 100, [], silent)

    assert best is not None
    assert tried == [100]


@pytest.mark.parametrize("can", [90.0, 55.0, 30.0])
async def test_highest_that_was_seen_is_found(can: float) -> None:
    """Within a tenth, and never one that was not tried."""
    tried: list[float] = []
    best = await highest(gateway_that_can(can, tried), 100, [], silent, trials_max=12)

    assert best is not None
    assert best.records_per_s_asked in tried
    assert can / 1.1 <= best.records_per_s_asked <= can


async def test_rate_grows_while_it_is_kept_up_with() -> None:
    """Where more can be asked for, more is."""
    tried: list[float] = []
    best = await highest(gateway_that_can(400, tried), 100, [], silent, grows=True, trials_max=12)

    assert best is not None
    assert 400 / 1.1 <= best.records_per_s_asked <= 400


async def test_nothing_kept_up_with_is_said() -> None:
    """The trials are used up and none was good."""
    tried: list[float] = []
    trials: list[Wave] = []

    assert await highest(gateway_that_can(0.0, tried), 100, trials, silent) is None
    assert len(trials) == len(tried) == 6
