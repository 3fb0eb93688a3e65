"""The parts that `tokenwire up` runs by itself on one machine: broker, children, their supervisor.

Reads: the settings. Writes: below `TOKENWIRE_HOME` only. Guarantees: nothing that is started here outlives the
process that started it, not even after `kill -9`. Pure: `decisions/`.
"""

from __future__ import annotations

__all__: list[str] = []
