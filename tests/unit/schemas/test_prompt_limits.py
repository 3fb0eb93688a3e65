from __future__ import annotations

import msgspec
import pytest

from schemas.codec import encode
from schemas.errors import InvalidField
from schemas.journal import JournalEntry
from schemas.prompt_limits import PROMPT_RECORD_BYTES_MAX, PromptLimits, check_prompt, prompt_bytes
from schemas.prompts import ChatMessage, PromptSubmitted
from schemas.session_events import TurnQueued
from schemas.topics import PROMPT_CARRIER_BYTES_MAX

__all__: list[str] = []

LIMITS = PromptLimits(
    prompt_bytes_max=20,
    messages_max=3,
    metadata_entries_max=2,
    metadata_chars_max=8,
    answer_tokens_max=100,
    models=("small", "large"),
)
PROMPT = PromptSubmitted(user="alice", session="s1", prompt_id="p1", input="Hello")
QUESTION = ChatMessage(role="user", content="Why?")
ANSWER = ChatMessage(role="assistant", content="Because.")


def refusal(limits: PromptLimits = LIMITS, **changes: object) -> InvalidField:
    with pytest.raises(InvalidField) as caught:
        check_prompt(msgspec.structs.replace(PROMPT, **changes), limits)
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"input": "x" * 20},
        {"input": "", "messages": (QUESTION,)},
        {"input": "", "messages": (QUESTION, ANSWER, QUESTION)},
        {"model": "large", "max_tokens": 1},
        {"max_tokens": 100, "tenant": "acme"},
        {"metadata": {"k" * 8: "v" * 8, "b": ""}},
    ],
)
def test_prompt_within_its_limits_is_accepted(changes: dict[str, object]) -> None:
    """At each limit, and not only below it, nothing is raised."""
    check_prompt(msgspec.structs.replace(PROMPT, **changes), LIMITS)


@pytest.mark.parametrize("field", ["user", "session", "prompt_id"])
@pytest.mark.parametrize("value", ["", "../x", "x" * 300, "ü"])
def test_bad_identifier_is_named(field: str, value: str) -> None:
    """S6: the identifiers are checked first, each under its own name."""
    assert refusal(LIMITS, **{field: value}).field == field


def test_tenant_is_an_identifier_where_it_is_given() -> None:
    """A long or odd tenant would go into every record of the turn."""
    assert refusal(tenant="x" * 1_000_000).field == "tenant"


@pytest.mark.parametrize("text", ["", "   \n\t"])
def test_empty_prompt_has_its_own_code(text: str) -> None:
    """Nothing to answer is `empty_prompt`."""
    assert refusal(input=text).code == "empty_prompt"


def test_size_counts_utf8_bytes() -> None:
    """Seven characters of three bytes are more than twenty."""
    assert prompt_bytes(msgspec.structs.replace(PROMPT, input="世" * 7)) == 21
    error = refusal(input="世" * 7)

    assert (error.field, error.code) == ("input", "prompt_too_large")
    assert "21" in error.problem
    assert "20" in error.remedy


def test_messages_count_together() -> None:
    """All contents are added up, and the error names messages."""
    error = refusal(input="", messages=(QUESTION, ANSWER, ChatMessage(role="user", content="x" * 9)))

    assert (error.field, error.code) == ("messages", "prompt_too_large")


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ((), ""),
        ((QUESTION,), "and more"),
        ((QUESTION, ANSWER), ""),
        ((ChatMessage(role="user", content=" "),), ""),
        ((QUESTION, ANSWER, QUESTION, QUESTION), ""),
    ],
    ids=["none", "with-input", "ends-with-answer", "ends-empty", "too-many"],
)
def test_messages_of_a_wrong_shape_are_refused(messages: tuple[ChatMessage, ...], text: str) -> None:
    """Messages replace the input, are not too many and end with what the user says."""
    assert refusal(input=text, messages=messages).field == "messages"


