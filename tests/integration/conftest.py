"""Fixtures of every integration test: the session's broker, private ones, three of a module, each browser, an engine
with its endpoint, the OpenAI adapter at a simulated provider."""

from __future__ import annotations

from tests.integration.broker_fixture import broker, private_broker, three_brokers
from tests.integration.provider_calls import provider, simulated
from tests.integration.served_endpoint import served
from tests.unit.gateway.headless_browser import browser

__all__ = ["broker", "browser", "private_broker", "provider", "served", "simulated", "three_brokers"]
