"""What the embedded parts decide without a clock: when a child that exited is started again."""

from __future__ import annotations

__all__: list[str] = []
