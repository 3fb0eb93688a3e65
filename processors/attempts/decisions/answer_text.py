"""An answer's text as it streams in, kept up to a bound, and the tokens of all of it.

Chunks are a few characters each, and as objects of their own they would take ten times the memory of their text: they
are joined JOINED_CHUNKS at a time. Beyond KEPT_TEXT_CHARS_MAX the text is let go for good (the log has it); its tokens
are then taken in proportion to the beginning, as `token_count` does with any long text, so an endless answer costs a
few additions per chunk and no memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from processors.sessions.decisions.token_count import count_tokens

__all__ = ["KEPT_TEXT_CHARS_MAX", "AnswerText"]

KEPT_TEXT_CHARS_MAX: Final = 1_048_576
"""An answer beyond this is not remembered; the log has it."""
JOINED_CHUNKS: Final = 1_024


class AnswerText:
    """The text that one attempt has said itself."""

    __slots__ = ("_joined", "_loose", "_sample_chars", "_sample_tokens", "chars", "chunks")

    def __init__(self) -> None:
        self.chunks = 0
        self.chars = 0
        self._joined: list[str] = []
        self._loose: list[str] = []
        self._sample_chars = 0
        """Characters of the text that was let go, as far as it was counted."""
        self._sample_tokens = 0

    def add(self, texts: Sequence[str], model: str = "") -> None:
        """Take in the next chunks."""
        self.chunks += len(texts)
        self.chars += sum(map(len, texts))
        if self._sample_chars:
            return
        self._loose += texts
        if len(self._loose) >= JOINED_CHUNKS:
            self._joined.append("".join(self._loose))
            self._loose.clear()
        if self.chars > KEPT_TEXT_CHARS_MAX:
            self.let_go(model)

    @property
    def text(self) -> str:
        """All of it; empty once it was let go."""
        return "".join((*self._joined, *self._loose))

    def tokens(self, model: str = "") -> int:
        """By our own count."""
        if self._sample_chars:
            return round(self._sample_tokens * self.chars / self._sample_chars)
        return count_tokens(self.text, model)

    def let_go(self, model: str) -> None:
        self._sample_chars = self.chars
        self._sample_tokens = count_tokens(self.text, model)
        self._joined.clear()
        self._loose.clear()
