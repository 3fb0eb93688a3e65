"""Fixtures of every integration test: three brokers of a module, each browser, an engine with its endpoint."""

from __future__ import annotations

from tests.integration.broker_fixture import three_brokers
from tests.integration.served_endpoint import served
from tests.unit.gateway.headless_browser import browser

__all__ = ["browser", "served", "three_brokers"]
