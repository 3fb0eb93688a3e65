"""librdkafka's own log lines → our log, as events. It names brokers, topics and settings, never a secret's value."""

from __future__ import annotations

import logging

import structlog

__all__ = ["KafkaLog"]

log = structlog.get_logger(__name__)


class KafkaLog:
    """What confluent-kafka takes for a logger: it calls `log(level, format, facility, client, text)`.

    Its errors become warnings: librdkafka goes on trying, and what cannot be mended reaches a caller as an error of
    ours. Everything milder is for debugging.
    """

    def log(self, level: int, _format: str, facility: str = "", _client: str = "", text: str = "") -> None:
        write = log.warning if level >= logging.WARNING else log.debug
        write("kafka_client", facility=facility, message=text)
