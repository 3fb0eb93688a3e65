"""One timer for many waits."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from processors.providers.wait_limit import WaitLimit

SOON_S = 0.02
FAR_S = 60.0
STILL_S = 0.2


async def test_wait_that_is_too_long() -> None:
    """It ends with a TimeoutError at its moment, and the task is not left cancelled."""
    loop = asyncio.get_running_loop()
    limit = WaitLimit(loop)
    with pytest.raises(TimeoutError), limit.until(loop.time() + SOON_S):
        await loop.create_future()

    assert limit.expired
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    limit.close()


async def test_many_waits() -> None:
    """They share a timer; a later wait may be longer than the one that the timer was set for."""
    loop = asyncio.get_running_loop()
    limit = WaitLimit(loop)
    with limit.until(loop.time() + SOON_S):
        await asyncio.sleep(0)
    first = limit.timer
    ready = loop.create_future()
    loop.call_later(SOON_S * 3, ready.set_result, "late")
    with limit.until(loop.time() + FAR_S):
        assert limit.timer is first
        assert await ready == "late"

    assert not limit.expired
    assert limit.timer is not first
    limit.close()


async def test_shorter_wait_after_a_longer_one() -> None:
    """The timer is brought forward."""
    loop = asyncio.get_running_loop()
    limit = WaitLimit(loop)
    with limit.until(loop.time() + FAR_S):
        await asyncio.sleep(0)
    with pytest.raises(TimeoutError), limit.until(loop.time() + SOON_S):
        await loop.create_future()

    limit.close()


async def test_timer_that_fires_between_waits() -> None:
    """Nobody is cancelled while nobody waits, and the next wait has a timer again."""
    loop = asyncio.get_running_loop()
    limit = WaitLimit(loop)
    with limit.until(loop.time()):
        pass
    fired = loop.create_future()
    loop.call_later(SOON_S, fired.set_result, None)
    await fired

    assert limit.timer is None
    with pytest.raises(TimeoutError), limit.until(loop.time() + SOON_S):
        await loop.create_future()
    limit.close()


async def test_cancelled_by_somebody_else() -> None:
    """That cancellation goes on as one, also when the time ran out as well."""
    loop = asyncio.get_running_loop()
    limit = WaitLimit(loop)

    async def wait() -> None:
        with limit.until(loop.time() + FAR_S):
            await loop.create_future()

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    waiting.cancel()
    limit.ends_s = loop.time()
    limit.look()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    limit.close()


async def test_error_of_the_wait_itself() -> None:
    """It passes through."""
    loop = asyncio.get_running_loop()
    limit = WaitLimit(loop)
    with pytest.raises(KeyError), limit.until(loop.time() + FAR_S):
        raise KeyError("mine")

    limit.close()


def test_outside_a_task() -> None:
    """There is nothing to cancel there."""
    loop = asyncio.new_event_loop()
    with pytest.raises(RuntimeError), WaitLimit(loop).until(0):
        pass

    loop.close()


async def test_loop_that_stood_still_reads_first() -> None:
    """What came while the process did not run is there: it is read, however late the timer is."""
    loop = asyncio.get_running_loop()
    limit = WaitLimit(loop)
    here, there = socket.socketpair()
    here.setblocking(False)
    with here, there:

        def stand_still() -> None:
            there.send(b"in time")
            time.sleep(STILL_S)

        loop.call_soon(stand_still)
        with limit.until(loop.time() + SOON_S):
            assert await loop.sock_recv(here, 100) == b"in time"

    assert not limit.expired
    limit.close()


async def test_late_timer_is_excused_once() -> None:
    """Where nothing came, the wait ends after all; a moment that is over when it is told is no late timer."""
    loop = asyncio.get_running_loop()
    limit = WaitLimit(loop)
    loop.call_soon(time.sleep, STILL_S)
    with pytest.raises(TimeoutError), limit.until(loop.time() + SOON_S):
        await loop.create_future()
    excused = [limit.excused]

    with pytest.raises(TimeoutError), limit.until(loop.time() - FAR_S):
        await loop.create_future()
    excused.append(limit.excused)
    limit.close()

    assert excused == [True, False]
