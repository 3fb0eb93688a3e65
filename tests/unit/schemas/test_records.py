from __future__ import annotations

from schemas.codec import decode_record, encode
from schemas.records import RECORD_PART_TEXT_BYTES_MAX, AttemptOutcome, TurnRecord
from schemas.topics import RECORD_BYTES_MAX

__all__: list[str] = []

PART = TurnRecord(user="a", session="s", turn="t", attempt=1, run="r", prompt_id="p")


def test_part_in_the_middle_has_no_outcome() -> None:
    """Only the last part says how the attempt went."""
    assert decode_record(encode(PART)).outcome is None
    last = TurnRecord(
        user="a", session="s", turn="t", attempt=1, run="r", prompt_id="p", outcome=AttemptOutcome(reason="void")
    )

    assert decode_record(encode(last)).outcome == AttemptOutcome(reason="void")


def test_full_part_of_escaped_lines_fits_a_record() -> None:
    """A part as large as may be, every byte a line end, with a gap per chunk of four, stays below 256 KiB."""
    chunks = tuple("\n\n\n\n" for _ in range(RECORD_PART_TEXT_BYTES_MAX // 16))
    words = tuple("word" for _ in range(RECORD_PART_TEXT_BYTES_MAX // 16 * 3))
    part = TurnRecord(
        user="a",
        session="s",
        turn="t",
        attempt=1,
        run="r",
        prompt_id="p",
        texts=("".join(chunks), "".join(words)),
        gaps_us=(20_000,) * 6_000,
    )

    assert len(encode(part)) < RECORD_BYTES_MAX
