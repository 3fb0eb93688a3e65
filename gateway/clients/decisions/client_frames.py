"""A client's frame, taken apart: its messages, and as much as can be read of one that cannot be decoded."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from schemas.client_messages import ClientMessage
from schemas.codec import decode_client_messages
from schemas.errors import MalformedRecord
from schemas.identifiers import IDENTIFIER_CHARS_MAX

__all__ = ["decode_one", "read_leniently", "shown", "split", "split_leniently"]

INTEGER_DIGITS_MAX: Final = 32
ELEMENTS: Final = msgspec.json.Decoder(list[msgspec.Raw])


def split(frame: str) -> Sequence[bytes | str]:
    """The messages of a frame, each still undecoded."""
    if not frame[:64].lstrip().startswith("["):
        return (frame,)
    try:
        return [bytes(element) for element in ELEMENTS.decode(frame)]
    except (msgspec.DecodeError, UnicodeEncodeError):
        raise MalformedRecord("is not valid JSON in UTF-8") from None
    except RecursionError:
        raise MalformedRecord("is nested too deeply") from None


def split_leniently(frame: str) -> Sequence[str]:
    """The messages of an array that is no JSON for us, where only some of them make it so; empty: it is none at all."""
    try:
        values = json.loads(frame, strict=False, parse_int=whole_number)
        return [json.dumps(value) for value in values] if isinstance(values, list) else ()
    except (ValueError, RecursionError):
        return ()


def read_leniently(element: bytes | str) -> Mapping[str, object]:
    """The fields of a message that cannot be decoded: Python reads what JSON does not allow, at most a frame of it."""
    try:
        value = json.loads(element, strict=False, parse_int=whole_number)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def whole_number(digits: str) -> int | float:
    """Python does not read whole numbers of thousands of digits, which are out of range in any case."""
    return int(digits) if len(digits) <= INTEGER_DIGITS_MAX else float(digits)


def decode_one(element: bytes | str) -> ClientMessage:
    try:
        messages = decode_client_messages(element)
    except UnicodeEncodeError:
        raise MalformedRecord("is not valid JSON in UTF-8") from None
    if len(messages) != 1 or element[:64].lstrip()[:1] in (b"[", "["):
        raise MalformedRecord("is an array inside an array")
    return messages[0]


def shown(identifier: object) -> str:
    """An identifier to answer with, unless it is itself what is wrong."""
    if not isinstance(identifier, str):
        return ""
    return identifier if len(identifier) <= IDENTIFIER_CHARS_MAX and identifier.isprintable() else ""
