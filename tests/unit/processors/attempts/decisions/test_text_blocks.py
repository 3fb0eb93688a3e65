from __future__ import annotations

from processors.attempts.decisions.text_blocks import TextBlocks


def test_blocks_come_when_they_are_full() -> None:
    """Nothing before a block is whole; one long text gives several."""
    blocks = TextBlocks(4)

    assert blocks.add("abc") == ()
    assert blocks.add("") == ()
    assert blocks.add("d") == ("abcd",)
    assert blocks.add("efghijklmn") == ("efgh", "ijkl")
    assert blocks.pending == "mn"
