from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import codec
from schemas.client_messages import Pong
from schemas.errors import MalformedRecord, SchemaError, UnknownTag
from schemas.prompts import PromptSubmitted

__all__: list[str] = []

CANARY = "canary-7c1e"
SUBMITTED = b'{"type":"prompt.submitted","user":"a","session":"s","prompt_id":"p"%s}'
DECODERS: list[Callable[[bytes], object]] = [
    codec.decode_prompt_command,
    codec.decode_session_event,
    codec.decode_journal_entry,
    codec.decode_record,
    codec.decode_dead_letter,
    codec.decode_client_messages,
    codec.decode_server_messages,
]
MALFORMED = [
    b"",
    b"null",
    b"{",
    b"\xff\xfe",
    b'"text"',
    b"{}",
    b'{"type":5}',
    b"[" * 100_000,
    b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    b'{"type":' + b"9" * 10_000 + b"}",
]


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize("raw", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_bytes_are_one_kind_of_error(decode: Callable[[bytes], object], raw: bytes) -> None:
    """G9: whatever is wrong with the bytes, a SchemaError says so and nothing else is raised."""
    with pytest.raises(MalformedRecord):
        decode(raw)


@given(st.binary(max_size=200))
def test_random_bytes_never_raise_anything_else(raw: bytes) -> None:
    """Every decoder returns or raises SchemaError."""
    for decode in DECODERS:
        try:
            decode(raw)
        except SchemaError:
            continue


def test_unknown_type_is_told_apart_from_a_wrong_shape() -> None:
    """A type of a newer build is UnknownTag; a known type with a wrong field is not."""
    with pytest.raises(UnknownTag):
        codec.decode_session_event(b'{"type":"turn.switched","turn":"t"}')
    with pytest.raises(UnknownTag):
        codec.decode_client_messages(b'[{"type":"pong"},{"type":"dance"}]')
    with pytest.raises(MalformedRecord) as caught:
        codec.decode_prompt_command(SUBMITTED % b',"max_tokens":"many"')

    assert not isinstance(caught.value, UnknownTag)
    assert "max_tokens" in str(caught.value)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"type":"canary-7c1e"}',
        b'{"type":"it\'s canary-7c1e\'s \\n own"}',
        SUBMITTED % b',"on_busy":"canary-7c1e"',
        SUBMITTED % b',"messages":[{"role":"canary-7c1e","content":"x"}]',
        SUBMITTED % b',"metadata":{"canary-7c1e":5}',
        SUBMITTED % b',"input":"canary-7c1e\xff"',
        SUBMITTED % b',"max_tokens":"canary-7c1e"',
    ],
)
def test_error_never_quotes_the_bytes(raw: bytes) -> None:
    """S9: the bytes may be private; the message names the place and not the value."""
    with pytest.raises(MalformedRecord) as caught:
        codec.decode_prompt_command(raw)

    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None


def test_fields_of_a_newer_build_pass() -> None:
    """Unknown fields are ignored, so that an old worker reads a new producer's prompts."""
    prompt = codec.decode_prompt_command(SUBMITTED % b',"tools":[1,2],"input":"Hi"')

    assert prompt == PromptSubmitted(user="a", session="s", prompt_id="p", input="Hi")


def test_numbers_beyond_the_limits_are_refused() -> None:
    """G9: huge integers, infinities and NaN are errors."""
    for number in (b"1" * 5_000, b"1e400", b"NaN", b"-Infinity"):
        with pytest.raises(MalformedRecord):
            codec.decode_prompt_command(SUBMITTED % (b',"max_tokens":' + number))


def test_half_a_surrogate_pair_is_refused() -> None:
    """G9: text that cannot be UTF-8 does not come in, neither escaped nor in a str."""
    with pytest.raises(MalformedRecord):
        codec.decode_prompt_command(SUBMITTED % b',"input":"\\ud800"')
    with pytest.raises(MalformedRecord):
        codec.decode_client_messages('"\ud800"')


def test_the_last_of_equal_keys_counts() -> None:
    """G9: duplicate keys are read as every JSON library of ours reads them."""
    prompt = codec.decode_prompt_command(SUBMITTED % b',"input":"first","input":"last"')

    assert isinstance(prompt, PromptSubmitted)
    assert prompt.input == "last"


@pytest.mark.parametrize("raw", ['{"type":"pong"}', '[{"type":"pong"}]', " \r\n\t" * 40 + '[ {"type":"pong"} ]\n'])
def test_frame_holds_a_message_or_an_array(raw: str) -> None:
    """Both forms decode, as text or bytes, however they are spaced."""
    assert codec.decode_client_messages(raw) == [Pong()]
    assert codec.decode_client_messages(raw.encode()) == [Pong()]


def test_empty_array_is_an_empty_frame() -> None:
    """No message is no error."""
    assert codec.decode_client_messages("[]") == []
