"""What a run sends of a batch of which earlier runs have brought something."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from producers.batches.batch_file import BatchLine
from producers.batches.batch_plan import BatchPlan, plan_batch
from producers.batches.batch_results import FinishedPrompt
from schemas.prompts import PromptSubmitted
from schemas.session_events import EndReason

Key = tuple[str, str, str]
REASONS: list[EndReason | None] = [None, "complete", "error", "incomplete", "cancelled", "rejected"]


def line(number: int, prompt_id: str = "", session: str = "s") -> BatchLine:
    prompt = PromptSubmitted(user="u", session=session, prompt_id=prompt_id or f"p{number}", input=f"ask {number}")
    return BatchLine(number, prompt)


def ended(**reasons: EndReason) -> dict[Key, FinishedPrompt]:
    return {("u", "s", prompt_id): FinishedPrompt(prompt_id, reason) for prompt_id, reason in reasons.items()}


def ids(plan: BatchPlan) -> list[str]:
    return [each.prompt.prompt_id for each in plan.send]


def test_failed_line_is_left_alone_unless_it_is_to_be_asked_anew() -> None:
    """Answered, failed and never sent are three things."""
    lines, before = [line(1), line(2), line(3)], ended(p1="complete", p2="error")

    plan = plan_batch(lines, before, retry_failed=False)
    again = plan_batch(lines, before, retry_failed=True)

    assert (ids(plan), plan.answered_before, plan.failed_before, plan.retried) == (["p3"], 1, 1, 0)
    assert (ids(again), again.answered_before, again.failed_before, again.retried) == (["p2.retry-1", "p3"], 1, 0, 1)
    assert again.send[0].key == ("u", "s", "p2")


def test_killed_retry_names_the_same_prompt_again() -> None:
    """Until a retry has ended it is the one that is sent; once it failed the next one is."""
    before = ended(p1="error")
    first = plan_batch([line(1)], before, retry_failed=True)
    second = plan_batch([line(1)], before, retry_failed=True)
    before[("u", "s", "p1")] = FinishedPrompt("p1.retry-1", "error")

    assert ids(first) == ids(second) == ["p1.retry-1"]
    assert ids(plan_batch([line(1)], before, retry_failed=True)) == ["p1.retry-2"]


def test_retry_does_not_take_another_lines_id() -> None:
    """A file may hold such ids itself."""
    lines = [line(1, "p"), line(2, "p.retry-1")]
    before = {
        ("u", "s", "p"): FinishedPrompt("p", "error"),
        ("u", "s", "p.retry-1"): FinishedPrompt("p.retry-1", "error"),
    }

    assert ids(plan_batch(lines, before, retry_failed=True)) == ["p.retry-2", "p.retry-1.retry-1"]


def test_retry_amid_a_conversation_is_counted() -> None:
    """Where something was said after the failed line; not in another conversation, and not at its end."""
    lines = [line(1), line(2), line(3, session="other")]
    before = ended(p1="error", p2="error") | {("u", "other", "p3"): FinishedPrompt("p3", "error")}

    plan = plan_batch(lines, before, retry_failed=True)

    assert (plan.retried, plan.retried_amid) == (3, 1)


@given(st.lists(st.sampled_from(REASONS), max_size=8), st.booleans())
def test_every_line_is_accounted_for_once(reasons: list[EndReason | None], retry_failed: bool) -> None:
    """Sent or counted; no prompt that has ended is sent again, and no two lines are sent under one id."""
    lines = [line(number) for number in range(len(reasons))]
    before = {
        each.key: FinishedPrompt(each.prompt.prompt_id, reason)
        for each, reason in zip(lines, reasons, strict=True)
        if reason is not None
    }
    plan = plan_batch(lines, before, retry_failed=retry_failed)

    assert len(plan.send) + plan.answered_before + plan.failed_before == len(lines)
    assert len(set(ids(plan))) == len(plan.send)
    assert not set(ids(plan)) & {each.prompt_id for each in before.values()}
