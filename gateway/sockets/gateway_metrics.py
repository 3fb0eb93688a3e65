"""The gateway's metrics, held ready so that the hot path makes no look-up by name."""

from __future__ import annotations

from gateway.sockets.decisions.client_outbox import OutboxState
from infra.clock import Clock
from infra.kafka.lost_range import KnownRanges, LostRange
from infra.telemetry.metric_names import (
    GATEWAY_ARCHIVE_READS,
    GATEWAY_BLOCKED_SECONDS,
    GATEWAY_BYTES_UNSENT,
    GATEWAY_CATCH_UP_READS,
    GATEWAY_CONNECTIONS,
    GATEWAY_EVICTIONS,
    GATEWAY_FRAMES,
    GATEWAY_HOLES,
    GATEWAY_LOGOUTS_DROPPED,
    GATEWAY_METRICS,
    GATEWAY_MODE_CHANGES,
    GATEWAY_REFUSED,
    GATEWAY_RELAY_SECONDS,
    GATEWAY_RETURNS,
    GATEWAY_SESSIONS,
    GATEWAY_SKIPS,
    GATEWAY_SLOW,
    GATEWAY_UNREADABLE,
)
from infra.telemetry.metrics import Metrics

__all__ = ["GatewayMetrics"]


class GatewayMetrics:
    """One gateway's numbers."""

    def __init__(self, clock: Clock) -> None:
        self._metrics = Metrics(GATEWAY_METRICS)
        self._clock = clock
        self.connections = self._metrics.gauge(GATEWAY_CONNECTIONS)
        self.unsent_bytes = self._metrics.gauge(GATEWAY_BYTES_UNSENT)
        slow = self._metrics.gauge(GATEWAY_SLOW)
        self.rolled_up = slow.labels(mode=OutboxState.ROLLUP.value)
        self.from_log = slow.labels(mode=OutboxState.LOG.value)
        self._mode_changes = self._metrics.counter(GATEWAY_MODE_CHANGES)
        self.blocked_s = self._metrics.histogram(GATEWAY_BLOCKED_SECONDS)
        self.catch_up_reads = self._metrics.counter(GATEWAY_CATCH_UP_READS)
        self._archive_reads = self._metrics.counter(GATEWAY_ARCHIVE_READS)
        self._refusals = self._metrics.counter(GATEWAY_REFUSED)
        sessions = self._metrics.gauge(GATEWAY_SESSIONS)
        self.sessions_fetched = sessions.labels(state="fetched")
        self.sessions_left_out = sessions.labels(state="left_out")
        self._returns = self._metrics.counter(GATEWAY_RETURNS)
        self.skips = self._metrics.counter(GATEWAY_SKIPS)
        frames = self._metrics.counter(GATEWAY_FRAMES)
        self.frames_in = frames.labels(direction="in")
        self.frames_out = frames.labels(direction="out")
        self._evictions = self._metrics.counter(GATEWAY_EVICTIONS)
        self._unreadable = self._metrics.counter(GATEWAY_UNREADABLE)
        self.holes = self._metrics.counter(GATEWAY_HOLES)
        self._logouts_dropped = self._metrics.counter(GATEWAY_LOGOUTS_DROPPED)
        self._lost_known = KnownRanges()
        self._relay_s = self._metrics.histogram(GATEWAY_RELAY_SECONDS)

    def closed(self, code: int) -> None:
        """The gateway closed a connection."""
        self._evictions.labels(code=str(code)).inc()

    def skipped(self) -> None:
        """A client was not told a part of a session."""
        self.skips.inc()

    def refused(self, where: str) -> None:
        """A socket was not let in."""
        self._refusals.labels(where=where).inc()

    def archive_asked(self, outcome: str) -> None:
        """A session was looked up in ClickHouse."""
        self._archive_reads.labels(outcome=outcome).inc()

    def passed_over(self, lost: LostRange) -> None:
        """A range of a log cannot be read."""
        if lost not in self._lost_known:
            self._lost_known.add(lost)
            self._unreadable.inc()

    def logout_dropped(self, where: str) -> None:
        """A logout was forgotten for want of room."""
        self._logouts_dropped.labels(where=where).inc()

    def returned(self, why: str) -> None:
        """A silent session is fetched again."""
        self._returns.labels(cause=why).inc()

    def mode_reached(self, mode: OutboxState) -> None:
        """A connection is served in another way from now on."""
        if mode is not OutboxState.CLOSED:
            self._mode_changes.labels(mode=mode.value).inc()

    def relayed(self, stamped_us: int) -> None:
        """A record stamped then is being handed to sockets now."""
        if stamped_us:
            self._relay_s.observe(max(0, self._clock.now_us() - stamped_us) / 1_000_000)

    def exposition(self) -> bytes:
        """The body of an answer to `GET /metrics`."""
        return self._metrics.exposition()
