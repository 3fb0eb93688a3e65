"""Two pieces of work at once."""

from __future__ import annotations

import asyncio

import pytest

from processors.sessions.side_by_side import both
from tests.fakes.virtual_loop import VirtualLoop, run_virtual

__all__: list[str] = []


async def after(delay_s: float, done: list[float], failure: Exception | None = None) -> float:
    await asyncio.sleep(delay_s)
    done.append(delay_s)
    if failure is not None:
        raise failure
    return delay_s


def test_both_succeed() -> None:
    """Their results come in the order in which they were given."""
    assert run_virtual(VirtualLoop(), both(after(2, []), after(1, []))) == (2, 1)


@pytest.mark.parametrize(("first_s", "second_s"), [(1, 2), (2, 1)])
def test_one_fails(first_s: float, second_s: float) -> None:
    """Its own error is raised, once the other has ended."""
    done: list[float] = []

    with pytest.raises(ZeroDivisionError):
        run_virtual(VirtualLoop(), both(after(first_s, done, ZeroDivisionError()), after(second_s, done)))
    assert sorted(done) == [1, 2]


def test_cancelled() -> None:
    """Both are."""
    done: list[float] = []

    async def play() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await both(after(2, done), after(3, done))
        await asyncio.sleep(10)

    run_virtual(VirtualLoop(), play())
    assert done == []
