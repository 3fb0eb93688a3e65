"""What both paths have in common: a client that asks, in a conversation of its own."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from tokenwire.benchmark.observed_answer import ObservedAnswer

__all__ = ["BenchClient", "StreamPath"]


class BenchClient(Protocol):
    """One stream's client: connected, its session ready."""

    async def ask(self, prompt: str) -> ObservedAnswer:
        """Send the next prompt of the conversation and read the answer to its end; says itself what went wrong."""
        ...


class StreamPath(Protocol):
    """A way from the client to the model."""

    name: str

    def client(self, label: str) -> AbstractAsyncContextManager[BenchClient]:
        """A connected client; `label` is never used twice."""
        ...
