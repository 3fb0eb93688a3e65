"""`tokenwire deadletters` on a real topic: through the whole command line, as an operator types it.

Covers: producers.dead_letters.dead_letter_box.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Sequence

import pytest
from confluent_kafka import Producer as PlainProducer

from infra.embedded.broker import EmbeddedBroker
from infra.kafka.connection import librdkafka_options
from infra.kafka.log_client import LogClient
from infra.kafka.topic_admin import ensure_topics
from infra.settings import Settings, load_settings
from schemas.codec import decode_prompt_command, encode
from schemas.dead_letters import DeadLetter
from schemas.prompts import PromptSubmitted
from schemas.topics import user_partition
from tests.fakes.topic_names import DEAD_LETTERS, PROMPTS, fixed_topics
from tokenwire.command_line import main

SECRET = "canary-4711"


def letter(prompt_id: str, *, reason: str = "crashed", user: str = "alice", value: bytes | None = None) -> DeadLetter:
    prompt = PromptSubmitted(user=user, session="s1", prompt_id=prompt_id, input=f"{SECRET} {prompt_id}")
    whole = encode(prompt) if value is None else value
    return DeadLetter(
        reason=reason,
        message="its worker died three times",
        topic=PROMPTS,
        partition=3,
        offset=9,
        key=user.encode(),
        value=whole,
        value_bytes=len(whole),
        value_sha256=hashlib.sha256(whole).hexdigest(),
        session="s1",
        prompt_id=prompt_id,
        at_us=time.time_ns() // 1_000,
    )


def put(settings: Settings, letters: Sequence[DeadLetter | bytes]) -> None:
    asyncio.run(ensure_topics(settings, fixed_topics(settings.topic_layout)))
    plain = PlainProducer(librdkafka_options(settings))
    for each in letters:
        plain.produce(DEAD_LETTERS, each if isinstance(each, bytes) else encode(each), partition=0)
    assert plain.flush(10) == 0


def published(settings: Settings, user: str) -> list[PromptSubmitted]:
    async def read() -> list[PromptSubmitted]:
        log = LogClient(settings)
        await log.start()
        try:
            partition = user_partition(user)
            bounds = await log.bounds(PROMPTS, partition)
            return [
                command
                async for records in log.read(PROMPTS, partition, bounds.start, bounds.end)
                for record in records
                if isinstance(command := decode_prompt_command(record.value or b""), PromptSubmitted)
                and command.user == user
            ]
        finally:
            await log.stop()

    return asyncio.run(read())


class Line:
    """The command line against the test's broker."""

    def __init__(self, settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
        self.settings = settings
        self.capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as raised:
            main(["deadletters", *arguments])
        told = self.capsys.readouterr()
        assert SECRET not in told.err
        return int(str(raised.value.code)), told.out, told.err


@pytest.fixture
def line(private_broker: EmbeddedBroker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Line:
    monkeypatch.setenv("TOKENWIRE_KAFKA", private_broker.bootstrap_servers)
    return Line(load_settings({}, kafka=private_broker.bootstrap_servers), capsys)


def test_letters_are_listed_shown_and_sent_again(line: Line) -> None:
    """Newest first, filtered, bounded; no word of a user unless asked for; a retry names the same prompt each time."""
    letters = [letter(f"p{number}") for number in range(70)]
    bad = letter("x", reason="malformed", value=f"{{{SECRET}".encode())
    put(line.settings, [*letters, letter("q1", reason="handler_error", user="bob"), b"no letter", bad])

    code, out, err = line("list", "--json", "--limit", "3")
    newest = [json.loads(row) for row in out.splitlines()]
    assert (code, [row["offset"] for row in newest]) == (0, [72, 70, 69])
    assert "more" in err
    assert SECRET not in out

    code, out, _ = line("list", "--reason", "crashed", "--user", "alice", "--since", "1h", "--limit", "100")
    assert (code, len(out.splitlines()), SECRET in out) == (0, 71, False)
    assert line("list", "--since", "2100-01-01")[1:] == ("", "No dead letters.\n")

    code, out, _ = line("show", "70")
    assert ("q1" in out, "bob" in out, SECRET in out) == (True, True, False)
    assert SECRET in line("show", "70", "--text")[1]
    code, out, _ = line("show", "72", "--json")
    assert ("not valid JSON" in json.loads(out)["unreadable"], SECRET in out) == (True, False)
    assert SECRET in json.loads(line("show", "72", "--text", "--json")[1])["bytes"]
    code, _, err = line("show", "99")
    assert (code, "it holds 0 to 72" in err) == (1, True)

    assert line("retry", "70")[0] == 0
    assert line("retry", "70")[0] == 0
    assert line("retry", "70", "--number", "2")[0] == 0
    assert [prompt.prompt_id for prompt in published(line.settings, "bob")] == [
        "q1.retry-1",
        "q1.retry-1",
        "q1.retry-2",
    ]

    code, out, err = line("retry", "72", "71", "0", "--json")
    told = [json.loads(row) for row in out.splitlines()]
    assert (code, ["error" in row for row in told]) == (1, [True, True, False])
    assert "1 of 3 sent again" in err

    code, out, _ = line("retry", "--all", "--reason", "crashed", "--limit", "5", "--dry-run")
    assert (code, len(out.splitlines()), len(published(line.settings, "alice"))) == (0, 5, 1)
    code, out, _ = line("retry", "--all", "--reason", "crashed")
    assert (code, out.splitlines()[0].split()[:2]) == (0, ["0:", "p0.retry-1"])
    assert len({prompt.prompt_id for prompt in published(line.settings, "alice")}) == 70


def test_what_is_unclear_is_refused_before_anything_is_read(line: Line) -> None:
    """And a broker without the topic says which command makes it."""
    assert line("retry")[0] == 2
    assert line("retry", "--all")[0] == 2
    assert line("retry", "3", "--reason", "crashed")[0] == 2
    code, _, err = line("list")
    assert (code, "tokenwire migrate" in err) == (1, True)
