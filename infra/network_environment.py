"""What the environment says about the way out of this machine: proxies, and certificates to trust.

Every client of ours that leaves the machine follows it: providers and token endpoints. Which variables those are, and
that every child process is given them, is written in `infra/embedded/decisions/child_environment.py`.
"""

from __future__ import annotations

import ipaddress
import ssl
from urllib.parse import urlsplit

__all__ = ["is_loopback", "trusted_certificates"]


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
