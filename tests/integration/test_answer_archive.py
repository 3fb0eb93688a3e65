"""Sessions that only ClickHouse still remembers: the real writer, the real engine, its endpoint, and a gateway.

Covers: gateway.hubs.decisions.attach_plan.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.clients.archive_reader import ARCHIVE_TEXT_BYTES_MAX
from infra.clickhouse.answer_archive import AnswerArchive
from infra.clickhouse.decisions.reader_access import token_digest
from infra.clickhouse.embedded_reader import EmbeddedReader, ReaderLimits
from infra.clickhouse.errors import ClickHouseUnavailable
from infra.clickhouse.reader_token import reader_token
from infra.embedded.broker import EmbeddedBroker
from infra.embedded.clickhouse_http import ClickHouseEndpoint
from infra.ports import find_free_port
from infra.settings import Settings
from schemas.client_messages import Attach
from schemas.gateway_messages import Delta
from schemas.identifiers import check_session_id, check_user_id, session_key_of
from schemas.records import AttemptOutcome, AttemptReason, TurnRecord
from schemas.session_events import Usage
from tests.fakes.topic_names import session_place
from tests.integration.analytics_fixture import WriterParts, publish, stored, until, writing
from tests.integration.gateway_line import SessionWriter, WireClient, answer_events, gateway_settings, running_gateway
from tests.integration.test_gateway_lost_logs import cut_log
from tests.integration.told_answers import told_answer

ANNA = "anna-archive"


def attempt(
    turn: str,
    number: int,
    texts: list[str],
    reason: AttemptReason,
    *,
    user: str = ANNA,
    session: str = "old",
    seq: int = 0,
    part: int = 0,
    last: bool = True,
    accepted_s: int = 0,
) -> TurnRecord:
    """A part of an attempt's record."""
    outcome = AttemptOutcome(
        reason=reason,
        provider=f"provider-{number}",
        model="m1",
        usage=Usage(input_tokens=3, output_tokens=len(texts), estimated=True),
        cost_nano_usd=1_000 * number,
        error_code="overloaded" if reason == "error" else "",
        accepted_at_us=(1_790_000_000 + accepted_s) * 1_000_000,
    )
    return TurnRecord(
        user=user,
        session=session,
        turn=turn,
        attempt=number,
        run=f"{turn}-r{number}",
        prompt_id=f"p-{turn}",
        part=part,
        seq=seq,
        texts=tuple(texts),
        gaps_us=tuple(0 for _ in texts),
        outcome=outcome if last else None,
    )


RECORDS = [
    attempt("t2", 1, ["never ", "mind"], "void", accepted_s=20),
    attempt("t2", 2, ["It is ", "a "], "continued", accepted_s=20),
    attempt("t2", 3, ["river", ", é\n'\\\t"], "complete", seq=2, accepted_s=20),
    attempt("t1", 1, ["one "] * 5, "complete", part=0, last=False),
    attempt("t1", 1, ["two "] * 5, "complete", part=1, seq=5),
    attempt("t3", 1, ["half"], "error", accepted_s=30),
    attempt("t4", 1, ["goes on"], "continued", accepted_s=40),
    attempt("t9", 1, ["not hers"], "complete", user="bob-archive"),
    attempt("t8", 1, ["elsewhere"], "complete", session="other"),
]


@asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[WriterParts]:
    """The writer at work, and its engine's endpoint at the settings' port."""
    async with writing(settings) as parts:
        limits = ReaderLimits(query_s_max=settings.analytics_query_s)
        reader, digest = EmbeddedReader(parts.connection.files, limits), token_digest(reader_token(settings.home))
        endpoint = ClickHouseEndpoint(reader, settings.analytics_port, lambda: digest)
        await endpoint.start()
        try:
            yield parts
        finally:
            await endpoint.stop()


async def kept(settings: Settings, parts: WriterParts, records: list[TurnRecord]) -> None:
    """Have the writer write them, and wait until they are there."""
    await publish(settings, records)

    async def all_there() -> bool:
        users = {record.user for record in records}
        return sum([len(await stored(parts.connection, user)) for user in users]) >= len(records)

    await until(all_there, "the writer writes what was published")


@asynccontextmanager
async def line(broker: EmbeddedBroker, home: Path) -> AsyncIterator[tuple[Settings, WriterParts]]:
    """A gateway's settings, and an engine with the records that they lead to."""
    settings = await gateway_settings(
        broker, home, analytics_port=find_free_port(), analytics_query_s=5.0, session_timeout_s=1.5, metrics_port=0
    )
    async with served(settings) as parts:
        await kept(settings, parts, RECORDS)
        yield settings, parts


