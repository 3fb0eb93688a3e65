"""The gateway on a real broker: relay, resume, devices, slow readers, gaps, outages and leaving.

Covers: gateway.clients.client_connection, gateway.clients.services, gateway.clients.session_requests,
gateway.process.connected_services, gateway.process.departure, gateway.process.gateway_rules,
gateway.process.open_connections, gateway.process.upkeep.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from infra.embedded.broker import EmbeddedBroker
from infra.kafka.log_client import LogClient
from infra.settings import Settings
from schemas.client_messages import Attach, Cancel, Detach, Prompt
from schemas.codec import decode_prompt_command
from schemas.gateway_messages import Delta, Lag, Snapshot
from schemas.identifiers import check_prompt_id, check_session_id, check_user_id, turn_id_of
from schemas.prompts import SessionWatched
from schemas.session_events import PromptRefused, TurnQueued
from schemas.topics import Layout, user_partition
from tests.fakes.topic_names import PROMPTS
from tests.integration.gateway_line import (
    SECRET,
    SessionWriter,
    WireClient,
    answer_events,
    gateway_settings,
    http,
    running_gateway,
    sample,
    tag_of,
)
from tests.integration.told_answers import OUTAGE_S_MAX, told_answer

REPOSITORY = Path(__file__).resolve().parents[2]


@asynccontextmanager
async def gateway_process(settings: Settings) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """A gateway that may be killed."""
    arguments = {
        "kafka": settings.kafka,
        "home": str(settings.home),
        "gateway_port": 0,
        "auth_secret": SECRET,
        "cursor_secret": SECRET[::-1],
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.integration.gateway_child",
        json.dumps(arguments),
        cwd=REPOSITORY,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            yield process, int(await process.stdout.readline())
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.parametrize("layout", ["dedicated", "shared"])
async def test_several_devices_on_one_session(broker: EmbeddedBroker, tmp_path: Path, layout: Layout) -> None:
    """Each is told the same, in order; another user's session of the same name stays silent."""
    settings = await gateway_settings(broker, tmp_path, layout)
    session, texts = f"devices-{layout}", [f"w{number} " for number in range(40)]
    async with (
        running_gateway(settings) as port,
        SessionWriter(settings) as writer,
        WireClient.connected(port) as laptop,
        WireClient.connected(port) as phone,
        WireClient.connected(port, "bob") as bob,
    ):
        for client in (laptop, phone, bob):
            await client.send(Attach(session=session))
            assert (await client.next("attached")).recovered == "live"
        await writer.append("alice", session, answer_events("t1", texts))

        assert await told_answer(laptop, "t1") == "".join(texts)
        assert await told_answer(phone, "t1") == "".join(texts)
        assert [tag_of(message) for message in bob.told] == ["welcome", "attached"]


@pytest.mark.parametrize("layout", ["dedicated", "shared"])
async def test_client_that_comes_late_to_a_running_answer(
    broker: EmbeddedBroker, tmp_path: Path, layout: Layout
) -> None:
    """At the tail it is told the open turn so far and nothing of ended ones; at the start everything."""
    settings = await gateway_settings(broker, tmp_path, layout)
    session = f"late-{layout}"
    async with running_gateway(settings) as port, SessionWriter(settings) as writer:
        events = answer_events("t2", [f"{number}," for number in range(100)], prompt_id="p2")
        await writer.append("alice", session, answer_events("t1", ["old ", "answer"]))
        await writer.append("alice", "another", answer_events("t0", ["not ", "ours"]))
        await writer.append("alice", session, events[:50])
        async with WireClient.connected(port) as tail, WireClient.connected(port) as start:
            await tail.send(Attach(session=session, from_="tail"))
            assert (await tail.next("attached")).recovered == "snapshot"
            await start.send(Attach(session=session, from_="start"))
            assert (await start.next("attached")).recovered == "replayed"
            await writer.append("alice", session, events[50:])

            whole = "".join(f"{number}," for number in range(100))
            assert await told_answer(tail, "t2") == whole
            assert sum(isinstance(message, Snapshot) for message in tail.told) == 1
            assert {getattr(message, "turn", "t2") for message in tail.told[2:]} == {"t2"}
            assert await told_answer(start, "t1") == "old answer"
            assert await told_answer(start, "t2") == whole


