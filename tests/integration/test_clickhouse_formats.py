"""The read-only endpoint over the real engine: ways of asking, formats, blocks and encodings."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from infra.clickhouse.reader_token import reader_headers
from tests.fakes.unpacking_client import DECODERS, unpacked
from tests.integration.many_types import COLUMNS, many_types
from tests.integration.served_endpoint import Served

__all__: list[str] = []

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_curl_ways_of_asking(served: Served) -> None:
    """Body, form, gzip, ping; strangers' pages and hosts are kept out."""
    async with served.session() as session:
        async with session.post(served.url, data="SELECT 7") as response:
            assert await response.text() == "7\n"
        as_a_form = {"Content-Type": "application/x-www-form-urlencoded"}  # what curl says of --data-binary
        async with session.post(served.url, data=b"SELECT 'a=b&c+d%41'", headers=as_a_form) as response:
            assert await response.text() == "a=b&c+d%41\n"
        form = {"query": "SELECT {n:Int32} + 1", "param_n": "41"}
        async with session.post(served.url, data=form) as response:
            assert await response.text() == "42\n"
        many = {"query": "SELECT number FROM numbers(5000)", "enable_http_compression": "1"}
        async with session.get(served.url, params=many, headers={"Accept-Encoding": "gzip"}) as response:
            assert response.headers["Content-Encoding"] == "gzip"
            assert (await response.text()).endswith("4999\n")
        async with session.get(f"{served.url}ping") as response:
            assert await response.text() == "Ok.\n"
        for headers, status in (({"Host": "evil.example"}, 421), ({"Sec-Fetch-Site": "cross-site"}, 403)):
            async with session.get(served.url, params={"query": "SELECT 1"}, headers=headers) as response:
                assert response.status == status
        async with session.post(served.url, params={"decompress": "1"}, data="SELECT 1") as response:
            assert response.headers["X-ClickHouse-Exception-Code"] == "48"
            assert "send the query as text" in await response.text()
        async with session.get(served.url, params={"query": "SELECT 1", "decompress": "1"}) as response:
            assert await response.text() == "1\n"


PER_COLUMN, PER_BLOCK = 1, 8


@pytest.mark.parametrize("version", [54_405, 54_483])
async def test_native_has_what_the_clients_version_expects(served: Served, version: int) -> None:
    """A head for each block, and from 54454 on a byte for each column, whatever lies between; other formats stay."""
    sizes = dict[str, int]()
    for block_size, blocks in (("2000", 1), ("500", 3)):
        parameters = {
            "query": many_types(1_200),
            "default_format": "Native",
            "max_threads": "1",
            "max_block_size": block_size,
        }
        async with served.session() as session:
            for name, more in (("plain", {}), ("versioned", {"client_protocol_version": str(version)})):
                async with session.get(served.url, params=parameters | more) as response:
                    assert response.status == 200, await response.text()
                    sizes[name] = len(await response.read())
        flags = len(COLUMNS) * PER_COLUMN if version >= 54_454 else 0
        assert sizes["versioned"] - sizes["plain"] == blocks * (PER_BLOCK + flags)
    text = await served.ask("SELECT 1", client_protocol_version=str(version))
    wrong = await served.ask("SELECT 1", client_protocol_version="x")

    assert text[2] == "1\n"
    assert wrong[:2] == (400, "36")


async def test_native_of_types_whose_length_only_the_engine_knows(served: Served) -> None:
    """They are answered as the last column, and before others refused with what to do; older versions read both."""
    last, first = "SELECT 1, CAST(2, 'Dynamic') AS d FORMAT Native", "SELECT CAST(2, 'Dynamic') AS d, 1 FORMAT native"

    async with served.session() as session:
        for query, version, status in ((last, "54483", 200), (first, "54405", 200), (first, "54483", 400)):
            parameters = {"query": query, "client_protocol_version": version}
            async with session.get(served.url, params=parameters) as response:
                said = await response.read()
                assert response.status == status, said
    assert said.startswith(b"Code: 48. ")
    assert b"toString()" in said


async def test_clickhouse_connect_reads_every_type(served: Served) -> None:
    """It asks for its own version of Native and for zstd, and each column is where it belongs."""

    def work() -> None:
        client = served.client()
        try:
            for encoding in ("zstd", "lz4", "gzip", None):
                client.compression = encoding
                found = client.query(many_types(1_000))
                assert len(found.result_rows) == 1_000
                assert found.result_rows[999][0:2] == (999, "999")
                assert found.result_rows[999][-1] == "end"
        finally:
            client.close()

    await asyncio.to_thread(work)


async def test_answers_in_compressed_blocks_and_encodings(served: Served) -> None:
    """`compress=1` gives ClickHouse's blocks, Accept-Encoding an encoding of HTTP, both give both; errors stay text."""
    asked = {"query": "SELECT number, 'a text' FROM numbers(20000)"}
    encodings = {"enable_http_compression": "1"}
    async with aiohttp.ClientSession(headers=reader_headers(served.token), auto_decompress=False) as session:

        async def body(accepted: str, **parameters: str) -> tuple[str | None, bytes]:
            headers = {"Accept-Encoding": accepted}
            async with session.get(served.url, params=asked | parameters, headers=headers) as response:
                return response.headers.get("Content-Encoding"), await response.read()

        plain = await body("zstd")
        assert plain[0] is None
        packed = await body("", compress="1")
        assert (packed[0], unpacked(packed[1])) == (None, plain[1])
        assert len(packed[1]) < len(plain[1]) / 2
        for accepted, encoding in (("gzip, lz4,zstd", "zstd"), ("br;q=0, lz4", "lz4"), ("gzip", "gzip"), ("br", "br")):
            sent = await body(accepted, **encodings)
            assert (sent[0], DECODERS[encoding](sent[1])) == (encoding, plain[1])
        both = await body("zstd", compress="1", **encodings)
        assert unpacked(DECODERS["zstd"](both[1])) == plain[1]
        asked["query"] = "SELECT 'open"
        assert (await body("zstd", compress="1", **encodings))[1].endswith(b" (SYNTAX_ERROR)\n")
