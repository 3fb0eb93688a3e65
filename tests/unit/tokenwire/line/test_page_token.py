"""A token for the page is good at gateways of the same settings, and only there."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from infra.access_tokens import TokenError, verify_token
from infra.keys import token_secret
from infra.settings import load_settings
from tokenwire.line.page_token import issue_page_token


def test_gateways_of_the_same_home_let_it_in(tmp_path: Path) -> None:
    """It names its user and its end, and the secret of another folder refuses it."""
    here, elsewhere = load_settings({}, home=tmp_path / "here"), load_settings({}, home=tmp_path / "elsewhere")
    now_s = time.time()
    token = issue_page_token(here, "alice", ttl_s=600, now_s=now_s)
    verified = verify_token(token_secret(here), token)

    assert (verified.user, verified.expires_at_s) == ("alice", int(now_s + 600))
    with pytest.raises(TokenError):
        verify_token(token_secret(elsewhere), token)
