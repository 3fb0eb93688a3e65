"""Words between workers: which records they are, and what is refused."""

from __future__ import annotations

import pytest

from schemas.codec import decode_permit, encode
from schemas.errors import InvalidField, UnknownTag
from schemas.permits import (
    PermitAsked,
    PermitCommand,
    PermitGranted,
    PermitRefused,
    PermitReturned,
    check_permit,
    is_permit,
)
from schemas.prompts import PromptCancelled

GOOD: tuple[PermitCommand, ...] = (
    PermitAsked(permit="w-1", target="groq:llama", reply_partition=11, tokens=5),
    PermitGranted(permit="w-1", target="groq:llama", holder=0),
    PermitRefused(permit="w-1", target="groq:llama", retry_after_s=2.0),
    PermitReturned(permit="w-1", target="groq:llama", tokens_used=3),
)


@pytest.mark.parametrize("command", GOOD)
def test_words_are_known_by_their_first_bytes(command: PermitCommand) -> None:
    """What we write is recognised, and read as it was written."""
    raw = encode(command)

    assert is_permit(raw)
    assert decode_permit(raw) == command
    check_permit(command)


def test_prompts_are_no_permits() -> None:
    """Nor is nothing; and no permit is made of a prompt's bytes."""
    raw = encode(PromptCancelled(user="alice", session="s1", prompt_id="p1"))

    assert not is_permit(raw)
    assert not is_permit(None)
    with pytest.raises(UnknownTag):
        decode_permit(raw)


@pytest.mark.parametrize(
    ("command", "field"),
    [
        (PermitAsked(permit="", target="t", reply_partition=0), "permit"),
        (PermitAsked(permit="p" * 65, target="t", reply_partition=0), "permit"),
        (PermitAsked(permit="p", target="", reply_partition=0), "target"),
        (PermitAsked(permit="p", target="t", reply_partition=12), "reply_partition"),
        (PermitAsked(permit="p", target="t", reply_partition=0, tokens=-1), "tokens"),
        (PermitAsked(permit="p", target="t", reply_partition=0, waited_s=-1.0), "waited_s"),
        (PermitGranted(permit="p", target="t", holder=-1), "holder"),
        (PermitRefused(permit="p", target="t", retry_after_s=-1.0), "retry_after_s"),
        (PermitReturned(permit="p", target="t", tokens_used=-1), "tokens_used"),
    ],
)
def test_values_that_cannot_be_ours(command: PermitCommand, field: str) -> None:
    """The field is named."""
    with pytest.raises(InvalidField) as caught:
        check_permit(command)

    assert caught.value.field == field
