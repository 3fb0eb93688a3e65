"""What a client makes of a session's messages."""

from __future__ import annotations

import msgspec
import pytest

from gateway.client.decisions.session_follow import Adopted, Dropped, LogMessage, Mend, SessionFollow, Taken
from schemas.gateway_messages import (
    Attached,
    Compared,
    Delta,
    End,
    Queued,
    Snapshot,
    SnapshotTurn,
    Start,
    Switch,
    Waiting,
)
from schemas.session_events import TurnError

S = "s"
TAKEN, DROPPED = Taken(), Dropped()


def queued(turn: str = "t", prompt_id: str = "p", c: str = "c1", models: tuple[str, ...] = ()) -> Queued:
    return Queued(session=S, turn=turn, prompt_id=prompt_id, models=models, c=c)


def start(attempt: int = 1, c: str = "c2") -> Start:
    return Start(session=S, turn="t", attempt=attempt, c=c)


def switch(attempt: int, from_seq: int) -> Switch:
    return Switch(session=S, turn="t", attempt=attempt, from_seq=from_seq, c=f"w{attempt}")


def delta(seq: int, n: int = 1, attempt: int = 1) -> Delta:
    return Delta(session=S, turn="t", attempt=attempt, seq=seq, n=n, text="x", c=f"d{seq}")


def end(attempt: int = 1, turn: str = "t") -> End:
    return End(session=S, turn=turn, attempt=attempt, reason="complete", c="e")


def following(*messages: LogMessage, from_: str = "start") -> SessionFollow:
    """Attached, and told these."""
    follow = SessionFollow(from_)
    follow.attached(Attached(session=S, head="h", recovered="replayed"))
    for message in messages:
        assert follow.take(message) == TAKEN
    return follow


def test_a_whole_answer() -> None:
    """Everything counts, the cursor moves, the prompt is over."""
    follow = following(queued(), start(), delta(0, 2), delta(2))
    assert not follow.is_over("p")
    assert follow.take(end()) == TAKEN

    assert follow.cursor == "e"
    assert follow.is_over("p")
    assert follow.prompt_of("t") == "p"
    assert follow.prompt_of("unknown") == ""
    assert not follow.is_over("unknown")


def test_what_was_told_before() -> None:
    """Told again it changes nothing."""
    told = (queued(), start(), delta(0, 2), end())
    follow = following(*told)

    assert [follow.take(message) for message in told] == [DROPPED] * 4


@pytest.mark.parametrize(
    ("message", "verdict"),
    [
        (delta(0), DROPPED),
        (delta(2), TAKEN),
        (delta(3), Mend("d0")),
        (delta(0, attempt=2), Mend("d0")),
        (delta(0, attempt=0), DROPPED),
        (start(1), DROPPED),
        (start(2), TAKEN),
        (switch(1, 0), DROPPED),
        (switch(2, 0), TAKEN),
        (switch(2, 2), TAKEN),
        (switch(2, 3), Mend("d0")),
        (end(), TAKEN),
        (end(2), Mend("d0")),
    ],
)
def test_after_two_chunks(message: LogMessage, verdict: object) -> None:
    """What counts next, what is known, what leaves a hole."""
    assert following(queued(), start(), delta(0, 2)).take(message) == verdict


@pytest.mark.parametrize(
    ("message", "from_start", "from_tail"),
    [
        (start(), TAKEN, TAKEN),
        (end(), TAKEN, TAKEN),
        (delta(0), TAKEN, TAKEN),
        (delta(7), Mend("start"), TAKEN),
        (switch(2, 0), TAKEN, TAKEN),
        (switch(2, 5), Mend("start"), TAKEN),
    ],
)
def test_a_turn_that_is_unknown(message: LogMessage, from_start: object, from_tail: object) -> None:
    """Half-way in is a hole, unless that is where we came in on purpose."""
    assert following().take(message) == from_start
    assert following(from_="tail").take(message) == from_tail


def test_a_hole_that_stays() -> None:
    """Mended at the cursor, then from the start, then taken as it is, and said so."""
    follow = following(queued(), start(), delta(0))
    verdicts = []
    for _ in range(3):
        verdicts.append(follow.take(delta(5)))
        follow.asked()
        assert follow.take(delta(1)) == DROPPED
        follow.attached(Attached(session=S, head="h", recovered="replayed"))

    assert verdicts == [Mend("d0"), Mend("start"), Adopted()]
    assert follow.take(delta(6)) == TAKEN


def test_a_comparison_counts_once() -> None:
    """And is over when all its turns are."""
    over = Compared(session=S, prompt_id="p", mode="all", c="x")
    follow = following(queued("t", models=("a", "b")), start(), end())
    assert not follow.is_over("p")

    assert follow.take(queued("t2", models=("a", "b"))) == TAKEN
    assert follow.take(end(0, turn="t2")) == TAKEN
    assert (follow.take(over), follow.take(over)) == (TAKEN, DROPPED)
    assert follow.is_over("p")


