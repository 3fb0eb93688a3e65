"""Who may ask the read-only endpoint: whoever shows the token, in any of the ways of ClickHouse's clients (row S14)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from structlog.testing import capture_logs

from infra.clickhouse.answer_archive import AnswerArchive
from infra.clickhouse.decisions.reader_access import token_digest
from infra.clickhouse.errors import ClickHouseRefused, ClickHouseUnavailable
from infra.clickhouse.queries import run_query
from infra.clickhouse.reader_token import TOKEN_PLACE, reader_headers, reader_token
from infra.keys import SecretDamaged
from infra.settings import load_settings
from tests.integration.served_endpoint import QUERY_S, Served

__all__: list[str] = []

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_S14_nobody_reads_without_the_token(served: Served) -> None:
    """Whoever can connect and knows no token reads no row, by GET and by POST; `/ping` says that it is there."""
    async with aiohttp.ClientSession() as session:
        async with session.get(served.url, params={"query": "SELECT count() FROM turns"}) as response:
            by_get = response.status, response.headers.get("X-ClickHouse-Exception-Code"), await response.text()
        async with session.post(served.url, data=b"SELECT count() FROM turns") as response:
            by_post = response.status, response.headers.get("X-ClickHouse-Exception-Code"), await response.text()
        async with session.get(f"{served.url}ping") as response:
            ping = response.status, await response.text()

    assert by_get == by_post
    assert by_get[:2] == (403, "516")
    assert "keys/analytics" in by_get[2]
    assert by_get[2].endswith("(AUTHENTICATION_FAILED)\n")
    assert ping == (200, "Ok.\n")


async def test_token_is_taken_in_every_way_of_clickhouses_clients(served: Served) -> None:
    """Headers, HTTP Basic, parameters; without a name the user is `default`."""
    token, sql = served.token, "SELECT count() FROM turns"
    ways: list[dict[str, dict[str, str]]] = [
        {"headers": {"X-ClickHouse-User": "default", "X-ClickHouse-Key": token}},
        {"headers": {"X-ClickHouse-Key": token}},
        {"headers": {"Authorization": aiohttp.encode_basic_auth("default", token)}},
        {"headers": {"Authorization": aiohttp.encode_basic_auth("", token).replace("Basic", "basic")}},
        {"params": {"user": "default", "password": token}},
        {"params": {"password": token}},
    ]
    async with aiohttp.ClientSession() as session:
        for way in ways:
            headers, params = way.get("headers"), way.get("params")
            async with session.post(served.url, data=sql.encode(), headers=headers, params=params) as response:
                assert (response.status, await response.text()) == (200, "20\n"), way


async def test_S14_wrong_tokens_learn_nothing_and_leave_nothing(served: Served) -> None:
    """Refused alike in every way, before the body is read; neither answer nor log holds what was tried."""
    wrong = f"{served.token[:-1]}!"
    basic = aiohttp.encode_basic_auth("default", wrong)
    tries: list[dict[str, dict[str, str]]] = [
        {"headers": {"X-ClickHouse-User": "default", "X-ClickHouse-Key": wrong}},
        {"headers": {"X-ClickHouse-User": "ann", "X-ClickHouse-Key": served.token}},
        {"headers": {"X-ClickHouse-User": served.token}},
        {"headers": {"X-ClickHouse-Key": served.token[:-1]}},
        {"headers": {"Authorization": basic}},
        {"headers": {"Authorization": f"Bearer {served.token}"}},
        {"headers": {"Authorization": "Basic %%%"}},
        {"headers": reader_headers(served.token) | {"Authorization": basic}},
        {"headers": reader_headers(served.token), "params": {"user": "default"}},
        {"params": {"user": "default", "password": wrong}},
        {"params": {"password": "\xff"}},
    ]
    served.endpoint.strangers.quiet_until_s = 0.0
    with capture_logs() as logs:
        async with aiohttp.ClientSession() as session:
            for each in tries:
                headers, params = each.get("headers"), each.get("params")
                async with session.post(served.url, data=never_ending(), headers=headers, params=params) as response:
                    told = await response.text()
                assert (response.status, response.headers["X-ClickHouse-Exception-Code"]) == (403, "516"), each
                assert served.token[:-1] not in told + str(response.headers)

    assert [entry["event"] for entry in logs] == ["readers_not_let_in"]
    assert served.token[:-1] not in str(logs)
    assert (await served.ask("SELECT count() FROM turns"))[2] == "20\n"


async def never_ending() -> AsyncIterator[bytes]:
    yield b"SELECT 1"
    await asyncio.Event().wait()


async def test_query_at_another_folders_line_is_told_where_the_token_is(served: Served, tmp_path: Path) -> None:
    """A port that belongs to another folder's line, and a file that holds no token."""
    stranger = load_settings({}, home=tmp_path, analytics_port=served.endpoint.port)
    with pytest.raises(ClickHouseRefused, match="keys/analytics in its TOKENWIRE_HOME") as refused:
        await run_query(stranger, "SELECT 1")
    (tmp_path / TOKEN_PLACE).write_text("two words and an é beyond thirty-two bytes")
    with pytest.raises(SecretDamaged, match="keys/analytics"):
        await run_query(stranger, "SELECT 1")

    assert refused.value.code == 516


async def test_archive_reader_goes_on_with_a_new_token(served: Served) -> None:
    """The endpoint came back with another token: one question fails, the next one has read it again."""
    archive = AnswerArchive(served.settings, query_s_max=QUERY_S, text_bytes_max=9_999)
    file = served.folder / TOKEN_PLACE
    try:
        before = await archive.turns("ann", "s0")
        file.write_text("another-token-of-forty-characters-in-all")
        served.endpoint.digest = lambda: token_digest(reader_token(served.folder))
        with pytest.raises(ClickHouseUnavailable):
            await archive.turns("ann", "s0")
        after = await archive.turns("ann", "s0")
    finally:
        await archive.close()
        file.write_text(served.token)
        served.endpoint.digest = lambda: token_digest(served.token)

    assert before == after
    assert len(after) == 4
