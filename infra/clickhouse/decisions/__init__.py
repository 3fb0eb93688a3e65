"""What may be read through the analytics endpoint, and which migrations are due. Values in, values out."""

from __future__ import annotations

__all__: list[str] = []
