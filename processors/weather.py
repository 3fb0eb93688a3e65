"""Failures of the cluster, not of a prompt: the same work is done again later."""

from __future__ import annotations

from typing import Final

from infra.kafka.log_client import LogError
from infra.kafka.session_topics import SessionTopicsUnavailable
from processors.log_appender import AppendFailed

__all__ = ["WEATHER"]

WEATHER: Final = (AppendFailed, LogError, SessionTopicsUnavailable)
