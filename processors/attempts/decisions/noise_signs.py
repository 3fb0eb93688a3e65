"""What makes a block of text look like noise: one sign at most, with the share that gave it away.

Each sign is a share of a block that no writing we know of reaches, in any language; none asks what the text means.
They are tried from the cheapest and surest to the dearest. A block of plain ASCII skips all that only other text
can show. Which of them count inside fenced code is the caller's business: `in_code` leaves the signs of a broken
encoding alone, as code has letters and symbols in any order.

    replacement   U+FFFD: bytes that were no text
    mojibake      UTF-8 read as Latin-1 or Windows-1252 (a lead letter and as many following signs as it announces), or
                  as Windows-1251 (every second letter a capital Er or Es)
    control       control characters but tab, line ends and escape (coloured logs), private use, surrogates,
                  non-characters, planes without characters. Single unassigned characters don't count: an emoji newer
                  than our tables is one
    scripts       letters of four or more scripts side by side inside words
    rare          Chinese characters outside the national character sets in everyday use, or Korean syllables that no
                  word has; of all that Unicode holds a third and four fifths are such
    symbols       letters, digits and punctuation in equal measure: entropy as of random printable characters
    letters       Latin letters without vowels: clusters of five consonants and more
    blob          unbroken runs of 32 and more letters and digits of high entropy: Base64, keys, random letters
    soup          (over 2,048 characters, `packed_share`) mostly ASCII that does not pack: writing, source code and
                  lists of names pack to 0.62 of their bytes or less; most tokens drawn at random stay above 0.65
"""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal, TypeAlias

__all__ = ["NoiseLimits", "NoiseSign", "Sign", "noise_sign", "packed_share"]

Sign: TypeAlias = Literal["replacement", "mojibake", "control", "scripts", "rare", "symbols", "letters", "blob", "soup"]

CONTROL: Final = re.compile(
    r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f-\x9f\ud800-\udfff\ue000-\uf8ff\ufdd0-\ufdef\ufffe\uffff"
    r"\U00040000-\U000dffff\U000e0200-\U0010ffff]"
)
FOLLOWING: Final = "[\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]"
MOJIBAKE: Final = re.compile(
    f"[\u00c2-\u00df]{FOLLOWING}|[\u00e0-\u00ef]{FOLLOWING}{{2}}|[\u00f0-\u00f4]{FOLLOWING}{{3}}"
)
HAN: Final = re.compile("[\u4e00-\u9fff]")
HANGUL: Final = re.compile("[\uac00-\ud7a3]")
HAN_SETS: Final = ("gb2312", "big5", "shift_jis")
CONSONANTS: Final = re.compile(r"(?!x?[bcdf]{4})[b-df-hj-np-tv-xz]{5,}|[B-DF-HJ-NP-TV-XZ]{5,}")
"""Of one case: names joined in capitals (xsltCtxtPtr) are no cluster; nor is what may be hexadecimal."""
LATIN: Final = re.compile(r"[A-Za-z]")
UNBROKEN: Final = re.compile(r"[A-Za-z0-9+/=_-]{32,}")
PUNCTUATION: Final = re.compile(r"[!-/:-@\[-`{-~]")


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseLimits:
    """The shares of a block from which on it is noise."""

    replacement_share_min: float = 0.05
    mojibake_share_min: float = 0.07
    er_es_share_min: float = 0.25
    control_share_min: float = 0.05
    script_change_share_min: float = 0.05
    scripts_min: int = 4
    rare_share_min: float = 0.25
    rare_letters_min: int = 64
    symbol_bits_min: float = 5.6
    symbol_punctuation_share_min: float = 0.2
    symbol_space_share_max: float = 0.08
    consonant_share_min: float = 0.2
    latin_share_min: float = 0.5
    blob_bits_min: float = 4.45
    blob_share_min: float = 0.85


@dataclass(frozen=True, slots=True)
class NoiseSign:
    """A sign and how strong it is: a share of the block, or bits per character for `symbols` and `blob`."""

    sign: Sign
    strength: float


def noise_sign(block: str, limits: NoiseLimits, *, in_code: bool) -> NoiseSign | None:
    """The first sign that this block shows."""
    found = None if block.isascii() and block.isprintable() else encoding_sign(block, limits)
    if found is not None or in_code:
        return found
    return (None if block.isascii() else script_sign(block, limits)) or latin_sign(block, limits)


