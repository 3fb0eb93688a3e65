"""An access token for Amazon MSK: an address that AWS's own signer signs with whatever credentials this machine has."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from infra.clock import SystemClock
from infra.kafka.decisions.broker_tokens import BrokerToken
from infra.kafka.token_source import BrokerTokenUnavailable

__all__ = ["AwsSigner", "region_of"]

REGION_VARIABLES: Final = ("AWS_REGION", "AWS_DEFAULT_REGION")


def region_of(setting: str) -> str:
    """The region to sign for: the setting's, else the environment's, as AWS's own tools have it. Empty: unknown."""
    return setting or next((value for name in REGION_VARIABLES if (value := os.environ.get(name, ""))), "")


@dataclass(frozen=True, slots=True)
class AwsSigner:
    """Signs for one region."""

    region: str

    def fetch(self) -> BrokerToken:
        """Sign a token. Blocks while AWS's library looks for credentials, which may take a request or two.

        Raises BrokerTokenUnavailable.
        """
        if not self.region:
            raise BrokerTokenUnavailable(
                "no access token for the brokers: set TOKENWIRE_KAFKA_AWS_REGION or AWS_REGION"
            )
        try:
            from aws_msk_iam_sasl_signer import MSKAuthTokenProvider
        except ImportError:
            raise BrokerTokenUnavailable(
                "no access token for the brokers: AWS_MSK_IAM needs AWS's signer; install tokenwire[aws]"
            ) from None
        now_s = SystemClock().now_us() / 1e6
        try:
            value, expires_ms = MSKAuthTokenProvider.generate_auth_token(self.region)
        except Exception as error:  # noqa: BLE001  # AWS's library: dozens of kinds, whose texts may name accounts
            raise BrokerTokenUnavailable(
                f"no access token for the brokers: AWS's signer found no credentials to use ({type(error).__name__}); "
                "give this process a role or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            ) from None
        return BrokerToken(value, now_s, expires_ms / 1_000)
