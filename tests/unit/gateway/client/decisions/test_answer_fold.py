"""One prompt's answer, put together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.client.decisions.answer_fold import AnswerFold, Failure
from schemas.gateway_messages import (
    Accepted,
    Attached,
    Delta,
    End,
    Error,
    Queued,
    ServerMessage,
    Snapshot,
    SnapshotTurn,
    Start,
    Switch,
    Waiting,
)
from schemas.session_events import TurnError


def delta(text: str, attempt: int = 1) -> Delta:
    return Delta(session="s", turn="t", attempt=attempt, seq=0, n=1, text=text)


BEGUN: tuple[ServerMessage, ...] = (
    Accepted(session="s", prompt_id="p", turns=("t",)),
    Queued(session="s", turn="t", prompt_id="p", model="m"),
    Start(session="s", turn="t", attempt=1),
)
ENDS = st.sampled_from(
    [
        End(session="s", turn="t", attempt=1, reason="complete"),
        End(session="s", turn="t", attempt=1, reason="cancelled"),
        Error(code="c", message="m", session="s", prompt_id="p"),
    ]
)
MOVES = st.one_of(
    st.text(max_size=5).map(delta),
    st.sampled_from(
        [
            Start(session="s", turn="t", attempt=2),
            Switch(session="s", turn="t", attempt=2),
            Switch(session="s", turn="t", attempt=2, from_seq=3),
            Waiting(session="s", turn="t"),
            Attached(session="s", head="h", recovered="live"),
            Delta(session="s", turn="u", attempt=1, seq=0, n=1, text="x"),
        ]
    ),
    st.builds(
        lambda text, more: Snapshot(
            session="s", turns=(SnapshotTurn(turn="t", prompt_id="p", attempt=1, text=text, more=more),)
        ),
        st.text(max_size=5),
        st.booleans(),
    ),
)


@given(st.lists(MOVES, max_size=30), ENDS, st.lists(MOVES, max_size=3))
def test_pieces_say_the_text(moves: list[ServerMessage], end: ServerMessage, late: list[ServerMessage]) -> None:
    """What stands is always how the pieces end; once over, nothing changes it."""
    fold = AnswerFold("s", "p", state="asked")
    pieces = "".join([fold.take(message) for message in (*BEGUN, *moves)])

    assert pieces.endswith(fold.text)
    fold.take(end)
    over = (fold.is_over, fold.state, fold.text, fold.failure)
    assert fold.is_over
    assert [fold.take(message) for message in late] == [""] * len(late)
    fold.hole()
    assert (fold.is_over, fold.state, fold.text, fold.failure) == over


def test_states_in_order() -> None:
    """As they are told; an acceptance that comes late changes none."""
    fold = AnswerFold("s", "p", state="asked")
    states = []
    for message in (*BEGUN, BEGUN[0]):
        fold.take(message)
        states.append(fold.state)

    assert states == ["accepted", "queued", "running", "running"]
    assert (fold.turn, fold.model) == ("t", "m")


def test_picture_of_a_turn_that_waits() -> None:
    """It is queued, not running; a hole before it began is none of it."""
    fold = AnswerFold("s", "p", state="asked")
    fold.take(Snapshot(session="s", turns=(SnapshotTurn(turn="t", prompt_id="p"),)))
    fold.hole()

    assert (fold.state, fold.failure) == ("queued", None)


def test_what_is_of_no_interest_to_others() -> None:
    """Its own turn and prompt; a picture of the session is everybody's."""
    fold = AnswerFold("s", "p", state="asked")
    for message in BEGUN:
        fold.take(message)

    assert all(fold.owns(message) for message in (*BEGUN, delta("x")))
    assert not fold.owns(Snapshot(session="s", turns=()))
    assert not fold.owns(Accepted(session="s", prompt_id="q", turns=("u",)))


def test_picture_that_was_cut_off() -> None:
    """Its first piece is void once the session is attached again."""
    fold = AnswerFold("s", "p", state="asked")
    piece = SnapshotTurn(turn="t", prompt_id="p", attempt=1, text="one ", more=True)
    last = SnapshotTurn(turn="t", prompt_id="p", attempt=1, text="two")
    for message in (
        Snapshot(session="s", turns=(piece,)),
        Attached(session="s", head="h", recovered="snapshot"),
        Snapshot(session="s", turns=(piece, last)),
    ):
        fold.take(message)

    assert fold.text == "one two"


@given(st.booleans())
def test_refused_for_now(accepted_before: bool) -> None:
    """The answer is over, and says when to ask again; with no `queued`, and before the acceptance as well."""
    error = TurnError(code="queue_full", message="later", temporary=True, retry_after_s=2.5)
    refused = End(session="s", turn="t", attempt=0, reason="rejected", error=error, prompt_id="p", try_offset=5)
    fold = AnswerFold("s", "p", state="asked")
    for message in (BEGUN[0], refused) if accepted_before else (refused, BEGUN[0]):
        fold.take(message)

    assert (fold.is_over, fold.state, fold.failure) == (True, "rejected", Failure("queue_full", "later", 2.5))
    assert fold.owns(refused)
    assert not AnswerFold("s", "q").owns(refused)
