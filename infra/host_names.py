"""Which names a server of ours answers to: the `Host` of a request, before anything else of it is believed.

A page that a browser has loaded from `evil.example` may have that name point to 127.0.0.1 a second later (DNS
rebinding): what it then asks us for counts as its own. It cannot do so with an address in place of a name. So
addresses are good, and so are the names of this machine itself and those that whoever runs it has listed.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

__all__ = ["HOST_REFUSED", "LOOPBACK_NAMES", "answers_to", "known_names", "only_asked_by"]

LOOPBACK_NAMES: Final = frozenset({"localhost", "ip6-localhost", "localhost.localdomain"})
HOST_REFUSED: Final = (
    "this server does not answer to the name in the Host header; whoever runs it lists it in TOKENWIRE_ALLOWED_HOSTS\n"
)
"""The words of a 421."""
HOST: Final = re.compile(
    r"(?:\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[a-z0-9_.-]{1,253}))(?::[0-9]{1,5})?", re.IGNORECASE
)


def known_names(listed: Iterable[str], origins: Iterable[str] = ()) -> frozenset[str]:
    """The names to answer to: this machine's own, those listed, and those of origins (`https://chat.example`).

    A listed name that begins with `*.` stands for all names below it.
    """
    of_origins = (urlsplit(origin).hostname or "" for origin in origins)
    return LOOPBACK_NAMES | {plain(name) for name in (*listed, *of_origins) if name}


def answers_to(hosts: Sequence[str], names: frozenset[str]) -> bool:
    """Whether a request with these `Host` headers is for us. None at all comes from no browser (HTTP/1.0 probes)."""
    if not hosts:
        return True
    found = HOST.fullmatch(hosts[0].strip()) if len(hosts) == 1 else None
    if found is None:
        return False
    name = plain(found["address"] or found["name"])
    return is_address(name) or name in names or any(f"*.{above}" in names for above in names_above(name))


def only_asked_by(names: frozenset[str]) -> Middleware:
    """For a server of aiohttp: 421 to whoever asks by another name."""

    @web.middleware
    async def check_host(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not answers_to(request.headers.getall("Host", []), names):
            return web.Response(status=421, text=HOST_REFUSED)
        return await handler(request)

    return check_host


def names_above(name: str) -> Iterable[str]:
    labels = name.split(".")
    return (".".join(labels[at:]) for at in range(1, len(labels)))


def is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def plain(name: str) -> str:
    return name.strip().lower().removesuffix(".")
