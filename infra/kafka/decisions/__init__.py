"""What is decided about Kafka without asking it: whether a cluster can serve us, and what a refused topic means."""

from __future__ import annotations

__all__: list[str] = []
