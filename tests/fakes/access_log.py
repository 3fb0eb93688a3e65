"""The log on which gateways tell each other who may come in, in memory: each word reaches all desks, in one order."""

from __future__ import annotations

import asyncio

from gateway.access_desk import AccessDesk
from infra.kafka.log_client import LogRecord
from producers.errors import BrokerUnavailable
from schemas.access import TicketUsed, UserLoggedOut
from schemas.codec import encode

__all__ = ["AccessLog"]


class AccessLog:
    """An `AccessPublisher` that delivers to the desks that joined."""

    def __init__(self) -> None:
        self.desks: list[AccessDesk] = []
        self.records: list[LogRecord] = []
        self.reachable = True
        self.delivers = True
        """Whether what is appended is read back at once."""

    def join(self, desk: AccessDesk) -> None:
        """A gateway that starts: it reads what there is, then follows."""
        for record in self.records:
            desk.take(record)
        self.desks.append(desk)

    async def tell_access(self, event: UserLoggedOut | TicketUsed, *, deadline_s: float | None = None) -> None:
        """See `AccessPublisher.tell_access`."""
        if not self.reachable:
            raise BrokerUnavailable("the test has taken the log away")
        record = LogRecord(len(self.records), 0, b"key", encode(event))
        self.records.append(record)
        await asyncio.sleep(0)  # others may append in between, as on a log
        if self.delivers:
            for desk in self.desks:
                desk.take(record)