async def test_what_the_engine_keeps_of_a_session(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Ended turns, whole, oldest first, each with the attempt that ended it; nothing of others."""
    async with line(broker, tmp_path) as (settings, _):
        archive = AnswerArchive(settings, query_s_max=5.0, text_bytes_max=ARCHIVE_TEXT_BYTES_MAX)
        little = AnswerArchive(settings, query_s_max=5.0, text_bytes_max=30)
        try:
            found = await archive.turns(ANNA, "old")
            strange = [
                await archive.turns(user, session)
                for user, session in (("nobody", "old"), (ANNA, "x' OR '1'='1"), (f"{ANNA}' --", "old"))
            ]
            newest = await little.turns(ANNA, "old")
        finally:
            await archive.close()
            await little.close()

    assert [(turn.turn, turn.text, turn.next_seq, turn.reason) for turn in found] == [
        ("t1", "one " * 5 + "two " * 5, 10, "complete"),
        ("t2", "It is a river, é\n'\\\t", 4, "complete"),
        ("t3", "half", 1, "error"),
    ]
    assert [(turn.attempt, turn.provider, turn.cost_nano_usd, turn.error_code) for turn in found] == [
        (1, "provider-1", 1_000, ""),
        (3, "provider-3", 3_000, ""),
        (1, "provider-1", 1_000, "overloaded"),
    ]
    assert (found[0].usage.output_tokens, found[0].usage.estimated) == (5, True)
    assert strange == [(), (), ()]
    assert {turn.turn for turn in newest} < {turn.turn for turn in found}


async def test_no_engine(tmp_path: Path, broker: EmbeddedBroker) -> None:
    """Nothing listens, or at a port that is not known: an error that says so, at once."""
    for port in (0, find_free_port()):
        settings = await gateway_settings(broker, tmp_path, analytics_port=port)
        with pytest.raises(ClickHouseUnavailable):
            await AnswerArchive(settings, query_s_max=1.0, text_bytes_max=1_000).turns(ANNA, "old")


async def test_G7_session_whose_log_was_cut(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """A client with an old cursor hears of the gap and sees all answers; so does one that asks for the session from
    its start, and then it goes on live; where the engine has gone, the log alone is told."""
    async with line(broker, tmp_path) as (settings, _), SessionWriter(settings) as writer:
        key = session_key_of(check_user_id(ANNA), check_session_id("old"))
        async with running_gateway(settings) as port, WireClient.connected(port, ANNA) as client:
            await client.send(Attach(session="old"))
            await client.next("attached")
            await writer.append(ANNA, "old", answer_events("t1", ["one "] * 5 + ["two "] * 5))
            await told_answer(client, "t1")
            cursor = next(message.c for message in client.told if isinstance(message, Delta))
        last = await writer.append(ANNA, "old", answer_events("t5", ["still ", "there"], prompt_id="p5"))
        await cut_log(settings, session_place(key, "dedicated").topic, last - 4)
        whole = [
            ("t1", "one " * 5 + "two " * 5),
            ("t2", "It is a river, é\n'\\\t"),
            ("t3", "half"),
            ("t5", "still there"),
        ]
        async with running_gateway(settings) as port:
            async with WireClient.connected(port, ANNA, resume={"old": cursor}) as client:
                attached = await client.next("attached")
                assert (attached.recovered, attached.source) == ("gap", "archive")
                assert (await client.next("gap")).reason == "expired"
                assert await pictured(client) == whole
            async with WireClient.connected(port, ANNA) as client:
                await client.send(Attach(session="old", from_="start"))
                attached = await client.next("attached")
                assert (attached.recovered, attached.source) == ("snapshot", "archive")
                assert await pictured(client) == whole
                await writer.append(ANNA, "old", answer_events("t6", ["live"], prompt_id="p6"))
                assert await told_answer(client, "t6") == "live"
    async with running_gateway(settings) as port, WireClient.connected(port, ANNA, resume={"old": cursor}) as client:
        attached = await client.next("attached")
        assert (attached.recovered, attached.source) == ("gap", "log")
        await client.next("gap")
        assert await pictured(client) == [("t5", "still there"), ("t6", "live")]


async def pictured(client: WireClient) -> list[tuple[str, str]]:
    """Turns and texts of a whole snapshot."""
    told: dict[str, str] = {}
    while True:
        message = await client.next("snapshot")
        for turn in message.turns:
            told[turn.turn] = told.get(turn.turn, "") + turn.text
        if message.c:
            return list(told.items())
