"""Parts of a running line that are killed in mid-answer, as websockets see it: rows R1, R7, R23, G5, both layouts.

One line per layout takes all the kills: after each the supervisor must bring back what was killed, and the ledger
must be in order. What dies is always one process, with `kill -9`, while answers stream.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

import pytest

from infra.simulated_provider.answer_text import answer_for
from infra.simulated_provider.call_log import Call, prompt_sha256
from processors.sessions.decisions.token_count import count_tokens
from schemas.prompts import ChatMessage
from schemas.topics import USER_PARTITIONS, Layout, user_partition
from tests.integration.chat_client import ChatClient, SeenTurn
from tests.integration.ledger import Asked, check_ledger
from tests.integration.process_probe import until
from tests.integration.whole_line import WholeLine, running_line

SESSION_TIMEOUT_S: Final = 3.0
OWNER_S: Final = SESSION_TIMEOUT_S + 5.0
STREAMS: Final = 10
SETTLED_S: Final = 30.0
ENDED_S: Final = 60.0
GOES_ON_S: Final = 15.0
CHUNKS_BEFORE: Final = 5


@dataclass(slots=True)
class Streams:
    """Answers that stream at once, each to a client of a user of its own. Every prompt is unlike any other."""

    line: WholeLine
    layout: Layout
    tokens: int
    pace_ms: int
    run: str = field(default_factory=lambda: uuid4().hex[:8])
    clients: list[ChatClient] = field(default_factory=list)

    def words(self, number: int) -> str:
        return f"Question {number} of run {self.run}?"

    def user(self, number: int) -> str:
        return f"user-{self.run}-{number}"

    @property
    def asked(self) -> list[Asked]:
        return [
            Asked(user=self.user(number), session="s1", prompt_id="p1", text=self.answer(number))
            for number in range(len(self.clients))
        ]

    def answer(self, number: int) -> str:
        return "".join(answer_for([ChatMessage(role="user", content=self.words(number))], tokens=self.tokens))

    @property
    def turns(self) -> list[SeenTurn]:
        return [client.turns[asked.turn] for client, asked in zip(self.clients, self.asked, strict=True)]

    async def ask(self, number: int) -> None:
        directive = f"[[sim tokens={self.tokens} pace_ms={self.pace_ms} first_ms=50]] "
        client = self.clients[number]
        accepted = await client.prompt("s1", directive + self.words(number), "p1")
        await client.chunks_of(accepted.turns[0], CHUNKS_BEFORE)

    def assert_under_way(self) -> None:
        """What follows happens in mid-answer, of every answer."""
        assert not any(turn.end for turn in self.turns)

    async def ended(self) -> None:
        """Wait for all endings."""
        pairs = zip(self.clients, self.asked, strict=True)
        await asyncio.gather(*(client.ended(asked.turn, ENDED_S) for client, asked in pairs))

    async def go_on(self) -> float:
        """Wait until each answer has grown or ended; the seconds it took."""
        started_s = time.monotonic()
        pairs = zip(self.clients, self.turns, strict=True)
        await asyncio.gather(*(client.until(grown(turn), ENDED_S) for client, turn in pairs))
        return time.monotonic() - started_s

    async def calls(self) -> list[list[Call]]:
        """The paid calls of each answer."""
        calls = await asyncio.to_thread(self.line.calls)
        hashes = [prompt_sha256(self.words(number)) for number in range(len(self.clients))]
        return [[call for call in calls if call.prompt_sha256 == wanted] for wanted in hashes]


def grown(turn: SeenTurn) -> Callable[[], bool]:
    """Whether the client has been told more of the turn than now."""
    before = (turn.attempt, turn.next_seq)
    return lambda: turn.end is not None or (turn.attempt, turn.next_seq) > before


def newest_share(line: WholeLine, name: str) -> dict[str, Any] | None:
    """What a worker has said of the partitions that it owns, last; None: nothing yet."""
    said = [each for each in line.log_of(name).splitlines() if '"partitions_owned"' in each]
    return json.loads(said[-1]) if said else None


def owned_by_first(line: WholeLine) -> list[int]:
    share = newest_share(line, "worker-1")
    assert share is not None
    return list(share["owned"])


def is_settled(line: WholeLine) -> bool:
    """Whether the workers share the partitions between them, as of the newest generation of their group."""
    newest = [owned for name in ("worker-1", "worker-2") if (owned := newest_share(line, name))]
    if len(newest) < 2:
        return False
    shares = [len(each["owned"]) for each in newest]
    return newest[0]["generation"] == newest[1]["generation"] and sum(shares) == USER_PARTITIONS and min(shares) > 0


@asynccontextmanager
async def streaming(
    line: WholeLine, layout: Layout, *, gateways: list[str], tokens: int, pace_ms: int = 40, under_way: bool = True
) -> AsyncIterator[Streams]:
    """So many answers under way, over these gateways in turn; each has said a few words already.

    `under_way`: what follows happens in mid-answer of every one of them.
    """
    streams = Streams(line, layout, tokens, pace_ms)
    await until(lambda: is_settled(line), SETTLED_S)
    async with AsyncExitStack() as stack:
        for number in range(STREAMS):
            client = ChatClient.connected(gateways[number % len(gateways)], line.token(streams.user(number)))
            streams.clients.append(await stack.enter_async_context(client))
        await asyncio.gather(*(streams.ask(number) for number in range(STREAMS)))
        if under_way:
            streams.assert_under_way()
        yield streams


@pytest.fixture(scope="module", params=["dedicated", "shared"])
def layout(request: pytest.FixtureRequest) -> Layout:
    chosen: Layout = request.param
    return chosen


@pytest.fixture(scope="module")
def line(layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeLine]:
    options = ("--gateways", "2", "--workers", "2", "--topic-layout", layout)
    with running_line(tmp_path_factory.mktemp("line"), *options, session_timeout_s=SESSION_TIMEOUT_S) as running:
        yield running


async def test_r7_worker_killed_in_mid_answer(line: WholeLine, layout: Layout) -> None:
    """Its turns begin anew elsewhere, said as `start` of attempt 2; the other worker's go on; each answer is whole."""
    async with streaming(line, layout, gateways=line.gateways, tokens=150) as streams:
        killed = line.kill("worker-1")
        killed_s = time.monotonic()
        await streams.ended()
        took_s = time.monotonic() - killed_s

        ledger = await check_ledger(line, streams.asked, clients=streams.clients, layout=layout, crashed=True)
        attempts = [turn.attempt for turn in streams.turns]
        assert set(attempts) == {1, 2}, "both workers had turns, and one was killed"
        causes = {turn.starts[-1].cause for turn in streams.turns if turn.attempt == 2}
        assert causes == {"crash"}
        assert [[start.attempt for start in turn.starts] for turn in streams.turns] == [
            list(range(1, attempt + 1)) for attempt in attempts
        ]
        assert [len(calls) for calls in await streams.calls()] == attempts
        assert [len(ledger.rows[asked.turn]) for asked in streams.asked] == attempts
        assert took_s < OWNER_S + 2 * 150 * 0.04, line.logs()
    await asyncio.to_thread(line.until_restarted, killed)


