from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import decode_dead_letter, encode
from schemas.dead_letters import DEAD_LETTER_VALUE_BYTES_MAX, DeadLetter
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
