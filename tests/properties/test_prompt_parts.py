"""Prompts cut and put together, whatever they hold, however they are mixed and spoilt."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.clients.decisions.prompt_assembly import PartsRoom, PartsWhole, PromptParts
from gateway.sockets.decisions.client_outbox import HeldBytes
from schemas.client_messages import Part, Prompt
from schemas.codec import decode_client_messages, encode
from schemas.prompt_parts import parts_of
from schemas.prompts import ChatMessage

texts = st.text(st.characters(codec="utf-8"), max_size=600) | st.sampled_from(
    ['"' * 900, "\x01" * 300, "\U0001f600" * 500]
)


@given(texts, texts, st.integers(200, 900))
def test_cut_and_put_together(text: str, name: str, frame_bytes_max: int) -> None:
    """Every frame fits, and the whole is the prompt as it was."""
    messages = (ChatMessage(role="user", content=text),)
    prompt = Prompt(session="s" * 20, prompt_id="p", messages=messages, metadata={"name": name})
    parts = PromptParts(1_000_000, PartsRoom(1_000_000, HeldBytes(1_000_000)))
    sent = list(parts_of(prompt, frame_bytes_max))

    assert all(len(encode(message)) <= frame_bytes_max for message in sent)
    if sent == [prompt]:
        return
    verdicts = [parts.take(part) for part in sent if isinstance(part, Part)]
    assert len(verdicts) == len(sent)
    *others, last = verdicts
    assert not any(isinstance(verdict, PartsWhole) for verdict in others)
    assert isinstance(last, PartsWhole)
    assert decode_client_messages(last.text) == [prompt]


anything = st.builds(
    Part,
    session=st.just("s"),
    prompt_id=st.sampled_from("abcdef"),
    index=st.integers(-1, 3),
    bytes=st.sampled_from([-1, 0, 4, 5, 12, 41]),
    text=st.sampled_from(["", "x", "ab", "abcd", "\u00e9", "\ud800", "x" * 30]),
)
moments = st.floats(0, 50)


@given(st.lists(st.tuples(st.integers(0, 1), anything | moments | st.just("published")), max_size=60))
def test_bytes_are_counted_and_given_back(steps: list[tuple[int, Part | float | str]]) -> None:
    """Two connections, one room: never more than its cap, always the sum of what they hold, nothing in the end."""
    room = PartsRoom(60, HeldBytes(1_000))
    connections = [PromptParts(40, room), PromptParts(40, room)]
    whole: list[tuple[PromptParts, int]] = []
    now_s = 0.0
    for which, step in steps:
        parts = connections[which]
        if isinstance(step, Part):
            verdict = parts.take(step)
            if isinstance(verdict, PartsWhole):
                assert len(verdict.text) == step.bytes
                whole.append((parts, len(verdict.text)))
        elif isinstance(step, float):
            now_s += step
            parts.tick(now_s)
        elif whole:
            publisher, size = whole.pop()
            publisher.release(size)
        assert room.total == room.held.total == sum(one.held_bytes for one in connections) <= room.bytes_max
        assert parts.assembling_bytes <= parts.bytes_max
        assert parts.held_bytes == parts.assembling_bytes + sum(size for owner, size in whole if owner is parts)
    for parts in connections:
        parts.forget()
    for publisher, size in whole:
        publisher.release(size)
    assert room.total == room.held.total == 0