async def test_r7_worker_killed_with_a_prompt_of_80_000_tokens(line: WholeLine, layout: Layout) -> None:
    """Accepted in parts and being answered when its worker dies: the next one has every word of it."""
    await until(lambda: is_settled(line), SETTLED_S)
    user = next(f"long-{number}" for number in range(1_000) if user_partition(f"long-{number}") in owned_by_first(line))
    words = " ".join(f"word {number} of {uuid4().hex[:8]}" for number in range(10_000))
    assert count_tokens(words) >= 80_000
    async with ChatClient.connected(line.gateways[0], line.token(user)) as client:
        accepted = await client.prompt("s1", f"[[sim tokens=20 pace_ms=10 first_ms=1500]] {words}", "p1")
        (turn,) = accepted.turns
        await client.until(lambda: turn in client.turns and bool(client.turns[turn].starts), SETTLED_S)
        killed = line.kill("worker-1")
        await client.ended(turn, ENDED_S)

        text = "".join(answer_for([ChatMessage(role="user", content=words)], tokens=20))
        asked = Asked(user=user, session="s1", prompt_id="p1", text=text)
        await check_ledger(line, [asked], clients=[client], layout=layout, crashed=True)
        assert [start.cause for start in client.turns[turn].starts] == ["first", "crash"]
        again = await client.prompt("s1", "[[sim tokens=5]] And in short?", "p2")
        await client.ended(again.turns[0], ENDED_S)
        assert client.turns[again.turns[0]].end is not None
    await asyncio.to_thread(line.until_restarted, killed)


