"""A struct from plain arguments: what a type checker would have kept out is refused by name, before anything is sent.

Each value is judged alone and by its field's own type, so the error names the field whatever else is wrong, and the
types in the struct are the only list of what is allowed. Values are never repeated in an error: they may be private.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import UnionType
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from schemas.errors import InvalidField

__all__ = ["refuse_unknown", "struct_of"]

Made = TypeVar("Made", bound=msgspec.Struct)

SINGLE: Final[dict[object, tuple[str, str]]] = {
    str: ("is no text", "send a text"),
    bool: ("is neither true nor false", "send one of the two"),
    int: ("is no whole number", "send a whole number, or leave it out"),
    float: ("is no number", "send a number, or leave it out"),
}


def refuse_unknown(given: Iterable[object], known: Collection[str]) -> None:
    """Raise InvalidField for the first name that is not among those that mean something."""
    for name in given:
        if name not in known:
            shown = name if isinstance(name, str) and name.isidentifier() and name.isprintable() else "an option"
            raise InvalidField(shown[:64], "is not one we know", f"the options are {', '.join(known)}")


def struct_of(kind: type[Made], given: Mapping[str, object]) -> Made:
    """A struct of these values. Raises InvalidField for a name that it does not have and a value of another type."""
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    refuse_unknown(given, fields)
    for name, field in fields.items():
        if field.required and name not in given:
            raise InvalidField(name, "is missing", "say what it is")
    return kind(**{name: value_of(name, fields[name].type, value) for name, value in given.items()})


def value_of(name: str, wanted: Any, value: object) -> Any:
    try:
        return msgspec.convert(plain(value), wanted, strict=True)
    except (msgspec.ValidationError, TypeError, ValueError, RecursionError):
        raise InvalidField(name, *complaint(wanted)) from None


def plain(value: object) -> object:
    """The same in the types that are sent: a text may be of a kind of its own (an enum's, NumPy's, a template's)."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, msgspec.Struct):
        value = msgspec.structs.asdict(value)
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, Collection) and not isinstance(value, (bytes, bytearray)):
        return tuple(plain(item) for item in value)
    return value


def complaint(wanted: Any) -> tuple[str, str]:
    """What is wrong with a value that is not of a type, and what would be right."""
    if get_origin(wanted) in (Union, UnionType):
        wanted = next(kind for kind in get_args(wanted) if kind is not type(None))
    if wanted in SINGLE:
        return SINGLE[wanted]
    if get_origin(wanted) is Literal:
        return "is not one of its choices", f"say {', '.join(map(str, get_args(wanted)))}"
    if get_origin(wanted) is dict:
        return "holds more than texts by name", "send a text for each name"
    (item, *_) = get_args(wanted)
    if item is str:
        return "is no list of texts", "send a list of texts"
    return "do not have the shape of a conversation", shape_of(item)


def shape_of(item: type[msgspec.Struct]) -> str:
    """How one element of a list has to look."""
    said = []
    for field in msgspec.structs.fields(item):
        choices = " or ".join(f'"{choice}"' for choice in get_args(field.type)) or "a text"
        said.append(f'"{field.name}": {choices}')
    return f"send {{{', '.join(said)}}} each"
