"""The supervisor of a running line is killed, and everything with it: no orphan, and the next start goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from uuid import uuid4

from infra.simulated_provider.answer_text import answer_for
from schemas.prompts import ChatMessage
from tests.integration.chat_client import ChatClient
from tests.integration.ledger import Asked, check_ledger
from tests.integration.process_probe import is_alive, until
from tests.integration.whole_line import running_line

GONE_S: Final = 5.0
ENDED_S: Final = 60.0
SESSIONS: Final = 4
TOKENS: Final = 240
"""Twelve seconds of them: more than it takes to ask for all and to kill everything, also on busy cores."""


async def test_everything_killed_in_mid_answer_and_started_again(tmp_path: Path) -> None:
    """All children die with it. Ready again, on other ports: each answer begins anew and is told whole."""
    user = f"user-{uuid4().hex}"
    words = [f"Question {number} of {user}?" for number in range(SESSIONS)]
    with running_line(tmp_path) as line:
        async with ChatClient.connected(line.gateways[0], line.token(user)) as client:
            for number, text in enumerate(words):
                directive = f"[[sim tokens={TOKENS} pace_ms=50]] "
                accepted = await client.prompt(f"s{number}", directive + text, "p1")
                await client.chunks_of(accepted.turns[0], 5)
            children = line.kill_supervisor()
            await until(lambda: not any(is_alive(pid) for pid in children.values()), GONE_S)
            assert not any(turn.end for turn in client.turns.values())

            line.start(())
            attached = await client.reconnect(line.gateways[0])
            for turn in client.turns:
                await client.ended(turn, ENDED_S)

            needed = {"kafka", "provider", "analytics", "worker", "gateway"}
            assert needed <= children.keys() <= needed | {"reader"}  # the line is ready before its reader is
            assert {each.recovered for each in attached} <= {"replayed", "live"}
            asked = [
                Asked(user=user, session=f"s{number}", prompt_id="p1", text=answer_to(text))
                for number, text in enumerate(words)
            ]
            ledger = await check_ledger(line, asked, clients=[client], crashed=True)
            assert set(ledger.attempts.values()) == {2}


def answer_to(text: str) -> str:
    return "".join(answer_for([ChatMessage(role="user", content=text)], tokens=TOKENS))
