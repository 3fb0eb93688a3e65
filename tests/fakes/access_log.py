"""The log on which gateways tell each other who may come in, in memory: each word reaches all desks, in one order."""

from __future__ import annotations

import asyncio

from gateway.access.access_desk import AccessDesk
from infra.clock import Clock, SystemClock
from infra.kafka.log_client import LogRecord
from producers.errors import BrokerUnavailable
from schemas.access import TicketUsed, UserLoggedOut
from schemas.codec import decode_access_event, encode

__all__ = ["AccessLog", "hear"]


class AccessLog:
    """An `AccessPublisher` that delivers to the desks that joined."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        """Stamps what is appended, as the broker does."""
        self.desks: list[AccessDesk] = []
        self.records: list[LogRecord] = []
        self.reachable = True
        self.delivers = True
        """Whether what is appended is read back at once."""
        self.append_s = 0.0
        """How long the log takes to acknowledge."""

    def join(self, desk: AccessDesk) -> None:
        """A gateway that starts: it reads what there is, then follows."""
        for record in self.records:
            hear(desk, record)
        self.desks.append(desk)

    async def tell_access(self, event: UserLoggedOut | TicketUsed, *, deadline_s: float | None = None) -> None:
        """See `AccessPublisher.tell_access`."""
        if not self.reachable:
            raise BrokerUnavailable("the test has taken the log away")
        record = LogRecord(len(self.records), self.clock.now_us() // 1_000, b"key", encode(event))
        self.records.append(record)
        await asyncio.sleep(self.append_s)  # others may append in between, as on a log
        if self.delivers:
            for desk in self.desks:
                hear(desk, record)


def hear(desk: AccessDesk, record: LogRecord) -> None:
    """Each word lies on the log that is its own."""
    assert record.value is not None
    is_claim = isinstance(decode_access_event(record.value), TicketUsed)
    (desk.hear_claim if is_claim else desk.hear_logout)(record)
