"""The prompt producers without a broker: what is checked before anything is sent, how deadlines are told."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest

from infra.settings import load_settings
from producers.errors import BrokerUnavailable, ProducerClosed
from producers.kafka_publisher import Written
from producers.prompt_producer import BlockingPromptProducer, PromptForm, PromptProducer, acknowledged
from schemas.codec import decode_prompt_command
from schemas.errors import InvalidField
from schemas.prompt_limits import PromptLimits, check_prompt
from schemas.prompts import PromptCancelled, PromptSubmitted, SessionWatched, turns_of

SETTINGS = load_settings({"TOKENWIRE_KAFKA": "127.0.0.1:9"})
DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "prompts.md"
NOW_US = 1_795_000_000_000_000


class StoppedClock:
    """Always the same moment."""

    def now_us(self) -> int:
        """Wall clock."""
        return NOW_US

    def monotonic_s(self) -> float:
        """Not asked for here."""
        return 0.0


def prompt(text: str = "Hello", submitted_at_us: int = 0) -> PromptSubmitted:
    return PromptSubmitted(user="alice", session="s", prompt_id="p", input=text, submitted_at_us=submitted_at_us)


def test_prompt_is_stamped_and_keyed_by_its_user() -> None:
    """The record carries when it was submitted, under the user's key; a stamp of the caller's stays."""
    form = PromptForm(SETTINGS, None, StoppedClock())

    record = form.submitted(prompt())
    stamped = form.submitted(prompt(submitted_at_us=7))

    assert (record.topic, record.key) == ("tokenwire.prompts", b"alice")
    assert json.loads(record.value)["submitted_at_us"] == NOW_US
    assert json.loads(stamped.value)["submitted_at_us"] == 7


async def test_bad_prompt_is_refused_before_anything_is_sent() -> None:
    """The field at fault is named, though there is no broker and nothing was started."""
    with pytest.raises(InvalidField, match="input is empty"):
        await PromptProducer(SETTINGS).submit(prompt(""))
    with pytest.raises(InvalidField, match="session"):
        BlockingPromptProducer(SETTINGS).cancel(PromptCancelled(user="alice", session="../x", prompt_id="p"))


async def test_producer_that_was_not_started_says_so() -> None:
    """A caller's mistake, told as one."""
    with pytest.raises(ProducerClosed, match="start it first"):
        await PromptProducer(SETTINGS).submit(prompt())


async def test_start_without_a_broker_fails_in_time() -> None:
    """No hang: the deadline is the caller's."""
    with pytest.raises(BrokerUnavailable):
        await PromptProducer(SETTINGS).start(deadline_s=0.5)


def test_password_is_not_in_what_librdkafka_says(capfd: pytest.CaptureFixture[str]) -> None:
    """A refused or impossible log-in is told without the secret."""
    settings = load_settings(
        {
            "TOKENWIRE_KAFKA": "127.0.0.1:9",
            "TOKENWIRE_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "TOKENWIRE_KAFKA_SASL_USERNAME": "somebody",
            "TOKENWIRE_KAFKA_SASL_PASSWORD": "canary-7361",
        }
    )
    with pytest.raises(BrokerUnavailable) as raised:
        BlockingPromptProducer(settings).start(deadline_s=0.5)

    told = capfd.readouterr()
    assert "canary-7361" not in f"{told.out}{told.err}{raised.value}"


def test_examples_of_the_documentation_are_what_we_read() -> None:
    """Each JSON example of docs/prompts.md decodes, and the prompt is acceptable."""
    examples = re.findall(r"```json\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)

    submitted, cancelled = (decode_prompt_command(example.encode()) for example in examples)

    assert isinstance(submitted, PromptSubmitted)
    check_prompt(submitted, PromptLimits())
    assert isinstance(cancelled, PromptCancelled)
    assert cancelled.prompt_id == submitted.prompt_id


def test_documentation_names_every_field() -> None:
    """A field that is added to the prompt is added to its documentation."""
    table = DOCUMENT.read_text().partition("| field |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)` \| ", table, re.MULTILINE)

    assert set(rows) == {"type", *PromptSubmitted.__struct_fields__}


def test_every_turn_of_a_comparison_is_named() -> None:
    """By model, the merging one last; one model, one turn."""
    written = Written("tokenwire.prompts", 3, 7)
    compared = msgspec.structs.replace(prompt(), models=("a", "b"), compare="merge")

    turns = acknowledged(compared, written).turns

    assert turns == turns_of(compared)
    assert len(turns) == 3
    assert acknowledged(prompt(), written).turns == turns[:1]


def test_word_of_those_who_follow_is_keyed_by_their_user() -> None:
    """As every command of a user is; what is not an id is refused."""
    form = PromptForm(SETTINGS, None, StoppedClock())
    command = SessionWatched(user="alice", session="s", gateway="g", devices=2, read_offset=9)

    record = form.watched(command)

    assert (record.topic, record.key) == ("tokenwire.prompts", b"alice")
    assert decode_prompt_command(record.value) == command
    with pytest.raises(InvalidField, match="session"):
        form.watched(SessionWatched(user="alice", session="../x", gateway="g", devices=0))
