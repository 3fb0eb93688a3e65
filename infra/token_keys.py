"""Public keys that verify access tokens, from a JWKS file (RFC 7517): RS256 for RSA keys, ES256 for P-256 keys.

The file is the operator's; whoever issues tokens keeps the private halves. The algorithm belongs to the key, so a token
cannot choose it (no `none`, no HS256 with a public key as its secret), and the token's `kid` only picks among the keys
of the file: it is never a path or an address, and keys, addresses or certificates inside a token are not looked at.
Extensions that a token calls critical (`crit`) are refused: we know none.

A changed file is read again, looked at no more than once in `LOOK_S`, so keys are rotated by adding the new one,
issuing with it, and removing the old one once its tokens have expired. A file that cannot be used any more leaves the
keys as they are, and says so in the log; at the start it is an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import jwt
import structlog
from jwt.exceptions import PyJWKError

from infra.access_tokens import (
    LEEWAY_S,
    REMEDY,
    TokenInvalid,
    VerifiedToken,
    check_length,
    checked_claims,
)
from infra.clock import Clock

__all__ = ["KeyFileFaulty", "KeySetVerifier"]

log = structlog.get_logger(__name__)

LOOK_S: Final = 5.0
KEYS_MAX: Final = 64
FILE_BYTES_MAX: Final = 1_048_576
ALGORITHMS: Final = {("RSA", None): "RS256", ("EC", "P-256"): "ES256"}
RSA_BITS_MIN: Final = 2_048


class KeyFileFaulty(Exception):
    """The file of public keys cannot be used; the sentence names the fault and what to do."""


class KeySetVerifier:
    """A `TokenVerifier` with the keys of a JWKS file. Raises KeyFileFaulty where the file cannot be used."""

    def __init__(self, file: Path, clock: Clock, *, audience: str, issuer: str, leeway_s: float = LEEWAY_S) -> None:
        self._file = file
        self._clock = clock
        self._audience = audience
        self._issuer = issuer
        self.leeway_s = leeway_s
        self._seen = stamp_of(file)
        self._keys = read_keys(file)
        self._look_at_s = clock.monotonic_s() + LOOK_S

    def verify(self, token: str) -> VerifiedToken:
        """See `TokenVerifier.verify`."""
        check_length(token)
        self.look()
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, UnicodeError, RecursionError):
            raise invalid("malformed") from None
        key_id = header.get("kid", "")
        known = self._keys.get(key_id) if isinstance(key_id, str) else None
        if known is None:
            raise invalid("key_id")
        if "crit" in header:
            raise invalid("critical_extension")
        if header.get("alg") != known.algorithm_name:
            raise invalid("algorithm")
        return checked_claims(
            token,
            known.key,
            known.algorithm_name,
            audience=self._audience,
            issuer=self._issuer,
            leeway_s=self.leeway_s,
        )

    def look(self) -> None:
        """Take a changed file's keys."""
        now_s = self._clock.monotonic_s()
        if now_s < self._look_at_s:
            return
        self._look_at_s = now_s + LOOK_S
        stamp = stamp_of(self._file)
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._keys = read_keys(self._file)
        except KeyFileFaulty as error:
            log.warning("token_keys_kept", reason=str(error))
        else:
            log.info("token_keys_read", keys=len(self._keys))


def invalid(reason: str) -> TokenInvalid:
    return TokenInvalid(f"the token is not valid here; {REMEDY}", reason=reason)


def stamp_of(file: Path) -> tuple[int, int, int] | None:
    """Changes when the file does, replaced by a rename included; None: there is none."""
    try:
        status = file.stat()
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_size, status.st_ino)


def read_keys(file: Path) -> dict[str, jwt.PyJWK]:
    """The keys by id. Raises KeyFileFaulty."""
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise KeyFileFaulty(
            f"TOKENWIRE_AUTH_JWKS: {file} cannot be read ({error.strerror}); name a JWKS file"
        ) from None
    if len(raw) > FILE_BYTES_MAX:
        raise KeyFileFaulty(f"TOKENWIRE_AUTH_JWKS: {file} is larger than {FILE_BYTES_MAX} bytes")
    try:
        entries = json.loads(raw)["keys"]
    except (ValueError, TypeError, KeyError, RecursionError):
        entries = None
    if not isinstance(entries, list) or not 0 < len(entries) <= KEYS_MAX:
        raise KeyFileFaulty(f'TOKENWIRE_AUTH_JWKS: {file} must be {{"keys": […]}} with 1 to {KEYS_MAX} keys')
    keys: dict[str, jwt.PyJWK] = {}
    for place, entry in enumerate(entries):
        key_id = entry.get("kid", "") if isinstance(entry, dict) else ""
        if not isinstance(key_id, str) or key_id in keys or (not key_id and len(entries) > 1):
            raise KeyFileFaulty(f"TOKENWIRE_AUTH_JWKS: keys[{place}] in {file} needs a kid of its own")
        keys[key_id] = public_key(entry, f"TOKENWIRE_AUTH_JWKS: keys[{place}] in {file}")
    return keys


def public_key(entry: Any, where: str) -> jwt.PyJWK:
    if not isinstance(entry, Mapping):
        raise KeyFileFaulty(f"{where} is no object")
    if "d" in entry or entry.get("kty") == "oct":
        raise KeyFileFaulty(f"{where} is a secret; leave only public keys there")
    algorithm = next((name for kind, name in ALGORITHMS.items() if kind == (entry.get("kty"), entry.get("crv"))), None)
    if algorithm is None or entry.get("alg", algorithm) != algorithm or entry.get("use", "sig") != "sig":
        raise KeyFileFaulty(f"{where} must be an RSA key (RS256) or a P-256 key (ES256) for signatures")
    try:
        key = jwt.PyJWK.from_dict(dict(entry), algorithm=algorithm)
    except (PyJWKError, jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        raise KeyFileFaulty(f"{where} is no valid key") from None
    if algorithm == "RS256" and key.key.key_size < RSA_BITS_MIN:
        raise KeyFileFaulty(f"{where} has less than {RSA_BITS_MIN} bits")
    return key
