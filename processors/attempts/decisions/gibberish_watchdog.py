"""Whether an answer has turned into noise: wrong bytes, letters at random, scripts at random, tokens at random.

The text is judged in blocks of 256 characters, each for itself (`noise_signs` lists the signs), and in windows of
2,048 for the one sign that needs length. A single odd block is ordinary: a key, a licence plate, a quoted error. Only
noise that goes on is gibberish, so blocks add up: three in a row of a sure sign are a verdict (768 characters, 192
tokens), six of letters without vowels (1,536), sixteen of an unbroken blob (4,096: longer than a 4,096-bit private
key), two windows of soup (4,096). A clean block takes as much away as a block of letters adds.
In fenced code only a broken encoding counts, as keys, dumps and minified scripts look like noise to everybody.

Sources of the figures: our own measurement (docs/watchdogs.md has the results). The shares in `NoiseLimits` lie
between the strongest run of blocks in ordinary text and the weakest of made noise. Over 3,000,000 characters of
ordinary texts the evidence never passed 0.7 of what is needed (a private key outside a fence), and over 100,000,000
of bare source code and message catalogues one text was stopped: a catalogue that really is mojibake.

What it can't see: fluent nonsense, a one-to-one exchange of letters (KOI8-R read as Windows-1251), and some of what
plain English word pieces at random give: they pack to 0.62 to 0.68, and two windows above 0.65 are needed.

Deterministic, and independent of how the text was cut into chunks (the packing is zlib's: another build of it may
move a share in the third place). Verdicts fall at multiples of 256 characters. Memory: one window and one pending
block: 3 KiB in Latin script, 9 KiB where one character is an emoji.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from processors.attempts.decisions.code_fence import CodeFence
from processors.attempts.decisions.noise_signs import NoiseLimits, NoiseSign, Sign, noise_sign, packed_share
from processors.attempts.decisions.text_blocks import BlockWatchdog

__all__ = ["Gibberish", "GibberishLimits", "GibberishWatchdog"]

BLOCK_CHARS: Final = 256
WINDOW_BLOCKS: Final = 8
PROOF: Final = 720_720
"""What the evidence must reach; divisible by every number of blocks up to 16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GibberishLimits:
    """How much noise makes gibberish. The module says where the figures come from."""

    sure_blocks: int = 3
    """Blocks in a row that show a broken encoding, mixed scripts, rare characters or random symbols."""
    letter_blocks: int = 6
    """Blocks in a row of letters without vowels."""
    blob_blocks: int = 16
    """Blocks in a row of unbroken letters and digits."""
    soup_windows: int = 2
    """Windows of 2,048 characters in a row that do not pack."""
    soup_packed_share_min: float = 0.65
    """Share of its bytes that such a window keeps when packed."""
    soup_ascii_share_min: float = 0.8
    """Share of ASCII below which a window is no soup: phrase books, with many scripts side by side, pack badly too."""
    noise: NoiseLimits = field(default_factory=NoiseLimits)
    """What makes one block noisy."""


@dataclass(frozen=True, slots=True)
class Gibberish:
    """The tail shows this sign, this strongly, by the character `at_chars` of the answer."""

    sign: Sign
    strength: float
    at_chars: int


class GibberishWatchdog(BlockWatchdog[Gibberish]):
    """Watches one answer. Once it has spoken it stays with its verdict."""

    __slots__ = ("_evidence", "_fence", "_limits", "_soup_windows", "_window")

    def __init__(self, limits: GibberishLimits) -> None:
        super().__init__(BLOCK_CHARS)
        self._limits = limits
        self._fence = CodeFence()
        self._evidence = 0
        self._soup_windows = 0
        self._window: str | None = ""
        """The blocks of the current window so far; None once one of them lies in code."""

    def judged(self, block: str) -> Gibberish | None:
        in_code = self._fence.add(block)
        sign = noise_sign(block, self._limits.noise, in_code=in_code)
        if not self.is_proven(sign):
            sign = self.soup_sign(block, in_code)
        return None if sign is None else Gibberish(sign.sign, round(sign.strength, 3), self._read_chars)

    def is_proven(self, sign: NoiseSign | None) -> bool:
        if sign is None:
            self._evidence = max(0, self._evidence - share_of_proof(self._limits.letter_blocks))
            return False
        self._evidence += share_of_proof(self.blocks_needed(sign.sign))
        return self._evidence >= PROOF

    def blocks_needed(self, sign: Sign) -> int:
        match sign:
            case "letters":
                return self._limits.letter_blocks
            case "blob":
                return self._limits.blob_blocks
            case _:
                return self._limits.sure_blocks

    def soup_sign(self, block: str, in_code: bool) -> NoiseSign | None:
        """Judge a window when it is full; one with code in it ends a row of soup."""
        self._window = None if in_code or self._window is None else self._window + block
        if self._read_chars % (WINDOW_BLOCKS * BLOCK_CHARS):
            return None
        share = self.soup_share(self._window) if self._window else 0.0
        self._window = ""
        self._soup_windows = self._soup_windows + 1 if share >= self._limits.soup_packed_share_min else 0
        return NoiseSign("soup", share) if self._soup_windows >= self._limits.soup_windows else None

    def soup_share(self, window: str) -> float:
        is_ascii = len(window.encode("ascii", "ignore")) >= self._limits.soup_ascii_share_min * len(window)
        return packed_share(window) if is_ascii else 0.0


def share_of_proof(blocks: int) -> int:
    """Rounded up, so that this many blocks always suffice."""
    return -(-PROOF // blocks)
