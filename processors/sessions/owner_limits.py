"""Bounds of one partition's owner."""

from __future__ import annotations

from dataclasses import dataclass

from processors.sessions.decisions.recovery import LEASE_US

__all__ = ["OwnerLimits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerLimits:
    """Bounds of one partition's owner."""

    inbox_bytes_max: int = 16_777_216
    """Commands waiting to be taken in; beyond it the partition's consumer waits."""
    intake_max: int = 64
    """Commands taken in side by side."""
    lanes_max: int = 4_096
    """Sessions remembered; idle ones beyond it are forgotten and read again when they come back."""
    lane_idle_s: float = 300.0
    """So long after its last command a session that is idle is forgotten: most never come back, and those that do are
    read again in a few milliseconds."""
    session_queue_max: int = 32
    """Prompts that may wait in one session."""
    session_parallel_max: int = 4
    """Prompts of one session that run at once, where they ask for it; each with all its models."""
    lease_us: int = LEASE_US
    """How long a running turn is left to a worker that lost its partition, and after each of its records."""
    leave_grace_s: float = 30.0
    """Seconds without a device after which a turn with `on_leave: cancel` is ended."""
    reader_behind_bytes_max: int = 65_536
    """Bytes that an answer may be ahead of its readers, where they set its pace."""
    attempts_max: int = 3
    """Crashes after which a prompt is given up, if it was alone at the last one."""
