from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import decode_dead_letter, encode
from schemas.dead_letters import DEAD_LETTER_VALUE_BYTES_MAX, DeadLetter, names_in
from schemas.identifiers import check_prompt_id, check_session_id, check_user_id
from schemas.topics import PROMPT_CARRIER_BYTES_MAX

__all__: list[str] = []


@given(st.none() | st.binary(max_size=100), st.none() | st.binary(max_size=100))
def test_any_bytes_come_back_as_they_were(key: bytes | None, value: bytes | None) -> None:
    """A dead letter keeps the rejected bytes exactly, a tombstone included."""
    letter = DeadLetter(
        reason="malformed", message="m", topic="tokenwire.prompts", partition=1, offset=2, key=key, value=value
    )

    assert decode_dead_letter(encode(letter)) == letter


def test_largest_dead_letter_fits_a_record() -> None:
    """The longest value kept, as base64, stays below 960 KiB with everything else."""
    letter = DeadLetter(
        reason="malformed",
        message="m" * 500,
        topic="tokenwire.prompts",
        partition=1,
        offset=2**60,
        value=b"\xff" * DEAD_LETTER_VALUE_BYTES_MAX,
        value_bytes=2_000_000,
        value_sha256="a" * 64,
        user="u" * 128,
        session="s" * 128,
        prompt_id="p" * 128,
    )

    assert len(encode(letter)) < PROMPT_CARRIER_BYTES_MAX


@given(st.none() | st.binary(max_size=200), st.none() | st.binary(max_size=200))
def test_names_are_ids_or_nothing(key: bytes | None, value: bytes | None) -> None:
    """Of any bytes."""
    names = names_in(key, value)
    checks = (check_user_id, check_session_id, check_prompt_id)

    assert all(not name or check(name) == name for check, name in zip(checks, names, strict=True))


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (b'{"type":"prompt.submitted","user":"u","session":"s","prompt_id":"p","input":7}', ("u", "s", "p")),
        (b'{"user":"u","session":["s"],"prompt_id":"p"}', ("u", "", "p")),
        (b'{"user":"a b\\n","session":"s"}', ("key", "s", "")),
        (b'{"user":', ("key", "", "")),
        (b"[" * 100_000, ("key", "", "")),
        (b"\xff\xfe", ("key", "", "")),
        (None, ("key", "", "")),
    ],
)
def test_names_of_a_record_that_was_rejected(value: bytes | None, names: tuple[str, str, str]) -> None:
    """What is right in it is kept; a user who is not named is the key."""
    assert names_in(b"key", value) == names
