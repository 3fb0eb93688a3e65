"""What a client may say, and when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.decisions.client_protocol import (
    MESSAGES_PER_FRAME_MAX,
    STRIKES_MAX,
    TRANSITIONS,
    Authenticate,
    CancelPrompt,
    ClientProtocol,
    Fault,
    FollowSession,
    HeardPong,
    ProtocolEvent,
    ProtocolState,
    SubmitPrompt,
    UnfollowSession,
)
from schemas.identifiers import check_user_id
from schemas.prompt_limits import PromptLimits


def ready() -> ClientProtocol:
    protocol = ClientProtocol(PromptLimits(models=("simulated",)))
    protocol.authenticated(check_user_id("alice"))
    return protocol


def test_every_message_becomes_its_intent() -> None:
    """One frame with all of them, in order."""
    frame = (
        '[{"type":"hello","token":"t","resume":{"s":"c"}},{"type":"attach","session":"s","from":"start"},'
        '{"type":"attach"},{"type":"prompt","session":"s","prompt_id":"p","input":"Hi"},'
        '{"type":"cancel","session":"s","prompt_id":"p"},{"type":"detach","session":"s"},{"type":"pong"}]'
    )
    hello, attach, new, prompt, cancel, detach, pong = ready().receive(frame)

    assert hello == Authenticate("t", {"s": "c"})
    assert attach == FollowSession("s", "start")
    assert new == FollowSession("", "tail")
    assert isinstance(prompt, SubmitPrompt)
    assert (prompt.prompt.user, prompt.prompt.input) == ("alice", "Hi")
    assert isinstance(cancel, CancelPrompt)
    assert cancel.command.user == "alice"
    assert detach == UnfollowSession("s")
    assert pong == HeardPong()


def test_hello_decides_how_its_neighbours_are_read() -> None:
    """A frame may begin with hello: what follows is read once the shell has verified the token."""
    protocol = ClientProtocol(PromptLimits())
    intents = protocol.receive('[{"type":"hello","token":"t"},{"type":"attach","session":"s"}]')
    first = next(intents)
    protocol.authenticated(check_user_id("alice"))

    assert isinstance(first, Authenticate)
    assert next(intents) == FollowSession("s", "tail")


def test_anything_before_hello() -> None:
    """A strike, and nothing is done."""
    (fault,) = ClientProtocol(PromptLimits()).receive('{"type":"attach","session":"s"}')

    assert isinstance(fault, Fault)
    assert fault.code == "hello_expected"


def test_third_strike_closes() -> None:
    """Faults of form count, faults of content do not."""
    protocol = ready()
    faults = [fault for frame in ["{", '{"type":"warp"}', '{"type":"attach","session":"/"}', "[1]", "nonsense"]
              for fault in protocol.receive(frame)]  # fmt: skip

    assert [fault.closes for fault in faults if isinstance(fault, Fault)] == [False, False, False, False, True]
    assert protocol.strikes == STRIKES_MAX


def test_closing_connection_hears_nothing() -> None:
    """Also in the middle of a frame."""
    protocol = ready()
    intents = protocol.receive('[{"type":"pong"},{"type":"pong"}]')
    next(intents)
    protocol.closed()

    assert list(intents) == []
    assert list(protocol.receive('{"type":"pong"}')) == []


def test_array_in_array_and_too_many_messages() -> None:
    """Neither is read."""
    (nested,) = ready().receive('[[{"type":"pong"}]]')
    (crowded,) = ready().receive("[" + ",".join(["{}"] * (MESSAGES_PER_FRAME_MAX + 1)) + "]")

    assert isinstance(nested, Fault)
    assert isinstance(crowded, Fault)


def test_faulty_entry_of_resume() -> None:
    """Named as a fault of `resume`; a good one follows."""
    assert isinstance(ready().follow("../x", "c"), Fault)
    assert ready().follow("s", "c") == FollowSession("s", "c")


@given(st.one_of(st.text(max_size=200), st.binary(max_size=50)))
def test_any_frame_is_answered(frame: str | bytes) -> None:
    """Nothing a client sends raises; a fault has a code and a message and never quotes the frame."""
    for intent in ready().receive(frame):
        if isinstance(intent, Fault):
            assert intent.code
            assert len(intent.message) > 10


@pytest.mark.parametrize("state", ProtocolState)
def test_table_of_states(state: ProtocolState) -> None:
    """Closing is possible everywhere and final; a closing connection is not let in."""
    assert TRANSITIONS[(state, ProtocolEvent.CLOSED)] is ProtocolState.CLOSING
    assert ((state, ProtocolEvent.AUTHENTICATED) in TRANSITIONS) == (state is not ProtocolState.CLOSING)
