"""What time it is by the clock that stamps a partition's journal.

Stamps on a log come from the broker that leads it (decision 3), so two of them tell how much time lies between two
records, whoever wrote them. What lies between a record of the past and this moment is told by an append of our own:
its stamp is one from now, and from there on our monotonic clock goes on counting. A worker's wall clock is never
asked: that of another machine may be minutes off (decision 102).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from infra.clock import Clock
from infra.kafka.log_client import LogClient, LogUnavailable
from processors.writing.log_appender import LogAppender

__all__ = ["BrokerClock"]

KEY: Final = b"clock"
"""Of the record that is appended: a tombstone of no turn, which no reader of the journal minds."""
SECOND_US: Final = 1_000_000


@dataclass(eq=False, kw_only=True)
class BrokerClock:
    """The clock of one partition's journal."""

    partition: int
    appender: LogAppender
    reader: LogClient
    clock: Clock
    _ahead_us: int | None = field(default=None, init=False)
    """Of our monotonic clock; None: nobody has asked yet."""

    async def now_us(self) -> int:
        """The time, a journey to the broker behind at most; the first who asks appends a record.

        Raises AppendFailed, LogError. Cancellation: the record may be on the journal.
        """
        if self._ahead_us is None:  # several may ask at once: each has its own record, and all are right
            topic = self.appender.names.turns
            offset = await self.appender.append(topic, self.partition, None, key=KEY)
            appended_us = self.elapsed_us()
            fetched = await self.reader.fetch(topic, self.partition, offset)
            stamp_ms = next((record.timestamp_ms for record in fetched.records if record.offset == offset), None)
            if stamp_ms is None:
                raise LogUnavailable(f"the leader of {topic} does not show what it took")
            self._ahead_us = stamp_ms * 1_000 - appended_us
        return self._ahead_us + self.elapsed_us()

    def elapsed_us(self) -> int:
        return round(self.clock.monotonic_s() * SECOND_US)
