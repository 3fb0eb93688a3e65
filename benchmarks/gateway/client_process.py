"""Many clients in one process that takes orders: one JSON object a line on its input, one answer a line.

    connect   {"group", "kind", "numbers": [first, last, step], "over_s"}   attach them, spread over so many seconds
    expect    {"group", "note", …}        count this answer (turn, streaming, tokens_per_record, token_bytes)
    ended     {"group", "within_s"}       wait until each that reads has its answer's end, or is gone, or the time is up
    frames    {}                          frames that came so far, of all
    accounts  {"group", "records", "file"}  one client's accounts a line; received records into the file
    unleash, cut, leave  {"group"}        read freely; break the connections; break them and forget the clients
    return    {"group", "over_s", "within_s"}  come back with the cursors
    recover   {"group", "within_s"}  whoever lacks the end and was closed comes back with its cursor until it has it

Every wait has a limit; what did not happen within it shows in the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import sys
import time
from array import array
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import uvloop

from benchmarks.gateway.bare_client import BareClient
from benchmarks.gateway.load import user_of

__all__ = ["Crowd", "Order", "serve"]

AT_ONCE: Final = 32
CONNECT_S_MAX: Final = 60.0
TRIES_MAX: Final = 20
AGAIN_S: Final = 0.5
LINE_BYTES_MAX: Final = 2**24

Order: TypeAlias = dict[str, Any]


class Crowd:
    """The clients of this process, in named groups."""

    def __init__(self, run: str, port: int) -> None:
        self.run, self.port = run, port
        self.groups: dict[str, list[BareClient]] = {}
        self.samples: array[int] = array("q")

    async def obey(self, order: Order) -> Order:
        """Do what is asked; the answer."""
        step: Callable[[Order], Awaitable[Order]] = getattr(self, "do_" + order["do"])
        return await step(order)

    def members(self, order: Order) -> list[BareClient]:
        return self.groups.get(order["group"], [])

    async def do_connect(self, order: Order) -> Order:
        numbers = range(*order["numbers"])
        port = order.get("port") or self.port
        clients = [BareClient(user_of(order.get("run") or self.run, n), n, order["kind"], port) for n in numbers]
        self.groups.setdefault(order["group"], []).extend(clients)
        return await self.all_attached(clients, over_s=order.get("over_s", 0.0))

    async def all_attached(self, clients: Sequence[BareClient], *, over_s: float) -> Order:
        """Connect them, each in its place of the time; when refused, again."""
        places, began_s = asyncio.Semaphore(AT_ONCE if not over_s else max(1, len(clients))), time.perf_counter()
        took_s: list[float] = []
        tries = 0

        async def one(place: int, client: BareClient) -> None:
            nonlocal tries
            await asyncio.sleep(max(0.0, began_s + over_s * place / len(clients) - time.perf_counter()))
            asked_s = time.perf_counter()
            async with places:
                for _ in range(TRIES_MAX):
                    with contextlib.suppress(OSError, TimeoutError):
                        tries += 1
                        async with asyncio.timeout(CONNECT_S_MAX):
                            await client.connect()
                        took_s.append(time.perf_counter() - asked_s)
                        return
                    await asyncio.sleep(AGAIN_S)

        await asyncio.gather(*(one(place, client) for place, client in enumerate(clients)))
        return {
            "asked": len(clients),
            "attached": len(took_s),
            "tries": tries,
            "seconds": time.perf_counter() - began_s,
            "took_s": [round(each, 4) for each in sorted(took_s)],
            "recovered": counted(client.recovered for client in clients),
        }

    async def do_expect(self, order: Order) -> Order:
        if order["note"]:
            self.samples = array("q")
        for client in self.members(order):
            client.expect(order["turn"], order["streaming"], order["tokens_per_record"], order["token_bytes"])
            client.samples = self.samples if order["note"] else None
        return {}

    async def do_ended(self, order: Order) -> Order:
        readers = [client for client in self.members(order) if client.number < client.streaming]
        waits = [asyncio.ensure_future(ended_or_gone(client)) for client in readers]
        if waits:
            _, waiting = await asyncio.wait(waits, timeout=order["within_s"])
            for wait in waiting:
                wait.cancel()
        return {"ended": sum(client.ended.is_set() for client in self.members(order))}

    async def do_frames(self, order: Order) -> Order:
        every = [client for group in self.groups.values() for client in group]
        return {"frames": sum(client.frames for client in every), "bytes": sum(client.bytes_read for client in every)}

    async def do_accounts(self, order: Order) -> Order:
        if order.get("file"):
            self.keep_samples(Path(order["file"]))
        return {
            "accounts": [
                {
                    "number": client.number,
                    "received": client.received,
                    "records": client.records,
                    "holes": client.holes,
                    "duplicates": client.duplicates,
                    "wrong": client.wrong,
                    "by_snapshot": client.by_snapshot,
                    "ended": client.ended.is_set(),
                    "close_code": client.close_code,
                    "gone": client.gone.is_set(),
                    "returns": client.returns,
                    "told_cursor": client.told_cursor,
                }
                for client in self.members(order)
            ]
        }

    def keep_samples(self, file: Path) -> None:
        file.write_bytes(self.samples.tobytes())

    async def do_unleash(self, order: Order) -> Order:
        for client in self.members(order):
            client.unleash()
        return {}

    async def do_cut(self, order: Order) -> Order:
        clients = self.members(order)
        for client in clients:
            client.cut()
        await asyncio.gather(*(client.gone.wait() for client in clients))
        return {"cut": len(clients)}

    async def do_leave(self, order: Order) -> Order:
        told = await self.do_cut(order)
        self.groups.pop(order["group"], None)
        return told

    async def do_return(self, order: Order) -> Order:
        return await self.all_attached(self.members(order), over_s=order["over_s"])

    async def do_recover(self, order: Order) -> Order:
        """Wait for the ends; those who were closed come back, as often as it takes."""
        give_up_s = time.perf_counter() + order["within_s"]
        came_back = 0
        while True:
            left_s = give_up_s - time.perf_counter()
            await self.do_ended({"group": order["group"], "within_s": max(0.0, left_s)})
            closed = [c for c in self.members(order) if not c.ended.is_set() and c.gone.is_set()]
            if left_s <= 0 or not closed:
                return {"came_back": came_back}
            came_back += len(closed)
            await self.all_attached(closed, over_s=0.0)
            await asyncio.sleep(AGAIN_S)


async def ended_or_gone(client: BareClient) -> None:
    waits = [asyncio.ensure_future(client.ended.wait()), asyncio.ensure_future(client.gone.wait())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def counted(words: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for word in words:
        found[word] = found.get(word, 0) + 1
    return found


class Obedient(Protocol):
    """Who does what an order says."""

    async def obey(self, order: Order) -> Order:
        """Do what is asked; the answer."""
        ...


async def serve(crowd: Obedient) -> None:
    """Obey until the input ends."""
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while line := await orders.readline():
        print(json.dumps(await crowd.obey(json.loads(line))), flush=True)


async def main() -> None:
    """As the benchmark starts it."""
    await serve(Crowd(sys.argv[1], int(sys.argv[2])))


if __name__ == "__main__":
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uvloop.run(main())
