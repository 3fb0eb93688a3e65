"""What is decided about Kafka without asking it: whether a cluster can serve us, what a refused topic means, what an
access token is worth."""

from __future__ import annotations

__all__: list[str] = []
