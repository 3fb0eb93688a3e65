"""What belongs into the light client, and how its imports read there; pure."""

from __future__ import annotations

__all__: list[str] = []
