"""One connection to one broker, made when it is needed, and made again after a fault.

aiokafka's client shares a lock among all its brokers while it connects to one, so that a broker which accepts and then
says nothing holds up the way to every other one. Whoever must not wait for others has connections of these.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import IncompatibleBrokerVersion, NodeNotReadyError

__all__ = ["NodeAddress", "NodeConnection", "connection_options"]

NodeAddress: TypeAlias = tuple[str, int]
IDLE_MS_MAX: Final = 540_000
CLOSE_S: Final = 1.0


def connection_options(client_options: Mapping[str, Any], *, client_id: str, timeout_s: float) -> dict[str, Any]:
    """What a connection needs of `aiokafka_options`: everything but the servers. `timeout_s` is for each request."""
    options = {name: value for name, value in client_options.items() if name != "bootstrap_servers"}
    return options | {
        "client_id": client_id,
        "request_timeout_ms": int(timeout_s * 1000),
        "max_idle_ms": IDLE_MS_MAX,
    }


class NodeConnection:
    """Requests to one node, one at a time. `address` is asked at each connect; None: it is not known now."""

    def __init__(self, address: Callable[[], NodeAddress | None], options: Mapping[str, Any]) -> None:
        self._address = address
        self._options = options
        self._connection: AIOKafkaConnection | None = None

    async def send(self, request: Any) -> Any:
        """The answer. Raises KafkaError, OSError, TimeoutError; the next request then begins with a new connection.

        IncompatibleBrokerVersion: the node does not know the version that we need, as one that is not upgraded yet.

        Cancellation: the request may have reached the node; the connection is given up.
        """
        try:
            return await (await self._connected()).send(request)
        except NotImplementedError as error:  # so says aiokafka where no version fits
            self._give_up()
            raise IncompatibleBrokerVersion(
                f"the broker knows no version of {type(request).__name__} that we know"
            ) from error
        except BaseException:  # a cancel too: the answer that still comes would be taken for the next one's
            self._give_up()
            raise

    async def close(self) -> None:
        """Close the connection and let its socket go."""
        closed = self._give_up()
        if closed is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await asyncio.shield(closed)

    def _give_up(self) -> asyncio.Future[None] | None:
        connection, self._connection = self._connection, None
        return None if connection is None else connection.close()

    async def _connected(self) -> AIOKafkaConnection:
        if self._connection is None or not self._connection.connected():
            address = self._address()
            if address is None:
                raise NodeNotReadyError("the node is not in the cluster's metadata")
            self._give_up()
            connection = AIOKafkaConnection(*address, **self._options)
            try:
                await connection.connect()
            except BaseException:  # a cancel too: a socket that nobody knows of stays open
                connection.close()
                raise
            self._connection = connection
        return self._connection