async def test_long_history_from_the_start_comes_in_few_messages(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Two thousand records are a handful of deltas, none of them beyond 64 KiB."""
    settings = await gateway_settings(broker, tmp_path)
    texts = [f"chunk number {number} \N{SNOWMAN} " for number in range(2_000)]
    async with running_gateway(settings) as port, SessionWriter(settings) as writer:
        await writer.append("alice", "long", answer_events("t1", texts))
        async with WireClient.connected(port) as client:
            await client.send(Attach(session="long", from_="start"))
            await client.next("attached")

            assert await told_answer(client, "t1") == "".join(texts)
            assert sum(isinstance(message, Delta) for message in client.told) < 8


async def test_G5_gateway_killed_in_mid_answer(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """The client resumes on a sibling with its last cursor: no hole, no duplicate (row G5)."""
    settings = await gateway_settings(broker, tmp_path)
    texts = [f"w{number} " for number in range(300)]
    events = answer_events("t1", texts)
    async with SessionWriter(settings) as writer, running_gateway(settings) as sibling:
        text, next_seq, cursor = "", 0, ""
        async with gateway_process(settings) as (process, port), WireClient.connected(port) as client:
            await client.send(Attach(session="killed"))
            await client.next("attached")
            await writer.append("alice", "killed", events[:150])
            while next_seq < 100:
                message = await client.next()
                if isinstance(message, Delta):
                    text, next_seq, cursor = text + message.text, message.seq + message.n, message.c
            process.send_signal(signal.SIGKILL)
            await process.wait()
        await writer.append("alice", "killed", events[150:])
        async with WireClient.connected(sibling, resume={"killed": cursor}) as client:
            assert (await client.next("attached")).recovered == "replayed"
            text += await told_answer(client, "t1", from_seq=next_seq)

        assert text == "".join(texts)


async def test_every_cursor_of_a_session_resumes_exactly(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """From memory, from the log, and from another gateway's joined deltas: what follows is always the rest."""
    settings = await gateway_settings(broker, tmp_path)
    texts = [f"w{number} " for number in range(60)]
    async with (
        SessionWriter(settings) as writer,
        running_gateway(settings) as port,
        running_gateway(settings) as other,
        WireClient.connected(port) as client,
    ):
        await client.send(Attach(session="exact"))
        await client.next("attached")
        await writer.append("alice", "exact", answer_events("t1", texts, per_record=7))
        await told_answer(client, "t1")
        deltas = [message for message in client.told if isinstance(message, Delta)]
        for place in (port, other):
            for delta in deltas[::3]:
                async with WireClient.connected(place, resume={"exact": delta.c}) as again:
                    assert (await again.next("attached")).recovered == "replayed"
                    rest = await told_answer(again, "t1", from_seq=delta.seq + delta.n)
                    assert rest == "".join(texts[delta.seq + delta.n :])


def slow_ones(shown: str) -> float:
    """Clients that are behind: what came meanwhile is rolled up for them, or read from the log."""
    return sum(sample(shown, f'tokenwire_gateway_slow_connections{{mode="{mode}"}}') for mode in ("rollup", "log"))


@pytest.mark.parametrize("layout", ["dedicated", "shared"])
async def test_reader_slower_than_the_answer(broker: EmbeddedBroker, tmp_path: Path, layout: Layout) -> None:
    """While it reads nothing it is left behind the session's memory; then it is served from the log, everything in
    order, and comes back up; another client of the session is told everything meanwhile."""
    settings = await gateway_settings(broker, tmp_path, layout, connection_bytes_max=65_536)
    texts = ["x" * 2_000 for _ in range(6_000)]
    events = answer_events("t1", texts)
    async with (
        running_gateway(settings) as port,
        SessionWriter(settings) as writer,
        WireClient.connected(port) as quick,
        WireClient.connected(port, max_queue=1) as slow,
    ):
        for client in (quick, slow):
            await client.send(Attach(session=f"slow-{layout}"))
            await client.next("attached")
        reading = asyncio.create_task(told_answer(quick, "t1"))
        written = 0
        while 'tokenwire_gateway_mode_changes_total{mode="rollup"}' not in (await http(port, "/metrics"))[1]:
            await writer.append("alice", f"slow-{layout}", events[written : written + 50])
            written += 50
            assert written < len(events) - 300
        await writer.append("alice", f"slow-{layout}", [*events[written : written + 200], events[-1]])
        texts = texts[: written + 200 - 2]

        assert await reading == "".join(texts)
        async with asyncio.timeout(10):
            while slow_ones((await http(port, "/metrics"))[1]) != 1:  # noqa: ASYNC110  # noted once a tick
                await asyncio.sleep(0.05)
        assert await told_answer(slow, "t1") == "".join(texts)
        modes: list[str] = []
        while modes[-1:] != ["direct"]:
            modes = [message.mode for message in slow.told if isinstance(message, Lag)]
            if modes[-1:] != ["direct"]:
                await slow.next("lag", "ping")
        assert modes[0] == "rollup"
        assert "log" in modes
        shown = (await http(port, "/metrics"))[1]
        assert "evictions_total{" not in shown
        assert sample(shown, "tokenwire_gateway_write_blocked_seconds_count") > 0
        assert sample(shown, "tokenwire_gateway_catch_up_reads_total") > 0


async def test_prompt_and_cancel_reach_the_log(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """`accepted` names the turn, and the prompt is on the user's partition when it is said; cancel follows."""
    settings = await gateway_settings(broker, tmp_path)
    log_client = LogClient(settings)
    await log_client.start()
    try:
        async with running_gateway(settings) as port, WireClient.connected(port, "carol") as client:
            partition = user_partition("carol")
            before = await log_client.end(PROMPTS, partition)
            await client.send(Prompt(session="s1", prompt_id="p1", input="Hello"))
            assert (await client.next("attached")).session == "s1"
            accepted = await client.next("accepted")
            after = await log_client.end(PROMPTS, partition)
            await client.send(Cancel(session="s1", prompt_id="p1"))
            fetched = await log_client.fetch(PROMPTS, partition, after, wait_ms=5_000)

            user, session, prompt_id = check_user_id("carol"), check_session_id("s1"), check_prompt_id("p1")
            assert accepted.turns == (turn_id_of(user, session, prompt_id),)
            assert after == before + 1
            assert tag_of(decode_prompt_command(fetched.records[0].value or b"")) == "prompt.cancelled"
    finally:
        await log_client.stop()


async def test_refusal_on_the_session_log(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """The worker's refusal of a reused prompt id reaches the client as an error with that id."""
    settings = await gateway_settings(broker, tmp_path)
    async with (
        running_gateway(settings) as port,
        SessionWriter(settings) as writer,
        WireClient.connected(port) as client,
    ):
        await client.send(Attach(session="refused"))
        await client.next("attached")
        refusal = PromptRefused(prompt_id="p1", code="id_reused", message="send another prompt_id")
        await writer.append("alice", "refused", [refusal])

        error = await client.next("error")
        assert (error.code, error.prompt_id, error.session) == ("id_reused", "p1", "refused")


async def test_detached_session_is_silent(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """After `detached` nothing of the session comes; the connection's other session goes on."""
    settings = await gateway_settings(broker, tmp_path)
    async with (
        running_gateway(settings) as port,
        SessionWriter(settings) as writer,
        WireClient.connected(port) as client,
    ):
        for session in ("left", "kept"):
            await client.send(Attach(session=session))
            await client.next("attached")
        await client.send(Detach(session="left"))
        await client.next("detached")
        await writer.append("alice", "left", answer_events("t1", ["a"]))
        await writer.append("alice", "kept", answer_events("t2", ["b"]))

        assert await told_answer(client, "t2") == "b"
        assert {getattr(message, "session", "") for message in client.told[4:]} == {"kept"}


async def test_gateway_asked_to_stop(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """SIGTERM: every client is told its slot, then 1012 and where it stands, and the process is gone within 10 s."""
    settings = await gateway_settings(broker, tmp_path)
    async with (
        SessionWriter(settings) as writer,
        gateway_process(settings) as (process, port),
        WireClient.connected(port) as client,
    ):
        await client.send(Attach(session="leaving"))
        await client.next("attached")
        await writer.append("alice", "leaving", answer_events("t1", ["a"]))
        await told_answer(client, "t1")
        process.send_signal(signal.SIGTERM)
        code, words = await client.closed()
        async with asyncio.timeout(10):
            assert await process.wait() == 0

        assert code == 1012
        assert words is not None
        assert words.reconnect
        *_, end, notice, _ = client.told
        assert words.cursors["leaving"] == end.c  # type: ignore[union-attr]  # the last thing that carries a cursor
        assert tag_of(notice) == "drain"


async def test_worker_hears_who_follows(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """A turn to be cancelled when all have left: one device, none, and none again when the gateway leaves."""
    settings = await gateway_settings(broker, tmp_path)
    log_client, partition = LogClient(settings), user_partition("dora")
    await log_client.start()
    try:
        start = await log_client.end(PROMPTS, partition)
        async with running_gateway(settings) as port, SessionWriter(settings) as writer:
            async with WireClient.connected(port, "dora") as client:
                await client.send(Attach(session="watched"))
                await client.next("attached")
                await writer.append("dora", "watched", [TurnQueued(turn="t1", prompt_id="p1", on_leave="cancel")])
                assert [word.devices for word in await words_of_gateway(log_client, partition, start, 1)] == [1]
            assert [word.devices for word in await words_of_gateway(log_client, partition, start, 2)][:2] == [1, 0]
            async with WireClient.connected(port, "dora") as client:
                await client.send(Attach(session="watched"))
                await words_of_gateway(log_client, partition, start, 3)
        words = await words_of_gateway(log_client, partition, start, 4)

        assert words[-1].devices == 0
        assert {(word.user, word.session) for word in words} == {("dora", "watched")}
        assert len({word.gateway for word in words}) == 1
    finally:
        await log_client.stop()


async def words_of_gateway(log_client: LogClient, partition: int, start: int, count: int) -> list[SessionWatched]:
    """What the worker was told, once it is so much."""
    async with asyncio.timeout(OUTAGE_S_MAX):
        while True:
            end = await log_client.end(PROMPTS, partition)
            commands = [
                decode_prompt_command(record.value or b"")
                async for batch in log_client.read(PROMPTS, partition, start, end)
                for record in batch
            ]
            words = [command for command in commands if isinstance(command, SessionWatched)]
            if len(words) >= count:
                return words
            await log_client.fetch(PROMPTS, partition, end, wait_ms=1_000)
