"""What is asked, how often and when."""

from __future__ import annotations

from infra.simulated_provider.behaviour import Behaviour, behaviour_for
from tokenwire.benchmark.method import Method

__all__: list[str] = []


def test_starts_are_spread_over_one_answer() -> None:
    """64 streams begin a 64th of an answer apart, the last one before the first has ended."""
    method = Method()
    starts_s = [method.start_s(slot, 64) for slot in range(64)]

    assert method.answer_s == 1.28
    assert starts_s[0] == 0
    assert starts_s == sorted(starts_s)
    assert starts_s[-1] < method.answer_s


def test_few_streams_answer_more_often() -> None:
    """A wave has at least ten answers; an explicit number wins."""
    assert [Method().answers_at(streams) for streams in (1, 2, 16, 128)] == [10, 5, 3, 3]
    assert Method(answers=2).answers_at(1) == 2


def test_prompt_sets_the_pace_of_its_answer() -> None:
    """The simulated model reads length and pace from the prompt itself, and answers at once."""
    behaviour = behaviour_for(Method(tokens=8, pace_ms=5).prompt("x"), Behaviour())

    assert (behaviour.tokens, behaviour.pace_ms, behaviour.first_ms, behaviour.jitter) == (8, 5, 0, 0)


def test_conversation_holds_what_was_said() -> None:
    """Earlier questions and answers in order, then the new question."""
    messages = Method().conversation([("q1", "a1")], "q2")

    assert [(message["role"], message["content"]) for message in messages] == [
        ("user", "q1"),
        ("assistant", "a1"),
        ("user", "q2"),
    ]
