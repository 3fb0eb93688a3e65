from __future__ import annotations

import pytest

from processors.attempts.decisions.noise_signs import NoiseLimits, Sign, noise_sign, packed_share

PROSE = "It was a quiet day by the river, and nobody had yet thought of lunch or of the long way home again. " * 3
RARE_HAN = "".join(map(chr, range(0x4E02, 0x4E02 + 640, 5)))
RARE_HANGUL = "".join(map(chr, range(0xAC02, 0xAC02 + 1_280, 5)))
KEYS = "q8Zr1XvPn0Kc7TfYw3LmBd5HsJg9RtVx2CbN6QkWp4DzFhMy" * 3

NOISES: list[tuple[Sign, str]] = [
    ("replacement", PROSE[:200] + "\ufffd" * 20),
    ("mojibake", ("Мы шли по лесу. " * 6).encode().decode("latin-1")),
    ("mojibake", ("Мы шли по лесу. " * 6).encode().decode("cp1251", "replace").replace("\ufffd", "")),
    ("control", PROSE[:200] + "\x02" * 20),
    ("control", PROSE[:200] + "\ue123" * 20),
    ("scripts", "яa你ب한" * 30),
    ("rare", RARE_HAN),
    ("rare", RARE_HANGUL),
    ("blob", KEYS),
    ("letters", "xkqzvb wrtpl mnbvcx qwrtz " * 8),
    ("symbols", "".join(chr(33 + 37 * at % 94) for at in range(188))),
]


def sign_of(block: str, *, in_code: bool = False) -> Sign | None:
    found = noise_sign(block, NoiseLimits(), in_code=in_code)
    return None if found is None else found.sign


@pytest.mark.parametrize(("sign", "block"), NOISES)
def test_noise_shows_its_sign(sign: Sign, block: str) -> None:
    """Each kind of noise by its own sign; in code only a broken encoding counts."""
    assert sign_of(block) == sign
    assert sign_of(block, in_code=True) == (sign if sign in {"replacement", "mojibake", "control"} else None)


@pytest.mark.parametrize(
    "block",
    [
        PROSE,
        PROSE + "é“",
        "Я использую Python, 한국어 и 中文 вместе. " * 6,
        "我們在圖書館的閱覽室裏看書。" * 20,
        "안녕하세요 반갑습니다 오늘도 좋은 하루 되세요. " * 10,
        "deadbeefcafe0123" * 16,
        "0xffffffff,0xbbbbbbbb," * 12,
        "a_name_that_goes_on_and_on_" * 10,
        "if(a){b(c,d)}" * 20,
        "(a+b)*(c-d)=[e]" * 16 + " " * 40,
        "a.b.c.d.e.f.g.h.i." * 14,
    ],
)
def test_writing_shows_none(block: str) -> None:
    """Prose, mixed languages, both Chinas' characters, hexadecimal, names and code."""
    assert sign_of(block) is None


def test_text_is_packed_without_its_keys() -> None:
    """Prose packs well; what is mostly keys is not judged by packing."""
    assert 0 < packed_share(PROSE) < 0.5
    assert packed_share(KEYS) == 0.0
