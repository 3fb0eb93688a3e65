"""The face of Tokenwire: what users import, and the command line. It only wires; nothing else imports it.

    from tokenwire import Producer, BlockingProducer, connect

Reads the settings, writes to the terminal. Whatever it promises is promised by the package that it calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.client.line import Line
    from gateway.client.opening import open_line as connect
    from producers.sdk import BlockingProducer, Producer, Receipt

__all__ = ["BlockingProducer", "Line", "Producer", "Receipt", "connect"]


def __getattr__(name: str) -> Any:
    """Load the SDK when it is first asked for: the command line starts without it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in ("Line", "connect"):
        from gateway.client import line, opening

        return opening.open_line if name == "connect" else line.Line
    from producers import sdk

    return getattr(sdk, name)
