"""What clients are told of answers that change hands, of comparisons, and of a session told anew.

Covers: gateway.hubs.decisions.session_snapshot.
"""

from __future__ import annotations

import msgspec

from gateway.fetching.decisions.resume_cursor import CursorKeys, CursorSigner, LogPosition, SignedPosition, epoch_digest
from gateway.hubs.decisions.session_messages import HubMessage, SessionReading, SessionTeller
from gateway.hubs.decisions.session_snapshot import snapshot_messages
from schemas.codec import decode_server_messages, encode
from schemas.gateway_messages import Compared, Delta, End, Queued, ServerMessage, Snapshot, Start, Switch
from schemas.identifiers import SessionKey
from schemas.session_events import (
    ComparisonEnded,
    PromptRefused,
    SessionEvent,
    TokensEmitted,
    TurnEnded,
    TurnError,
    TurnHedged,
    TurnQueued,
    TurnStarted,
)
from schemas.turn_fold import SessionFold

SIGNER = CursorSigner(CursorKeys([b"k" * 32]), SessionKey("key"))
TELLER = SessionTeller("s1", epoch_digest("topic-id"), SIGNER)
START = LogPosition(0)
CHANGED_HANDS: list[SessionEvent] = [
    TurnQueued(turn="t", prompt_id="p", at_us=1_000_000),
    TurnStarted(turn="t", attempt=1, run="r1", provider="north", model="m1"),
    TokensEmitted(turn="t", attempt=1, run="r1", seq=0, chunks=("One ", "two "), at_us=1_250_000),
    TurnHedged(turn="t", attempt=2, run="r2", provider="south"),
    TurnStarted(turn="t", attempt=2, run="r2", provider="south", model="m2", cause="watchdog", from_seq=2),
    TokensEmitted(turn="t", attempt=2, run="r2", seq=2, chunks=("three ", "four "), at_us=2_000_000),
    TurnEnded(turn="t", attempt=2, run="r2", reason="complete"),
]


def replayed(log: list[SessionEvent], *, starts_at: int = 0, tells_from: LogPosition = START) -> list[HubMessage]:
    reading = SessionReading(TELLER, starts_at=starts_at, tells_from=tells_from)
    messages: list[HubMessage] = []
    for offset in range(starts_at, len(log)):
        messages.extend(reading.replay(offset, encode(log[offset])))
    return [*messages, *reading.finish_replay()]


def said(messages: list[HubMessage]) -> list[ServerMessage]:
    return [decode_server_messages(message.payload)[0] for message in messages]


def test_answer_that_goes_on_at_another_provider() -> None:
    """Deltas are not joined across the switch, which says what stands; the hedge itself is not told."""
    told = said(replayed(CHANGED_HANDS))

    assert [type(message).__name__ for message in told] == ["Queued", "Start", "Delta", "Switch", "Delta", "End"]
    switch, delta, end = told[3:]
    assert isinstance(switch, Switch)
    assert (switch.attempt, switch.from_seq, switch.provider, switch.cause) == (2, 2, "south", "watchdog")
    assert isinstance(delta, Delta)
    assert (delta.seq, delta.n, delta.text) == (2, 2, "three four ")
    assert isinstance(end, End)
    assert end.first_text_s == 0.25


def test_metadata_comes_back() -> None:
    """With the beginning and the end of its turn, also where the turn began before what is told."""
    ticket = {"ticket": "4711"}
    log: list[SessionEvent] = [
        TurnQueued(turn="t", prompt_id="p", metadata=ticket),
        TurnStarted(turn="t", attempt=1, run="r1"),
        TurnEnded(turn="t", attempt=1, run="r1", reason="complete", metadata=ticket),
    ]
    queued, _, end = said(replayed(log))
    (late,) = said(replayed(log, tells_from=LogPosition(2)))

    assert isinstance(queued, Queued)
    assert isinstance(end, End)
    assert isinstance(late, End)
    assert [each.metadata for each in (queued, end, late)] == [ticket] * 3


def test_resumed_inside_a_record_of_the_attempt_that_goes_on() -> None:
    """The rest of the record and no more, under the same numbers."""
    end_of_record = replayed(CHANGED_HANDS)[4]
    known = SIGNER.read(end_of_record.cursor)
    assert isinstance(known, SignedPosition)

    told = said(replayed(CHANGED_HANDS, starts_at=known.fold_from, tells_from=LogPosition(5, 1)))

    assert isinstance(told[0], Delta)
    assert (told[0].seq, told[0].n, told[0].text) == (3, 1, "four ")
    assert isinstance(told[1], End)


def test_another_provider_before_the_first_token() -> None:
    """A switch from chunk 0: the answer begins anew; after a crash it is a plain start."""
    log = [
        *CHANGED_HANDS[:3],
        TurnStarted(turn="t", attempt=2, run="r2", provider="south", cause="failover"),
        TurnStarted(turn="t", attempt=3, run="r3", provider="south", cause="crash", cached=True),
        TurnEnded(turn="t", attempt=3, run="r3", reason="error"),
    ]

    switch, start, end = said(replayed(log))[3:]

    assert isinstance(switch, Switch)
    assert switch.from_seq == 0
    assert isinstance(start, Start)
    assert (start.attempt, start.cached) == (3, True)
    assert isinstance(end, End)
    assert end.first_text_s is None  # what was said before is void


