"""What `tokenwire send` shows."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from producers.answers.followed_answer import AnswerEnded
from producers.batches.batch_results import BatchResult
from schemas.prompts import PromptSubmitted
from schemas.session_events import TurnError, Usage
from tokenwire.commands.answer_display import described, summary
from tokenwire.commands.send_batch import BatchCount, BatchOptions

PROMPT = PromptSubmitted(user="u", session="s1", prompt_id="p", input="Hi")
OPTIONS = {
    "user": "u",
    "session": None,
    "prompt_id": None,
    "model": "",
    "models": (),
    "compare": "all",
    "merge_model": "",
    "temperature": None,
    "on_busy": "enqueue",
    "cache": False,
    "priority": None,
    "max_tokens": None,
    "no_wait": False,
    "as_json": False,
    "results": None,
    "lanes": 4,
    "batch_name": None,
    "answer_s": 9.0,
    "retry": None,
}


def test_end_is_summed_up_in_a_line() -> None:
    """Tokens, cost and the session to go on with; a failure says why."""
    usage = Usage(input_tokens=3, output_tokens=5)
    good = AnswerEnded("t", "complete", "text", usage, 1_500_000)
    bad = AnswerEnded("t", "error", error=TurnError(code="x", message="the provider is down"))

    assert click.unstyle(summary(PROMPT, good)) == "complete · 3 + 5 tokens, $0.001500 · session s1"
    assert summary(PROMPT, bad) == "Error: the prompt ended error: the provider is down (turn t)"


def test_json_holds_what_a_script_wants() -> None:
    """Ids, reason, text, usage, cost, error."""
    told = described(AnswerEnded("t", "complete", "text", Usage(output_tokens=5), 7))

    assert told["text"] == "text"
    assert told["usage"] == {"output_tokens": 5}
    assert told["error"] is None


def test_batch_has_its_results_beside_its_file(tmp_path: Path) -> None:
    """The default names follow from the file; options of a single prompt are refused."""
    chosen = BatchOptions.chosen(tmp_path / "p.jsonl", OPTIONS)

    assert chosen.results == tmp_path / "p.jsonl.results.jsonl"
    assert chosen.name == str(tmp_path / "p.jsonl")
    with pytest.raises(click.UsageError, match="--max-tokens"):
        BatchOptions.chosen(tmp_path / "p.jsonl", OPTIONS | {"max_tokens": 3})


def test_batch_counts_what_came_of_its_lines() -> None:
    """Earlier runs count as done; an end that is not known makes the run a failure."""
    count = BatchCount(total=3, answered_before=1)
    answered = BatchResult(
        line=1, user="u", session="s", prompt_id="p", turn="t", reason="complete", usage=Usage(output_tokens=4)
    )
    count.add(answered)
    complete_at_first = count.all_complete
    count.add(BatchResult(line=2, user="u", session="s", prompt_id="q", turn="t"))

    assert (complete_at_first, count.all_complete) == (True, False)
    assert count.sentence() == "3 of 3: 1 complete, 1 not known, 1 answered before; 4 tokens"


def test_batch_tells_answered_and_failed_before_apart() -> None:
    """What failed in an earlier run keeps this one from being a success, and is no answer."""
    count = BatchCount(total=35, answered_before=24, failed_before=11)

    assert count.sentence() == "35 of 35: 24 answered before, 11 failed before; 0 tokens"
    assert not count.all_complete