async def test_G5_gateway_killed_in_mid_answer(line: WholeLine, layout: Layout) -> None:
    """Its clients go on at the sibling from their cursors, gap-free; nobody pays again; the gateway comes back."""
    first, second = line.gateways
    async with streaming(line, layout, gateways=[first], tokens=150) as streams:
        killed = line.kill("gateway-1")
        for client in streams.clients:
            await client.closed()
        attached = [each for client in streams.clients for each in await client.reconnect(second)]
        await streams.ended()

        assert {each.recovered for each in attached} <= {"replayed", "live"}
        assert len(attached) == STREAMS
        await check_ledger(line, streams.asked, clients=streams.clients, layout=layout)
        assert {turn.snapshots for turn in streams.turns} == {0}
        assert [turn.attempt for turn in streams.turns] == [1] * STREAMS
        assert [len(calls) for calls in await streams.calls()] == [1] * STREAMS
    await asyncio.to_thread(line.until_restarted, killed)


async def test_r1_broker_killed_in_mid_answer(line: WholeLine, layout: Layout) -> None:
    """Sockets stay open, answers go on within 15 s of its return; nothing lost, nothing twice, one paid call each."""
    async with streaming(line, layout, gateways=line.gateways, tokens=400) as streams:
        killed = line.kill("kafka")
        away_s = await asyncio.to_thread(line.until_restarted, killed)
        streams.assert_under_way()
        went_on_s = await streams.go_on()
        await streams.ended()

        assert went_on_s < GOES_ON_S, f"after {away_s:.1f} s without a broker"
        assert all(client.is_open for client in streams.clients)
        assert not any(client.disconnects for client in streams.clients)
        await check_ledger(line, streams.asked, clients=streams.clients, layout=layout)
        assert [turn.attempt for turn in streams.turns] == [1] * STREAMS
        assert [len(calls) for calls in await streams.calls()] == [1] * STREAMS


async def test_r23_analytics_writer_killed_in_mid_answer(line: WholeLine, layout: Layout) -> None:
    """With the readers' process. Nobody who reads an answer notices; once both are back the rows are exact."""
    async with streaming(line, layout, gateways=line.gateways, tokens=80) as streams:
        killed = [line.kill("analytics"), line.kill("reader")]
        await streams.ended()
        for each in killed:
            await asyncio.to_thread(line.until_restarted, each)

        await check_ledger(line, streams.asked, clients=streams.clients, layout=layout)
        assert [turn.attempt for turn in streams.turns] == [1] * STREAMS


async def test_line_answers_as_before_after_all_that(line: WholeLine, layout: Layout) -> None:
    """The next prompts, at each gateway, are answered at the first attempt."""
    async with streaming(line, layout, gateways=line.gateways, tokens=40, under_way=False) as streams:
        await streams.ended()

        await check_ledger(line, streams.asked, clients=streams.clients, layout=layout)
        assert [turn.attempt for turn in streams.turns] == [1] * STREAMS
