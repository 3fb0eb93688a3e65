"""Whether what the brokers give a topic by default keeps what was acknowledged when one of them is lost.

Asked where the operator leaves replication to the brokers. It is a hint: somebody may want it so.
"""

from __future__ import annotations

__all__ = ["durability_hint"]


def durability_hint(*, replicas: int, insync_min: int) -> str | None:
    """What to change; None where a broker may be lost, and be away, without harm."""
    if replicas < 2:
        return (
            "topics get one replica, so what a broker holds is lost with it: set TOKENWIRE_KAFKA_REPLICATION=3, or "
            "default.replication.factor=3 and min.insync.replicas=2 on the brokers"
        )
    if insync_min < 2:
        return (
            "what a single broker has counts as acknowledged: set TOKENWIRE_KAFKA_REPLICATION=3, or "
            "min.insync.replicas=2 on the brokers"
        )
    if replicas <= insync_min:
        return (
            f"nothing can be written while one of a topic's {replicas} replicas is away: set "
            "TOKENWIRE_KAFKA_REPLICATION=3, or default.replication.factor=3 on the brokers"
        )
    return None
