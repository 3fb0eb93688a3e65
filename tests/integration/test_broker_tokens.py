"""Access tokens from a token endpoint, and from AWS's signer.

Covers: infra.kafka.aws_tokens, infra.kafka.client_credentials.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from pydantic import SecretStr

from infra.embedded.decisions.child_environment import NETWORK_VARIABLES
from infra.kafka.aws_tokens import AwsSigner, region_of
from infra.kafka.client_credentials import ANSWER_BYTES_MAX, ClientCredentials
from infra.kafka.token_source import BrokerTokenUnavailable
from tests.fakes.network import proxy_to, tls_before
from tests.fakes.token_endpoint import AUDIENCE, CLIENT_ID, CLIENT_SECRET, TokenEndpoint
from tests.integration.secure_broker import Authority, needs_openssl

__all__: list[str] = []


@pytest_asyncio.fixture
async def endpoint(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TokenEndpoint]:
    """A running endpoint; no proxy and no authority of this machine's are left."""
    for name in NETWORK_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    async with TokenEndpoint() as running:
        yield running


def credentials(url: str, secret: str = CLIENT_SECRET) -> ClientCredentials:
    """Those that the endpoint knows."""
    return ClientCredentials(url, CLIENT_ID, SecretStr(secret), scope="a b", audience=AUDIENCE)


async def refused(asking: ClientCredentials) -> str:
    """Why there is no token."""
    with pytest.raises(BrokerTokenUnavailable) as told:
        await asking.asked()
    assert asking.client_secret.get_secret_value() not in str(told.value)
    return str(told.value)


async def test_grant(endpoint: TokenEndpoint) -> None:
    """Id and secret go in the header, the rest in the form."""
    token = await credentials(endpoint.url).asked()

    assert token.expires_s - token.issued_s == pytest.approx(endpoint.life_s)
    assert endpoint.asked == [
        {
            "grant_type": "client_credentials",
            "scope": "a b",
            "audience": AUDIENCE,
            "user": CLIENT_ID,
            "password": CLIENT_SECRET,
        }
    ]
    assert token.value not in repr(token)


async def test_wrong_secret(endpoint: TokenEndpoint) -> None:
    """The settings to look at are named, with the endpoint's short code and none of its other words."""
    told = await refused(credentials(endpoint.url, "wrong-secret"))

    assert "status 401, invalid_client" in told
    assert "_CLIENT_SECRET" in told


async def test_redirect(endpoint: TokenEndpoint) -> None:
    """The secret is not carried elsewhere."""
    endpoint.answer = (307, b"", {"Location": endpoint.url})

    assert "redirects" in await refused(credentials(endpoint.url))
    assert len(endpoint.asked) == 1


async def test_answer_without_an_end(endpoint: TokenEndpoint) -> None:
    """It is read so far and no further."""
    endpoint.answer = (200, b" " * (ANSWER_BYTES_MAX + 1), {})

    assert "more than" in await refused(credentials(endpoint.url))


async def test_endpoint_away(endpoint: TokenEndpoint) -> None:
    """A refused connection, and a host that does not exist, are told apart."""
    await endpoint.runner.cleanup()

    assert "cannot be reached" in await refused(credentials(endpoint.url))
    assert "does not exist" in await refused(credentials("https://tokens.invalid/token"))


@needs_openssl
async def test_endpoint_in_a_company(endpoint: TokenEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over TLS by the company's authority, through its proxy."""
    authority = Authority(tmp_path / "ca")
    certificate, key = authority.sign("tokens", "DNS:tokens.invalid")
    async with (
        tls_before(endpoint.runner.addresses[0][1], certificate, key) as port,
        proxy_to(port) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        assert "SSL_CERT_FILE" in await refused(credentials("https://tokens.invalid/token"))
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))

        assert (await credentials("https://tokens.invalid/token").asked()).value
        assert proxy.asked == ["CONNECT tokens.invalid:443"] * 2


def test_aws_signer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token for the region, good for a quarter of an hour, made without a word to anybody."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "an-example-key")

    token = AwsSigner("eu-central-1").fetch()

    assert 880 < token.expires_s - token.issued_s <= 901
    assert "an-example-key" not in token.value


def test_aws_without_region(monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting comes first, then the environment, then a sentence."""
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")

    assert (region_of(""), region_of("us-east-1")) == ("eu-west-1", "us-east-1")
    with pytest.raises(BrokerTokenUnavailable, match="TOKENWIRE_KAFKA_AWS_REGION"):
        AwsSigner("").fetch()


def test_aws_without_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What to give the process."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))

    with pytest.raises(BrokerTokenUnavailable, match="AWS_ACCESS_KEY_ID"):
        AwsSigner("eu-central-1").fetch()


def test_aws_signer_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sentence that names the extra."""
    monkeypatch.setitem(sys.modules, "aws_msk_iam_sasl_signer", None)

    with pytest.raises(BrokerTokenUnavailable, match=r"tokenwire\[aws\]"):
        AwsSigner("eu-central-1").fetch()
