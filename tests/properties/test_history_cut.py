"""The cut of any conversation to any context."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from processors.sessions.decisions.history_cut import MESSAGE_OVERHEAD_TOKENS, cut_history
from schemas.prompts import ChatMessage

__all__: list[str] = []

MESSAGES = st.lists(
    st.builds(ChatMessage, role=st.sampled_from(["system", "user", "user", "assistant"]), content=st.text(max_size=8)),
    min_size=1,
    max_size=12,
)


def tokens_of(messages: list[ChatMessage]) -> int:
    return sum(len(message.content) + MESSAGE_OVERHEAD_TOKENS for message in messages)


@given(MESSAGES, st.integers(0, 150), st.integers(0, 50))
def test_cut(messages: list[ChatMessage], context_tokens: int, answer_tokens: int) -> None:
    """What must stay stays, in order; the rest is a run of the newest that begins with a question, and fits."""
    numbered = [ChatMessage(m.role, f"{m.content}{index}") for index, m in enumerate(messages)]
    must = [m for index, m in enumerate(numbered) if m.role == "system" or index == len(numbered) - 1]

    cut = cut_history(numbered, len, context_tokens=context_tokens, answer_tokens=answer_tokens)
    kept = list(cut.messages)

    assert [m for m in numbered if m in kept] == kept
    assert all(m in kept for m in must)
    assert cut.input_tokens == tokens_of(kept)
    assert cut.messages_cut == len(numbered) - len(kept)
    assert cut.input_tokens <= max(context_tokens - answer_tokens, tokens_of(must))
    free = [m for m in numbered if m not in must]
    chosen = [m for m in kept if m not in must]
    assert chosen == free[len(free) - len(chosen) :]
    assert not chosen or chosen[0].role == "user"


@given(MESSAGES)
def test_enough_room(messages: list[ChatMessage]) -> None:
    """Nothing is cut but answers before the first question."""
    numbered = [ChatMessage(m.role, f"{m.content}{index}") for index, m in enumerate(messages)]

    cut = cut_history(numbered, len, context_tokens=tokens_of(numbered), answer_tokens=0)

    first_question = next((index for index, m in enumerate(numbered[:-1]) if m.role == "user"), len(numbered) - 1)
    left_out = [m for m in numbered if m not in cut.messages]
    assert all(m.role == "assistant" and numbered.index(m) < first_question for m in left_out)
