"""What the environment says about the way out of this machine: proxies, and certificates to trust.

Every client of ours that leaves the machine follows it: providers and token endpoints. A child process that is given
only part of its owner's environment needs these variables all the same (`NETWORK_VARIABLES`).
"""

from __future__ import annotations

import ipaddress
import ssl
from typing import Final
from urllib.parse import urlsplit

__all__ = [
    "CERTIFICATE_VARIABLES",
    "NETWORK_VARIABLES",
    "PROXY_VARIABLES",
    "is_loopback",
    "trusted_certificates",
]

PROXY_VARIABLES: Final = (
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
)
CERTIFICATE_VARIABLES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")
NETWORK_VARIABLES: Final = PROXY_VARIABLES + CERTIFICATE_VARIABLES
"""All of them: what a process needs to reach the network as its owner does."""


def is_loopback(url: str) -> bool:
    """Whether an address is on this machine: no proxy stands before it, and plain HTTP gives nothing away."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def trusted_certificates() -> ssl.SSLContext:
    """What certificates are checked against: SSL_CERT_FILE, else SSL_CERT_DIR, alone; else what the system trusts.

    Raises OSError: the file is not there, or holds no certificate.
    """
    import httpx2  # here, since every process reads its settings and few of them call out

    return httpx2.create_ssl_context()
