"""Whatever lies on a log: live, replayed and resumed readers are told one and the same, and cursors fit all of them.

Covers: gateway.hubs.decisions.event_messages, gateway.hubs.decisions.message_ring.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.client.decisions.session_follow import SessionFollow, Taken
from gateway.fetching.decisions.resume_cursor import CursorKeys, CursorSigner, LogPosition, SignedPosition, epoch_digest
from gateway.hubs.decisions.message_ring import MessageRing
from gateway.hubs.decisions.session_messages import HubMessage, SessionReading, SessionTeller
from schemas.codec import decode_server_messages, encode
from schemas.gateway_messages import (
    Attached,
    Compared,
    Delta,
    End,
    Error,
    Queued,
    ServerMessage,
    Start,
    Switch,
    Waiting,
)
from schemas.identifiers import SessionKey
from schemas.session_events import (
    ComparisonEnded,
    PromptRefused,
    SessionEvent,
    StartCause,
    TokensEmitted,
    TurnEnded,
    TurnHedged,
    TurnQueued,
    TurnStarted,
    TurnWaiting,
)
from schemas.turn_fold import SessionFold
from tests.properties.test_turn_fold import logs

EPOCH = epoch_digest("topic-id")
SIGNER = CursorSigner(CursorKeys([b"k" * 32]), SessionKey("key"))
SMALL_BYTES_MAX = 100
"""So small that each chunk is a delta of its own."""

START = LogPosition(0)

Told: TypeAlias = list[tuple[str, ...]]


@dataclass(frozen=True)
class Reading:
    """What one reader was told."""

    messages: list[HubMessage]
    reading: SessionReading


def teller(message_bytes_max: int) -> SessionTeller:
    return SessionTeller("s1", EPOCH, SIGNER, message_bytes_max=message_bytes_max)


def read(
    log: list[SessionEvent],
    *,
    starts_at: int = 0,
    tells_from: LogPosition = START,
    bytes_max: int = 50_000,
    joined: bool = False,
) -> Reading:
    reading = SessionReading(teller(bytes_max), starts_at=starts_at, tells_from=tells_from)
    messages: list[HubMessage] = []
    for offset, event in enumerate(log[starts_at:], start=starts_at):
        messages.extend((reading.replay if joined else reading.take)(offset, encode(event)))
    return Reading([*messages, *reading.finish_replay()], reading)


def decoded(message: HubMessage) -> ServerMessage:
    return decode_server_messages(message.payload)[0]


def told(messages: list[HubMessage]) -> Told:
    """What was said, chunk by chunk, however it was cut into messages."""
    said: Told = []
    for message in map(decoded, messages):
        match message:
            case Delta():
                chunks = [part + " " for part in message.text.split(" ")[:-1]]
                assert len(chunks) == message.n
                said.extend(("chunk", message.turn, str(message.seq + n), chunk) for n, chunk in enumerate(chunks))
            case Switch():
                said.append(("Switch", message.turn, str(message.attempt), str(message.from_seq)))
            case Queued() | Start():
                said.append((type(message).__name__, message.turn))
            case End():
                said.append(("End", message.turn, str(message.first_text_s), str(message.try_offset)))
            case Compared():
                said.append(("Compared", message.prompt_id, message.turn))
            case _:
                said.append((type(message).__name__,))
    return said


@st.composite
def lives(draw: st.DrawFn, number: int) -> list[SessionEvent]:
    """A turn that waits, starts, is hedged, goes on or begins anew at other providers, and perhaps ends."""
    turn = f"t{number}"
    queued = TurnQueued(turn=turn, prompt_id="p", models=("a", "b", "c"), index=number, try_offset=7, at_us=1_000_000)
    written: list[SessionEvent] = [queued]
    seq, at_us = 0, 1_000_000
    for attempt in range(1, draw(st.integers(1, 4)) + 1):
        run = f"{turn}-{attempt}"
        if draw(st.booleans()):
            written.append(TurnWaiting(turn=turn, position=1))
        if draw(st.booleans()):
            written.append(TurnHedged(turn=turn, attempt=attempt, run=f"{run}-hedge"))
        cause: StartCause = (
            draw(st.sampled_from(["failover", "watchdog", "crash", "hedge"])) if attempt > 1 else "first"
        )
        seq = seq if attempt > 1 and draw(st.booleans()) else 0
        written.append(TurnStarted(turn=turn, attempt=attempt, run=run, cause=cause, from_seq=seq, provider=run))
        for count in draw(st.lists(st.integers(1, 3), max_size=3)):
            at_us += 1_000
            chunks = tuple(f"{run}#{place} " for place in range(seq, seq + count))
            written.append(TokensEmitted(turn=turn, attempt=attempt, run=run, seq=seq, chunks=chunks, at_us=at_us))
            seq += count
    if draw(st.integers(0, 3)):
        written.append(TurnEnded(turn=turn, attempt=attempt, run=run, reason="complete", forgotten=draw(st.booleans())))
    return written


@st.composite
def comparisons(draw: st.DrawFn) -> list[SessionEvent]:
    """Turns of one prompt that run at the same time, and what the comparison came to."""
    waiting = [draw(lives(number)) for number in range(draw(st.integers(1, 3)))]
    merged: list[SessionEvent] = []
    while any(waiting):
        merged.append(draw(st.sampled_from([left for left in waiting if left])).pop(0))
    if draw(st.booleans()):
        ended = ComparisonEnded(prompt_id="p", mode="first", turn="t0")
        merged.insert(draw(st.integers(1, len(merged))), ended)
    for sending in draw(st.lists(st.sampled_from((4, 7, 9)), max_size=2)):  # 7 is the one that is taken in
        refused = PromptRefused(prompt_id="p", code="c", message="m", turns=("t0", "t1", "t2"), try_offset=sending)
        merged.insert(draw(st.integers(0, len(merged))), refused)
    return merged


def queued_again_after_the_end(log: list[SessionEvent]) -> bool:
    """A turn queued again after it ended, or was refused, is void only to a reader that has seen that; readers from
    later on may take it for a new one. Workers don't write that: a known turn id changes nothing."""
    fold, ended = SessionFold(), set[str]()
    for offset, event in enumerate(log):
        fold.apply(event, offset)
        if isinstance(event, TurnQueued) and (event.turn in ended or event.turn not in fold.turns):
            return True
        ended |= {turn.queued.turn for turn in fold.turns.values() if turn.ended}
    return False


