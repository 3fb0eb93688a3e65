"""Answers that heed who reads them (`on_leave: cancel`, `pace: reader`), through a real gateway and a real worker."""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from infra.simulated_provider.call_log import Call
from processors.sessions.decisions.presence import GONE_AFTER_S
from processors.sessions.decisions.reader_pace import ABSENT_S
from schemas.client_messages import Attach, Hello, Prompt
from schemas.gateway_messages import Delta
from schemas.prompts import WATCHED_EVERY_S, Pace
from schemas.turn_fold import FoldedTurn
from tests.faults.line_gateway import LineGateway, call_of, gateway_process, receipt_of, until_still
from tests.faults.slow_socket import SlowSocket
from tests.integration.gateway_line import WireClient, token_for
from tests.integration.worker_line import WorkerLine, answer_text

USER = "alice"
GRACE_S = 2.5
NOTICED_S = 4.0
"""Beyond the grace time: the gateway's word, two looks at whether the worker can hear, the ending."""
STAYED_TOKENS = 400
PACE_MS = 25
LEFT_TOKENS = 4_000
CONTEXT_TOKENS = 2_000_000
READ_BYTES_PER_S = 1_024
WAIT_S = 30.0
BOTH_PACES: Final[tuple[Pace, ...]] = ("provider", "reader")


def asked(session: str, words: str, tokens: int, pace_ms: int, **options: Any) -> Prompt:
    """A prompt of a client, numbered p1 in its session."""
    words = f"[[sim first_ms=0 pace_ms={pace_ms} jitter=0 tokens={tokens}]] {words}"
    return Prompt(session=session, prompt_id="p1", input=words, max_tokens=tokens, **options)


def device(gateway: LineGateway) -> AbstractAsyncContextManager[WireClient]:
    """A client that takes in what it is told also while the test waits for something else; so it can leave at once."""
    return WireClient.connected(gateway.port, USER, max_queue=None)


async def until_aborted(call: Call, limit_s: float = 1.0) -> None:
    async with asyncio.timeout(limit_s):
        while call.state == "running":  # noqa: ASYNC110  # seen from the provider's side
            await asyncio.sleep(0.02)
    assert call.state == "aborted"


def assert_left(turn: FoldedTurn, words: str, tokens: int) -> None:
    """It was stopped for that reason, and what was said is kept."""
    assert turn.ended is not None
    assert turn.ended.error is not None
    assert (turn.ended.reason, turn.ended.error.code) == ("cancelled", "left")
    assert 0 < turn.next_seq < tokens
    assert answer_text(words, tokens=tokens).startswith(turn.text)
    assert turn.ended.usage.output_tokens > 0


async def test_answer_that_everybody_left_is_stopped_after_the_grace_time(line: WorkerLine) -> None:
    """The call is aborted, what was said is kept and billed, and the ending says why."""
    line.start_worker(leave_grace_s=GRACE_S)
    async with gateway_process(line) as gateway:
        async with device(gateway) as client:
            await client.send(asked("left", "Who stays?", LEFT_TOKENS, PACE_MS, on_leave="cancel"))
            await client.until("delta")
        left_s = time.monotonic()
        turn = await line.ended(receipt_of(USER, "left", "p1"))
        took_s = time.monotonic() - left_s
        await until_aborted(call_of(line, "Who stays?"))

    print(f"left for {took_s:.2f} s, of which {GRACE_S} s grace")  # noqa: T201  # what it measures
    assert_left(turn, "Who stays?", LEFT_TOKENS)
    assert GRACE_S <= took_s <= GRACE_S + NOTICED_S


async def test_answer_goes_on_for_a_device_that_stays_or_comes_back(line: WorkerLine) -> None:
    """One that stays keeps it going, and so does one that is back within the grace time."""
    line.start_worker(leave_grace_s=GRACE_S)
    stayed, returned = (receipt_of(USER, session, "p1") for session in ("stayed", "returned"))
    async with gateway_process(line) as gateway, device(gateway) as second:
        await second.send(Attach(session="stayed", from_="tail"))
        async with device(gateway) as first:
            for session in ("stayed", "returned"):
                await first.send(asked(session, f"Who {session}?", STAYED_TOKENS, PACE_MS, on_leave="cancel"))
            for receipt in (stayed, returned):
                await line.until_tokens(receipt)
        left_s = time.monotonic()
        await asyncio.sleep(GRACE_S * 0.6)  # away, but not for long
        async with device(gateway) as back:
            await back.send(Attach(session="returned", from_="start"))
            await back.until("delta")
            away_s = time.monotonic() - left_s
            turns = [await line.ended(receipt) for receipt in (stayed, returned)]
            went_on_s = time.monotonic() - left_s
            end = await back.until("end")

    assert away_s < GRACE_S
    assert went_on_s > GRACE_S + NOTICED_S, "too short an answer to show anything"
    assert [turn.ended.reason for turn in turns if turn.ended] == ["complete", "complete"]
    assert [turn.attempts_known for turn in turns] == [1, 1]
    assert end.reason == "complete"
    assert len(line.provider.call_log.calls) == 2


