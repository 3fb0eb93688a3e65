"""What a client may say, and when.

Covers: gateway.clients.decisions.client_frames.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clients.decisions.client_protocol import (
    MESSAGES_PER_FRAME_MAX,
    STRIKES_MAX,
    TRANSITIONS,
    Authenticate,
    CancelPrompt,
    ClientProtocol,
    Fault,
    FollowSession,
    HeardPong,
    HeldPart,
    Intent,
    ProtocolEvent,
    ProtocolState,
    SubmitPrompt,
    UnfollowSession,
)
from gateway.clients.decisions.prompt_assembly import PARTS_S, PartsRoom
from gateway.sockets.decisions.client_outbox import HeldBytes
from schemas.client_messages import Part, Prompt
from schemas.codec import encode
from schemas.identifiers import check_user_id
from schemas.prompt_limits import PromptLimits
from schemas.prompt_parts import parts_of


def protocol_within(limits: PromptLimits) -> ClientProtocol:
    return ClientProtocol(limits, PartsRoom(1_000_000, HeldBytes(1_000_000)))


def ready() -> ClientProtocol:
    protocol = protocol_within(PromptLimits(models=("simulated",)))
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
    protocol = protocol_within(PromptLimits())
    intents = protocol.receive('[{"type":"hello","token":"t"},{"type":"attach","session":"s"}]')
    first = next(intents)
    protocol.authenticated(check_user_id("alice"))

    assert isinstance(first, Authenticate)
    assert next(intents) == FollowSession("s", "tail")


def test_anything_before_hello() -> None:
    """A strike, and nothing is done."""
    (fault,) = protocol_within(PromptLimits()).receive('{"type":"attach","session":"s"}')

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


def long_prompt(text: str) -> Prompt:
    return Prompt(session="s", prompt_id="p", input=text)


def told(protocol: ClientProtocol, part: Part | Prompt) -> Intent:
    (intent,) = protocol.receive(encode(part).decode())
    return intent


def test_prompt_in_parts() -> None:
    """It is asked when its last part has come, and its bytes stay counted until it is published."""
    protocol = ready()
    *first, last = (told(protocol, part) for part in parts_of(long_prompt("ä" * 5_000), 1_024))

    assert set(first) == {HeldPart()}
    assert isinstance(last, SubmitPrompt)
    assert last.prompt.input == "ä" * 5_000
    assert last.parts is not None
    assert last.parts_bytes == protocol.room.total == protocol.room.held.total
    last.parts.release(last.parts_bytes)
    assert protocol.room.total == 0


@pytest.mark.parametrize(
    ("whole", "field"),
    [
        ('{"type":"prompt","session":"s","prompt_id":"p","input":""}', "input"),
        ('{"type":"prompt","session":"s","prompt_id":"q","input":"Hi"}', "text"),
        ('{"type":"cancel","session":"s","prompt_id":"p"}', "text"),
        ('{"type":"warp"}', "text"),
        ("{", "text"),
    ],
)
def test_parts_of_what_is_no_good_prompt(whole: str, field: str) -> None:
    """One answer with the prompt's id, no strike, and nothing is kept."""
    protocol = ready()
    fault = told(protocol, Part(session="s", prompt_id="p", index=0, bytes=len(whole), text=whole))

    assert isinstance(fault, Fault)
    assert (fault.field, fault.session, fault.prompt_id, fault.closes) == (field, "s", "p", False)
    assert protocol.room.total == 0


def test_part_that_is_refused() -> None:
    """Told once; the parts that follow are passed over."""
    protocol = ready()
    answers = [told(protocol, part) for part in list(parts_of(long_prompt("x" * 5_000), 1_024))[1:]]

    assert isinstance(answers[0], Fault)
    assert (answers[0].code, answers[0].field, answers[0].prompt_id) == ("part_missing", "index", "p")
    assert set(answers[1:]) == {HeldPart()}


@pytest.mark.parametrize(("session", "prompt_id"), [("/", "p"), ("s", "/" * 200)])
def test_part_of_a_strange_name(session: str, prompt_id: str) -> None:
    """It is refused before anything is kept under that name."""
    protocol = ready()
    fault = told(protocol, Part(session=session, prompt_id=prompt_id, index=0, bytes=9, text="x"))

    assert isinstance(fault, Fault)
    assert protocol.parts is None


