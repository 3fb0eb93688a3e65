"""Fixtures of every integration test: the session's broker, private ones, three of a module, each browser."""

from __future__ import annotations

from tests.integration.broker_fixture import broker, private_broker, three_brokers
from tests.unit.gateway.headless_browser import browser

__all__ = ["broker", "browser", "private_broker", "three_brokers"]
