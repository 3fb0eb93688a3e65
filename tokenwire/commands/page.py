"""`tokenwire page`: an address that opens the chat page and signs its user in, once."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import click

from tokenwire.commands.access_token import ISSUED_ELSEWHERE
from tokenwire.commands.send import DEFAULT_USER

if TYPE_CHECKING:
    from infra.settings import Settings

__all__ = ["page", "page_address"]

PAGE_TOKEN_S: Final = 7 * 24 * 3_600.0


@click.command()
@click.option("--user", default=DEFAULT_USER, show_default=True, help="Whom the page is for.")
@click.option("--address", help="Where the page is.  [default: at the `tokenwire up` that runs here]")
@click.option("--json", "as_json", is_flag=True, help="Print page, user and the code's expiry as one JSON object.")
def page(user: str, address: str | None, as_json: bool) -> None:
    """Print an address that opens the chat page.

    Its code signs the user in once, within a quarter of an hour. Print another one for another browser.

    \b
    Examples:
      tokenwire page
      tokenwire page --user alice --address https://chat.example.com/
    """
    from infra.sign_in_codes import CODE_S
    from tokenwire.line.client_start import client_start

    settings = client_start()
    place = address_given(address) if address is not None else address_here(settings)
    now_s = time.time()
    printed = page_address(settings, place, user, now_s=now_s)
    if printed == place:
        raise click.ClickException(ISSUED_ELSEWHERE)
    if as_json:
        click.echo(json.dumps({"page": printed, "user": user, "expires_at_s": int(now_s + CODE_S)}))
    else:
        click.echo(printed)


def page_address(settings: Settings, place: str, user: str, *, now_s: float) -> str:
    """The page with a code for the user; without one where tokens are made elsewhere, and the page asks for one.

    Raises InvalidField, SecretDamaged.
    """
    from infra.sign_in_codes import SignInCodes

    codes = SignInCodes.from_settings(settings)
    return place if codes is None else f"{place}#code={codes.issue(user, ttl_s=PAGE_TOKEN_S, now_s=now_s)}"


def address_given(address: str) -> str:
    try:
        parts = urlsplit(address)
    except ValueError:  # half of an IPv6 address
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise click.BadParameter(
            "give the page's own address, such as https://chat.example.com/", param_hint="--address"
        )
    return address if parts.path.endswith("/") else f"{address}/"


def address_here(settings: Settings) -> str:
    from tokenwire.line.running_line import running_line

    line = running_line(settings.home)
    if line is None:
        raise click.ClickException(
            f"no `tokenwire up` that is ready runs in {settings.home}; start it, set TOKENWIRE_HOME, or say with "
            "--address where the page is"
        )
    return line.page
