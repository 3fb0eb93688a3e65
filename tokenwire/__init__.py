"""The face of Tokenwire: what users import, and the command line. It only wires; nothing else imports it.

    from tokenwire import AnswerFailed, BlockingProducer, InvalidField, Producer, connect

Every error and every type that its users meet can be imported from here. Reads the settings, writes to the terminal.
Whatever it promises is promised by the package that it calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from gateway.client.answer import Answer, Hole, LineMessage
    from gateway.client.errors import AnswerFailed, LineClosed, LineError
    from gateway.client.line import Line, TokenSource
    from gateway.client.opening import open_line as connect
    from producers.errors import (
        AccessDenied,
        AnswerError,
        AnswerLost,
        AnswerTimedOut,
        AnswerUnavailable,
        BrokerUnavailable,
        ProducerBusy,
        ProducerClosed,
        ProducerError,
        PublishRefused,
        PublishTimedOut,
        TopicMissing,
    )
    from producers.prompt_options import Messages, PromptOptions
    from producers.sdk import BlockingProducer, Producer, Receipt
    from schemas.errors import InvalidField, SchemaError
    from schemas.gateway_messages import (
        Accepted,
        Attached,
        Compared,
        Delta,
        Detached,
        Disconnect,
        Drain,
        End,
        Error,
        Gap,
        Lag,
        Ping,
        Queued,
        ServerMessage,
        Snapshot,
        SnapshotTurn,
        Start,
        Switch,
        Waiting,
        Welcome,
    )
    from schemas.prompts import ChatMessage, CompareMode, OnBusy, OnLeave, Pace, Priority
    from schemas.session_events import EndReason, StartCause, TurnError, Usage

    __version__: str

__all__ = [
    "Accepted",
    "AccessDenied",
    "Answer",
    "AnswerError",
    "AnswerFailed",
    "AnswerLost",
    "AnswerTimedOut",
    "AnswerUnavailable",
    "Attached",
    "BlockingProducer",
    "BrokerUnavailable",
    "ChatMessage",
    "CompareMode",
    "Compared",
    "Delta",
    "Detached",
    "Disconnect",
    "Drain",
    "End",
    "EndReason",
    "Error",
    "Gap",
    "Hole",
    "InvalidField",
    "Lag",
    "Line",
    "LineClosed",
    "LineError",
    "LineMessage",
    "Messages",
    "OnBusy",
    "OnLeave",
    "Pace",
    "Ping",
    "Priority",
    "Producer",
    "ProducerBusy",
    "ProducerClosed",
    "ProducerError",
    "PromptOptions",
    "PublishRefused",
    "PublishTimedOut",
    "Queued",
    "Receipt",
    "SchemaError",
    "ServerMessage",
    "Snapshot",
    "SnapshotTurn",
    "Start",
    "StartCause",
    "Switch",
    "TokenSource",
    "TopicMissing",
    "TurnError",
    "Usage",
    "Waiting",
    "Welcome",
    "__version__",
    "connect",
]

HOMES: Final[dict[str, str]] = {
    **dict.fromkeys(
        (
            "Answer",
            "Hole",
            "LineMessage",
        ),
        "gateway.client.answer",
    ),
    **dict.fromkeys(
        (
            "AnswerFailed",
            "LineClosed",
            "LineError",
        ),
        "gateway.client.errors",
    ),
    **dict.fromkeys(
        (
            "Line",
            "TokenSource",
        ),
        "gateway.client.line",
    ),
    **dict.fromkeys(
        (
            "AccessDenied",
            "AnswerError",
            "AnswerLost",
            "AnswerTimedOut",
            "AnswerUnavailable",
            "BrokerUnavailable",
            "ProducerBusy",
            "ProducerClosed",
            "ProducerError",
            "PublishRefused",
            "PublishTimedOut",
            "TopicMissing",
        ),
        "producers.errors",
    ),
    **dict.fromkeys(
        (
            "Messages",
            "PromptOptions",
        ),
        "producers.prompt_options",
    ),
    **dict.fromkeys(
        (
            "BlockingProducer",
            "Producer",
            "Receipt",
        ),
        "producers.sdk",
    ),
    **dict.fromkeys(
        (
            "Accepted",
            "Attached",
            "Compared",
            "Delta",
            "Detached",
            "Disconnect",
            "Drain",
            "End",
            "Error",
            "Gap",
            "Lag",
            "Ping",
            "Queued",
            "ServerMessage",
            "Snapshot",
            "SnapshotTurn",
            "Start",
            "Switch",
            "Waiting",
            "Welcome",
        ),
        "schemas.gateway_messages",
    ),
    **dict.fromkeys(
        (
            "InvalidField",
            "SchemaError",
        ),
        "schemas.errors",
    ),
    **dict.fromkeys(
        (
            "ChatMessage",
            "CompareMode",
            "OnBusy",
            "OnLeave",
            "Pace",
            "Priority",
        ),
        "schemas.prompts",
    ),
    **dict.fromkeys(
        (
            "EndReason",
            "StartCause",
            "TurnError",
            "Usage",
        ),
        "schemas.session_events",
    ),
}
"""Where each name lives; loaded when it is first asked for, so that the command line starts without them."""


def __getattr__(name: str) -> Any:
    """What is asked for first."""
    if name == "__version__":
        from importlib.metadata import version

        return version("tokenwire")
    if name == "connect":
        from gateway.client.opening import open_line

        return open_line
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