def test_a_picture_replaces_or_adds() -> None:
    """After a gap it is all there is; after a skip what was told stands."""
    follow = following(queued(), start(), delta(0, 4))
    picture = Snapshot(session=S, turns=(SnapshotTurn(turn="u", prompt_id="q", attempt=1, next_seq=9),), c="s1")
    follow.gap("skipped")
    assert follow.take_snapshot(picture)
    assert set(follow.turns) == {"t", "u"}
    follow.gap("expired")
    assert follow.take_snapshot(picture)

    assert set(follow.turns) == {"u"}
    assert follow.cursor == "s1"
    follow.asked()
    assert not follow.take_snapshot(picture)


def test_a_picture_in_pieces() -> None:
    """A turn that goes on in the next piece is not over; only the last piece moves the cursor."""
    follow = following()
    first = SnapshotTurn(turn="u", prompt_id="q", next_seq=9, reason="complete", more=True)
    last = SnapshotTurn(turn="u", prompt_id="q", next_seq=9, reason="complete")
    assert follow.take_snapshot(Snapshot(session=S, turns=(first,)))
    assert (follow.is_over("q"), follow.cursor) == (False, "")
    assert follow.take_snapshot(Snapshot(session=S, turns=(last,), c="s1"))

    assert (follow.is_over("q"), follow.cursor) == (True, "s1")


def test_word_of_waiting_is_for_turns_that_are_known() -> None:
    """It carries nothing that is needed later."""
    follow = following(queued())

    assert follow.take_waiting(Waiting(session=S, turn="t"))
    assert not follow.take_waiting(Waiting(session=S, turn="u"))


def test_a_refused_cursor_is_given_up_once() -> None:
    """Then all is asked for again."""
    follow = following(queued())

    assert follow.refused() == "start"
    assert follow.refused() is None


def test_session_in_which_nothing_was_said_yet() -> None:
    """There is no cursor; whoever is cut off before the first one comes back from the start: all of it is new."""
    follow = SessionFollow("tail")
    follow.attached(Attached(session=S, head="", recovered="live"))

    assert follow.position == "start"
    assert follow.head_seen("") is None


def test_the_tail_begins_at_the_head() -> None:
    """So a reconnect before the first message misses nothing; unless a picture is to be told first."""
    follow = SessionFollow("tail")
    follow.attached(Attached(session=S, head="h", recovered="live"))
    late = SessionFollow("tail")
    late.attached(Attached(session=S, head="h", recovered="snapshot"))

    assert (follow.position, late.position) == ("h", "tail")
    assert following(from_="c0").position == "c0"


def test_a_head_that_stays_ahead_is_a_hole() -> None:
    """Seen twice with the same cursor; once is only news on its way."""
    follow = following(queued())
    assert follow.head_seen("c1") is None
    assert follow.head_seen("c9") is None
    assert follow.head_seen("c9") == "c1"
    follow.asked()
    assert follow.head_seen("c9") is None
    follow.attached(Attached(session=S, head="c9", recovered="replayed"))

    assert follow.head_seen("c9") is None


def refused(try_offset: int) -> End:
    error = TurnError(code="session_busy", message="later", temporary=True, retry_after_s=1.0)
    return End(session=S, turn="t", attempt=0, reason="rejected", error=error, prompt_id="p", try_offset=try_offset)


def sent(try_offset: int) -> Queued:
    return msgspec.structs.replace(queued(), try_offset=try_offset)


def test_prompt_refused_for_now_and_sent_again() -> None:
    """Each refusal ends its sending, and those before; a later one begins the turn anew, whatever is told twice."""
    follow = following(refused(3), refused(5))

    assert [follow.take(message) for message in (refused(5), refused(3), sent(5), sent(4))] == [DROPPED] * 4
    assert (follow.is_over("p"), follow.prompt_of("t")) == (False, "p")
    assert [follow.take(message) for message in (sent(9), refused(5), refused(9))] == [TAKEN, DROPPED, TAKEN]
    assert not follow.is_over("p")
    assert [follow.take(message) for message in (sent(12), start(), refused(12), end())] == [
        TAKEN,
        TAKEN,
        DROPPED,
        TAKEN,
    ]
    assert follow.is_over("p")
    assert [follow.take(message) for message in (sent(15), refused(15))] == [DROPPED] * 2


def test_refused_prompt_that_an_older_worker_takes_in() -> None:
    """It does not say which sending it is."""
    follow = following(sent(5), refused(5), queued(), start())

    assert follow.take(delta(0)) == TAKEN
