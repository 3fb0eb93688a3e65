"""Answers that fall into a loop or turn into noise after an ordinary beginning, by families, drawn from seeds."""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import bpe_openai

from infra.simulated_provider.answer_text import answer_for
from tests.data.ordinary_texts.languages import SENTENCES

__all__ = ["LOOPS", "NOISES", "BrokenText", "broken_texts"]

BROKEN_CHARS: Final = 16_384
PERIODS: Final = (
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    12,
    16,
    21,
    33,
    50,
    64,
    80,
    100,
    127,
    128,
    129,
    160,
    200,
    255,
    256,
    257,
    300,
    350,
    400,
)
SEEDS: Final = range(8)
TOKENS: Final = 100_000
PRINTABLE: Final = "".join(map(chr, range(32, 127)))
EVERYDAY_SCRIPTS: Final = "".join(letter for code in range(0xA0, 0x1800) if (letter := chr(code)).isalpha())


@dataclass(frozen=True, slots=True)
class BrokenText:
    """An answer that breaks at the character `breaks_at`."""

    family: str
    text: str
    breaks_at: int


def broken_texts(families: dict[str, Callable[[random.Random], Iterator[str]]]) -> Iterator[BrokenText]:
    """Each family's texts, after beginnings of different lengths."""
    for family, make in families.items():
        for seed in SEEDS:
            draw = random.Random(f"{family}:{seed}")
            for broken in make(draw):
                start = beginning(draw)
                yield BrokenText(family, start + broken, len(start))


def beginning(draw: random.Random) -> str:
    question = [{"role": "user", "content": f"Tell me about {draw.choice(('rivers', 'bread', 'queues'))}."}]
    text = "".join(answer_for(question, seed=draw.randrange(1_000), tokens=draw.randint(1, 300)))
    return text.replace("```", "")


def long_enough(said: Callable[[], str]) -> str:
    parts: list[str] = []
    chars = 0
    while chars < BROKEN_CHARS:
        parts.append(said())
        chars += len(parts[-1])
    return "".join(parts)


def wording(draw: random.Random, chars: int) -> str:
    """Prose of exactly this length in a drawn language."""
    sentences = SENTENCES[
        draw.choice(("chinese", "japanese", "arabic", "russian", "turkish", "french", "hindi", "thai"))
    ]
    text = " ".join(draw.choices(sentences, k=40)).replace("Python", "")
    start = draw.randrange(len(text) - chars) if len(text) > chars else 0
    return text[start : start + chars].ljust(chars, ".")


def exact_loops(draw: random.Random) -> Iterator[str]:
    for period in PERIODS:
        said = wording(draw, period)
        yield said * (BROKEN_CHARS // period)


def loops_of_lines(draw: random.Random) -> Iterator[str]:
    lines = draw.sample(SENTENCES["german"], 3)
    for count in (1, 2, 3):
        said = "".join(f"- {line}\n" for line in lines[:count]) + "\n"
        yield said * (BROKEN_CHARS // len(said))


def loops_with_a_running_number(draw: random.Random) -> Iterator[str]:
    first = draw.choice((0, 1, 7, 95, 990))
    for period in (20, 35, 60, 100, 180, 260, 350, 400):
        said = wording(draw, period)
        cut = draw.randrange(period)
        yield "".join(f"{said[:cut]} {first + at} {said[cut:]}" for at in range(BROKEN_CHARS // period))


def loops_in_code(draw: random.Random) -> Iterator[str]:
    line = f"    {draw.choice('abc')}.append(None)  # {wording(draw, 12)}\n"
    yield "\n```python\n" + line * (BROKEN_CHARS // len(line))


def loops_with_a_drawn_word(draw: random.Random) -> Iterator[str]:
    said = wording(draw, 80)
    yield long_enough(lambda: f"{said} {draw.choice(('so', 'then', 'perhaps', 'indeed', 'again'))}. ")


def drawn_from(letters: str) -> Callable[[random.Random], Iterator[str]]:
    return lambda draw: iter(["".join(draw.choices(letters, k=BROKEN_CHARS))])


def random_words(draw: random.Random) -> Iterator[str]:
    yield long_enough(lambda: "".join(draw.choices(string.ascii_lowercase, k=draw.randint(2, 9))) + " ")


def random_letters_and_digits(draw: random.Random) -> Iterator[str]:
    yield long_enough(lambda: "".join(draw.choices(string.ascii_letters + string.digits, k=draw.randint(2, 12))) + " ")


def random_unicode(draw: random.Random) -> Iterator[str]:
    ranges = (range(0xA0, 0xD800), range(0xE000, 0x110000))
    yield "".join(chr(draw.choice(draw.choices(ranges, (1, 3))[0])) for _ in range(BROKEN_CHARS))


def random_bytes(draw: random.Random) -> Iterator[str]:
    yield draw.randbytes(BROKEN_CHARS).decode("utf-8", "replace")


def misread(encoding: str, languages: tuple[str, ...]) -> Callable[[random.Random], Iterator[str]]:
    def make(draw: random.Random) -> Iterator[str]:
        for language in languages:
            right = " ".join(draw.choices(SENTENCES[language], k=200))
            yield right.encode().decode(encoding, "replace")

    return make


def token_soup(name: str, *, ascii_only: bool = False) -> Callable[[random.Random], Iterator[str]]:
    def make(draw: random.Random) -> Iterator[str]:
        encoding = bpe_openai.get_encoding(name)

        def token() -> str:
            text = str(encoding.decode([draw.randrange(TOKENS)]) or "\ufffd")
            return "" if (ascii_only and not text.isascii()) or "```" in text or "~~~" in text else text

        yield long_enough(token)

    return make


WIDE: Final = ("chinese", "japanese", "korean", "arabic", "hebrew", "hindi", "thai", "greek", "vietnamese", "emoji")

LOOPS: Final[dict[str, Callable[[random.Random], Iterator[str]]]] = {
    "exact, period 1 to 400": exact_loops,
    "exact, one to three lines": loops_of_lines,
    "with a running number": loops_with_a_running_number,
    "exact, in fenced code": loops_in_code,
    "with a word drawn each time": loops_with_a_drawn_word,
}
NOISES: Final[dict[str, Callable[[random.Random], Iterator[str]]]] = {
    "random Unicode": random_unicode,
    "random letters of all scripts": drawn_from(EVERYDAY_SCRIPTS),
    "random Chinese characters": drawn_from("".join(map(chr, range(0x4E00, 0xA000)))),
    "random Korean syllables": drawn_from("".join(map(chr, range(0xAC00, 0xD7A4)))),
    "random bytes": random_bytes,
    "random printable ASCII": drawn_from(PRINTABLE),
    "random ASCII with controls": drawn_from("".join(map(chr, range(128)))),
    "random lower-case letters": drawn_from(string.ascii_lowercase),
    "random words": random_words,
    "Base64-like": drawn_from(string.ascii_letters + string.digits + "+/"),
    "random letters and digits in words": random_letters_and_digits,
    "UTF-8 read as Latin-1": misread("latin-1", (*WIDE, "russian", "french")),
    "UTF-8 read as Windows-1252": misread("cp1252", (*WIDE, "russian", "french")),
    "UTF-8 read as Windows-1251": misread("cp1251", ("russian", "ukrainian")),
    "UTF-8 read as GBK": misread("gbk", ("russian", "chinese", "korean")),
    "tokens of cl100k": token_soup("cl100k_base"),
    "tokens of o200k": token_soup("o200k_base"),
    "ASCII tokens of cl100k": token_soup("cl100k_base", ascii_only=True),
}
