"""How long a target may be silent before its first token.

A short deadline is worth something only where another target can take the call: then a dead target costs its reader a
few seconds. Where nobody else can, it only ends a call that a slow server would have answered, and makes it anew. So
there are two: after `leave_s` the call is left if somebody else can take it at that moment, after `first_token_s` it is
given up in any case. What an operator states holds for both.

Models that reason are silent for minutes, and a server that loads models on demand stops loading when its caller
leaves: neither is left after a few seconds.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from infra.targets.presets import KnownModel, Preset

__all__ = ["FIRST_TOKEN_S", "LEAVE_S", "REASONING_S", "FirstTokenLimits", "first_token_limits"]

LEAVE_S: Final = 5.0
FIRST_TOKEN_S: Final = 120.0
REASONING_S: Final = 300.0


class FirstTokenLimits(NamedTuple):
    """Seconds from the request; `leave_s` is never the longer one."""

    leave_s: float
    first_token_s: float


def first_token_limits(stated_s: float | None, known: KnownModel, preset: Preset | None) -> FirstTokenLimits:
    """The limits of a target. `stated_s`: what the operator says, in the file or by setting."""
    if stated_s is not None:
        return FirstTokenLimits(stated_s, stated_s)
    if known.reasons:
        return FirstTokenLimits(REASONING_S, REASONING_S)
    loads_s = preset.loads_s if preset is not None and preset.loads_s is not None else LEAVE_S
    return FirstTokenLimits(loads_s, max(loads_s, FIRST_TOKEN_S))
