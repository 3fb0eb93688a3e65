"""Whether a broker answers: its port alone says too little."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from infra.kafka.readiness import answers_metadata
from tests.fakes.scripted_broker import scripted_broker

__all__: list[str] = []

DEADLINE_S = 5.0


@pytest.mark.parametrize(("brokers_min", "ready"), [(1, True), (2, False)])
async def test_broker_that_answers(brokers_min: int, ready: bool) -> None:
    """It is ready once it knows as many brokers as there are to be."""
    async with scripted_broker() as broker:
        assert await answers_metadata("127.0.0.1", broker.port, DEADLINE_S, brokers_min=brokers_min) is ready


async def test_nobody_listens() -> None:
    """No broker, and no error."""
    with contextlib.closing(socket.socket()) as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen

        assert not await answers_metadata("127.0.0.1", bound.getsockname()[1], DEADLINE_S)


async def test_other_program_on_the_port() -> None:
    """One that hangs up is no broker, and one that says nothing is none after the deadline."""

    async def hangs_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hangs_up, "127.0.0.1", 0) as server:
        assert not await answers_metadata("127.0.0.1", server.sockets[0].getsockname()[1], DEADLINE_S)
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as silent:  # the kernel takes the connection
        assert not await answers_metadata("127.0.0.1", silent.getsockname()[1], 0.05)
