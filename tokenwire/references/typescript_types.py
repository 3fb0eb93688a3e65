"""The wire's messages as TypeScript, drawn from their JSON Schema: the types of the JavaScript client's package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["typescript_types"]

PRIMITIVES: Final = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}
HEAD: Final = """// What the gateway says, as the wire has it; a field that is at its default is left out. Drawn from
// schemas/gateway_messages.py by `make schemas`; the meaning of each: docs/reference/protocol.md.
"""


def typescript_types(schema: Mapping[str, Any]) -> str:
    """Interfaces for everything that the schema defines, and `ServerMessages`: each message by its type."""
    blocks, by_tag = [HEAD], []
    for name, definition in schema["$defs"].items():
        tag = definition["properties"].get("type", {}).get("enum")
        blocks.append(interface(f"{name}Message" if tag else name, definition))
        if tag:
            by_tag.append(f"  {tag[0]}: {name}Message;")
    blocks.append("export interface ServerMessages {\n" + "\n".join(by_tag) + "\n}\n")
    return "\n".join(blocks)


def interface(name: str, definition: Mapping[str, Any]) -> str:
    required = set(definition.get("required", ()))
    lines = [f"/** {definition['description']} */"] if "description" in definition else []
    lines.append(f"export interface {name} {{")
    for field, shape in definition["properties"].items():
        if "description" in shape:
            lines.append(f"  /** {shape['description']} */")
        lines.append(f"  {field}{'' if field in required else '?'}: {kind_of(shape)};")
    return "\n".join([*lines, "}", ""])


def kind_of(shape: Mapping[str, Any]) -> str:
    """The TypeScript type of one field."""
    if "enum" in shape:
        return " | ".join(json.dumps(value) for value in shape["enum"])
    if "anyOf" in shape:
        return " | ".join(kind_of(each) for each in shape["anyOf"])
    if "$ref" in shape:
        return str(shape["$ref"].rpartition("/")[2])
    if shape["type"] == "array":
        item = kind_of(shape["items"])
        return f"({item})[]" if " " in item else f"{item}[]"
    if shape["type"] == "object":
        return f"Record<string, {kind_of(shape['additionalProperties'])}>"
    return PRIMITIVES[shape["type"]]
