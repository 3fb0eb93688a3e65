"""Where to begin in a shared partition: never behind what a fold from its beginning would need.

Covers: gateway.fetching.decisions.ended_turns.
"""

from __future__ import annotations

from hypothesis import event as note
from hypothesis import given
from hypothesis import strategies as st

from gateway.fetching.decisions.ended_turns import ENDED_KEPT_MAX, EndedTurns
from gateway.fetching.decisions.open_turns import AGAIN_MAX, OpenTurns
from schemas.codec import decode_session_event, encode
from schemas.errors import MalformedRecord
from schemas.session_events import PromptRefused, TurnEnded, TurnQueued
from schemas.turn_fold import REFUSED_KEPT_MAX, FoldedTurn, SessionFold
from tests.properties.test_turn_fold import logs

__all__: list[str] = []

SESSIONS = (b"s1", b"s2")


@st.composite
def partitions(draw: st.DrawFn) -> list[tuple[bytes, bytes | None]]:
    """Several sessions' logs in one, with junk in between."""
    left = {key: list(draw(logs())) for key in SESSIONS}
    records: list[tuple[bytes, bytes | None]] = []
    while any(left.values()):
        key = draw(st.sampled_from([key for key, log in left.items() if log]))
        records.append((key, encode(left[key].pop(0))))
        if draw(st.integers(0, 9)) == 0:
            records.append((key, draw(st.sampled_from([None, b"", b"{", b'{"type":"turn.queued"}', b'{"a":1}']))))
    return records


def fold_of(records: list[tuple[bytes, bytes | None]], key: bytes, start: int) -> SessionFold:
    """What a reader knows that begins there."""
    fold = SessionFold()
    for offset, (owner, value) in enumerate(records):
        if owner == key and offset >= start and value is not None:
            try:
                fold.apply(decode_session_event(value), offset)
            except MalformedRecord:
                continue
    return fold


def states(fold: SessionFold) -> list[tuple[str, int, int, str, int]]:
    """Of the open turns."""

    def state(turn: FoldedTurn) -> tuple[str, int, int, str, int]:
        return turn.queued.turn, turn.first_offset, turn.attempt, turn.run, turn.next_seq

    return [state(turn) for turn in fold.open_turns()]


@given(partitions(), st.data())
def test_reader_that_begins_there_knows_what_one_from_the_beginning_knows(
    records: list[tuple[bytes, bytes | None]], data: st.DataObject
) -> None:
    """At every moment, for every session: the same open turns, in the same state."""
    noted = OpenTurns(0)
    at = data.draw(st.integers(0, len(records)))
    for offset, (key, value) in enumerate(records[:at]):
        noted.note(offset, key, value)
        if data.draw(st.integers(0, 9)) == 0:
            noted.note(offset, key, value)  # read again
    for key in SESSIONS:
        start = noted.read_from(key)
        whole, short = fold_of(records[:at], key, 0), fold_of(records[:at], key, start)
        assert states(short) == states(whole)
        note(f"reads all: {start == 0}")


@given(st.integers(1, 60))
def test_what_has_ended_is_forgotten(count: int) -> None:
    """Many turns, one after the other: bounded, and the reader begins at the end."""
    noted = OpenTurns(0)
    for number in range(ENDED_KEPT_MAX + count):
        turn = f"t{number}"
        noted.note(2 * number, b"s1", encode(TurnQueued(turn=turn, prompt_id="p", input="?")))
        noted.note(2 * number + 1, b"s1", encode(TurnEnded(turn=turn, attempt=0, run="", reason="cancelled")))

    assert (noted.by_key, len(noted.ended)) == ({}, ENDED_KEPT_MAX)
    assert noted.read_from(b"s1") == noted.known_to == 2 * (ENDED_KEPT_MAX + count)


@given(st.integers(1, 60))
def test_what_was_queued_again_is_forgotten_too(count: int) -> None:
    """Bounded as well; while it is remembered a reader begins where the turn did."""
    noted, offset = OpenTurns(0), 0
    for number in range(AGAIN_MAX + count):
        queued = encode(TurnQueued(turn=f"t{number}", prompt_id="p", input="?"))
        ended = encode(TurnEnded(turn=f"t{number}", attempt=0, run="", reason="cancelled"))
        records = ((queued, queued, ended), (queued, ended, queued))[number % 2]
        for value in records:
            noted.note(offset, b"s1", value)
            offset += 1

    assert len(noted.by_key[b"s1"]) == len(noted.again) == AGAIN_MAX
    assert noted.read_from(b"s1") == noted.known_to == offset


@given(
    st.lists(st.tuples(st.sampled_from(SESSIONS), st.integers(0, 3_000)), max_size=80, unique=True), st.integers(0, 900)
)
def test_ended_turns_are_found_until_so_many_others_have_ended(turns: list[tuple[bytes, int]], others: int) -> None:
    """Each with its own offset, and nothing else is found."""
    ended = EndedTurns()
    for key, number in turns:
        ended.add(key, f"t{number}", 5 * number)
    for number in range(others):
        ended.add(b"another", f"t{number}", -1)

    assert all(ended.first_offset(key, f"t{number}") == 5 * number for key, number in turns)
    assert ended.first_offset(b"s1", "t3001") is None
    for number in range(ENDED_KEPT_MAX):
        ended.add(b"yet another", f"t{number}", 7)
    assert all(ended.first_offset(key, f"t{number}") is None for key, number in turns)
    assert len(ended) == ENDED_KEPT_MAX


@given(st.integers(1, 60))
def test_prompts_that_were_refused_are_forgotten(count: int) -> None:
    """Bounded; while one is remembered, a reader begins at the refusal behind which a refused sending is queued."""
    noted = OpenTurns(0)
    for number in range(REFUSED_KEPT_MAX + count):
        refused = PromptRefused(prompt_id=f"p{number}", code="c", message="m", turns=("t",), try_offset=number)
        noted.note(number, b"s1", encode(refused))
    end = noted.known_to
    noted.note(end, b"s1", encode(TurnQueued(turn="t", prompt_id=f"p{end - 1}", try_offset=end - 1)))

    assert (len(noted.refused_order), len(noted.refused[b"s1"]), noted.by_key) == (
        REFUSED_KEPT_MAX,
        REFUSED_KEPT_MAX,
        {},
    )
    assert noted.read_from(b"s1") == noted.known_to == end + 1
    noted.note(end + 1, b"s1", encode(TurnQueued(turn="u", prompt_id="q")))
    assert noted.read_from(b"s1") == end + 1
