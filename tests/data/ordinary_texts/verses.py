"""Texts that repeat on purpose: refrains, choruses, counting songs, chants, laughter, litanies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

__all__ = ["verses"]

SUBJECTS: Final = (
    "The miller", "The ferryman", "The baker's wife", "The lamplighter", "The piper", "The shepherd", "The weaver",
    "The sailor", "The old grey cat", "The postman", "The glazier", "The harvest moon",
)  # fmt: skip
DEEDS: Final = (
    "counted the stars on the wall", "lost both his shoes in the hall", "mended a net by the sea",
    "carried the rain in a bowl", "hung a bell on the oldest tree", "traded a song for some coal",
    "painted the door of the mill", "followed a crow up the hill",
)  # fmt: skip
REFRAIN: Final = (
    "Oh, turn again, river, and turn again, wheel,\nthere's flour in the basket and bread for the meal.\n"
    "Turn slow in the summer and fast in the rain,\nand when you have ended, begin it again."
)
CHORUS: Final = "Hold on, hold on, the morning is near,\nhold on, hold on, there is nothing to fear.\n"


def verses() -> Iterator[tuple[str, str]]:
    """Every text with its name."""
    yield "poem with a refrain", "\n\n".join(f"{verse(number)}\n\n{REFRAIN}" for number in range(24))
    yield "song with a double chorus", "\n\n".join(f"{verse(number)}\n\n{CHORUS}{CHORUS}" for number in range(20))
    yield "song that ends in its chorus", verse(3) + "\n\n" + CHORUS * 6
    yield "counting song downwards", "\n\n".join(lanterns(number) for number in range(60, 0, -1))
    yield "counting song upwards", "\n\n".join(geese(number) for number in range(2, 60))
    yield "growing song", "\n\n".join(growing(number) for number in range(1, 13))
    yield "laughter", "He read it twice. " + "ha " * 60 + "and then he sat down."
    yield "long laughter", "Ha" + "ha" * 150 + "! That was a good one. " + "😂" * 120
    yield "football chant", "\n".join(("Olé, olé, olé, olé!", "Come on you blues!") * 14)
    yield "litany", "\n".join(f"For {subject.lower()}: we give thanks." for subject in SUBJECTS * 8)
    yield "line written as a punishment", "I must not throw paper planes in class.\n" * 30
    yield "scream", "A" + "a" * 400 + "h! " + "No" + "o" * 300 + "!"
    yield "lullaby", ("La la la, la la la, sleep now. " * 12 + "\n") * 3
    yield "villanelle", "\n\n".join(f"{verse(number)}\n{CHORUS.splitlines()[number % 2]}" for number in range(30))


def verse(number: int) -> str:
    subject = SUBJECTS[number % len(SUBJECTS)]
    return (
        f"{subject} {DEEDS[number % len(DEEDS)]},\n{DEEDS[(number * 3 + 1) % len(DEEDS)]},\n"
        f"and nobody asked what had come of it all\nbut {SUBJECTS[(number * 5 + 2) % len(SUBJECTS)].lower()}."
    )


def lanterns(number: int) -> str:
    return (
        f"{number} paper lanterns hanging on a line, {number} paper lanterns.\nOne caught the wind and floated to the "
        f"sea, {number - 1} paper lanterns hanging on a line."
    )


def geese(number: int) -> str:
    return f"{number} grey geese were flying home, {number} grey geese in a row; with one more that makes {number + 1}."


def growing(number: int) -> str:
    gifts = [f"{count} things that {SUBJECTS[count - 1].lower()} found" for count in range(number, 0, -1)]
    return f"On day {number} of the fair I was given\n" + ",\n".join(gifts) + "."