async def test_killed_gateway_takes_its_devices_along(line: WorkerLine) -> None:
    """Its silence is noticed, and the grace time runs from there on."""
    line.start_worker(leave_grace_s=GRACE_S)
    async with gateway_process(line) as gateway, device(gateway) as client:
        await client.send(asked("killed", "Who is gone?", LEFT_TOKENS, PACE_MS, on_leave="cancel"))
        await client.until("delta")
        gateway.kill()
        killed_s = time.monotonic()
        turn = await line.ended(receipt_of(USER, "killed", "p1"))
        took_s = time.monotonic() - killed_s
        await until_aborted(call_of(line, "Who is gone?"))

    print(f"gone for {took_s:.2f} s, of which {GRACE_S} s grace")  # noqa: T201  # what it measures
    assert_left(turn, "Who is gone?", LEFT_TOKENS)
    assert GRACE_S <= took_s <= GONE_AFTER_S + GRACE_S + NOTICED_S


async def read_whole(gateway: LineGateway, session: str, tokens: int, pace_ms: int, pace: Pace) -> float:
    """Ask, read everything as it comes, and check it; the seconds from the start of the answer to its end."""
    async with device(gateway) as client:
        await client.send(asked(session, f"Fast {session}", tokens, pace_ms, pace=pace))
        await client.until("start")
        begun_s = time.monotonic()
        end = await client.until("end")
        length_s = time.monotonic() - begun_s
    said = "".join(message.text for message in client.told if isinstance(message, Delta))
    assert (end.reason, said) == ("complete", answer_text(f"Fast {session}", tokens=tokens))
    return length_s


async def test_fast_reader_is_never_held_up_by_its_own_pace(line: WorkerLine) -> None:
    """1,000 tokens a second, with and without `pace: reader`: both end together. At full speed there is a limit."""
    tokens, many = 6_000, 100_000
    line.start_worker(context_tokens=CONTEXT_TOKENS)
    async with gateway_process(line) as gateway:
        by_provider_s, by_reader_s = await asyncio.gather(
            read_whole(gateway, "by-provider", tokens, 1, "provider"),
            read_whole(gateway, "by-reader", tokens, 1, "reader"),
        )
        full_speed_s = [await read_whole(gateway, f"full-{pace}", many, 0, pace) for pace in BOTH_PACES]

    told = (
        f"{tokens} tokens in {by_provider_s:.2f} s, at the reader's pace {by_reader_s:.2f} s; at full speed {many} in "
    )
    told += " and ".join(f"{length_s:.2f} s" for length_s in full_speed_s)
    print(told)  # noqa: T201  # what it measures
    assert abs(by_reader_s - by_provider_s) < 1.0, told


async def test_slow_reader_pauses_the_provider_until_somebody_reads_faster_or_leaves(line: WorkerLine) -> None:
    """No watchdog fires meanwhile; a second device sets its own pace, and nobody at all ends the pause."""
    tokens, between_s, turn_s = 200_000, 1.0, 60.0
    line.start_worker(context_tokens=CONTEXT_TOKENS, between_tokens_s=between_s, turn_s=turn_s)
    async with gateway_process(line) as gateway, SlowSocket.connected(gateway.port) as slow:
        await slow.send(Hello(token=token_for(USER)))
        for session in ("joined", "deserted"):
            await slow.send(asked(session, f"Slowly {session}", tokens, 0, pace="reader"))
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(slow.read_slowly(READ_BYTES_PER_S))
            calls = [await until_still(line, f"Slowly {session}", 3 * between_s) for session in ("joined", "deserted")]
            paused_at = [call.tokens_sent for call in calls]
            async with device(gateway) as fast:
                await fast.send(Attach(session="joined", from_="start"))
                async with asyncio.timeout(WAIT_S):
                    end = await fast.until("end")
                said = "".join(message.text for message in fast.told if isinstance(message, Delta))
            still_paused = calls[1].tokens_sent
            reading.cancel()
        slow.raw.close()
        left_s = time.monotonic()
        deserted = await line.ended(receipt_of(USER, "deserted", "p1"), ABSENT_S + WAIT_S)
        took_s = time.monotonic() - left_s

    print(f"paused at {paused_at} tokens sent, {took_s:.2f} s after leaving ended")  # noqa: T201  # what it measures
    assert (end.reason, said) == ("complete", answer_text("Slowly joined", tokens=tokens))
    assert max(paused_at) < tokens
    assert still_paused < tokens
    assert deserted.ended is not None
    assert (deserted.ended.reason, deserted.attempts_known) == ("complete", 1)
    assert took_s >= ABSENT_S - WATCHED_EVERY_S - 1.0