REFUSED = PromptRefused(
    prompt_id="p",
    code="session_busy",
    message="later",
    turns=("t0", "t1", "t2"),
    try_offset=5,
    temporary=True,
    retry_after_s=1.5,
    metadata={"ticket": "4711"},
)


def test_refusal_for_now_ends_each_of_its_turns() -> None:
    """With the error, and the prompt's id: nothing was said of them before. One that has begun goes on."""
    log: list[SessionEvent] = [
        TurnQueued(turn="t1", prompt_id="p", try_offset=5),
        TurnStarted(turn="t1", attempt=1, run="r1"),
        TurnQueued(turn="t2", prompt_id="p", try_offset=5),
        REFUSED,
    ]
    *_, first, last = told = said(replayed(log))

    assert [type(message).__name__ for message in told] == ["Queued", "Start", "Queued", "End", "End"]
    assert isinstance(first, End)
    assert isinstance(last, End)
    assert (first.turn, last.turn, last.reason, last.prompt_id, last.try_offset) == ("t0", "t2", "rejected", "p", 5)
    assert last.error == TurnError(code="session_busy", message="later", temporary=True, retry_after_s=1.5)
    assert last.metadata == {"ticket": "4711"}


def test_resumed_inside_a_refusal() -> None:
    """Whoever was told of some of its turns is told of the others."""
    messages = replayed([REFUSED])
    known = SIGNER.read(messages[0].cursor)
    assert isinstance(known, SignedPosition)

    again = replayed([REFUSED], starts_at=known.fold_from, tells_from=known.position)

    assert [message.turn for message in messages] == ["t0", "t1", "t2"]
    assert [(each.payload, each.begins, each.ends) for each in again] == [
        (each.payload, each.begins, each.ends) for each in messages[1:]
    ]
    assert known.fold_from == 0


def test_snapshot_tells_of_prompts_that_were_refused() -> None:
    """They have no turns, and whoever sent one waits for its end; one that was sent again is a turn like others."""
    log: list[SessionEvent] = [
        msgspec.structs.replace(REFUSED, prompt_id="q", turns=("u",)),
        REFUSED,
        TurnQueued(turn="u", prompt_id="q", try_offset=6),
    ]
    fold = SessionFold(keep_text=True)
    for offset, event in enumerate(log):
        fold.apply(event, offset)

    first, *ends, last = snapshot_messages(fold, "s1", "cursor")
    (alone,) = snapshot_messages(fold, "s1", "cursor", only=frozenset({"u"}))

    assert isinstance(first, Snapshot)
    assert isinstance(last, Snapshot)
    assert isinstance(alone, Snapshot)
    assert [turn.turn for turn in first.turns] == ["u"]
    assert [(end.turn, end.c) for end in ends if isinstance(end, End)] == [("t0", ""), ("t1", ""), ("t2", "")]
    assert (last.turns, last.c, len(alone.turns)) == ((), "cursor", 1)


def test_snapshot_of_what_was_not_compared() -> None:
    """The turn alone, with the cursor; an open one does not say how long its first text took."""
    fold = SessionFold(keep_text=True)
    for offset, event in enumerate(CHANGED_HANDS[:-1]):
        fold.apply(event, offset)

    (only,) = snapshot_messages(fold, "s1", "cursor")

    assert isinstance(only, Snapshot)
    assert (only.c, only.turns[0].reason, only.turns[0].first_text_s) == ("cursor", None, None)


def test_snapshot_of_a_comparison() -> None:
    """The turns with their places and the whole of a continued text; `compared` comes before the cursor."""
    models = ("a", "b")
    log: list[SessionEvent] = [
        TurnQueued(turn="t", prompt_id="p", models=models, compare="first"),
        *CHANGED_HANDS[1:],
        TurnQueued(turn="u", prompt_id="p", models=models, compare="first", index=1),
        TurnEnded(turn="u", attempt=0, run="", reason="cancelled", forgotten=True),
        ComparisonEnded(prompt_id="p", mode="first", turn="t", scores={"t": 1.0}),
        ComparisonEnded(prompt_id="p", mode="first", turn="u"),
    ]
    fold = SessionFold(keep_text=True)
    for offset, event in enumerate(log):
        fold.apply(event, offset)

    first, compared, last = snapshot_messages(fold, "s1", "cursor")

    assert isinstance(first, Snapshot)
    assert isinstance(last, Snapshot)
    (whole,), (other,) = first.turns, last.turns
    assert (whole.text, whole.next_seq, whole.attempt, whole.provider) == ("One two three four ", 4, 2, "south")
    assert (whole.models, whole.compare, other.index, other.forgotten) == (models, "first", 1, True)
    assert compared == Compared(session="s1", prompt_id="p", mode="first", turn="t", scores={"t": 1.0})
    assert (first.c, last.c) == ("", "cursor")
