"""An access token that the gateways of these settings accept."""

from __future__ import annotations

from infra.access_tokens import issue_token
from infra.keys import token_secret
from infra.settings import Settings

__all__ = ["issue_page_token"]


def issue_page_token(settings: Settings, user: str, *, ttl_s: float, now_s: float) -> str:
    """A token that the gateways of these settings accept. Raises InvalidField, SecretDamaged."""
    return issue_token(
        token_secret(settings),
        user,
        ttl_s=ttl_s,
        now_s=now_s,
        audience=settings.auth_audience,
        issuer=settings.auth_issuer,
    )
