from __future__ import annotations

import random
import string

from processors.attempts.decisions.gibberish_watchdog import Gibberish, GibberishLimits, GibberishWatchdog

PROSE = "It was a quiet day by the river, and nobody had yet thought of lunch or of the long way home again. " * 3


def verdict(text: str, limits: GibberishLimits | None = None) -> Gibberish | None:
    return GibberishWatchdog(limits or GibberishLimits()).add(text)


def drawn(letters: str, chars: int) -> str:
    return "".join(random.Random(7).choices(letters, k=chars))


def soup(chars: int) -> str:
    draw = random.Random(7)
    signs = string.ascii_letters + string.digits
    return "".join("".join(draw.choices(signs, k=draw.randint(2, 9))) + " " for _ in range(chars))[:chars]


def test_three_sure_blocks_are_a_verdict() -> None:
    """Two are not, and a verdict says the sign and the place."""
    noise = drawn("".join(map(chr, range(33, 127))), 768)

    assert verdict(noise[:512] + PROSE) is None
    found = verdict(noise)
    assert found is not None
    assert (found.sign, found.at_chars) == ("symbols", 768)


def test_weaker_signs_need_more_blocks() -> None:
    """Six of letters, sixteen of a blob."""
    letters, blob = "xkqzvb wrtpl mnbvcx qwrtzg " * 60, drawn(string.ascii_letters, 4_096)

    assert verdict(letters[:1_280]) is None
    found = verdict(letters)
    assert found is not None
    assert (found.sign, found.at_chars) == ("letters", 1_536)
    assert verdict(blob[:3_840]) is None
    found = verdict(blob)
    assert found is not None
    assert (found.sign, found.at_chars) == ("blob", 4_096)


def test_clean_text_takes_evidence_away() -> None:
    """Odd blocks among many clean ones never add up."""
    odd = drawn("".join(map(chr, range(33, 127))), 256)

    assert verdict((odd + (PROSE * 4)[:1_024]) * 20) is None


def test_soup_needs_two_windows() -> None:
    """4,096 characters of words at random; a clean window between them, or many scripts, are none."""
    text = soup(4_096)
    assert verdict(text[:2_048] + (PROSE * 7)[:2_048] + text[2_048:]) is None
    assert verdict(text, GibberishLimits(soup_ascii_share_min=1.1)) is None
    found = verdict(text)

    assert found is not None
    assert (found.sign, found.at_chars) == ("soup", 4_096)


def test_noise_in_code_is_ordinary() -> None:
    """A window with code in it is no soup either."""
    assert verdict("```\n" + soup(6_000)) is None


def test_verdict_stays() -> None:
    """Whatever comes later."""
    watch = GibberishWatchdog(GibberishLimits())
    found = watch.add("\ufffd" * 768)

    assert found == Gibberish("replacement", 1.0, 768)
    assert watch.add(PROSE) is found
