"""Fixtures of the gateway's tests: each browser that is there."""

from __future__ import annotations

from tests.unit.gateway.headless_browser import browser

__all__ = ["browser"]
