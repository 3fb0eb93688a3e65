"""Errors of the contract between processes, drawn as a tree.

SchemaError                 bytes or values that break the contract; never our own bug
├── MalformedRecord         not JSON, or JSON of the wrong shape
│   └── UnknownTag          well-formed, but of a type this version does not know
└── InvalidField            one named field has a value outside its limits
"""

from __future__ import annotations

__all__ = ["InvalidField", "MalformedRecord", "SchemaError", "UnknownTag"]


class SchemaError(Exception):
    """Something that came from outside does not follow the contract."""

    code = "schema_error"


class MalformedRecord(SchemaError):
    """Bytes that do not decode. The message never quotes the bytes: they may be private.

    `field` is the place of what is wrong (`messages[0].role`), empty where it is the whole; the words then go after
    whatever the caller calls that.
    """

    code = "malformed"

    def __init__(self, problem: str, remedy: str = "", field: str = "") -> None:
        words = f"{field} {problem}" if field else problem
        super().__init__(f"{words}; {remedy}" if remedy else words)
        self.field = field


class UnknownTag(MalformedRecord):
    """A record of a type that this version does not know: written by a newer build, or not ours."""

    code = "unknown_type"


class InvalidField(SchemaError):
    """A field outside its limits: which one, what is wrong and what to do, as separate values."""

    code = "invalid_field"

    def __init__(self, field: str, problem: str, remedy: str, *, code: str = "invalid_field") -> None:
        super().__init__(f"{field} {problem}; {remedy}")
        self.field = field
        self.problem = problem
        self.remedy = remedy
        self.code = code
