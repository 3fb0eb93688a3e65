"""Where the time to first text goes, from the hop times that the worker wrote and analytics kept.

The worker's times and the client's are clocks of one machine. The broker's stamp (`accepted_at`) has a resolution of
a millisecond, so the first hop is taken as a whole: from the client through gateway and Kafka to the worker.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from typing import Final

import aiohttp
import msgspec

from infra.clickhouse.reader_token import reader_headers
from tokenwire.benchmark.observed_answer import ObservedAnswer
from tokenwire.benchmark.quantiles import Spread, spread_of

__all__ = ["HOPS", "HopRow", "hops_of", "read_hop_rows"]

SENT_DEQUEUED: Final = "sent → dequeued"
DEQUEUED_REQUESTED: Final = "dequeued → requested"
REQUESTED_CHUNK: Final = "requested → first chunk"
CHUNK_CLIENT: Final = "first chunk → client"
CHUNK_ACKNOWLEDGED: Final = "(first chunk → acknowledged)"
HOPS: Final = (SENT_DEQUEUED, DEQUEUED_REQUESTED, REQUESTED_CHUNK, CHUNK_CLIENT, CHUNK_ACKNOWLEDGED)
"""The first four add up to the time to first text; the last runs beside the fourth."""

ROWS_S_MAX: Final = 45.0
POLL_S: Final = 0.5
REQUEST_S_MAX: Final = 20.0
COLUMNS: Final = ("dequeued_at", "requested_at", "first_chunk_at", "published_at")
QUERY: Final = (
    "SELECT turn, "
    + ", ".join(f"ifNull(toUnixTimestamp64Micro({column}), 0)" for column in COLUMNS)
    + " FROM tokenwire.turns WHERE reason = 'complete' FORMAT JSONCompactEachRow"
    + " SETTINGS output_format_json_quote_64bit_integers = 0"
)


class HopRow(msgspec.Struct, frozen=True, array_like=True):
    """One answer's times at the worker, microseconds since 1970; 0 = unknown."""

    turn: str
    dequeued_at_us: int
    requested_at_us: int
    first_chunk_at_us: int
    published_at_us: int


async def read_hop_rows(url: str, token: str, turns: Set[str]) -> dict[str, HopRow]:
    """The rows by turn, once all of `turns` are there or ROWS_S_MAX have passed. `token`: the readers'.

    Raises aiohttp.ClientError.
    """
    rows: dict[str, HopRow] = {}
    timeout = aiohttp.ClientTimeout(total=REQUEST_S_MAX)
    async with aiohttp.ClientSession(timeout=timeout, headers=reader_headers(token)) as session:
        give_up_s = asyncio.get_running_loop().time() + ROWS_S_MAX
        while not turns <= rows.keys() and asyncio.get_running_loop().time() < give_up_s:
            await asyncio.sleep(POLL_S)
            async with session.post(url, data=QUERY.encode()) as answer:
                answer.raise_for_status()
                lines = (await answer.read()).splitlines()
            rows = {row.turn: row for row in map(msgspec.json.Decoder(HopRow).decode, lines)}
    return rows


def hops_of(answers: Sequence[ObservedAnswer], rows: Mapping[str, HopRow]) -> dict[str, Spread]:
    """Middle and tail of each hop over the answers whose row is known."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for answer in answers:
        row = rows.get(answer.turn)
        if row is None or answer.fault or not row.first_chunk_at_us:
            continue
        times_us = {
            SENT_DEQUEUED: row.dequeued_at_us - answer.sent_at_us,
            DEQUEUED_REQUESTED: row.requested_at_us - row.dequeued_at_us,
            REQUESTED_CHUNK: row.first_chunk_at_us - row.requested_at_us,
            CHUNK_CLIENT: answer.first_at_us - row.first_chunk_at_us,
            CHUNK_ACKNOWLEDGED: row.published_at_us - row.first_chunk_at_us,
        }
        for name, time_us in times_us.items():
            found[name].append(time_us / 1_000)
    spreads = {name: spread_of(found[name]) for name in HOPS}
    return {name: spread for name, spread in spreads.items() if spread is not None}
