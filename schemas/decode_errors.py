"""What is wrong with bytes that do not decode, in words for their sender: the field, what it is, what it should be.

The decoder's own sentences speak of its types (`str | null`), and repeat a wrong value, which may be private.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

import msgspec
from msgspec import inspect

from schemas.errors import MalformedRecord, UnknownTag

__all__ = ["malformed"]

QUOTED_VALUE: Final = re.compile(r" '.*'", re.DOTALL)
PLACE: Final = re.compile(r" - at `\$\.?(?P<path>[^`]*)`\Z")
STEP: Final = re.compile(r"\w+|\[[^\]]*\]")
MISSING: Final = re.compile(r"missing required field `(\w+)`")
SHAPE: Final = re.compile(r"Expected `([^`]+)`(?:, got `([^`]+)`)?")
PATH_CHARS_MAX: Final = 64
WORDS: Final = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


def malformed(error: msgspec.ValidationError, kind: object, raw: bytes | str) -> MalformedRecord:
    """The error to raise for bytes that are JSON and not of a type; it names our own fields and quotes nothing else.

    `kind` is what the decoder was made for, a struct or a union of them.
    """
    text = QUOTED_VALUE.sub("", str(error))
    place = PLACE.search(text)
    path = place["path"][:PATH_CHARS_MAX] if place else ""
    missing, shape = MISSING.search(text), SHAPE.search(text)
    if missing is not None:
        return MalformedRecord("is missing", "say what it is", f"{path}.{missing[1]}" if path else missing[1])
    if shape is not None:
        *wanted, last = [WORDS.get(word, word) for word in shape[1].split(" | ")]
        wished = f"{', '.join(wanted)} or {last}" if wanted else last
        return MalformedRecord(f"is {WORDS.get(shape[2] or '', 'of another kind')}", f"send {wished}", path)
    choices = choices_at(kind, path, raw)
    if path.rpartition(".")[2] == "type" and text.startswith("Invalid value"):
        return UnknownTag("is not one that this version knows", said(choices), path)
    if choices:
        return MalformedRecord("is not one of its choices", said(choices), path)
    return MalformedRecord("does not have the right shape", "see its reference", path)


def said(choices: tuple[str, ...]) -> str:
    return f"say {', '.join(choices)}" if choices else "see its reference"


def choices_at(kind: object, path: str, raw: bytes | str) -> tuple[str, ...]:
    """The values that may stand at a place; none where it takes anything, or cannot be found."""
    steps, info = STEP.findall(path), info_of(kind)
    if isinstance(info, inspect.ListType):
        steps, info = steps[1:], info.item_type
    structs = list(structs_in(info))
    if steps == ["type"]:
        return tuple(str(struct.tag) for struct in structs)
    tag = tag_of(raw) if len(structs) > 1 else structs[0].tag
    places: list[inspect.Type] = [struct for struct in structs if struct.tag == tag]
    for step in steps:
        places = [below for place in places for below in one_step(place, step)]
    return tuple(str(value) for place in places if isinstance(place, inspect.LiteralType) for value in place.values)


@lru_cache(maxsize=32)
def info_of(kind: object) -> inspect.Type:
    """Kept: working it out takes a millisecond, which whoever sends bad messages could ask for again and again."""
    return inspect.type_info(kind)


def tag_of(raw: bytes | str) -> str | None:
    try:
        value: Any = msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None  # a list of messages, for which nobody asked one by one
    return value.get("type") if isinstance(value.get("type"), str) else None


def structs_in(info: inspect.Type) -> Iterator[inspect.StructType]:
    for one in alternatives(info):
        if isinstance(one, inspect.StructType):
            yield one


def one_step(info: inspect.Type, step: str) -> Iterator[inspect.Type]:
    """What stands below a place, under a field's name or at a number."""
    if isinstance(info, inspect.StructType):
        for field in info.fields:
            if field.encode_name == step:
                yield from alternatives(field.type)
    elif isinstance(info, (inspect.ListType, inspect.VarTupleType)):
        yield from alternatives(info.item_type)
    elif isinstance(info, inspect.DictType):
        yield from alternatives(info.value_type)


def alternatives(info: inspect.Type) -> tuple[inspect.Type, ...]:
    return info.types if isinstance(info, inspect.UnionType) else (info,)
