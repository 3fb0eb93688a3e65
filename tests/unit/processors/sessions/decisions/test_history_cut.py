"""Which messages still fit."""

from __future__ import annotations

from typing import Literal

import pytest

from processors.sessions.decisions.history_cut import MESSAGE_OVERHEAD_TOKENS, CutHistory, cut_history
from schemas.prompts import ChatMessage

__all__: list[str] = []

Role = Literal["system", "user", "assistant"]
ROLES: dict[str, Role] = {"s": "system", "u": "user", "a": "assistant"}


def conversation(roles: str) -> list[ChatMessage]:
    """Messages named by their place; each counts 1 token and the overhead."""
    return [ChatMessage(ROLES[role], str(index)) for index, role in enumerate(roles)]


def cut(roles: str, room_messages: int, *, answer_tokens: int = 10) -> CutHistory:
    context_tokens = room_messages * (1 + MESSAGE_OVERHEAD_TOKENS) + answer_tokens
    return cut_history(conversation(roles), len, context_tokens=context_tokens, answer_tokens=answer_tokens)


@pytest.mark.parametrize(
    ("roles", "room", "kept"),
    [
        ("uau", 9, "012"),
        ("uau", 3, "012"),
        ("uau", 2, "2"),
        ("uauau", 4, "234"),
        ("suauau", 4, "0345"),
        ("suauau", 1, "05"),
        ("u", 0, "0"),
        ("uuu", 2, "12"),
        ("uaau", 3, "3"),
        ("au", 2, "1"),
        ("uasau", 3, "24"),
    ],
)
def test_what_is_kept(roles: str, room: int, kept: str) -> None:
    """System and newest always; of the rest the newest that fit, from a user's message on."""
    found = cut(roles, room)

    assert "".join(message.content for message in found.messages) == kept
    assert found.messages_cut == len(roles) - len(kept)
    assert found.input_tokens == len(kept) * (1 + MESSAGE_OVERHEAD_TOKENS)


def test_answer_longer_than_the_context() -> None:
    """There is no room, so only what must stay is sent."""
    found = cut_history(conversation("suau"), len, context_tokens=5, answer_tokens=50)

    assert [message.content for message in found.messages] == ["0", "3"]


def test_no_messages() -> None:
    """Nothing is made of nothing."""
    assert cut_history([], len, context_tokens=9, answer_tokens=1) == CutHistory((), 0, 0)
