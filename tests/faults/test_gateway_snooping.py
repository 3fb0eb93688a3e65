"""Another user's sessions: nothing of them is seen, and nothing tells that they exist (row S4).

A worker, a gateway of its own process, and a user who knows everything but the owner's token: the session's id, its
key, the prompt's id, and a cursor that works for its owner. Everything the snoop receives is kept as bytes.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from schemas.client_messages import Attach, Cancel, ClientMessage, Detach, Hello, Prompt
from schemas.codec import encode
from schemas.identifiers import SessionId, UserId, session_key_of
from tests.fakes.topic_names import session_topic
from tests.faults.line_gateway import LineGateway, gateway_process
from tests.faults.raw_websocket import FIN, TEXT, RawWebsocket, raw_frame
from tests.integration.chat_client import ChatClient
from tests.integration.gateway_line import http, token_for
from tests.integration.worker_line import WorkerLine, answer_text

OWNER: Final = "owner"
SNOOP: Final = "snoop"
ASKING_SNOOP: Final = "snoop-2"
"""The first one has cancelled that prompt id, for itself."""
SECRET_SESSION: Final = "diary-of-the-owner"
ABSENT_SESSION: Final = "diary-of-no-one-it"
"""As long as the other one."""
PROMPT_ID: Final = "p-of-the-owner"
CANARY: Final = "canary-3f9d51c07a"
QUESTION: Final = f"What of {CANARY}?"
TOKENS: Final = 250
CHUNKS_BETWEEN: Final = 3
ENDED_S: Final = 30.0
OPAQUE: Final = re.compile(rb'("(?:head|c|connection)":")[^"]*"')


@dataclass(slots=True)
class Seen:
    """All that the snoop was sent."""

    raw: list[bytes] = field(default_factory=list)

    def of(self, session: str, frames: list[bytes]) -> list[bytes]:
        """Frames with ids taken out: of the session, and what is opaque and differs from one session to another."""
        self.raw += frames
        return [OPAQUE.sub(rb'\1"', frame).replace(session.encode(), b"SESSION") for frame in frames]


async def test_S4_foreign_and_absent_sessions_are_the_same(line: WorkerLine) -> None:
    """Attach, resume, cancel, detach, ask with ids and cursors that are the owner's, or guessed: byte for byte the
    same answers, no byte of the owner's session, and the owner's answer is whole."""
    line.start_worker()
    seen = Seen()
    async with gateway_process(line) as gateway, owner_who_reads(gateway) as (owner, turn):
        cursor = owner.cursors[SECRET_SESSION]
        for name, asks in attempts(cursor).items():
            told = [
                seen.of(session, await snooped(gateway, owner, turn, [ask(session) for ask in asks]))
                for session in (SECRET_SESSION, ABSENT_SESSION)
            ]
            assert told[0] == told[1], name
            assert told[0], name
        key = session_key_of(UserId(OWNER), SessionId(SECRET_SESSION))
        for guess in (key, session_topic(key).name, f"{OWNER}:{SECRET_SESSION}", f"{OWNER}.{SECRET_SESSION}"):
            seen.of(guess, await snooped(gateway, owner, turn, [Attach(session=guess, from_="start")]))
        for path in ("/metrics", "/healthz", "/readyz", f"/v1/sessions/{SECRET_SESSION}", f"/?s={SECRET_SESSION}"):
            seen.raw.append((await http(gateway.port, path))[1].encode())
        answer = await owner.ended(turn, ENDED_S)
        assert answer.end is not None
        assert answer.end.reason == "complete"
        assert answer.text == answer_text(QUESTION, tokens=TOKENS)
        assert owner.faults == []
        seen.raw += await asked_in_its_name(gateway, turn)
        log = (line.folder / "gateway.log").read_bytes()

    assert_unseen(seen.raw, answer.text)
    assert CANARY.encode() not in log


async def asked_in_its_name(gateway: LineGateway, turn: str) -> list[bytes]:
    """The same session and prompt id from the snoop are a session and a turn of its own, without the history."""
    async with ChatClient.connected(f"http://127.0.0.1:{gateway.port}", token_for(ASKING_SNOOP)) as snoop:
        question = "What did I ask before?"
        accepted = await snoop.prompt(SECRET_SESSION, f"[[sim tokens=30 pace_ms=1]] {question}", PROMPT_ID)
        answer = await snoop.ended(accepted.turns[0], ENDED_S)
        assert accepted.turns[0] != turn
        assert answer.text == answer_text(question, tokens=30)
        return [encode(message) for message in snoop.told]


def assert_unseen(raw: list[bytes], answer: str) -> None:
    """Neither the owner's question nor a piece of the answer, nor who the owner is."""
    everything = b"\n".join(raw)
    assert CANARY.encode() not in everything
    pieces = [answer[place : place + 40] for place in range(0, len(answer) - 40, 40)]
    assert [piece for piece in pieces if piece.encode() in everything] == []


def attempts(cursor: str) -> dict[str, list]:  # type: ignore[type-arg]  # functions of a session's id
    """What the snoop tries with each session."""
    forged = cursor[:-6] + ("A" if cursor[-6] != "A" else "B") + cursor[-5:]
    return {
        "attach_from_the_start": [lambda session: Attach(session=session, from_="start")],
        "attach_at_the_tail": [lambda session: Attach(session=session, from_="tail")],
        "attach_at_the_owners_cursor": [lambda session: Attach(session=session, from_=cursor)],
        "attach_at_a_forged_cursor": [lambda session: Attach(session=session, from_=forged)],
        "resume_at_the_owners_cursor": [lambda session: Hello(token=token_for(SNOOP), resume={session: cursor})],
        "cancel_the_owners_prompt": [
            lambda session: Cancel(session=session, prompt_id=PROMPT_ID),
            lambda session: Attach(session=session, from_="start"),
        ],
        "detach": [lambda session: Detach(session=session)],
        "ask_for_the_owners_prompt_in_a_batch_of_models": [
            lambda session: Prompt(session=session, prompt_id=PROMPT_ID, input="Hi", models=("unknown",))
        ],
    }


async def snooped(gateway: LineGateway, owner: ChatClient, turn: str, asks: list[ClientMessage]) -> list[bytes]:
    """What the snoop is sent for these, from the hello on until the owner has been told more of the answer."""
    async with RawWebsocket.connected(gateway.port, user=SNOOP) as peer:
        await peer.until(TEXT)  # welcome
        await peer.send(*(raw_frame(FIN | TEXT, encode(ask)) for ask in asks))
        first = await peer.until(TEXT)
        while b'"welcome"' in first.payload:
            first = await peer.until(TEXT)
        answer = owner.turns[turn]
        wanted = min(answer.next_seq + CHUNKS_BETWEEN, TOKENS)
        await owner.chunks_of(turn, wanted)
        await peer.send(raw_frame(FIN | TEXT, encode(Attach(session="the-snoops-own"))))
        while b"the-snoops-own" not in (await peer.until(TEXT)).payload:
            pass
        return [frame.payload for frame in peer.frames]


@asynccontextmanager
async def owner_who_reads(gateway: LineGateway) -> AsyncIterator[tuple[ChatClient, str]]:
    """The owner, in the middle of an answer."""
    async with ChatClient.connected(f"http://127.0.0.1:{gateway.port}", token_for(OWNER)) as owner:
        asked = f"[[sim tokens={TOKENS} pace_ms=20]] {QUESTION}"
        accepted = await owner.prompt(SECRET_SESSION, asked, PROMPT_ID)
        await owner.chunks_of(accepted.turns[0], CHUNKS_BETWEEN)
        yield owner, accepted.turns[0]
