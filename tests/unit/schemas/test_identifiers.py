from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from schemas.errors import InvalidField
from schemas.identifiers import (
    IDENTIFIER_CHARS_MAX,
    PromptId,
    SessionId,
    UserId,
    check_prompt_id,
    check_session_id,
    check_tenant_id,
    check_user_id,
    session_key_of,
    turn_id_of,
)

__all__: list[str] = []

CHECKS: list[tuple[str, Callable[[str], str]]] = [
    ("user", check_user_id),
    ("session", check_session_id),
    ("prompt_id", check_prompt_id),
    ("tenant", check_tenant_id),
]
REFUSED = [
    "",
    "../x",
    "..",
    ".hidden",
    "_private",
    "__consumer_offsets",
    "a/b",
    "a b",
    "a\n",
    "a\x00",
    "a;DROP TABLE turns",
    "sitzung-ü",
    "会话",
    "٣",
    "x" * 300,
    "x" * (IDENTIFIER_CHARS_MAX + 1),
]
identifiers = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}", fullmatch=True)


@pytest.mark.parametrize(("field", "check"), CHECKS)
@pytest.mark.parametrize("value", REFUSED)
def test_bad_identifier_is_refused_by_name(field: str, check: Callable[[str], str], value: str) -> None:
    """S6: the error names the field and what to do, and never repeats the value."""
    with pytest.raises(InvalidField) as caught:
        check(value)

    assert caught.value.field == field
    assert caught.value.code == "invalid_field"
    assert f"1 to {IDENTIFIER_CHARS_MAX}" in caught.value.remedy
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(("field", "check"), CHECKS)
@pytest.mark.parametrize("value", ["a", "0", "alice@example.org", "A-b_c.d:e", "x" * IDENTIFIER_CHARS_MAX])
def test_good_identifier_is_returned_as_it_came(field: str, check: Callable[[str], str], value: str) -> None:
    """Letters, digits and . _ : @ - pass, up to the limit."""
    assert check(value) == value, field


@given(identifiers, identifiers, identifiers, identifiers)
def test_different_sessions_have_different_keys(user: str, session: str, other_user: str, other_session: str) -> None:
    """A key belongs to one session of one user."""
    assume((user, session) != (other_user, other_session))

    assert session_key_of(UserId(user), SessionId(session)) != session_key_of(
        UserId(other_user), SessionId(other_session)
    )


@given(st.text("abc", min_size=3, max_size=20), st.data())
def test_moving_a_letter_across_the_border_changes_the_key(joined: str, data: st.DataObject) -> None:
    """Lengths are part of what is hashed: ("ab", "c") is not ("a", "bc")."""
    border = data.draw(st.integers(1, len(joined) - 2))
    keys = {session_key_of(UserId(joined[:cut]), SessionId(joined[cut:])) for cut in (border, border + 1)}

    assert len(keys) == 2


@given(identifiers, identifiers, identifiers)
def test_turn_id_depends_on_each_part(user: str, session: str, prompt_id: str) -> None:
    """User, session, prompt id and model index all count; the same four give the same id anywhere."""
    base = turn_id_of(UserId(user), SessionId(session), PromptId(prompt_id))
    others = {
        turn_id_of(UserId(user + "x"), SessionId(session), PromptId(prompt_id)),
        turn_id_of(UserId(user), SessionId(session + "x"), PromptId(prompt_id)),
        turn_id_of(UserId(user), SessionId(session), PromptId(prompt_id + "x")),
        turn_id_of(UserId(user), SessionId(session), PromptId(prompt_id), 1),
    }

    assert len(others) == 4
    assert base not in others
    assert base == turn_id_of(UserId(user), SessionId(session), PromptId(prompt_id), 0)


def test_key_and_turn_id_never_change() -> None:
    """They name topics and records that exist already: these values are for life."""
    assert session_key_of(UserId("alice"), SessionId("s1")) == "unyqr3hr23tb6labln3o6wue7qctfb6s"
    assert turn_id_of(UserId("alice"), SessionId("s1"), PromptId("p1")) == "y5s6z6bt6pe7kj6gnlpvdiop"


@given(identifiers, identifiers)
def test_key_may_stand_in_a_topic_name(user: str, session: str) -> None:
    """32 characters of a-z and 2-7, whatever the ids are."""
    key = session_key_of(UserId(user), SessionId(session))

    assert len(key) == 32
    assert set(key) <= set("abcdefghijklmnopqrstuvwxyz234567")
