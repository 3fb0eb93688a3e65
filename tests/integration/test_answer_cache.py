"""Answers given again by a real worker: no call, no cost, on record as such; other tenants ask for themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest_asyncio

from infra.embedded.broker import EmbeddedBroker
from schemas.prompts import ChatMessage
from schemas.records import AttemptOutcome
from schemas.turn_fold import FoldedTurn
from tests.integration.worker_line import WorkerLine, answer_text, open_line

CACHE_S = 10.0
QUESTION = "What is a tide?"
CONFIG = """
[models.chat]
targets = ["sim:sim"]
cache_s = {cache_s}
cache_tenants = ["acme", "globex"]
[providers.sim]
base_url = "{base_url}"
"""


@pytest_asyncio.fixture
async def line(broker: EmbeddedBroker, tmp_path: Path) -> AsyncIterator[WorkerLine]:
    """A line with one worker whose model has a cache."""
    config = tmp_path / "tokenwire.toml"
    async with open_line(broker, tmp_path, config=config) as opened:
        config.write_text(CONFIG.format(cache_s=CACHE_S, base_url=opened.provider.base_url))
        opened.start_worker()
        yield opened


async def asked(
    line: WorkerLine, user: str, *, tenant: str = "acme", temperature: float | None = 0.0
) -> tuple[FoldedTurn, AttemptOutcome]:
    """Ask the question in a session of its own; its turn and what is on record."""
    receipt = await line.producer.submit(
        user=user,
        session=uuid4().hex,
        messages=[ChatMessage(role="user", content=QUESTION)],
        tenant=tenant,
        temperature=temperature,
    )
    turn = await line.ended(receipt)
    outcome = (await line.until_records(1, receipt))[-1].outcome
    assert outcome is not None
    assert turn.text == answer_text(QUESTION)
    return turn, outcome


def calls(line: WorkerLine) -> int:
    return len(line.provider.calls)


async def test_answer_given_again(line: WorkerLine) -> None:
    """The second user of the tenant is answered at once and for nothing; a third tenant, a warm prompt and a late one
    are not."""
    user = f"cache-{uuid4().hex}"
    first, paid = await asked(line, user)
    again, free = await asked(line, user)

    assert calls(line) == 1
    assert first.current is not None
    assert again.current is not None
    assert (first.current.started.cached, again.current.started.cached) == (False, True)
    assert paid.usage.output_tokens > 0
    assert (free.provider, free.model, free.cost_nano_usd, free.usage.output_tokens) == ("cache", "sim", 0, 0)
    assert free.text_sha256 == paid.text_sha256

    await asked(line, user, tenant="globex")
    assert calls(line) == 2
    await asked(line, user, tenant="initech")
    await asked(line, user, tenant="initech")
    assert calls(line) == 4
    await asked(line, user, temperature=1.0)
    await asked(line, user, temperature=1.0)
    assert calls(line) == 6

    async with asyncio.timeout(CACHE_S + 20):
        while (await asked(line, user))[1].provider == "cache":  # until it is too old
            pass
    assert calls(line) == 7
