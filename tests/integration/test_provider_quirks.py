"""What providers were seen to send, each through a real worker with a second target behind it. `make test-quirks`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from infra.embedded.broker import EmbeddedBroker
from producers.sdk import Receipt
from schemas.turn_fold import FoldedTurn
from tests.faults.full_size import measured, sized
from tests.integration.quirk_server import SPARE_TEXT, Quirk, QuirkServer, quirk_server, quirks
from tests.integration.worker_line import WorkerLine, open_line

ENDED_S = 60.0
SHORT = 56
"""Lines from the top that every change tries: a worker makes a client for each, which takes a while."""
FIELDS_OF_USAGE = (
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "estimated",
    "stated_cost_nano_usd",
)


def config_of(server: QuirkServer) -> str:
    """A model for each quirk: its own target, and behind it the one that answers."""
    parts = [f'default_model = "spare"\n[models.spare]\ntargets = ["spare:m"]\n{provider("spare", server.url())}']
    for quirk in quirks():
        name = quirk["id"]
        parts.append(f'[models."{name}"]\ntargets = ["{name}:m", "spare:m"]\n{provider(name, server.url(name))}')
        if "price_ref" in quirk:
            parts.append(f'[targets."{name}:m"]\nprice_ref = "{quirk["price_ref"]}"\n')
    return "".join(parts)


def provider(name: str, url: str) -> str:
    return f'[providers."{name}"]\nbase_url = "{url}"\n'


def outcome(turn: FoldedTurn, calls: int) -> dict[str, Any]:
    """What became of a quirk, in the words of the table."""
    ended = turn.ended
    assert ended is not None
    usage = {name: getattr(ended.usage, name) for name in FIELDS_OF_USAGE}
    found = {"reason": ended.reason, "text": turn.text, "calls": calls, "cost_nano_usd": ended.cost_nano_usd}
    return found | usage | {"next": turn.text == SPARE_TEXT}


def wrong_with(quirk: Quirk, found: dict[str, Any]) -> str:
    """What differs from the table; empty: nothing. Whatever has its whole text is complete unless it says otherwise."""
    expected = dict(quirk["expect"])
    if "text" in expected or expected.get("next"):
        expected.setdefault("reason", "complete")
    wrong = {name: (found[name], value) for name, value in expected.items() if found[name] != value}
    return f"{quirk['id']} ({quirk['source']}): " + json.dumps(wrong) if wrong else ""


async def test_every_quirk_has_its_right_outcome(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Text, end, calls, tokens and cost, as the table says, for all of them side by side."""
    table, config = quirks()[: sized(SHORT, None)], tmp_path / "tokenwire.toml"
    async with quirk_server() as server, open_line(broker, tmp_path, layout="shared", config=config) as line:
        config.write_text(config_of(server))
        line.start_worker()
        receipts = await asyncio.gather(*(asked(line, quirk) for quirk in table))
        turns = [await line.ended(receipt, ENDED_S) for receipt in receipts]

    found = [outcome(turn, server.calls[quirk["id"]]) for quirk, turn in zip(table, turns, strict=True)]
    wrong = [words for quirk, one in zip(table, found, strict=True) if (words := wrong_with(quirk, one))]
    measured("quirks", f"{len(table) - len(wrong)} of {len(table)} right")
    assert not wrong, "found and expected:\n" + "\n".join(wrong)


async def asked(line: WorkerLine, quirk: Quirk) -> Receipt:
    return await line.producer.submit("Will it rain?", user=quirk["id"], session="s", model=quirk["id"])
