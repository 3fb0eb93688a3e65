"""An access token by client credentials (RFC 6749, section 4.4): one POST to a token endpoint.

The secret goes in the Authorization header (section 2.3.1, which every endpoint must support), never along a redirect,
and in the clear only to this machine. Proxies and certificates are the environment's (`network_environment`).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote_plus, urlsplit

import httpx2
from pydantic import SecretStr

from infra.clock import SystemClock
from infra.connection_faults import connection_fault
from infra.kafka.decisions.broker_tokens import BrokerToken, GrantRefused, read_grant
from infra.kafka.token_source import FETCH_S, BrokerTokenUnavailable
from infra.network_environment import is_loopback, trusted_certificates

__all__ = ["ClientCredentials"]

ANSWER_BYTES_MAX: Final = 65_536
URL_SETTING: Final = "TOKENWIRE_KAFKA_OAUTH_URL"


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """Who asks, where, and for what."""

    url: str
    client_id: str
    client_secret: SecretStr
    scope: str = ""
    audience: str = ""

    def fetch(self) -> BrokerToken:
        """Ask for a token. Blocks, at most FETCH_S and the time of the system's name service.

        Raises BrokerTokenUnavailable.
        """
        return asyncio.run(self.asked())

    async def asked(self) -> BrokerToken:
        """The endpoint's answer as a token. Raises BrokerTokenUnavailable."""
        now_s = SystemClock().now_us() / 1e6
        try:
            async with asyncio.timeout(FETCH_S):
                status, body = await self.posted()
        except TimeoutError:
            raise self.unavailable(f"gave no answer within {FETCH_S:g} s") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            raise self.unavailable(why_not_reached(error)) from None
        match read_grant(status, body, now_s):
            case BrokerToken() as token:
                return token
            case GrantRefused(sentence):
                raise BrokerTokenUnavailable(f"no access token for the brokers: {sentence}")

    async def posted(self) -> tuple[int, bytes]:
        form = {"grant_type": "client_credentials", "scope": self.scope, "audience": self.audience}
        who = httpx2.BasicAuth(quote_plus(self.client_id), quote_plus(self.client_secret.get_secret_value()))
        async with (
            httpx2.AsyncClient(
                verify=trusted_certificates(), trust_env=not is_loopback(self.url), timeout=FETCH_S
            ) as client,
            client.stream(
                "POST",
                self.url,
                data={name: value for name, value in form.items() if value},
                auth=who,
                headers={"Accept": "application/json"},
                follow_redirects=False,
            ) as response,
        ):
            body = bytearray()
            async for part in response.aiter_bytes():
                body += part
                if len(body) > ANSWER_BYTES_MAX:
                    raise ValueError("too long")
            return response.status_code, bytes(body)

    def unavailable(self, why: str) -> BrokerTokenUnavailable:
        return BrokerTokenUnavailable(f"no access token for the brokers: the token endpoint {self.host} {why}")

    @property
    def host(self) -> str:
        """The endpoint without what its address may hold besides."""
        return urlsplit(self.url).hostname or "(no host)"


def why_not_reached(error: Exception) -> str:
    if isinstance(error, ValueError) and not isinstance(error, OSError):
        return f"gave an answer of more than {ANSWER_BYTES_MAX} bytes; check {URL_SETTING}"
    match connection_fault(error):
        case "certificate":
            return "has a certificate that is not trusted here; set SSL_CERT_FILE to a file with its authority"
        case "unknown_host":
            return f"does not exist; check {URL_SETTING}, and HTTPS_PROXY where only a proxy leads out"
        case None:
            return f"cannot be reached ({type(error).__name__}); check {URL_SETTING}"