def without_known_refusals(before: list[HubMessage], messages: list[HubMessage]) -> list[HubMessage]:
    """Without what a client that was told `before` knows to be of a sending that is over."""
    follow = SessionFollow("start")
    follow.attached(Attached(session="s1", head="", recovered="replayed"))
    news: list[HubMessage] = []
    for place, message in enumerate([*before, *messages]):
        event = decoded(message)
        if isinstance(event, Waiting | Error):
            taken = True
        else:
            assert isinstance(event, Queued | Start | Switch | Delta | End | Compared)
            taken = follow.take(event) == Taken()
        if place >= len(before) and (taken or not isinstance(event, End) or event.try_offset < 0):
            news.append(message)
    return news


@given(st.one_of(logs(), comparisons()), st.booleans(), st.sampled_from([SMALL_BYTES_MAX, 50_000]))
def test_replay_says_what_live_says(log: list[SessionEvent], joined: bool, bytes_max: int) -> None:
    """Joined or split, the same is told in the same order, in messages that follow each other without a hole."""
    live = read(log)
    other = read(log, joined=joined, bytes_max=bytes_max)

    assert told(other.messages) == told(live.messages)
    for before, after in zip(other.messages, other.messages[1:], strict=False):
        assert before.begins < before.ends <= after.begins
    assert other.reading.cursor() == live.reading.cursor()


@given(st.one_of(logs(), comparisons()), st.data(), st.booleans(), st.booleans())
def test_any_cursor_resumes_exactly(log: list[SessionEvent], data: st.DataObject, small: bool, joined: bool) -> None:
    """A reader that knows only the cursor is told exactly what the first one was told after it.

    Save two things: what a comparison came to, and a refusal, may be told again where the log holds it twice. Clients
    know the first one of a prompt, and the sending that is refused; whoever holds the cursor has heard it.
    """
    assume(not queued_again_after_the_end(log))
    first = read(log, bytes_max=SMALL_BYTES_MAX if small else 50_000, joined=joined).messages
    assume(first)
    place = data.draw(st.integers(0, len(first) - 1))
    said = SIGNER.read(first[place].cursor)
    assert isinstance(said, SignedPosition)
    again = read(log, starts_at=said.fold_from, tells_from=said.position, joined=data.draw(st.booleans()))

    compared = {line[1] for line in told(first[: place + 1]) if line[0] == "Compared"}
    news = without_known_refusals(first[: place + 1], again.messages)
    heard = [line for line in told(news) if line[0] != "Compared" or line[1] not in compared]
    assert heard == told(first[place + 1 :])
    assert said.fold_from <= said.position.offset


@given(st.one_of(logs(), comparisons()), st.data(), st.integers(600, 8_000), st.booleans())
def test_ring_serves_what_it_covers(log: list[SessionEvent], data: st.DataObject, bytes_max: int, small: bool) -> None:
    """The rest after a position, or None; never a part of it; within its bytes."""
    messages = read(log, bytes_max=SMALL_BYTES_MAX if small else 50_000).messages
    assume(messages)
    ring = MessageRing(bytes_max=bytes_max, covers_from=LogPosition(0))
    for message in messages:
        ring.extend([message])
        assert ring.bytes_held <= bytes_max
    place = data.draw(st.integers(0, len(messages) - 1))
    since = ring.since(messages[place].ends)

    assert since is None or since == messages[place + 1 :]
    assert (since is None) == (messages[place].ends < ring.covers_from)
    assert ring.since(LogPosition(2**40)) == []
