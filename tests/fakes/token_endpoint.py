"""A token endpoint on loopback: client credentials in, signed access tokens out (RFC 6749, 7519, 7517)."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote_plus

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa

__all__ = ["AUDIENCE", "CLIENT_ID", "CLIENT_SECRET", "ISSUER", "TokenEndpoint"]

CLIENT_ID = "tokenwire line"
CLIENT_SECRET = "s3cret:with/odd+signs"  # of an endpoint that lives for one test
ISSUER, AUDIENCE, KEY_ID = "https://issuer.example", "kafka", "k1"


@dataclass
class TokenEndpoint:
    """Grants tokens that live for `life_s`. `answer` replaces the grant: status, body, headers."""

    life_s: float = 300.0
    answer: tuple[int, bytes, dict[str, str]] | None = None
    asked: list[dict[str, str]] = field(default_factory=list)
    """The forms that were posted, with the `user` and `password` of each."""
    url: str = ""
    key: Any = field(default_factory=lambda: rsa.generate_private_key(public_exponent=65_537, key_size=2_048))

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/token", self.grant)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}/token"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.runner.cleanup()

    def write_keys(self, file: Path) -> Path:
        """The public key as a JWKS file, which the broker reads."""
        key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        file.write_text(json.dumps({"keys": [key | {"kid": KEY_ID, "alg": "RS256", "use": "sig"}]}))
        return file

    async def grant(self, request: web.Request) -> web.Response:
        """One grant, by the credentials in the header."""
        form = {name: str(value) for name, value in (await request.post()).items()}
        kind, _, encoded = request.headers["Authorization"].partition(" ")
        assert kind == "Basic"
        user, password = (unquote_plus(part) for part in base64.b64decode(encoded).decode().split(":"))
        self.asked.append(form | {"user": user, "password": password})
        if self.answer is not None:
            status, body, headers = self.answer
            return web.Response(status=status, body=body, headers=headers)
        if (user, password, form["grant_type"]) != (CLIENT_ID, CLIENT_SECRET, "client_credentials"):
            return web.json_response({"error": "invalid_client", "error_description": password}, status=401)
        now_s = time.time()
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "line", "iat": now_s, "exp": now_s + self.life_s}
        token = jwt.encode(claims, self.key, algorithm="RS256", headers={"kid": KEY_ID})
        return web.json_response({"access_token": token, "token_type": "Bearer", "expires_in": self.life_s})