def encoding_sign(block: str, limits: NoiseLimits) -> NoiseSign | None:
    length = len(block)
    replaced = block.count("\ufffd") / length
    if replaced >= limits.replacement_share_min:
        return NoiseSign("replacement", replaced)
    misread = sum(map(len, MOJIBAKE.findall(block))) / length
    er_es = (block.count("\u0420") + block.count("\u0421")) / length
    if misread >= limits.mojibake_share_min or er_es >= limits.er_es_share_min:
        return NoiseSign("mojibake", max(misread, er_es))
    control = len(CONTROL.findall(block)) / length
    return NoiseSign("control", control) if control >= limits.control_share_min else None


def script_sign(block: str, limits: NoiseLimits) -> NoiseSign | None:
    scripts = [script_of(letter) for letter in block]
    changes = [(one, other) for one, other in pairwise(scripts) if one != other and one and other]
    share = len(changes) / len(block)
    if (
        share >= limits.script_change_share_min
        and len({script for pair in changes for script in pair}) >= limits.scripts_min
    ):
        return NoiseSign("scripts", share)
    rare = max(rare_han_share(block, limits.rare_letters_min), rare_hangul_share(block, limits.rare_letters_min))
    return NoiseSign("rare", rare) if rare >= limits.rare_share_min else None


def rare_han_share(block: str, letters_min: int) -> float:
    """What is missing in that of the sets of everyday characters that fits best."""
    han = "".join(HAN.findall(block))
    if len(han) < letters_min:
        return 0.0
    return min(1 - len(han.encode(name, "ignore")) / (2 * len(han)) for name in HAN_SETS)


def rare_hangul_share(block: str, letters_min: int) -> float:
    """EUC-KR writes an everyday syllable in two bytes, and composes any other in eight."""
    hangul = "".join(HANGUL.findall(block))
    if len(hangul) < letters_min:
        return 0.0
    return (len(hangul.encode("euc_kr")) / len(hangul) - 2) / 6


def latin_sign(block: str, limits: NoiseLimits) -> NoiseSign | None:
    length = len(block)
    unbroken = "".join(UNBROKEN.findall(block))
    if len(unbroken) >= limits.blob_share_min * length:
        bits = entropy_bits(unbroken)
        return NoiseSign("blob", bits) if bits >= limits.blob_bits_min else None
    clusters = sum(map(len, CONSONANTS.findall(block)))
    latin = len(LATIN.findall(block))
    if latin >= limits.latin_share_min * length and clusters >= limits.consonant_share_min * latin:
        return NoiseSign("letters", clusters / latin)
    return symbol_sign(block, limits)


def symbol_sign(block: str, limits: NoiseLimits) -> NoiseSign | None:
    length = len(block)
    if not block.isascii() or block.count(" ") + block.count("\n") > limits.symbol_space_share_max * length:
        return None
    if len(PUNCTUATION.findall(block)) < limits.symbol_punctuation_share_min * length:
        return None
    bits = entropy_bits(block)
    return NoiseSign("symbols", bits) if bits >= limits.symbol_bits_min else None


def packed_share(text: str) -> float:
    """How much of a text's bytes is left when zlib has packed it; unbroken runs, judged as blobs, are left out."""
    written = UNBROKEN.sub("", text).encode("utf-8", "replace")
    return len(zlib.compress(written)) / len(written) if 2 * len(written) >= len(text) else 0.0


def entropy_bits(text: str) -> float:
    """Bits per character, by how often each occurs."""
    length = len(text)
    return math.log2(length) - sum(count * math.log2(count) for count in Counter(text).values()) / length


def script_pages() -> tuple[int, ...]:
    """A number for the script of each 128 characters of the basic plane, 0 for signs; one script has one."""
    merged = (
        (0x0000, 0x024F),
        (0x0370, 0x03FF),
        (0x0400, 0x052F),
        (0x0600, 0x077F),
        (0x1200, 0x139F),
        (0x1E00, 0x1EFF),
    )
    wide = ((0x3040, 0x9FFF), (0xAC00, 0xD7FF), (0xF900, 0xFAFF))
    signs = ((0x0250, 0x036F), (0x2000, 0x2BFF), (0x3000, 0x303F), (0xD800, 0xF8FF), (0xFE00, 0xFFFF))
    pages = list(range(1, 513))
    for first, last in (*merged, *wide):
        pages[first >> 7 : (last >> 7) + 1] = [(first >> 7) + 1] * ((last >> 7) - (first >> 7) + 1)
    for first, last in signs:
        pages[first >> 7 : (last >> 7) + 1] = [0] * ((last >> 7) - (first >> 7) + 1)
    return tuple(pages)


SCRIPT_PAGES: Final = script_pages()


def script_of(letter: str) -> int:
    """0 for what is no letter."""
    code = ord(letter)
    return SCRIPT_PAGES[code >> 7] if code < 0x10000 and letter.isalpha() else 0
