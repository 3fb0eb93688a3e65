"""The time by the clock that stamps the journal, asked for once."""

from __future__ import annotations

import asyncio

import pytest

from processors.sessions.broker_clock import BrokerClock
from processors.sessions.turn_journal import TurnJournal
from processors.writing.log_appender import AppendFailed
from tests.fakes.memory_log import Fate, MemoryAppender, MemoryLog, MemoryReader, Weather
from tests.fakes.topic_names import TURNS
from tests.fakes.virtual_loop import LoopClock, VirtualLoop, run_virtual

__all__: list[str] = []

PARTITION = 3


@pytest.mark.parametrize("skew_s", [-300.0, 300.0])
def test_time_by_the_broker(skew_s: float) -> None:
    """Ours goes on from its stamp, whatever our wall clock says; what was appended is no turn of any journal."""
    loop = VirtualLoop()
    brokers, ours = LoopClock(loop), LoopClock(loop, skew_s)
    log, weather = MemoryLog(brokers), [Weather(Fate.FAILS)]
    appender = MemoryAppender(log, lambda _: weather.pop() if weather else Weather(there_s=0.5, back_s=0.25))
    reader = MemoryReader(log)
    clock = BrokerClock(partition=PARTITION, appender=appender, reader=reader, clock=ours)

    async def play() -> list[int]:
        with pytest.raises(AppendFailed):
            await clock.now_us()
        behind_us = [brokers.now_us() - await clock.now_us()]
        for _ in range(2):
            await asyncio.sleep(1_000)
            behind_us.append(brokers.now_us() - await clock.now_us())
        journal = TurnJournal(PARTITION, appender=appender, reader=reader, clock=ours)
        await journal.load()
        assert not list(journal.open_entries())
        return behind_us

    behind_us = run_virtual(loop, play())
    assert len(log.records(TURNS, PARTITION)) == 1
    assert behind_us[1:] == pytest.approx([250_000, 250_000], abs=1_000)
