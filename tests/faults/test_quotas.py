"""Users' limits on a real broker: whoever comes first, and whatever dies between a reservation and its end.

Covers: processors.ledger.user_accounts, processors.intake.prompt_intake.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from infra.embedded.broker import EmbeddedBroker
from producers.sdk import Receipt
from schemas.codec import decode_journal_entry
from schemas.session_events import PromptRefused, SessionEvent, TurnEnded
from schemas.topics import USER_PARTITIONS
from tests.fakes.topic_names import TURNS
from tests.integration.worker_line import WorkerLine, open_line

__all__: list[str] = []

SESSIONS = 100
SLOW = "[[sim tokens=40 pace_ms=150 jitter=0]]"


@asynccontextmanager
async def limited_line(broker: EmbeddedBroker, folder: Path, **limits: int) -> AsyncIterator[WorkerLine]:
    """A line whose users have these limits; its workers are started by the test."""
    config = folder / "tokenwire.toml"
    async with open_line(broker, folder, layout="shared", config=config) as line:
        keys = "\n".join(f"{name} = {most}" for name, most in limits.items())
        config.write_text(
            'default_model = "chat"\ndefault_tier = "small"\n'
            f'[models.chat]\ntargets = ["p:simulated"]\n[providers.p]\nbase_url = "{line.provider.base_url}"\n'
            f"[tiers.small]\n{keys}\n"
        )
        yield line


async def race(line: WorkerLine, user: str, text: str) -> list[Receipt]:
    """As many prompts of one user at once, each in a session of its own."""
    return await asyncio.gather(
        *(line.producer.submit(text, user=user, session=f"race-{number}") for number in range(SESSIONS))
    )


async def endings(line: WorkerLine, receipts: list[Receipt]) -> tuple[list[TurnEnded], list[PromptRefused]]:
    """How those ended that were let in, and why the others were refused for now."""
    ended: list[TurnEnded] = []
    refused: list[PromptRefused] = []
    async with asyncio.timeout(90):
        for receipt in receipts:
            while not (told := await ends_of(line, receipt)):  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.1)
            assert len(told) == 1, told
            ended += [event for event in told if isinstance(event, TurnEnded)]
            refused += [event for event in told if isinstance(event, PromptRefused)]
    return ended, refused


async def ends_of(line: WorkerLine, receipt: Receipt) -> list[SessionEvent]:
    events = [event for _, event in await line.events(receipt.user, receipt.session)]
    ended = [event for event in events if isinstance(event, TurnEnded) and event.turn == receipt.turn]
    refused = [event for event in events if isinstance(event, PromptRefused) and receipt.turn in event.turns]
    return [*ended, *refused]


async def test_s8_hundred_prompts_and_one_request_left(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """One is answered; the others are told when to come again, and cost no call."""
    async with limited_line(broker, tmp_path, requests_per_minute=1) as line:
        line.start_worker()
        ended, refused = await endings(line, await race(line, "quota-requests", "A short question?"))

        assert [end.reason for end in ended] == ["complete"]
        assert Counter(each.code for each in refused) == {"requests_per_minute": SESSIONS - 1}
        assert all(each.temporary and 0 < (each.retry_after_s or 0) <= 61 for each in refused)
        assert len(line.provider.calls) == 1


async def test_s8_budget_for_one_and_its_worker_is_killed(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """What runs holds the budget, so the others are refused; it is answered by the next worker, and counted once for
    each call; then there is room again."""
    async with limited_line(broker, tmp_path, tokens_per_day=700) as line:
        first = line.start_worker()
        receipts = await race(line, "quota-tokens", f"{SLOW} A slow question?")
        running = await started(line, receipts)
        await line.until_tokens(running, 4)
        first.kill()
        line.start_worker()
        ended, refused = await endings(line, receipts)

        assert [end.reason for end in ended] == ["complete"]
        assert Counter(each.code for each in refused) == {"tokens_per_day": SESSIONS - 1}
        assert (await line.ended(running)).attempt == 2
        assert len(line.provider.calls) == 2
        again = await line.producer.submit("A short question?", user="quota-tokens", session="race-after")
        again_ended, again_refused = await endings(line, [again])
        assert [end.reason for end in again_ended] == ["complete"], again_refused
        entries = map(decode_journal_entry, await line.values_of(TURNS, USER_PARTITIONS))
        runs = [
            run for entry in entries for run in entry.runs if entry.user == "quota-tokens" and entry.phase == "ended"
        ]
        assert len(runs) >= 3
        assert all(run.settled_at_us for run in runs)


async def started(line: WorkerLine, receipts: list[Receipt]) -> Receipt:
    """The one that is answered."""
    async with asyncio.timeout(60):
        while True:
            for receipt in receipts:
                turn = await line.turn(receipt)
                if turn is not None and turn.attempt:
                    return receipt
            await asyncio.sleep(0.1)
