"""The simulated provider's memory of its calls."""

from __future__ import annotations

from infra.simulated_provider.call_log import CALLS_REMEMBERED_MAX, PROMPTS_REMEMBERED_MAX, CallLog, prompt_sha256

HELLO = (("user", "hello"),)


def test_calls_of_a_prompt() -> None:
    """They are found by the text of the newest user message, which itself is not kept."""
    log = CallLog()
    call = log.opened(HELLO, model="simulated", stream=True, at_s=1.0)
    log.opened((("user", "other"),), model="simulated", stream=True, at_s=2.0)

    assert log.for_prompt("hello") == [call]
    assert call.prompt_sha256 == prompt_sha256("hello")
    assert "hello" not in repr(call)
    assert call.state == "running"


def test_history_shows_in_the_hash() -> None:
    """The same prompt with another history is another conversation."""
    log = CallLog()
    alone = log.opened(HELLO, model="m", stream=False, at_s=1.0)
    later = log.opened((("user", "first"), *HELLO), model="m", stream=False, at_s=1.0)

    assert alone.prompt_sha256 == later.prompt_sha256
    assert alone.conversation_sha256 != later.conversation_sha256
    assert later.messages == 2


def test_prompts_are_counted() -> None:
    """Each prompt on its own, the newest ones only."""
    log = CallLog()

    assert [log.count("a"), log.count("b"), log.count("a")] == [1, 1, 2]
    for number in range(PROMPTS_REMEMBERED_MAX):
        log.count(f"prompt {number}")
    assert len(log.counts) == PROMPTS_REMEMBERED_MAX
    assert log.count("a") == 1


def test_memory_is_bounded() -> None:
    """The oldest calls are forgotten."""
    log = CallLog()
    for number in range(CALLS_REMEMBERED_MAX + 10):
        log.opened(HELLO, model="m", stream=True, at_s=float(number))

    assert len(log.calls) == CALLS_REMEMBERED_MAX
    assert log.calls[0].started_at == 10.0
