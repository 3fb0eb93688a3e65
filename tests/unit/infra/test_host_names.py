"""Which names a server of ours answers to."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.host_names import answers_to, known_names

NAMES = known_names(["gateway", "*.cluster.local", ""], ["https://chat.example:8443", "null"])


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8080",
        "localhost.",
        "gateway",
        "Gateway:1",
        "chat.example",
        "a.b.cluster.local",
        "127.0.0.1:80",
    ],
)
def test_ours(host: str) -> None:
    """This machine's, listed ones, those of origins."""
    assert answers_to([host], NAMES)


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "localhost.evil.example", "evil-localhost", "cluster.local", "xcluster.local", "notgateway"),
        *(
            "127.0.0.1.evil.example",
            "127.1",
            "0x7f.1",
            "2130706433",
            "[::1].evil",
            "[evil]",
            "",
            " ",
            "a b",
            "a,localhost",
        ),
        *("localhost:x", "localhost:123456", "user@localhost", "localhost/", "null", "*.cluster.local", "lоcalhost"),
    ],
)
def test_not_ours(host: str) -> None:
    """Names that look like ours, numbers that only some take for addresses, and what is no name."""
    assert not answers_to([host], NAMES)


def test_none_and_two() -> None:
    """Without the header it is no browser; with two nobody knows which one counts."""
    assert answers_to([], NAMES)
    assert not answers_to(["localhost", "localhost"], NAMES)


@given(st.ip_addresses(), st.none() | st.integers(0, 65_535))
def test_addresses(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int | None) -> None:
    """Any is good: rebinding needs a name."""
    host = f"[{address}]" if address.version == 6 else str(address)
    assert answers_to([host if port is None else f"{host}:{port}"], frozenset())


@given(st.text(max_size=40))
def test_any_text(host: str) -> None:
    """Is judged, not raised; only what is listed or an address comes in."""
    if answers_to([host], frozenset()):
        ipaddress.ip_address(host.strip().rpartition("]")[0].lstrip("[") or host.strip().partition(":")[0])
