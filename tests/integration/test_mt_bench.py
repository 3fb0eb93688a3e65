"""Eighty real two-turn conversations at once, from upstream services and from browsers mixed, on one running line."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from infra.simulated_provider.answer_text import answer_for
from producers.sdk import Producer
from schemas.prompts import ChatMessage
from tests.integration.chat_client import ChatClient
from tests.integration.ledger import Asked, check_ledger
from tests.integration.whole_line import WholeLine, running_line

USERS: Final = 16
ANSWERS_S: Final = 90.0
QUESTIONS: Final = "mt_bench_questions.jsonl"
SHARED_DATA: Final = Path(
    os.environ.get("TOKENWIRE_SHARED_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data"
)


@dataclass(frozen=True, slots=True)
class Conversation:
    """Two prompts, and the two answers that the provider must give to them."""

    user: str
    session: str
    prompts: tuple[str, str]

    @property
    def answers(self) -> tuple[str, str]:
        """The second one is derived from the first prompt and its answer too."""
        messages = [ChatMessage(role="user", content=self.prompts[0])]
        first = "".join(answer_for(messages))
        messages += [ChatMessage(role="assistant", content=first), ChatMessage(role="user", content=self.prompts[1])]
        return first, "".join(answer_for(messages))


@pytest.fixture(scope="module")
def questions() -> list[tuple[str, str]]:
    file = SHARED_DATA / QUESTIONS
    if not file.exists():
        pytest.skip(f"{file} is absent: put MT-Bench's questions there, or name their folder in TOKENWIRE_SHARED_DATA")
    return [tuple(json.loads(each)["turns"]) for each in file.read_text().splitlines()]


@pytest.fixture(scope="module")
def line(questions: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeLine]:
    with running_line(tmp_path_factory.mktemp("line")) as running:
        yield running


async def converse(talk: Conversation, client: ChatClient, producer: Producer | None) -> None:
    """Both prompts. A service sends the second at once and lets it wait its turn; a person reads the first answer."""
    for number, text in enumerate(talk.prompts, start=1):
        prompt_id = f"p{number}"
        if producer is not None:
            receipt = await producer.submit(text, user=talk.user, session=talk.session, prompt_id=prompt_id)
            turn = receipt.turn
        else:
            turn = (await client.prompt(talk.session, text, prompt_id)).turns[0]
            await client.ended(turn, ANSWERS_S)
    await client.ended(turn, ANSWERS_S)


async def test_eighty_conversations_at_once(line: WholeLine, questions: list[tuple[str, str]]) -> None:
    """Every answer is the provider's own text, whole, with its history; each ended, was paid and recorded once."""
    talks = [
        Conversation(f"user-{number % USERS}", f"mt-{number}", prompts) for number, prompts in enumerate(questions)
    ]
    async with AsyncExitStack() as stack:
        producer = await stack.enter_async_context(Producer(line.producer_settings()))
        clients = {
            user: await stack.enter_async_context(ChatClient.connected(line.gateways[0], line.token(user)))
            for user in sorted({talk.user for talk in talks})
        }
        await asyncio.gather(*(clients[talk.user].attach(talk.session) for talk in talks))
        async with asyncio.TaskGroup() as conversing:
            for number, talk in enumerate(talks):
                by_service = producer if number // USERS % 2 else None
                conversing.create_task(converse(talk, clients[talk.user], by_service))

        asked = [
            Asked(user=talk.user, session=talk.session, prompt_id=f"p{number}", text=text)
            for talk in talks
            for number, text in enumerate(talk.answers, start=1)
        ]
        ledger = await check_ledger(line, asked, clients=clients.values())

    seen = {turn for client in clients.values() for turn in client.turns}
    assert len(talks) == 80
    assert not any(client.disconnects for client in clients.values())
    assert seen == {each.turn for each in asked}, "unseen"
    assert set(ledger.attempts.values()) == {1}
    calls = line.calls()
    assert len(calls) == 160
    assert {call.state for call in calls} == {"finished"}
    assert sorted(call.messages for call in calls) == [1] * 80 + [3] * 80
