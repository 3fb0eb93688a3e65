"""What becomes of a line's answers in the results file."""

from __future__ import annotations

import msgspec
import pytest

from producers.answers.followed_answer import AnswerEnded, AnswersCompared
from producers.batches.batch import LineAnswers, result_of
from producers.batches.batch_file import BatchLine
from schemas.prompts import CompareMode, PromptSubmitted
from schemas.session_events import TurnError, Usage


def line_of(mode: CompareMode = "all") -> BatchLine:
    return BatchLine(
        3, PromptSubmitted(user="u", session="s", prompt_id="p", input="Hi", models=("a", "b"), compare=mode)
    )


ANSWERS = {
    0: AnswerEnded("t0", "complete", "one", Usage(output_tokens=2), 5, index=0),
    1: AnswerEnded("t1", "cancelled", "tw", Usage(output_tokens=1), 3, index=1),
}


@pytest.mark.parametrize(
    ("mode", "chosen", "text"),
    [("all", None, "tw"), ("first", None, "one"), ("best", 1, "tw"), ("merge", None, "one")],
)
def test_line_of_several_models_has_one_result_and_all_answers(
    mode: CompareMode, chosen: int | None, text: str
) -> None:
    """The chosen one stands for it; where each stands, one that is not whole does. Costs are added up."""
    compared = AnswersCompared(mode, chosen) if chosen is not None else None
    result = result_of(line_of(mode), LineAnswers(ANSWERS, compared))

    assert result.text == text
    assert (result.cost_nano_usd, result.usage.output_tokens) == (8, 3)
    assert not isinstance(result.answers, msgspec.UnsetType)
    assert [each.model for each in result.answers] == ["a", "b"]


def test_line_of_one_model_has_no_list_of_answers() -> None:
    """Results look as they always did."""
    line = BatchLine(1, PromptSubmitted(user="u", session="s", prompt_id="p", input="Hi"))

    assert b"answers" not in msgspec.json.encode(result_of(line, LineAnswers({0: ANSWERS[0]})))
    assert result_of(line, None).reason is None


def test_refusal_for_now_is_no_result() -> None:
    """The line is sent again, also by the next run; what has ended is a result."""
    error = TurnError(code="session_busy", message="later", temporary=True, retry_after_s=1.0)
    answers = LineAnswers({0: AnswerEnded("t0", "rejected", error=error, for_now=True)})

    assert (answers.refused, LineAnswers(ANSWERS).refused) == (error, None)
    assert LineAnswers({0: AnswerEnded("t0", "rejected", error=error)}).refused is None
    assert result_of(line_of(), None, error).reason is None
