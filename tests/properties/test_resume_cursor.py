"""No cursor but our own, for this very session, ever opens anything; and what it opens is what was signed."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.fetching.decisions.resume_cursor import (
    CURSOR_CHARS,
    CursorKeys,
    CursorSigner,
    Forged,
    Gap,
    LogPosition,
    ReplayFrom,
    SignedPosition,
    UpToDate,
    epoch_digest,
    plan_resume,
)
from schemas.identifiers import SessionKey

OFFSETS = st.integers(0, 2**63)
EPOCH = epoch_digest("topic-id")
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
KEYS = CursorKeys([b"k" * 32])
OURS = CursorSigner(KEYS, SessionKey("session-of-alice"))

positions = st.builds(LogPosition, OFFSETS, st.integers(0, 2**32 - 1))


@given(positions, OFFSETS)
def test_signed_cursor_says_what_was_signed(position: LogPosition, fold_from: int) -> None:
    """Reading gives back position, place to fold from and epoch."""
    cursor = OURS.sign(EPOCH, position, fold_from)

    assert len(cursor) == CURSOR_CHARS
    assert OURS.read(cursor) == SignedPosition(EPOCH, position, fold_from)


@given(positions, OFFSETS, st.integers(0, CURSOR_CHARS - 1), st.sampled_from(ALPHABET))
def test_changed_cursor(position: LogPosition, fold_from: int, place: int, letter: str) -> None:
    """One other letter anywhere: refused, or (in the key's name) not known; never a position."""
    cursor = OURS.sign(EPOCH, position, fold_from)
    assume(cursor[place] != letter)

    assert isinstance(OURS.read(cursor[:place] + letter + cursor[place + 1 :]), Forged | Gap)


@given(positions, st.integers(0, CURSOR_CHARS - 1), st.text(max_size=8))
def test_cut_or_lengthened_cursor(position: LogPosition, kept: int, more: str) -> None:
    """Anything but the whole is forged."""
    cursor = OURS.sign(EPOCH, position, 0)
    assume(len(cursor[:kept] + more) != CURSOR_CHARS)

    assert OURS.read(cursor[:kept] + more) == Forged()
    if more:
        assert OURS.read(cursor + more) == Forged()


@given(st.text(max_size=2 * CURSOR_CHARS))
def test_arbitrary_text(text: str) -> None:
    """Nothing made up passes, and nothing made up raises."""
    assert isinstance(OURS.read(text), Forged | Gap)


@given(positions, st.text(min_size=1, max_size=32))
def test_cursor_of_another_session(position: LogPosition, key: str) -> None:
    """Another user's or session's cursor is forged, like one that never was."""
    assume(key != OURS.session_key)
    theirs = CursorSigner(KEYS, SessionKey(key.encode(errors="replace").decode()))

    assert OURS.read(theirs.sign(EPOCH, position, 0)) == Forged()


@given(positions, st.binary(min_size=32, max_size=80))
def test_key_is_changed(position: LogPosition, secret: bytes) -> None:
    """Cursors of the old key are read while it is listed; afterwards they are unknown, not forged."""
    assume(secret != b"k" * 32)
    cursor = OURS.sign(EPOCH, position, 0)
    both = CursorSigner(CursorKeys([secret, b"k" * 32]), OURS.session_key)
    new_only = CursorSigner(CursorKeys([secret]), OURS.session_key)

    assert both.read(cursor) == OURS.read(cursor)
    assert both.sign(EPOCH, position, 0) != cursor
    assert new_only.read(cursor) in (Gap("unknown_cursor"), Forged())  # forged: two keys with one short name


@given(positions, OFFSETS, OFFSETS, OFFSETS, st.booleans())
def test_plan(position: LogPosition, fold_from: int, log_start: int, log_end: int, same_log: bool) -> None:
    """Everything after the cursor, or a gap: never an offset outside the log, never a fold begun too late."""
    assume(log_start <= log_end)
    said = SignedPosition(EPOCH, position, fold_from)
    decision = plan_resume(said, EPOCH if same_log else b"other!", log_start=log_start, log_end=log_end)

    match decision:
        case ReplayFrom(where, fold_at):
            assert same_log
            assert where == position
            assert log_start <= fold_at <= min(fold_from, position.offset)
            assert position.offset < log_end
        case UpToDate(where):
            assert same_log
            assert where == position == (log_end, 0)
        case Gap(reason):
            assert (reason == "recreated") == (not same_log)
            assert not same_log or position > (log_end, 0) or min(fold_from, position.offset) < log_start
