"""A file of prompts: what a line may be, what its ids are, what is said of bad lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from producers.batches.batch_file import LINE_BYTES_MAX, BadLines, BatchLine, read_batch
from schemas.prompt_limits import PromptLimits


def lines_of(path: Path, text: str, *, name: str = "batch") -> list[BatchLine]:
    path.write_text(text)
    return read_batch(path, user="alice", name=name, limits=PromptLimits())


def faults_of(path: Path, text: str) -> list[tuple[int, str]]:
    with pytest.raises(BadLines) as raised:
        lines_of(path, text)
    return raised.value.faults


def test_short_line_gets_user_session_and_id(tmp_path: Path) -> None:
    """{"input": …} is enough; what was left out is filled in."""
    (line,) = lines_of(tmp_path / "p.jsonl", '{"input": "Hello"}\n')

    assert (line.number, line.prompt.user, line.prompt.input) == (1, "alice", "Hello")
    assert line.prompt.session.startswith("batch-")
    assert line.prompt.prompt_id.startswith("line-")


def test_documented_prompt_is_taken_as_it_is(tmp_path: Path) -> None:
    """A whole prompt keeps its ids, type included."""
    (line,) = lines_of(
        tmp_path / "p.jsonl",
        '{"type": "prompt.submitted", "user": "bob", "session": "s", "prompt_id": "p", "input": "Hi", "max_tokens": 5}',
    )

    assert (line.prompt.user, line.prompt.session, line.prompt.prompt_id) == ("bob", "s", "p")
    assert line.prompt.max_tokens == 5


def test_same_file_again_names_the_same_prompts(tmp_path: Path) -> None:
    """Ids depend on the batch's name and the line, not on where the line stands."""
    text = '{"input": "a"}\n{"input": "b"}\n'
    first = {line.prompt.input: line.prompt.prompt_id for line in lines_of(tmp_path / "p.jsonl", text)}
    longer = lines_of(tmp_path / "p.jsonl", '{"input": "new"}\n\n' + text)
    again = {line.prompt.input: line.prompt.prompt_id for line in longer}
    other = {line.prompt.input: line.prompt.prompt_id for line in lines_of(tmp_path / "p.jsonl", text, name="other")}

    assert again["a"] == first["a"]
    assert again["b"] == first["b"]
    assert other["a"] != first["a"]
    assert [line.number for line in longer] == [1, 3, 4]


def test_equal_lines_are_prompts_of_their_own(tmp_path: Path) -> None:
    """Asked twice in one file means asked twice."""
    first, second = lines_of(tmp_path / "p.jsonl", '{"input": "a"}\n{"input": "a"}\n')

    assert first.prompt.prompt_id != second.prompt.prompt_id


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"input": ""}', "empty"),
        ("nope", "malformed"),
        ("[1]", "object"),
        ('{"inputt": "x"}', "inputt"),
        ('{"input": 5}', "str"),
        ('{"input": "x", "session": "../x"}', "session"),
        ('{"type": "prompt.cancelled", "input": "x"}', "type"),
        ('{"input": ' + "[" * 5_000, ""),
        ('{"input": "' + "x" * (LINE_BYTES_MAX + 10) + '"}', "bytes"),
    ],
)
def test_bad_line_is_named_by_its_number(tmp_path: Path, line: str, problem: str) -> None:
    """Number and fault, and the lines after it are still counted right."""
    faults = faults_of(tmp_path / "p.jsonl", f'{{"input": "good"}}\n{line}\n{{"input": ""}}\n')

    assert [number for number, _ in faults] == [2, 3]
    assert problem in faults[0][1]


def test_id_used_twice_in_a_session_is_refused(tmp_path: Path) -> None:
    """Only one of the two would be answered."""
    line = '{"input": "%s", "session": "s", "prompt_id": "p"}\n'

    assert faults_of(tmp_path / "p.jsonl", line % "a" + line % "b")[0][0] == 2


def test_many_bad_lines_are_told_in_a_few_words(tmp_path: Path) -> None:
    """Ten are shown, the rest counted."""
    with pytest.raises(BadLines, match="and 5 more") as raised:
        lines_of(tmp_path / "p.jsonl", "x\n" * 15)

    assert len(raised.value.faults) == 15
