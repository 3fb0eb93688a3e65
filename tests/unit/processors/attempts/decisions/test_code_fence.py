from __future__ import annotations

import pytest

from processors.attempts.decisions.code_fence import CodeFence


def test_fence_opens_and_closes() -> None:
    """The text from one fence to the next lies in code, the lines of the fences included."""
    fence = CodeFence()

    assert not fence.add("See:\n")
    assert fence.add("```python\n")
    assert fence.add("x = 1\n")
    assert fence.add("```\n")
    assert not fence.add("That is all.")


@pytest.mark.parametrize("cut", range(1, 24))
def test_fence_cut_anywhere_is_one_fence(cut: int) -> None:
    """A fence that arrives in two pieces toggles once."""
    text = "So:\n   ```py\nprint(1)\n"
    fence = CodeFence()
    fence.add(text[:cut])
    fence.add(text[cut:])

    assert fence.is_open


def test_backticks_within_a_line_are_no_fence() -> None:
    """Only the beginning of a line counts, also when the line came in pieces."""
    fence = CodeFence()
    fence.add("write three of them: ")
    fence.add("```")
    fence.add(" and tildes ~~~\n        ```\n")

    assert not fence.is_open
