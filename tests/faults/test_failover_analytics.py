"""Three targets, of which the first always says 429 and the second falls silent after 10 tokens: row R29.

A whole line with the real analytics writer: every prompt is answered whole, every attempt and its cause is a row in
ClickHouse, and what the failures added to the wait is what the policy allows. `make faults`: 200 prompts.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

import clickhouse_connect

from infra.simulated_provider.behaviour import Behaviour, parse_fault
from infra.simulated_provider.server import SimulatedProvider
from producers.sdk import Producer
from tests.faults.full_size import sized
from tests.integration.ledger import Asked, check_ledger
from tests.integration.whole_line import WholeLine, running_line
from tests.integration.worker_line import answer_text

PROMPTS_ASKED: Final = sized(60, 200)
EVERY_S: Final = 0.1
"""Spread over more than a breaker's first pauses, so that probes are among them."""
BETWEEN_TOKENS_S: Final = 1.0
STALL_TOKENS: Final = 10
TOKENS: Final = 40
PACE_MS: Final = 2.0
FIRST_MS: Final = 10.0
UNEXPLAINED_S: Final = 1.0
"""What may stay unexplained of the p99, beside what the first attempts of the same run took to start (a journal entry,
an append, a request): cores may be busy."""
CONFIG: Final = """
default_model = "chat"
[models.chat]
targets = ["first:simulated", "second:simulated", "third:simulated"]
between_tokens_s = {between_tokens_s}
[providers.first]
base_url = "{urls[0]}"
[providers.second]
base_url = "{urls[1]}"
[providers.third]
base_url = "{urls[2]}"
"""
QUERY: Final = """
SELECT turn, attempt, provider, cause, error_code, reason,
       toFloat64(accepted_at), toFloat64(requested_at), toFloat64(ended_at), chunks, cost_nano_usd
FROM tokenwire.turns WHERE user IN %(users)s ORDER BY turn, attempt
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One attempt as ClickHouse has it. Moments in seconds since 1970."""

    turn: str
    attempt: int
    provider: str
    cause: str
    error_code: str
    reason: str
    accepted_s: float
    requested_s: float
    ended_s: float
    chunks: int
    cost_nano_usd: int

    @property
    def allowed_s(self) -> float:
        """How long the policy lets a failed attempt take: nothing for a refusal, the deadline for a silence."""
        if self.error_code != "provider_timed_out":
            return 0.0
        return BETWEEN_TOKENS_S + (FIRST_MS + PACE_MS * STALL_TOKENS) / 1_000


def rows_of(line: WholeLine, users: Sequence[str]) -> dict[str, list[Row]]:
    """Every attempt of these users' turns, in order."""
    client = clickhouse_connect.get_client(**line.analytics_access)
    try:
        rows = [Row(*row) for row in client.query(QUERY, parameters={"users": sorted(set(users))}).result_rows]
    finally:
        client.close()
    found: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row.turn].append(row)
    return found


def added_s(rows: Sequence[Row]) -> float:
    """From the first request to the last: what the failures before it added to the user's wait."""
    return rows[-1].requested_s - rows[0].requested_s


def allowed_s(rows: Sequence[Row]) -> float:
    """What the policy allows for it: the deadlines that ran out; the next target is called at once."""
    return sum(row.allowed_s for row in rows[:-1])


def p99(values: Sequence[float]) -> float:
    return sorted(values)[math.ceil(0.99 * len(values)) - 1]


def table(turns: Sequence[Sequence[Row]]) -> Iterator[str]:
    """What the policy allows beside what was measured, by the way that a prompt went."""
    ways: defaultdict[str, list[Sequence[Row]]] = defaultdict(list)
    for rows in turns:
        ways[" → ".join(f"{row.provider} ({row.error_code or 'whole'})" for row in rows)].append(rows)
    yield f"{'way':88} {'turns':>5} {'allowed':>8} {'p50':>7} {'p99':>7} {'unexplained p99':>16}"
    for way, each in sorted(ways.items(), key=lambda pair: -len(pair[1])):
        measured = sorted(added_s(rows) for rows in each)
        rest = p99([added_s(rows) - allowed_s(rows) for rows in each])
        yield (
            f"{way:88} {len(each):5} {allowed_s(each[0]):6.2f} s {measured[len(measured) // 2]:5.2f} s "
            f"{p99(measured):5.2f} s {rest:14.3f} s"
        )


