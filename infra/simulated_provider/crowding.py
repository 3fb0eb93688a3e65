"""What a simulated server does with more calls at once than it answers: refuses them, lets them wait, or slows down.

Real servers tell nobody how many they answer. A provider of that kind answers 429; llama.cpp's and Ollama's servers let
the rest wait for a place, in the order of their coming and before any header; one that decodes all calls at once is
slower to each of them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from typing import Literal, TypeAlias

__all__ = ["Beyond", "Crowding"]

Beyond: TypeAlias = Literal["429", "queue", "slower"]


class Crowding:
    """The places of one server. Both attributes may be changed while calls run: it holds for those that follow."""

    def __init__(self, limit: int | None, beyond: Beyond) -> None:
        self.limit = limit
        """Calls answered at once, at full speed; None: any number."""
        self.beyond = beyond
        self.running = 0
        self.waiting: deque[asyncio.Future[None]] = deque()

    @property
    def refuses(self) -> bool:
        """Whether one more call is one too many."""
        return self.beyond == "429" and self.is_full

    @property
    def slowness(self) -> float:
        """How many times as long each token takes."""
        if self.beyond != "slower" or not self.limit:
            return 1.0
        return max(1.0, self.running / self.limit)

    @property
    def is_full(self) -> bool:
        return self.limit is not None and self.running >= self.limit

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place, waited for where the server lets calls wait. Cancellation: leaves the queue."""
        if self.beyond == "queue" and (self.is_full or self.waiting):
            await self.let_in()
        else:
            self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            self.let_next_in()

    async def let_in(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn in self.waiting:
                self.waiting.remove(turn)
            elif not turn.cancelled():  # it had its place already
                self.running -= 1
                self.let_next_in()
            raise

    def let_next_in(self) -> None:
        """Give free places to those who have waited longest."""
        while self.waiting and not self.is_full:
            turn = self.waiting.popleft()
            if not turn.done():
                self.running += 1
                turn.set_result(None)
