"""What a struct means, in words: its fields, their types, defaults and docstrings."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
import types
import typing
from collections.abc import Iterable
from typing import Any, Literal, TypeAlias, get_args, get_origin

import msgspec

from tokenwire.references.markdown_blocks import paragraphs, table

__all__ = ["Struct", "field_meanings", "struct_sections", "structs_in"]

Struct: TypeAlias = type[msgspec.Struct]


def struct_sections(structs: Iterable[Struct]) -> list[str]:
    return [block for struct in structs for block in struct_section(struct)]


def struct_section(struct: Struct) -> list[str]:
    tag = struct.__struct_config__.tag
    title = f"### `{tag}`" if tag else f"### {struct.__name__}"
    fields = msgspec.structs.fields(struct)
    if not fields:
        return [title, paragraphs(struct.__doc__)]
    meanings = field_meanings(struct)
    rows = [
        (
            f"`{field.encode_name}`",
            type_words(field.type),
            default_words(field),
            meanings.get(field.encode_name, ""),
        )
        for field in fields
    ]
    return [title, paragraphs(struct.__doc__), table(("field", "type", "default", "meaning"), rows)]


def field_meanings(struct: Struct) -> dict[str, str]:
    """The docstrings below a struct's fields, by the name on the wire."""
    names = dict(zip(struct.__struct_fields__, struct.__struct_encode_fields__, strict=True))
    definition = ast.parse(textwrap.dedent(inspect.getsource(struct))).body[0]
    assert isinstance(definition, ast.ClassDef)
    found: dict[str, str] = {}
    for field, after in zip(definition.body, definition.body[1:], strict=False):
        match field, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str() as meaning)):
                found[names[name]] = " ".join(meaning.split())
            case _:
                continue
    return found


def structs_in(subject: Any) -> set[Struct]:
    """Every struct that the subject is made of."""
    found: set[Struct] = set()
    waiting: list[Any] = [subject]
    while waiting:
        kind = waiting.pop()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            if kind not in found:
                found.add(kind)
                waiting.extend(field.type for field in msgspec.structs.fields(kind))
        else:
            waiting.extend(argument for argument in get_args(kind) if not isinstance(argument, str))
    return found


def type_words(kind: Any) -> str:
    if kind is types.NoneType:
        return "null"
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return ", ".join(f"`{json.dumps(value)}`" for value in arguments)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(type_words(argument) for argument in arguments)
    if origin is tuple:
        return f"list of {type_words(arguments[0])}"
    if origin is dict:
        return f"object of {type_words(arguments[1])}"
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return f"[{kind.__name__}](#{kind.__name__.lower()})"
    plain = {str: "text", int: "whole number", float: "number", bool: "true or false", bytes: "text in base64"}
    return plain[kind]


def default_words(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "*required*"
    if field.default_factory is not msgspec.NODEFAULT:
        return f"`{json.dumps(msgspec.to_builtins(field.default_factory()))}`"
    return f"`{json.dumps(msgspec.to_builtins(field.default))}`"