@asynccontextmanager
async def three_targets(folder: Path) -> AsyncIterator[tuple[WholeLine, list[SimulatedProvider]]]:
    """A whole line whose model has three targets, each a simulated provider with its fault."""
    async with AsyncExitStack() as stack:
        providers = []
        for fault in ("429:1", f"stall_after:{STALL_TOKENS}", "none"):
            behaviour = Behaviour(
                first_ms=FIRST_MS, pace_ms=PACE_MS, jitter=0.0, tokens=TOKENS, fault=parse_fault(fault)
            )
            providers.append(await stack.enter_async_context(SimulatedProvider(behaviour=behaviour)))
        config = folder / "tokenwire.toml"
        urls = [provider.base_url for provider in providers]
        config.write_text(CONFIG.format(urls=urls, between_tokens_s=BETWEEN_TOKENS_S))
        line = running_line(folder, "--gateways", "1", config=config)
        yield await asyncio.to_thread(stack.enter_context, line), providers


async def ask_all(line: WholeLine) -> list[Asked]:
    """The prompts, one after the other at an even pace, each in a session of its own."""
    run, asked = uuid4().hex[:8], []
    producer = Producer(line.producer_settings())
    await producer.start()
    try:
        for number in range(PROMPTS_ASKED):
            words, user, session = f"Question {number} of {run}?", f"{run}-{number % 17}", f"s{number}"
            await producer.submit(words, user=user, session=session, prompt_id="p1", model="chat")
            asked.append(Asked(user=user, session=session, prompt_id="p1", text=answer_text(words, tokens=TOKENS)))
            await asyncio.sleep(EVERY_S)  # the pace of the arrivals, which is part of the scene
    finally:
        await producer.stop()
    return asked


async def test_r29_every_attempt_in_clickhouse_and_every_wait_explained(tmp_path: Path) -> None:
    """All prompts are answered whole by the third target; rows, causes and costs fit; p99 is the policy's."""
    async with three_targets(tmp_path) as (line, providers):
        asked = await ask_all(line)
        ledger = await check_ledger(line, asked)
        turns = list((await asyncio.to_thread(rows_of, line, [each.user for each in asked])).values())
        calls = [len(provider.calls) for provider in providers]

    print("\nR29:", *table(turns), f"calls: {calls}", sep="\n")  # noqa: T201 - `make faults` shows it
    assert len(turns) == PROMPTS_ASKED == len(ledger.turns)
    assert_attempts(turns, calls)
    started_s = p99([rows[0].requested_s - rows[0].accepted_s for rows in turns])
    unexplained = [added_s(rows) - allowed_s(rows) - started_s * (len(rows) - 1) for rows in turns]
    assert p99(unexplained) < UNEXPLAINED_S, f"a first attempt starts within {started_s:.2f} s"
    failed_max = max(len(rows) - 1 for rows in turns)
    allowed_p99_s = p99([allowed_s(rows) for rows in turns]) + failed_max * started_s
    assert p99([added_s(rows) for rows in turns]) < allowed_p99_s + UNEXPLAINED_S


def assert_attempts(turns: Sequence[Sequence[Row]], calls: Sequence[int]) -> None:
    """One row for each paid call; each turn's attempts in order, each with the cause that the one before it gave."""
    assert {(rows[-1].reason, rows[-1].provider) for rows in turns} == {("complete", "third")}
    attempts = [row for rows in turns for row in rows]
    assert [sum(row.provider == name for row in attempts) for name in ("first", "second", "third")] == list(calls)
    assert calls[2] == PROMPTS_ASKED
    assert calls[0] < PROMPTS_ASKED / 2, "the first target's breaker never opened"
    for rows in turns:
        assert [row.attempt for row in rows] == list(range(1, len(rows) + 1))
        causes = ["first", *("failover" if row.provider == "first" else "watchdog" for row in rows[:-1])]
        assert [row.cause for row in rows] == causes
    assert {row.error_code for row in attempts if row.provider == "first"} == {"provider_overloaded"}
    stalled = [row for row in attempts if row.provider == "second"]
    assert stalled
    assert {(row.error_code, row.chunks) for row in stalled} == {("provider_timed_out", STALL_TOKENS)}
    assert all(row.cost_nano_usd > 0 for row in stalled), "what a stalled target wrote is paid for"
