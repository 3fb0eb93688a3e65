"""Work of one connection, in order within a session and side by side across sessions.

A lane is a queue and, while it is not empty, one task. What waits in all lanes together is bounded: the connection
reads no further frame until there is room, and TCP passes that on to the client.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeAlias

from gateway.sockets.client_tasks import TaskOwner

__all__ = ["WORK_WAITING_MAX", "RequestLanes"]

WORK_WAITING_MAX: Final = 256

Work: TypeAlias = Callable[[], Awaitable[None]]


class RequestLanes:
    """The lanes of one connection; tasks belong to the owner that is handed in."""

    __slots__ = ("_lanes", "_reader", "_tasks", "waiting")

    def __init__(self, tasks: TaskOwner) -> None:
        self._tasks = tasks
        self._lanes: dict[str, deque[Work]] = {}
        self.waiting = 0
        self._reader: asyncio.Future[None] | None = None
        """The connection's reader, while it waits for room."""

    def push(self, session: str, work: Work, *, fills: bool = False) -> None:
        """Do this after everything else that waits for the session; `fills`: there is no room until it is done."""
        self.waiting += 1
        if fills:
            self.waiting += WORK_WAITING_MAX
            work = partial(self.emptied_by, work)
        lane = self._lanes.get(session)
        if lane is not None:
            lane.append(work)
            return
        self._lanes[session] = deque([work])
        self._tasks.create_task(self.run(session))

    async def emptied_by(self, work: Work) -> None:
        try:
            await work()
        finally:
            self.waiting -= WORK_WAITING_MAX

    async def until_room(self) -> None:
        """Wait while too much work waits. Only one may wait.

        Cancellation: nothing has happened.
        """
        while self.waiting >= WORK_WAITING_MAX:
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None

    async def run(self, session: str) -> None:
        lane = self._lanes[session]
        while lane:
            try:
                await lane[0]()
            finally:
                lane.popleft()
                self.waiting -= 1
                if self._reader is not None and not self._reader.done():
                    self._reader.set_result(None)
        del self._lanes[session]
