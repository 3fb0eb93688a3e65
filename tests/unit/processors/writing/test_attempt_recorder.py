"""Records in parts: small enough for the log, and the same whoever writes them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from processors.writing.attempt_recorder import AttemptRecorder
from schemas.codec import decode_record
from schemas.identifiers import SessionKey
from schemas.journal import JournalEntry
from schemas.prompts import PromptSubmitted
from schemas.records import AttemptOutcome, TurnRecord
from schemas.topics import RECORD_BYTES_MAX, record_partition
from schemas.turn_fold import text_hash
from tests.fakes.memory_log import MemoryAppender, MemoryLog
from tests.fakes.topic_names import RECORDS
from tests.fakes.virtual_clock import VirtualClock
from tests.fakes.virtual_loop import VirtualLoop, run_virtual

__all__: list[str] = []

KEY = SessionKey("k" * 32)
METADATA_MAX = {f"{number:02}" + "\x01" * 510: "\x01" * 512 for number in range(16)}
"""Sixteen entries of the longest keys and values, in escapes of six bytes."""


def entry_of(metadata: dict[str, str]) -> JournalEntry:
    prompt = PromptSubmitted(user="u", session="s", prompt_id="p", input="?", metadata=metadata)
    return JournalEntry(turn="t", user="u", session="s", prompt_id="p", phase="running", prompt=prompt)


def recorded(batches: list[list[str]], metadata: dict[str, str] | None = None) -> list[TurnRecord]:
    log = MemoryLog(VirtualClock())
    entry = entry_of(metadata or {})

    async def play() -> None:
        assert entry.prompt is not None
        recorder = AttemptRecorder(MemoryAppender(log), KEY, entry, attempt=1, run="r1")
        for batch in batches:
            recorder.add(batch, [123_456_789] * len(batch))
            await recorder.send_full()
        await recorder.finish(AttemptOutcome(reason="complete", metadata=entry.prompt.metadata))

    run_virtual(VirtualLoop(), play())
    records = log.records(RECORDS, record_partition(KEY))
    assert all(len(record.value or b"") < RECORD_BYTES_MAX for record in records)
    return [decode_record(record.value or b"") for record in records]


def test_short_answer() -> None:
    """One part, with the outcome, the text's hash and length."""
    (record,) = recorded([["a", "bé"], ["c"]])

    assert (record.part, record.seq, record.texts, len(record.gaps_us)) == (0, 0, ("a", "bé", "c"), 3)
    assert record.outcome is not None
    assert (record.outcome.text_sha256, record.outcome.text_chars, record.outcome.chunks) == (text_hash("abéc"), 4, 3)


def test_control_characters_in_tiny_chunks() -> None:
    """Escapes of six bytes for each and a gap per chunk still fit: the parts become smaller."""
    chunks = ["\x01\x02\x03\x04"] * 20_000
    records = recorded([chunks])

    assert [text for record in records for text in record.texts] == chunks
    assert [record.outcome is not None for record in records] == [False] * (len(records) - 1) + [True]


def test_control_characters_in_large_chunks() -> None:
    """The same."""
    assert len(recorded([["\x01" * 8_192] * 9])) > 1


def test_largest_metadata_beside_a_full_part() -> None:
    """All parts leave room for it, whichever will be the last: none is too large for the log, and no chunk is lost."""
    chunks = ["\x01\x02\x03\x04"] * 4_000
    records = recorded([chunks], METADATA_MAX)

    assert len(records) == 2
    assert [text for record in records for text in record.texts] == chunks
    assert records[-1].outcome is not None
    assert (records[-1].outcome.metadata, records[-1].outcome.chunks) == (METADATA_MAX, 4_000)


@settings(max_examples=20)
@given(st.lists(st.text("aé\x01", min_size=1, max_size=3_000), max_size=40), st.data())
def test_parts_do_not_depend_on_how_the_chunks_arrived(chunks: list[str], data: st.DataObject) -> None:
    """Rebuilt from the log in one go, they are the same rows: numbered without a hole, text whole."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(chunks)), max_size=5)))
    batches = [chunks[start:end] for start, end in zip([0, *cuts], [*cuts, len(chunks)], strict=True)]
    records = recorded([[chunk * 10 for chunk in batch] for batch in batches])

    assert records == recorded([[chunk * 10 for chunk in chunks]])
    assert [record.part for record in records] == list(range(len(records)))
    seq = 0
    for record in records:
        assert record.seq == seq
        seq += len(record.texts)


@settings(max_examples=20)
@given(st.integers(0, 4_000), st.integers(0, 4_000), st.sampled_from([{}, {"ticket": "4711"}, METADATA_MAX]))
def test_shorter_attempt_has_the_same_parts_up_to_its_end(one: int, other: int, metadata: dict[str, str]) -> None:
    """What was sent before a crash is the beginning of what the log holds, wherever the log ends."""
    shorter, longer = (
        recorded([[f"{number:07}\x01" for number in range(count)]], metadata) for count in sorted((one, other))
    )

    assert shorter[:-1] == longer[: len(shorter) - 1]
