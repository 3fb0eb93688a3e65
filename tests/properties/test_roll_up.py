"""Joined messages say the same as the messages they were made of, chunk by chunk, with cursors that still hold."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from gateway.fetching.decisions.resume_cursor import LogPosition
from gateway.hubs.decisions.roll_up import rolled_up
from gateway.hubs.decisions.session_messages import HubMessage
from gateway.hubs.decisions.shared_frames import SharedFrame, shared_frames
from schemas.codec import decode_server_messages, encode
from schemas.gateway_messages import Delta, End, ServerMessage, Start
from tests.fakes.recording_socket import payload_of

TURNS = st.integers(0, 2)
TEXTS = st.text(alphabet=st.characters(codec="utf-8", exclude_characters=" "), min_size=1, max_size=20)
STORIES = st.lists(
    st.one_of(
        st.tuples(st.just("start"), TURNS, st.just("")),
        st.tuples(st.just("end"), TURNS, st.just("")),
        st.tuples(st.just("delta"), TURNS, TEXTS),
    ),
    min_size=1,
    max_size=40,
)


def messages_of(story: list[tuple[str, int, str]]) -> list[HubMessage]:
    """What a session tells: each message behind the one before, with a cursor that names its place."""
    attempts, seqs = [1, 1, 1], [0, 0, 0]
    made: list[HubMessage] = []
    for place, (kind, turn, text) in enumerate(story):
        cursor, name = f"c{place}", f"t{turn}"
        if kind == "start":
            attempts[turn] += 1
            seqs[turn] = 0
        message: ServerMessage
        match kind:
            case "start":
                message = Start(session="s", turn=name, attempt=attempts[turn], c=cursor)
            case "end":
                message = End(session="s", turn=name, attempt=attempts[turn], reason="complete", c=cursor)
            case _:
                message = Delta(
                    session="s", turn=name, attempt=attempts[turn], seq=seqs[turn], n=1, text=text, c=cursor
                )
                seqs[turn] += 1
        made.append(HubMessage(encode(message), cursor, LogPosition(place), LogPosition(place + 1), name))
    return made


def told(frame: SharedFrame) -> list[ServerMessage]:
    return decode_server_messages(payload_of(frame.wire()))


def facts(messages: list[ServerMessage]) -> dict[str, list[tuple[str, int, str]]]:
    """Per turn, what it said in order: starts, ends and the text of each attempt."""
    by_turn: dict[str, list[tuple[str, int, str]]] = {}
    for message in messages:
        assert isinstance(message, Start | End | Delta)
        said = by_turn.setdefault(message.turn, [])
        if isinstance(message, Delta):
            if said and said[-1][0] == "text":
                said[-1] = ("text", message.attempt, said[-1][2] + message.text)
            else:
                said.append(("text", message.attempt, message.text))
        else:
            said.append((type(message).__name__, message.attempt, ""))
    return by_turn


@given(STORIES, st.integers(60, 2_000))
def test_joined_messages_say_the_same(story: list[tuple[str, int, str]], bytes_max: int) -> None:
    """Per turn the same text, starts and ends in the same order; each delta goes on where the one before ended."""
    messages = messages_of(story)
    frames = list(rolled_up(messages, bytes_max))
    rolled = [message for frame in frames for message in told(frame)]
    seqs: dict[tuple[str, int], int] = {}
    for message in rolled:
        if isinstance(message, Delta):
            key = (message.turn, message.attempt)
            assert message.seq == seqs.get(key, 0)
            seqs[key] = message.seq + message.n

    assert facts(rolled) == facts([m for message in messages for m in decode_server_messages(message.payload)])
    assert sum(frame.count for frame in frames) == len(rolled)


@given(STORIES, st.integers(60, 2_000))
def test_cursor_of_a_joined_message_holds(story: list[tuple[str, int, str]], bytes_max: int) -> None:
    """Whoever has read up to a cursor has been told exactly what lies before the place it names."""
    messages = messages_of(story)
    frames = list(rolled_up(messages, bytes_max))
    read: list[ServerMessage] = []
    for frame in frames:
        for message in told(frame):
            read.append(message)
            cursor = getattr(message, "c", "")
            if cursor:
                before = messages[: int(cursor[1:]) + 1]
                assert facts(read) == facts([m for part in before for m in decode_server_messages(part.payload)])

        assert getattr(read[-1], "c", "") == frame.cursor


@given(STORIES, st.integers(60, 2_000))
def test_frames_lie_end_to_end(story: list[tuple[str, int, str]], bytes_max: int) -> None:
    """Joined or not: each begins where the one before ends, and none is larger than it may be."""
    messages = messages_of(story)
    for frames in (list(rolled_up(messages, bytes_max)), shared_frames(messages, bytes_max)):
        assert frames[0].begins == messages[0].begins
        assert frames[-1].ends == messages[-1].ends
        assert all(before.ends == after.begins for before, after in itertools.pairwise(frames))
        assert all(len(payload_of(frame.wire())) <= bytes_max or frame.count == 1 for frame in frames)


@given(STORIES)
def test_frame_is_made_once(story: list[tuple[str, int, str]]) -> None:
    """All readers write the same bytes."""
    frame = shared_frames(messages_of(story))[0]

    assert frame.wire() is frame.wire()
