"""Logs and metrics: what each is called, and how a process hands them out.

Reads nothing. Writes log lines to standard error and answers `GET /metrics`. Guarantees: no prompt text, token or
secret passes a log line under a field's name; every metric is in the catalogue. Pure: `metric_names`.
"""

from __future__ import annotations

__all__: list[str] = []
