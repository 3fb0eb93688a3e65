"""A stream of text cut into equal blocks, wherever the provider happened to cut it.

What is judged block by block is judged the same for every way of cutting the stream into chunks: a block's content
and place depend on the text alone. Between blocks an added chunk costs one short concatenation. A list of chunks
would be cheaper still, but one-character chunks of a wide script weigh 80 bytes each as objects.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

__all__ = ["BlockWatchdog", "TextBlocks"]

Verdict = TypeVar("Verdict")

NO_BLOCKS: Final[tuple[str, ...]] = ()


class TextBlocks:
    """Cuts what is added into blocks of `size_chars`; keeps less than one block."""

    __slots__ = ("_size_chars", "pending")

    def __init__(self, size_chars: int) -> None:
        self._size_chars = size_chars
        self.pending = ""

    def add(self, text: str) -> tuple[str, ...]:
        """The blocks that this text completes, oldest first."""
        size = self._size_chars
        pending = self.pending + text
        if len(pending) < size:
            self.pending = pending
            return NO_BLOCKS
        whole = len(pending) - len(pending) % size
        self.pending = pending[whole:]
        return tuple(pending[at : at + size] for at in range(0, whole, size))


class BlockWatchdog(Generic[Verdict]):
    """Watches one answer, block by block: whoever derives from it judges each. Once it has spoken it stays with its
    verdict."""

    __slots__ = ("_blocks", "_read_chars", "verdict")

    def __init__(self, block_chars: int) -> None:
        self._blocks = TextBlocks(block_chars)
        self._read_chars = 0
        self.verdict: Verdict | None = None

    def judged(self, block: str) -> Verdict | None:
        """What the blocks up to this one show, if anything."""
        raise NotImplementedError

    def add(self, text: str) -> Verdict | None:
        """Take the answer's next characters."""
        if self.verdict is None:
            for block in self._blocks.add(text):
                self._read_chars += len(block)
                self.verdict = self.judged(block)
                if self.verdict is not None:
                    break
        return self.verdict