def test_rest_that_does_not_come() -> None:
    """After a while the client is told, once, and the bytes are given back; at the end of the connection too."""
    protocol = ready()
    assert list(protocol.missing_parts(0)) == []
    protocol.forget_parts()
    first, *_ = parts_of(long_prompt("x" * 5_000), 1_024)
    told(protocol, first)
    assert list(protocol.missing_parts(0)) == list(protocol.missing_parts(PARTS_S)) == []
    (fault,) = protocol.missing_parts(PARTS_S + 1)

    assert (fault.code, fault.session, fault.prompt_id) == ("part_missing", "s", "p")
    assert protocol.room.total == 0
    told(protocol, first)
    protocol.forget_parts()
    assert protocol.room.total == protocol.room.held.total == 0


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        (r'"input":"cut \ud83d"', "input"),
        (r'"messages":[{"role":"user","content":"\udc00"}]', "messages"),
        ('"input":"Hi","temperature":NaN', "temperature"),
        ('"input":"Hi","max_tokens":' + "9" * 5_000, "max_tokens"),
        ('"input":"Hi","metadata":{"a\t":"b"}', ""),
        ('"input":"Hi","on_busy":"bogus"', "on_busy"),
        ('"messages":[{"role":"user","content":[{"type":"text"}]}]', "messages[0].content"),
        ('"input":["Hi"]', "input"),
        ('"input":"Hi","models":"a"', "models"),
        ('"input":"Hi","max_tokens":1e400', "max_tokens"),
    ],
)
def test_prompt_that_cannot_be_taken_is_told_under_its_id(fields: str, field: str) -> None:
    """Also where the message is no JSON; as often as it comes it is no strike, and says what is wrong."""
    protocol = ready()
    for _ in range(STRIKES_MAX + 1):
        (fault,) = protocol.receive(f'{{{fields},"type":"prompt","prompt_id":"p","session":"s"}}')
        assert isinstance(fault, Fault)
        assert (fault.session, fault.prompt_id, fault.closes) == ("s", "p", False)
        assert (fault.field, fault.message.startswith(field or "the message is not valid JSON")) == (field, True)


@pytest.mark.parametrize(
    "element",
    [
        '{"type":"prompt","prompt_id":"p"',
        '{"type":"prompt","prompt_id":5,"session":"s"}',
        '{"type":"prompt","prompt_id":"\ud800","session":"s"}'.encode("unicode_escape").decode(),
        '{"prompt_id":"' + "p" * 129 + '","type":"prompt"}',
        '{"a":' * 20_000,
        "[" * 60_000,
        '{"prompt_id":' + "9" * 60_000 + "}",
    ],
)
def test_message_that_names_no_prompt_is_a_strike(element: str) -> None:
    """An id that is itself what is wrong, or that cannot be read, is not answered with."""
    protocol = ready()
    (fault,) = protocol.receive(element)

    assert isinstance(fault, Fault)
    assert fault.prompt_id == ""
    assert protocol.strikes == 1


def test_unreadable_message_leaves_its_neighbours_in_the_frame() -> None:
    """An array that is no JSON because of one of its messages costs that one."""
    bad = r'{"type":"prompt","prompt_id":"bad","session":"s","input":"\ud83d"}'
    first, refused, last = ready().receive(
        f'[{{"type":"attach","session":"ä"}}, {bad}, {{"type":"prompt","prompt_id":"good","session":"s","input":"ä"}}]'
    )

    assert isinstance(first, Fault)
    assert isinstance(refused, Fault)
    assert (refused.prompt_id, refused.field) == ("bad", "input")
    assert isinstance(last, SubmitPrompt)
    assert last.prompt.input == "ä"


def test_prompt_of_a_newer_type_keeps_its_id() -> None:
    """Whoever sent it can tell which one it was."""
    (fault,) = ready().receive('{"type":"prompt.v2","prompt_id":"p","session":"s"}')

    assert isinstance(fault, Fault)
    assert (fault.code, fault.prompt_id, fault.session) == ("unknown_type", "p", "s")
