"""Fixtures of every integration test: the session's broker, and private ones."""

from __future__ import annotations

from tests.integration.broker_fixture import broker, private_broker

__all__ = ["broker", "private_broker"]