def test_unknown_model_lists_the_known_ones() -> None:
    """The remedy names what can be asked for."""
    error = refusal(model="huge")

    assert (error.field, error.code) == ("model", "unknown_model")
    assert "small, large" in error.remedy


def test_without_a_list_any_short_model_name_passes() -> None:
    """The SDK does not know the models, only that a name is not a text."""
    limits = PromptLimits()
    check_prompt(msgspec.structs.replace(PROMPT, model="org/model-70b:free"), limits)

    assert refusal(limits, model="m" * 257).field == "model"


@pytest.mark.parametrize("max_tokens", [0, -1, 101, pytest.param(10**5000, id="thousands of digits")])
def test_max_tokens_outside_its_limits_is_refused(max_tokens: int) -> None:
    """At least one token, at most what may be asked for."""
    assert refusal(max_tokens=max_tokens).field == "max_tokens"


@pytest.mark.parametrize("stamp_us", [-1, 2**53, 10**30])
def test_time_that_is_no_time_is_refused(stamp_us: int) -> None:
    """JSON numbers have no limit; columns and other languages' integers do."""
    assert refusal(submitted_at_us=stamp_us).field == "submitted_at_us"


@pytest.mark.parametrize("metadata", [{"a": "", "b": "", "c": ""}, {"k" * 9: ""}, {"a": "v" * 9}])
def test_metadata_is_bounded(metadata: dict[str, str]) -> None:
    """Entries, keys and values each have a limit."""
    assert refusal(metadata=metadata).field == "metadata"


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("input", {"input": "\ud800"}),
        ("messages", {"input": "", "messages": (ChatMessage(role="user", content="\udfff"),)}),
        ("model", {"model": "\ud800"}),
        ("metadata", {"metadata": {"\ud83d": "\ude42"}}),
    ],
)
def test_half_a_surrogate_pair_is_refused(field: str, changes: dict[str, object]) -> None:
    """Text that no encoder can write is refused here, by name, and not by a crash at the producer."""
    assert refusal(PromptLimits(), **changes).field == field


@pytest.mark.parametrize("text", ['"' * 500_000, "\x01" * 170_000], ids=["quotes", "control-characters"])
def test_prompt_that_escapes_make_too_large_is_refused(text: str) -> None:
    """Within the limit as text, beyond a record's as JSON: told to its sender and not found out by the worker."""
    error = refusal(PromptLimits(), input=text)

    assert (error.field, error.code) == ("input", "prompt_too_large")
    assert str(PROMPT_RECORD_BYTES_MAX) in error.remedy


def test_largest_prompt_fits_the_journal_and_the_log() -> None:
    """Whatever is accepted can be written down, by the worker too."""
    room = PROMPT_RECORD_BYTES_MAX - len(encode(msgspec.structs.replace(PROMPT, input="\x01")))
    prompt = msgspec.structs.replace(PROMPT, input="\x01" * (room // 6 + 1))
    check_prompt(prompt, PromptLimits())
    long, stamp = "x" * 128, 2**53
    entry = JournalEntry(
        turn=long,
        user=long,
        session=long,
        prompt_id=long,
        phase="running",
        body_hash=long,
        prompt=prompt,
        accepted_at_us=stamp,
        cancel_requested=True,
        attempt=stamp,
        run=long,
        crashes=stamp,
        failures=stamp,
        first_offset=stamp,
        last_offset=stamp,
        reason="incomplete",
        updated_at_us=stamp,
    )
    queued = TurnQueued(turn=long, prompt_id=long, input=prompt.input, model="m" * 256, position=stamp, at_us=stamp)

    assert PROMPT_RECORD_BYTES_MAX - 12 < len(encode(prompt)) <= PROMPT_RECORD_BYTES_MAX
    assert len(encode(entry)) <= PROMPT_CARRIER_BYTES_MAX
    assert len(encode(queued)) <= PROMPT_CARRIER_BYTES_MAX
