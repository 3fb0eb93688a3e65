"""Scripts of a gateway that hears long prompts in parts, or refuses what it hears."""

from __future__ import annotations

from gateway.clients.decisions.prompt_assembly import PartKept, PartsRoom, PartsWhole, PromptParts
from gateway.sockets.decisions.client_outbox import HeldBytes
from schemas.client_messages import Part, Pong, Prompt
from schemas.codec import decode_client_messages, encode
from schemas.gateway_messages import (
    Error,
    Ping,
)
from tests.unit.gateway.client.scripted_gateway import (
    ScriptedPeer,
    answer,
    attached,
    end,
    opening,
)

__all__ = [
    "LONG_QUESTION",
    "dies_in_mid_prompt",
    "dies_of_a_large_frame",
    "hears_a_long_prompt",
    "hears_no_prompt",
    "hears_parts",
    "refuses_a_long_prompt",
    "refuses_and_dies",
]

LONG_QUESTION = 'Is "é" one, \U0001f600 two,\n\x01 or 漢 three?' * 200


async def hears_parts(peer: ScriptedPeer, *, parts_max: int = 1_000) -> PartsWhole | None:
    """Put the prompt's parts together; each came in a frame that may be."""
    await peer.welcome(frame_bytes_max=2_000, prompt_bytes_max=100_000)
    parts = PromptParts(100_000, PartsRoom(100_000, HeldBytes(100_000)))
    for _ in range(parts_max):
        part = await peer.heard(Part)
        assert len(encode(part)) <= 2_000
        verdict = parts.take(part)
        if isinstance(verdict, PartsWhole):
            return verdict
        assert verdict == PartKept()
    return None


async def dies_in_mid_prompt(peer: ScriptedPeer) -> None:
    assert await hears_parts(peer, parts_max=3) is None
    peer.socket.transport.abort()


async def hears_a_long_prompt(peer: ScriptedPeer) -> None:
    """All of it, from its first part on; then answers."""
    whole_prompt = await hears_parts(peer)
    assert whole_prompt is not None
    (prompt,) = decode_client_messages(whole_prompt.text)
    assert isinstance(prompt, Prompt)
    assert (prompt.session, prompt.prompt_id, prompt.input) == ("s", "p", LONG_QUESTION)
    await peer.say(attached(), *opening())
    await answer(peer, ["one ", "two ", "three ", "four"])
    await peer.say(end())
    await peer.socket.wait_closed()


async def refuses_a_long_prompt(peer: ScriptedPeer) -> None:
    """At its first part; the prompt is not sent again, and the connection goes on."""
    await hears_parts(peer, parts_max=1)
    await peer.say(Error(code="prompt_too_large", message="too long", session="s", prompt_id="p", field="bytes"))
    await peer.say(attached(), *opening())
    await answer(peer, ["one ", "two ", "three ", "four"])
    await peer.say(end())
    await peer.socket.wait_closed()


async def refuses_and_dies(peer: ScriptedPeer) -> None:
    """Under the prompt's id, as for a message that could not be decoded whole."""
    await peer.welcome()
    await peer.heard(Prompt)
    await peer.say(Error(code="malformed", message="no", session="s", prompt_id="p", field="input"), Ping())
    await peer.heard(Pong)
    peer.socket.transport.abort()


async def dies_of_a_large_frame(peer: ScriptedPeer) -> None:
    await peer.welcome()
    await peer.heard(Prompt)
    await peer.socket.close(1009)


async def hears_no_prompt(peer: ScriptedPeer) -> None:
    """What was refused is not sent again; the session is followed all the same."""
    await peer.welcome()
    await peer.say(Ping())
    while True:
        for message in decode_client_messages(await peer.socket.recv()):
            assert not isinstance(message, Prompt)
            if isinstance(message, Pong):
                await peer.say(attached(), *opening())
                await answer(peer, ["one ", "two ", "three ", "four"])
                await peer.say(end())
                await peer.socket.wait_closed()
                return
