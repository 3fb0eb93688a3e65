"""Clients that ask, read the answer and ask again, in a process of its own; some read 1 KB/s.

    ask    {"numbers": [first, last, step], "tokens": {number: token}, "slow": [number …], "prompt", "spread_s"}
    tally  {}               how many answers, tokens, holes … so far, of normal and slow clients
    stop   {"within_s"}     ask no more; wait for the answers that are under way

A conversation has a few answers and then a new session begins, as its history would grow for ever.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any, Final

import uvloop

from benchmarks.gateway.bare_client import DELTA, BareClient, Kind, messages_of
from benchmarks.gateway.client_process import Order, serve
from schemas.client_messages import Attach, Detach, Hello, Pong, Prompt

__all__: list[str] = []

SESSION_ANSWERS: Final = 5
COUNTED: Final = ("answers", "incomplete", "tokens", "hole_tokens", "duplicate_tokens", "cut_off", "put_off")
RETRY_S: Final = 1.0


class AskingClient(BareClient):
    """One client."""

    def __init__(self, user: str, number: int, kind: Kind, port: int, *, token: str, prompt: str) -> None:
        super().__init__(user, number, kind, port)
        self.token, self.prompt = token, prompt
        self.asked = 0
        self.session = ""
        self.waits_for: Attach | Prompt | None = None
        """What was said last and is not answered yet."""
        self.goes_on = True
        self.tally = dict.fromkeys(COUNTED, 0)

    def greet(self) -> None:
        """Say hello and open a session."""
        self.say(Hello(token=self.token))
        self.new_session()

    def new_session(self) -> None:
        if self.session:
            self.say(Detach(session=self.session))
        self.session = f"s{self.asked}-{time.time_ns() // 1_000}"
        self.expect("")
        self.want(Attach(session=self.session))

    def want(self, message: Attach | Prompt) -> None:
        """Say it, and wait for the answer."""
        self.waits_for = message
        self.say(message)

    def put_off(self, retry_after_s: float | None) -> None:
        """It cannot be done at the moment: say it again later, as every client should."""
        self.tally["put_off"] += 1
        if self.waits_for is not None:
            self.loop.call_later(retry_after_s or RETRY_S, self.want, self.waits_for)

    def ask(self) -> None:
        """Ask the next question of this session."""
        self.expect("")
        self.asked += 1
        self.want(Prompt(prompt_id=f"p{self.asked}", session=self.session, input=self.prompt))

    def take(self, payload: bytes) -> None:
        """Count what came; ask again when the answer is over."""
        self.frames += 1
        for found in DELTA.finditer(payload):
            if found[1] != self.turn:
                self.turn, self.next_seq = found[1], 0
            self.count(int(found[2]), int(found[3]), 0)
        for message in messages_of(payload):
            match message["type"]:
                case "attached":
                    if not self.attached.done():
                        self.recovered = message["recovered"]
                        self.attached.set_result(None)
                        if not self.reads_freely:
                            self.slow_down()
                    self.waits_for = None
                    if self.goes_on:
                        self.ask()
                    else:
                        self.ended.set()
                case "error" if message.get("temporary"):
                    self.put_off(message.get("retry_after_s"))
                case "end":
                    self.answered(message)
                case "ping":
                    self.say(Pong())
                case "disconnect":
                    self.close_code = message["code"]
                case _:
                    pass

    def answered(self, end: dict[str, Any]) -> None:
        tally = self.tally
        tally["answers"] += 1
        tally["incomplete"] += end["reason"] not in ("complete", "incomplete")
        tally["tokens"] += self.received
        tally["hole_tokens"] += self.holes
        tally["duplicate_tokens"] += self.duplicates
        self.ended.set()
        self.waits_for = None
        if not self.goes_on:
            return
        if self.asked % SESSION_ANSWERS == 0:
            self.new_session()
        else:
            self.ask()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody comes back here: it counts."""
        super().connection_lost(exc)
        self.tally["cut_off"] += self.goes_on or not self.ended.is_set()


class AskingCrowd:
    """The clients of this process."""

    def __init__(self, run: str, port: int) -> None:
        self.run, self.port = run, port
        self.clients: list[AskingClient] = []

    async def obey(self, order: Order) -> Order:
        """Do what is asked; the answer."""
        match order["do"]:
            case "ask":
                return await self.begin(order)
            case "stop":
                await self.stop(order["within_s"])
            case "tally":
                pass
            case unknown:
                raise ValueError(f"no such order: {unknown}")
        return {kind: self.tally(kind) for kind in ("normal", "slow")}

    async def begin(self, order: Order) -> Order:
        """Connect them all, one after the other over some seconds."""
        numbers = range(*order["numbers"])
        for number in numbers:
            kind: Kind = "slow" if number in order["slow"] else "normal"
            client = AskingClient(
                f"{self.run}-{number}",
                number,
                kind,
                self.port,
                token=order["tokens"][str(number)],
                prompt=order["prompt"],
            )
            await client.connect()
            self.clients.append(client)
            await asyncio.sleep(order["spread_s"] / max(1, len(numbers)))
        return {"clients": len(self.clients)}

    async def stop(self, within_s: float) -> None:
        """Ask no more; wait for what is under way."""
        for client in self.clients:
            client.goes_on = False
            client.unleash()
        waits = [asyncio.ensure_future(client.ended.wait()) for client in self.clients]
        _, waiting = await asyncio.wait(waits, timeout=within_s)
        for wait in waiting:
            wait.cancel()
        for client in self.clients:
            client.tally["incomplete"] += not client.ended.is_set()

    def tally(self, kind: str) -> Order:
        """The sums."""
        of_kind = [client for client in self.clients if client.kind == kind]
        return {"clients": len(of_kind)} | {name: sum(each.tally[name] for each in of_kind) for name in COUNTED}


async def main() -> None:
    """As the soak starts it."""
    await serve(AskingCrowd(sys.argv[1], int(sys.argv[2])))


if __name__ == "__main__":
    uvloop.run(main())
