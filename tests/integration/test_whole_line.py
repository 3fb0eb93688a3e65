"""One running line, everything real: a prompt typed into a websocket is answered, kept and counted."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from infra.simulated_provider.answer_text import answer_for
from schemas.prompts import ChatMessage
from tests.integration.chat_client import ChatClient
from tests.integration.ledger import Asked, check_ledger
from tests.integration.whole_line import WholeLine, running_line


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeLine]:
    with running_line(tmp_path_factory.mktemp("line")) as running:
        yield running


async def test_one_prompt_through_the_whole_line(line: WholeLine) -> None:
    """The client is told the provider's own text, token by token, once; ClickHouse has its row; one call was paid."""
    user, prompt = f"user-{uuid4().hex}", "Why is the sky blue?"
    async with ChatClient.connected(line.gateways[0], line.token(user)) as client:
        seen = await client.answer("s1", prompt, prompt_id="p1")

        expected = "".join(answer_for([ChatMessage(role="user", content=prompt)]))
        assert seen.text == expected
        assert sum(1 for message in client.told if type(message).__name__ == "Delta") > 20, "it did not stream"
        asked = Asked(user=user, session="s1", prompt_id="p1", text=expected)
        ledger = await check_ledger(line, [asked], clients=[client])
        (row,) = ledger.rows[seen.turn]
        assert row["cost_nano_usd"] > 0
        assert len(line.calls()) == 1
