"""The process: wires the gateway's parts in the order of their needs, serves, looks after them, leaves in good order.

Reads settings, signals and the clock. Guarantees: a failure of one connection costs that connection only; whoever is
not gone within `gateway_leave_s` is dropped and resumes elsewhere from its own cursors.
"""

from __future__ import annotations

__all__: list[str] = []
