"""`tokenwire token`: an access token for a websocket client."""

from __future__ import annotations

import json
import time
from typing import Final

import click

__all__ = ["ISSUED_ELSEWHERE", "token"]

HOUR_S: Final = 3_600
ISSUED_ELSEWHERE: Final = (
    "the gateways go by the keys in TOKENWIRE_AUTH_JWKS; get a token from whoever holds the private keys"
)


@click.command()
@click.option("--user", required=True, help="Whom the token lets in.")
@click.option("--hours", type=click.FloatRange(0.01, 24 * 365), default=24.0, show_default=True, help="How long.")
@click.option("--json", "as_json", is_flag=True, help="Print token, user and expiry as one JSON object.")
def token(user: str, hours: float, as_json: bool) -> None:
    """Print an access token for a client.

    Signed with TOKENWIRE_AUTH_SECRET, else with the development key in TOKENWIRE_HOME. Where gateways go by public keys
    (TOKENWIRE_AUTH_JWKS), tokens come from whoever holds the private ones.

    \b
    Example:
      tokenwire token --user alice
    """
    from tokenwire.line.client_start import client_start
    from tokenwire.line.page_token import issue_page_token

    settings = client_start()
    if settings.auth_jwks is not None:
        raise click.ClickException(ISSUED_ELSEWHERE)
    hours_max = settings.auth_token_days_max * 24
    if hours > hours_max:
        raise click.ClickException(
            f"gateways refuse tokens that are older than {hours_max:g} hours (TOKENWIRE_AUTH_TOKEN_DAYS_MAX): "
            f"give --hours {hours_max:g} or less"
        )
    now_s = time.time()
    issued = issue_page_token(settings, user, ttl_s=hours * HOUR_S, now_s=now_s)
    if as_json:
        click.echo(json.dumps({"token": issued, "user": user, "expires_at_s": int(now_s + hours * HOUR_S)}))
    else:
        click.echo(issued)
