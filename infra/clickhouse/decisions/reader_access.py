"""Whether a request to the read-only endpoint shows the readers' token.

It is shown in one of the ways of ClickHouse's HTTP interface: the headers `X-ClickHouse-User` and `X-ClickHouse-Key`,
HTTP Basic, or `user` and `password` in the address. Headers and address decide alone, so of a stranger nothing else is
read: no body, no query.

The user is `default`, which every driver sends when it is told no name. Other names are refused like a wrong token:
they stay free for accounts that may see less. Two ways at once are refused, as ClickHouse does it; believing either
would let whoever stands between client and endpoint choose.

Only a hash of the token is known here. Each request costs one hash of what the server lets a header or an address hold.
There is no count of attempts and no pause after a wrong one: a token of 32 bytes is not guessed, and a count that one
account fills would keep another one out.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = ["READER_NAME", "AccessFault", "judge_access", "token_digest"]

READER_NAME: Final = "default"


class AccessFault(StrEnum):
    """Why a request is not let in."""

    ABSENT = "no token came with the request"
    SEVERAL = "user or token came in two ways at once; send both by header, by HTTP Basic or in the address"
    SCHEME = "of the header Authorization only HTTP Basic is read"
    WRONG = "user or token is wrong"


@dataclass(frozen=True, slots=True)
class Shown:
    """What a request says of itself."""

    name: str
    token: str


def token_digest(token: str) -> bytes:
    """What the endpoint keeps of the token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def judge_access(headers: Mapping[str, str], address: Mapping[str, str], digest: bytes) -> AccessFault | None:
    """None where the request may read. `headers` compare names without case; `address`: parameters of the address."""
    ways = (by_header(headers), by_authorization(headers.get("Authorization", "")), by_address(address))
    match [shown for shown in ways if shown is not None]:
        case []:
            return AccessFault.ABSENT
        case [AccessFault() as fault]:
            return fault
        case [Shown(name, token)]:
            return token_fault(name or READER_NAME, token, digest)
        case _:
            return AccessFault.SEVERAL


def token_fault(name: str, token: str, digest: bytes) -> AccessFault | None:
    if not token:
        return AccessFault.ABSENT
    good = hmac.compare_digest(token_digest(token), digest) and name == READER_NAME
    return None if good else AccessFault.WRONG


def by_header(headers: Mapping[str, str]) -> Shown | None:
    name, token = headers.get("X-ClickHouse-User", ""), headers.get("X-ClickHouse-Key", "")
    return Shown(name, token) if name or token else None


def by_address(address: Mapping[str, str]) -> Shown | None:
    if "user" not in address and "password" not in address:
        return None
    return Shown(address.get("user", ""), address.get("password", ""))


def by_authorization(value: str) -> Shown | AccessFault | None:
    if not value:
        return None
    scheme, _, encoded = value.partition(" ")
    if scheme.lower() != "basic":
        return AccessFault.SCHEME
    try:
        name, _, token = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return AccessFault.WRONG
    return Shown(name, token)
