"""Answers that heed who reads them (`on_leave: cancel`, `pace: reader`), through a real gateway and a real worker."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from infra.simulated_provider.call_log import Call
from processors.decisions.presence import GONE_AFTER_S
from processors.decisions.reader_pace import ABSENT_S
from schemas.client_messages import Attach, Delta, Hello, Prompt
from schemas.turn_fold import FoldedTurn
from tests.faults.line_gateway import call_of, gateway_process, receipt_of, until_still
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


def asked(session: str, words: str, tokens: int, pace_ms: int, **options: Any) -> Prompt:
    """A prompt of a client, numbered p1 in its session."""
    words = f"[[sim first_ms=0 pace_ms={pace_ms} jitter=0 tokens={tokens}]] {words}"
    return Prompt(session=session, prompt_id="p1", input=words, max_tokens=tokens, **options)


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
        async with WireClient.connected(gateway.port, USER) as client:
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
    async with gateway_process(line) as gateway, WireClient.connected(gateway.port, USER) as second:
        await second.send(Attach(session="stayed", from_="tail"))
        async with WireClient.connected(gateway.port, USER) as first:
            for session in ("stayed", "returned"):
                await first.send(asked(session, f"Who {session}?", STAYED_TOKENS, PACE_MS, on_leave="cancel"))
            await line.until_tokens(receipt_of(USER, "stayed", "p1"))
            await line.until_tokens(receipt_of(USER, "returned", "p1"))
        await asyncio.sleep(GRACE_S * 0.6)  # away, but not for long
        async with WireClient.connected(gateway.port, USER) as back:
            await back.send(Attach(session="returned", from_="start"))
            turns = [await line.ended(receipt_of(USER, session, "p1")) for session in ("stayed", "returned")]
            end = await back.until("end")

    assert [turn.ended.reason for turn in turns if turn.ended] == ["complete", "complete"]
    assert [turn.attempts_known for turn in turns] == [1, 1]
    assert end.reason == "complete"
    assert len(line.provider.call_log.calls) == 2


async def test_killed_gateway_takes_its_devices_along(line: WorkerLine) -> None:
    """Its silence is noticed, and the grace time runs from there on."""
    line.start_worker(leave_grace_s=GRACE_S)
    async with gateway_process(line) as gateway, WireClient.connected(gateway.port, USER) as client:
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


async def test_fast_reader_is_never_held_up_by_its_own_pace(line: WorkerLine) -> None:
    """1,000 tokens a second, with and without `pace: reader`: both end together."""
    tokens, lengths = 6_000, {}
    line.start_worker(context_tokens=CONTEXT_TOKENS)
    async with gateway_process(line) as gateway, asyncio.TaskGroup() as readers:

        async def read(pace: str) -> None:
            async with WireClient.connected(gateway.port, USER) as client:
                await client.send(asked(f"by-{pace}", f"By {pace}", tokens, 1, pace=pace))
                await client.until("started")
                begun_s = time.monotonic()
                end = await client.until("end")
                lengths[pace] = time.monotonic() - begun_s
                said = "".join(message.text for message in client.told if isinstance(message, Delta))
                assert (end.reason, said) == ("complete", answer_text(f"By {pace}", tokens=tokens))

        tasks = [readers.create_task(read(pace)) for pace in ("provider", "reader")]
        await asyncio.wait(tasks)

    print({pace: f"{length_s:.2f} s" for pace, length_s in lengths.items()})  # noqa: T201  # what it measures
    assert abs(lengths["reader"] - lengths["provider"]) < 1.0


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
            async with WireClient.connected(gateway.port, USER) as fast:
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
    assert (deserted.ended.reason, deserted.attempts_known, took_s > ABSENT_S - 2) == ("complete", 1, True)
