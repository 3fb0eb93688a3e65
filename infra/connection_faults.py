"""Why no connection came about, as far as waiting cannot mend it.

A certificate that is not trusted and a host name that does not exist are the same a second later; everything else
(refused, reset, unreachable, "try again" of the name service) may pass. Client libraries wrap what they met, some
without saying so, hence the walk over causes, contexts and aiohttp's own field.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import Final, Literal, TypeAlias

__all__ = ["ConnectionFault", "connection_fault"]

ConnectionFault: TypeAlias = Literal["certificate", "unknown_host"]

WITHOUT_ADDRESS: Final = frozenset(
    number for name in ("EAI_NONAME", "EAI_NODATA") if (number := getattr(socket, name, None)) is not None
)
"""The name service has answered: there is no such host, or it has no address."""
CHAIN_MAX: Final = 32


def connection_fault(error: BaseException) -> ConnectionFault | None:
    """Which lasting fault an error stands for; None: another one, which may pass."""
    for inner in chain(error):
        if isinstance(inner, ssl.SSLCertVerificationError):
            return "certificate"
        if isinstance(inner, socket.gaierror) and inner.errno in WITHOUT_ADDRESS:
            return "unknown_host"
    return None


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error and all that it was made from, each once."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting and len(seen) < CHAIN_MAX:
        inner = waiting.pop(0)
        if not isinstance(inner, BaseException) or id(inner) in seen:
            continue
        seen.add(id(inner))
        yield inner
        waiting += [inner.__cause__, inner.__context__]
        waiting += [getattr(inner, name, None) for name in ("os_error", "certificate_error")]
        if isinstance(inner, BaseExceptionGroup):
            waiting += inner.exceptions
