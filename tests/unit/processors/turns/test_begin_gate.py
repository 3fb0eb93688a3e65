"""Attempts are held back while nobody knows whose the partition is."""

from __future__ import annotations

import asyncio

import pytest

from processors.turns.begin_gate import BeginGate, GateShut
from tests.fakes.virtual_loop import VirtualLoop, run_virtual

__all__: list[str] = []


async def pass_through(gate: BeginGate, passed: list[str], name: str, inside_s: float = 0.0) -> None:
    async with gate.beginning():
        await asyncio.sleep(inside_s)
        passed.append(name)


def test_gate_closes_behind_those_inside() -> None:
    """Closing waits for them and lets nobody else in until it is opened."""
    passed: list[str] = []

    async def play() -> None:
        gate = BeginGate()
        async with asyncio.TaskGroup() as group:
            group.create_task(pass_through(gate, passed, "inside", 5.0))
            await asyncio.sleep(1.0)
            closing = group.create_task(gate.close())
            group.create_task(pass_through(gate, passed, "late"))
            await asyncio.sleep(1.0)
            assert not closing.done()
            await closing
            assert passed == ["inside"]
            gate.open()
        assert passed == ["inside", "late"]

    run_virtual(VirtualLoop(), play())


def test_one_inside_fails() -> None:
    """It is outside then."""

    async def play() -> None:
        gate = BeginGate()
        with pytest.raises(ZeroDivisionError):
            async with gate.beginning():
                raise ZeroDivisionError
        await gate.close()

    run_virtual(VirtualLoop(), play())


def test_gate_that_is_shut() -> None:
    """Those who wait are turned away, and whoever comes later."""

    async def play() -> None:
        gate = BeginGate()
        await gate.close()
        waiting = asyncio.create_task(pass_through(gate, [], "waiting"))
        await asyncio.sleep(1.0)
        gate.shut()
        for attempt in (waiting, pass_through(gate, [], "later")):
            with pytest.raises(GateShut):
                await attempt

    run_virtual(VirtualLoop(), play())
