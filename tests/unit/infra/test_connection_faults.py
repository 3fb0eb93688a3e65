"""Which faults of a connection waiting cannot mend."""

from __future__ import annotations

import socket
import ssl

import pytest

from infra.connection_faults import ConnectionFault, connection_fault

__all__: list[str] = []


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (ssl.SSLCertVerificationError(1, "unable to get local issuer certificate"), "certificate"),
        (ssl.SSLError(1, "wrong version number"), None),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "unknown_host"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), None),
        (ConnectionRefusedError(111, "refused"), None),
        (TimeoutError(), None),
    ],
)
@pytest.mark.parametrize("wrapped", ["not", "cause", "context", "field", "group"])
def test_fault(error: OSError, fault: ConnectionFault | None, wrapped: str) -> None:
    """It is found however a client library has wrapped it."""
    assert connection_fault(wrap(error, wrapped)) == fault


def test_circle_of_causes() -> None:
    """It ends."""
    one, other = OSError("one"), OSError("other")
    one.__cause__, other.__cause__ = other, one

    assert connection_fault(one) is None


def wrap(error: Exception, how: str) -> BaseException:
    outer: BaseException = RuntimeError("cannot connect")
    match how:
        case "cause":
            outer.__cause__ = error
        case "context":
            outer.__context__ = error
        case "field":
            outer.os_error = error  # type: ignore[attr-defined]  # as aiohttp's connector errors have it
        case "group":
            outer = ExceptionGroup("all addresses failed", [OSError("other"), error])
        case _:
            outer = error
    return outer
