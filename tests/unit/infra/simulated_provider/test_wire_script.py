"""What the simulated provider writes."""

from __future__ import annotations

import json

import pytest

from infra.simulated_provider.behaviour import Fault, FaultKind
from infra.simulated_provider.wire_script import AnswerHead, Beat, Then, wire_script

PIECES = ("naïve", " “q”\n", "!")
HEAD = AnswerHead("chatcmpl-1", 7, "simulated", "stop", {"completion_tokens": 3})


def played(fault: Fault | None = None, head: AnswerHead = HEAD) -> list[Beat]:
    return list(wire_script(head, PIECES, fault))


def chunks_of(beats: list[Beat]) -> list[dict[str, object]]:
    body = b"".join(beat.payload for beat in beats).replace(b"\r\n", b"\n")
    events = [event for event in body.split(b"\n\n") if event.startswith(b"data: {")]
    return [json.loads(event.removeprefix(b"data: ")) for event in events]


def test_plain_answer() -> None:
    """Role and first token together, a beat for each token, then finish reason, usage and [DONE] at once."""
    beats = played()
    chunks = chunks_of(beats)

    assert [beat.tokens for beat in beats] == [1, 1, 1, 0]
    assert [beat.then for beat in beats] == [Then.GO_ON] * 3 + [Then.END]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]  # type: ignore[attr-defined]
    assert deltas[0]["role"] == "assistant"
    assert [delta["content"] for delta in deltas[1:-1]] == list(PIECES)
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"  # type: ignore[index]
    assert (chunks[-1]["choices"], chunks[-1]["usage"]) == ([], {"completion_tokens": 3})
    assert beats[-1].payload.endswith(b"data: [DONE]\n\n")


def test_usage_that_was_not_asked_for() -> None:
    """No chunk mentions it."""
    assert all("usage" not in chunk for chunk in chunks_of(played(head=HEAD._replace(usage=None))))


def test_answer_without_tokens() -> None:
    """It still has a role and a finish reason."""
    beats = list(wire_script(HEAD, (), None))

    assert len(beats) == 1
    assert b'"role":"assistant"' in beats[0].payload
    assert beats[0].then is Then.END


@pytest.mark.parametrize(
    ("kind", "then"),
    [
        ("stall_first", Then.STALL),
        ("stall_after", Then.STALL),
        ("cut_after", Then.RESET),
        ("drop_after", Then.DROP),
        ("eof_after", Then.END),
        ("broken_json", Then.END),
        ("invalid_line", Then.END),
        ("huge_line", Then.END),
        ("error_after", Then.END),
    ],
)
def test_answer_that_breaks(kind: FaultKind, then: Then) -> None:
    """The tokens before the fault, then the fault, and never a finish reason."""
    beats = played(Fault(kind, 2))

    assert [beat.tokens for beat in beats] == [1, 1, 0]
    assert beats[-1].then is then
    assert not any(b'"finish_reason":"' in beat.payload for beat in beats)


@pytest.mark.parametrize("kind", ["no_done", "double_done", "keep_alive", "crlf", "split"])
def test_answer_spelled_differently(kind: FaultKind) -> None:
    """The chunks are the same."""
    assert chunks_of(played(Fault(kind))) == chunks_of(played())


def test_done_and_comments() -> None:
    """The spelling is what the fault says."""
    body = {kind: b"".join(beat.payload for beat in played(Fault(kind))) for kind in spellings()}

    assert body["no_done"].count(b"[DONE]") == 0
    assert body["double_done"].count(b"[DONE]") == 2
    assert body["keep_alive"].startswith(b": keep-alive\n\n")
    assert b"\n" not in body["crlf"].replace(b"\r\n", b"")


def test_split_inside_a_character() -> None:
    """The first token's two parts are no UTF-8 on their own."""
    first, second = played(Fault("split"))[:2]

    for part in (first, second):
        with pytest.raises(UnicodeDecodeError):
            part.payload.decode()
    assert (first.tokens, second.tokens) == (0, 1)


def spellings() -> list[FaultKind]:
    return ["no_done", "double_done", "keep_alive", "crlf"]
