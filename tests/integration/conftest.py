"""Fixtures of every integration test: the session's broker, private ones, and a module's three."""

from __future__ import annotations

from tests.integration.broker_fixture import broker, private_broker, three_brokers

__all__ = ["broker", "private_broker", "three_brokers"]
