"""The results file: what is finished, what is tried again, what a kill may leave."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from producers.batches.batch_results import BatchResult, FinishedPrompt, ResultsDamaged, ResultsFile
from schemas.session_events import EndReason


def result(prompt_id: str, reason: EndReason | None = "complete") -> BatchResult:
    return BatchResult(line=1, user="u", session="s", prompt_id=prompt_id, turn="t", reason=reason, text="ä\n")


def test_finished_prompts_are_known_to_the_next_run(tmp_path: Path) -> None:
    """A result with a reason is final; one without is not."""
    with ResultsFile(tmp_path / "new" / "r.jsonl") as results:
        results.append(result("done"))
        results.append(result("unknown", reason=None))

    with ResultsFile(tmp_path / "new" / "r.jsonl") as again:
        assert again.finished == {("u", "s", "done"): FinishedPrompt("done", "complete")}
        again.append(result("unknown"))

    lines = (tmp_path / "new" / "r.jsonl").read_bytes().splitlines()
    assert [msgspec.json.decode(line)["prompt_id"] for line in lines] == ["done", "unknown", "unknown"]


def test_retry_stands_for_its_line(tmp_path: Path) -> None:
    """A later prompt's result is the line's newest, under the line's own id; older files have no such field."""
    path = tmp_path / "r.jsonl"
    with ResultsFile(path) as results:
        results.append(result("p", reason="error"))
        results.append(msgspec.structs.replace(result("p.retry-1"), retry_of="p"))

    with ResultsFile(path) as again:
        assert again.finished == {("u", "s", "p"): FinishedPrompt("p.retry-1", "complete")}
    assert "retry_of" not in msgspec.json.decode(path.read_bytes().splitlines()[0])


def test_line_that_a_kill_left_unfinished_is_cut_off(tmp_path: Path) -> None:
    """Everything before it counts; the file is valid again before anything is added."""
    path = tmp_path / "r.jsonl"
    whole = msgspec.json.encode(result("done")) + b"\n"
    path.write_bytes(whole + b'{"line": 3, "us')

    with ResultsFile(path) as results:
        assert results.finished == {("u", "s", "done"): FinishedPrompt("done", "complete")}

    assert path.read_bytes() == whole


def test_other_file_is_not_taken_for_results(tmp_path: Path) -> None:
    """A file that holds something else is named and left as it is."""
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"input": "x"}\n')

    with pytest.raises(ResultsDamaged, match="line 1"), ResultsFile(path):
        pass
    assert path.read_text() == '{"input": "x"}\n'
