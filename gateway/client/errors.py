"""What can go wrong for a client.

LineError
├── LineClosed      the gateway does not want this client back as it is, or it was closed
└── AnswerFailed    a prompt was refused, or its answer did not end whole
"""

from __future__ import annotations

__all__ = ["AnswerFailed", "LineClosed", "LineError"]


class LineError(Exception):
    """The line cannot do what was asked."""


class LineClosed(LineError):
    """The connection has ended for good. Fields: the close code and the gateway's reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the connection has ended: {code} {reason}".rstrip())
        self.code = code
        self.reason = reason


class AnswerFailed(LineError):
    """No whole answer. Fields: `code` for programs, `retry_after_s` where the same may work later."""

    def __init__(self, code: str, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after_s = retry_after_s
