"""How long a gateway may take from SIGTERM to its end; whoever supervises it waits for that long before SIGKILL.

Made of its parts, so that a longer window for the clients' slots makes every wait around it longer by as much.
"""

from __future__ import annotations

from typing import Final

from gateway.hubs.decisions.follower_reports import PUBLISH_S

__all__ = ["CLOSING_S", "ENDING_S", "FAREWELLS_S", "PARTS_S", "gateway_leave_s", "gateway_stop_s"]

CLOSING_S: Final = 3.0
"""After the last slot, for clients to answer the close."""
FAREWELLS_S: Final = PUBLISH_S
"""To tell the workers that nobody follows their sessions here any more."""
PARTS_S: Final = 3.0
"""To close the connections to Kafka."""
ENDING_S: Final = 2.0
"""For a process that was late, and so lets go of everything at once, to end."""


def gateway_leave_s(drain_s: float) -> float:
    """From SIGTERM until a gateway lets go of everything at once, whatever clients and brokers do.

    `drain_s`: the window of the clients' slots (TOKENWIRE_GATEWAY_DRAIN_S).
    """
    return drain_s + CLOSING_S + FAREWELLS_S + PARTS_S


def gateway_stop_s(drain_s: float) -> float:
    """From SIGTERM until a gateway's process has ended, unless it hangs; then SIGKILL loses nothing more."""
    return gateway_leave_s(drain_s) + ENDING_S
