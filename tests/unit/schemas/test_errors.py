from __future__ import annotations

from schemas.errors import InvalidField, MalformedRecord, SchemaError, UnknownTag

__all__: list[str] = []


def test_invalid_field_says_which_what_and_what_to_do() -> None:
    """Field, problem and remedy are values of their own, and one sentence together."""
    error = InvalidField("session", "is empty", "use a letter", code="empty")

    assert (error.field, error.problem, error.remedy, error.code) == ("session", "is empty", "use a letter", "empty")
    assert str(error) == "session is empty; use a letter"


def test_every_error_is_a_schema_error_with_a_code() -> None:
    """One `except SchemaError` catches whatever breaks the contract; the codes tell the kinds apart."""
    assert issubclass(UnknownTag, MalformedRecord)
    assert issubclass(MalformedRecord, SchemaError)
    assert issubclass(InvalidField, SchemaError)
    codes = {kind.code for kind in (SchemaError, MalformedRecord, UnknownTag)}

    assert codes | {InvalidField("f", "p", "r").code} == {"schema_error", "malformed", "unknown_type", "invalid_field"}
