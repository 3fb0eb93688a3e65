"""Which of the encodings that a client takes an answer is sent in."""

from __future__ import annotations

from typing import Final

__all__ = ["ENCODINGS", "chosen_encoding", "is_on"]

ENCODINGS: Final = ("zstd", "lz4", "gzip", "br", "deflate")
"""Those that are cheapest for their size come first."""


def chosen_encoding(accepted: str) -> str | None:
    """One of ENCODINGS, by the header Accept-Encoding; None where it names none."""
    taken = {name for name, quality in map(named, accepted.split(",")) if quality > 0}
    return next((name for name in ENCODINGS if name in taken), None)


def named(part: str) -> tuple[str, float]:
    name, _, quality = part.partition(";")
    try:
        return name.strip().lower(), float(quality.partition("=")[2] or 1)
    except ValueError:
        return name.strip().lower(), 0.0


def is_on(value: str) -> bool:
    """Does a parameter of the address say yes?"""
    return value.lower() not in ("", "0", "false")
