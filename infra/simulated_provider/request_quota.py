"""So many requests in a window of time, told in every answer's headers as OpenAI tells it.

The window is QUOTA_S long and begins with its first request. Beyond the quota a request is to be answered 429.
"""

from __future__ import annotations

from typing import Final

__all__ = ["QUOTA_S", "RequestQuota"]

QUOTA_S: Final = 4.0


class RequestQuota:
    """Counts requests; None: any number, and no headers."""

    def __init__(self, quota: int | None) -> None:
        self._quota = quota
        self._used = 0
        self._ends_s = 0.0

    @property
    def exceeded(self) -> bool:
        """Whether the newest request was one too many."""
        return self._quota is not None and self._used > self._quota

    def charged(self, now_s: float) -> dict[str, str]:
        """Count a request; the headers of its answer."""
        if self._quota is None:
            return {}
        if now_s >= self._ends_s:
            self._used, self._ends_s = 0, now_s + QUOTA_S
        self._used += 1
        return {
            "x-ratelimit-limit-requests": str(self._quota),
            "x-ratelimit-remaining-requests": str(max(0, self._quota - self._used)),
            "x-ratelimit-reset-requests": f"{(self._ends_s - now_s) * 1_000:.0f}ms",
        }
