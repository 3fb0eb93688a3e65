"""Row S20: a logout ends what was let in before it, in whatever order the parts of coming in stand to it."""

from __future__ import annotations

import itertools
import json
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from websockets.exceptions import InvalidStatus

from infra.access_tokens import issue_token
from schemas.client_messages import Hello
from tests.fakes.access_log import AccessLog
from tests.faults.memory_gateway import MemoryGateway
from tests.integration.gateway_line import SECRET, WireClient, post

STEPS: Final = ("handshake", "hello", "ticket", "logout")
AHEAD_S: Final = 30.0
BUSY_S: Final = 60.0
"""Nobody is to be dropped for being slow here."""


class Story:
    """One user's: each step on one of two gateways, all with tokens that were issued at the same time."""

    def __init__(self, user: str, ports: tuple[int, int], issued_s: float) -> None:
        self.user = user
        self.ports = ports
        self.issued_s = issued_s
        self.token = self.issued(issued_s)
        self.logged_out = False
        self.stack = AsyncExitStack()
        self.header_client: WireClient | None = None
        self.clients: list[WireClient] = []
        self.tickets: list[str] = []

    def issued(self, at_s: float) -> str:
        """A token."""
        return issue_token(SECRET.encode(), self.user, ttl_s=600, now_s=at_s)

    async def step(self, name: str, port: int) -> None:
        """Do it; what is refused at once must be, and must not."""
        match name:
            case "handshake":
                await self.shake_hands(port)
            case "hello" if self.header_client is not None:
                client, self.header_client = self.header_client, None
                await self.say_hello(client, Hello())
            case "hello":
                client = await self.stack.enter_async_context(WireClient.connected(port, None))
                await self.say_hello(client, Hello(token=self.token))
            case "ticket":
                status, body = await post(port, "/v1/ticket", self.token)
                assert status == (401 if self.logged_out else 200)
                self.tickets += [] if self.logged_out else [str(json.loads(body)["ticket"])]
            case "logout":
                assert (await post(port, "/v1/logout", self.token))[0] == 200
                self.logged_out = True
            case _:
                raise ValueError(name)

    async def shake_hands(self, port: int) -> None:
        """Up to the hello, the token in the header."""
        header = {"Authorization": f"Bearer {self.token}"}
        status = 101
        try:
            self.header_client = await self.stack.enter_async_context(
                WireClient.connected(port, None, additional_headers=header)
            )
        except InvalidStatus as refused:
            status = refused.response.status_code
        assert status == (401 if self.logged_out else 101)

    async def say_hello(self, client: WireClient, hello: Hello) -> None:
        """Let in, or closed."""
        await client.send(hello)
        if self.logged_out:
            assert (await client.closed())[0] == 4401
        else:
            await client.next("welcome")
            self.clients.append(client)

    async def end(self) -> None:
        """Nothing of what was let in lives on or can be used, anywhere; the user may sign in again."""
        if self.header_client is not None:
            await self.say_hello(self.header_client, Hello())
        for client in self.clients:
            assert (await client.closed())[0] == 4401
        for port, word in ((self.ports[0], self.token), *zip(self.ports[::-1], self.tickets, strict=False)):
            async with WireClient.connected(port, None) as client:
                await client.send(Hello(token=word))
                assert (await client.closed())[0] == 4401
        async with WireClient.connected(self.ports[0], None) as again:
            await again.send(Hello(token=self.issued(max(time.time(), self.issued_s) + 1)))
            await again.next("welcome")
        await self.stack.aclose()


async def test_S20_logout_in_every_order(tmp_path: Path) -> None:
    """{handshake, hello, ticket, logout} in all orders, on two gateways; every second issuer has a clock ahead."""
    access_log = AccessLog()
    async with (
        MemoryGateway.opened(tmp_path, access_log=access_log, hello_s=BUSY_S) as first,
        MemoryGateway.opened(tmp_path, access_log=access_log, hello_s=BUSY_S) as second,
    ):
        ports = (first.port, second.port)
        for number, order in enumerate(itertools.permutations(STEPS)):
            story = Story(f"user-{number}", ports, time.time() + AHEAD_S * (number & 1))
            for bit, name in enumerate(order):
                await story.step(name, ports[number >> bit & 1])
            await story.end()
