"""A long prompt in parts: what is kept, what is refused, and what is given back."""

from __future__ import annotations

import pytest

from gateway.clients.decisions.prompt_assembly import (
    PARTS_S,
    MissingParts,
    PartKept,
    PartsRefused,
    PartsRoom,
    PartsWhole,
    PromptParts,
)
from gateway.sockets.decisions.client_outbox import HeldBytes
from schemas.client_messages import Part, Prompt
from schemas.prompt_parts import parts_of

BYTES_MAX = 100


def connection(*, room_bytes_max: int = 1_000, held_bytes_max: int = 10_000) -> PromptParts:
    return PromptParts(BYTES_MAX, PartsRoom(room_bytes_max, HeldBytes(held_bytes_max)))


def part(index: int, text: str, *, size: int = 6, prompt_id: str = "p") -> Part:
    return Part(session="s", prompt_id=prompt_id, index=index, bytes=size, text=text)


def refusal(parts: PromptParts, *given: Part) -> PartsRefused:
    """What the last of them is answered; the others are kept."""
    *kept, last = (parts.take(one) for one in given)
    assert set(kept) <= {PartKept()}
    assert isinstance(last, PartsRefused)
    return last


def test_whole() -> None:
    """The last part is known by the bytes; they stay counted until they are released."""
    parts = connection()

    assert parts.take(part(0, "abc")) == PartKept()
    assert parts.take(part(1, "d")) == PartKept()
    assert parts.take(part(2, "é")) == PartsWhole("abcdé".encode())
    assert parts.room.total == parts.room.held.total == parts.held_bytes == 6
    parts.release(6)
    assert parts.room.total == parts.room.held.total == parts.held_bytes == 0


def test_begun_anew() -> None:
    """Part 0 drops what was there under the same id."""
    parts = connection()
    parts.take(part(0, "xyz"))

    assert parts.take(part(0, "abc")) == PartKept()
    assert parts.take(part(1, "def")) == PartsWhole(b"abcdef")


@pytest.mark.parametrize(
    ("given", "code", "field"),
    [
        ((part(1, "abc"),), "part_missing", "index"),
        ((part(0, "a"), part(2, "c")), "part_missing", "index"),
        ((part(0, "a"), part(1, "b"), part(1, "b")), "part_missing", "index"),
        ((part(0, "a"), part(1, "b", size=7)), "parts_changed", "bytes"),
        ((part(0, "abc"), part(1, "defg")), "parts_changed", "text"),
        ((part(0, ""),), "parts_changed", "text"),
        ((part(0, "abc", size=-1),), "parts_changed", "text"),
        ((part(0, "abc", size=BYTES_MAX + 1),), "prompt_too_large", "bytes"),
        ((part(0, "a\ud800"),), "invalid_field", "text"),
    ],
)
def test_part_out_of_its_place(given: tuple[Part, ...], code: str, field: str) -> None:
    """It ends its prompt with one error; the rest of it is passed over until it begins anew."""
    parts = connection()
    refused = refusal(parts, *given)

    assert (refused.code, refused.field, refused.temporary) == (code, field, False)
    assert parts.room.total == 0
    assert parts.take(part(5, "rest")) == PartKept()
    assert parts.room.total == 0
    assert parts.take(part(0, "abcdef")) == PartsWhole(b"abcdef")


def test_other_prompts_are_not_harmed() -> None:
    """Parts of several prompts may alternate; what one is refused for is its own."""
    parts = connection()
    parts.take(part(0, "abc", prompt_id="q"))
    refusal(parts, part(1, "abc"))
    parts.take(part(0, "x", prompt_id="r"))

    assert parts.take(part(1, "def", prompt_id="q")) == PartsWhole(b"abcdef")


def test_more_prompts_at_once_than_may_be() -> None:
    """By number and by bytes, one more is told to come again."""
    parts = connection()
    for prompt_id in "abcd":
        parts.take(part(0, "abc", prompt_id=prompt_id))
    crowded = refusal(parts, part(0, "abc", prompt_id="e"))
    large = connection()
    large.take(part(0, "x" * 60, size=BYTES_MAX, prompt_id="a"))
    full = refusal(large, part(0, "x" * 60, size=BYTES_MAX, prompt_id="b"))

    assert [(refused.code, refused.temporary) for refused in (crowded, full)] == [("busy", True)] * 2


@pytest.mark.parametrize(("room", "held"), [(5, 1_000), (1_000, 3)])
def test_process_without_room(room: int, held: int) -> None:
    """Long prompts of all clients together, and everything that is held for them, have a cap."""
    parts = connection(room_bytes_max=room, held_bytes_max=held)
    refused = refusal(parts, part(0, "abc"), part(1, "def"))

    assert (refused.code, refused.temporary) == ("busy", True)
    assert refused.retry_after_s
    assert parts.room.total == parts.room.held.total == 0


def test_silence() -> None:
    """It counts from the tick after the newest part; another part in time goes on."""
    parts = connection()
    parts.take(part(0, "a"))
    assert parts.tick(0.0) == parts.tick(PARTS_S) == []
    parts.take(part(1, "b"))
    assert parts.tick(PARTS_S + 1) == []

    assert parts.tick(2 * PARTS_S + 2) == [MissingParts("s", "p", 2, 6)]
    assert parts.tick(9 * PARTS_S) == []
    assert parts.room.total == 0
    assert parts.take(part(2, "cdef")) == PartKept()


def test_end_of_the_connection() -> None:
    """Everything is given back, once, also what is published a moment later."""
    parts = connection()
    parts.take(part(0, "abc"))
    assert parts.take(part(0, "abcdef", prompt_id="q")) == PartsWhole(b"abcdef")
    parts.forget()
    parts.release(6)

    assert parts.room.total == parts.room.held.total == 0


def test_short_prompt_is_not_cut() -> None:
    """It travels as it is."""
    prompt = Prompt(session="s", prompt_id="p", input="Hi")

    assert list(parts_of(prompt, 1_000)) == [prompt]
