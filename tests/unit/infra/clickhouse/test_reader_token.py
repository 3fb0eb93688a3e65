"""The readers' token as a file."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from infra.clickhouse.queries import reading_access
from infra.clickhouse.reader_token import TOKEN_PLACE, reader_token
from infra.keys import SecretDamaged
from infra.settings import load_settings
from tokenwire.commands.up import with_token

__all__: list[str] = []


def test_token_is_made_once_also_in_a_folder_of_before(tmp_path: Path) -> None:
    """A home that has other keys gets this one; clients that only read get it by themselves."""
    (tmp_path / "keys").mkdir(mode=0o700)
    (tmp_path / "keys" / "auth").write_text("a" * 64)
    token = reader_token(tmp_path)
    access = reading_access(load_settings({}, home=tmp_path, analytics_port=1), query_s_max=1)

    assert reader_token(tmp_path) == token
    assert len(token) >= 32
    assert (access["username"], access["password"]) == ("default", token)
    assert (tmp_path / TOKEN_PLACE).stat().st_mode & 0o777 == 0o600


def test_token_of_ones_own(tmp_path: Path) -> None:
    """Whoever writes the file before the start chooses the token; the line's end is not part of it."""
    (tmp_path / "keys").mkdir()
    (tmp_path / TOKEN_PLACE).write_text("forty-characters-that-somebody-has-chosen\n")

    assert reader_token(tmp_path) == "forty-characters-that-somebody-has-chosen"


@pytest.mark.parametrize("held", ["", "short", "x" * 31, "x" * 1_025, "é" * 40, "two words" * 8, "a\nb" * 20])
def test_file_that_holds_no_token_is_named(tmp_path: Path, held: str) -> None:
    """What no client could send is not used, nor replaced; the sentence says what to do and shows nothing of it."""
    (tmp_path / "keys").mkdir()
    (tmp_path / TOKEN_PLACE).write_text(held)
    with pytest.raises(SecretDamaged, match="remove it") as damaged:
        reader_token(tmp_path)

    assert damaged.value.path == tmp_path / TOKEN_PLACE
    assert not held or held not in str(damaged.value)
    assert (tmp_path / TOKEN_PLACE).read_text() == held


def test_no_token_where_the_database_is_a_server(tmp_path: Path) -> None:
    """Then its own accounts count, and no file is made."""
    reading_access(load_settings({}, home=tmp_path, clickhouse="http://a:b@c:8123/tokenwire"), query_s_max=1)

    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize("token", ["plain-token", "a@b:c/d?e#f%g"])
def test_printed_address_holds_user_and_token(token: str) -> None:
    """Clients take it as it is, whatever a token of one's own holds."""
    address = urlsplit(with_token("http://127.0.0.1:8123", token))

    assert (address.username, unquote(address.password or ""), address.port) == ("default", token, 8123)
    assert with_token("http://127.0.0.1:8123", "") == "http://127.0.0.1:8123"
