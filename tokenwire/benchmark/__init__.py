"""`tokenwire bench`: the same prompts straight to the model and through the whole line.

Reads: the simulated provider over HTTP, a gateway over websockets, /proc, ClickHouse. Writes: one report.
Guarantees: every answer is compared with the text that the simulated model must give; what is measured runs in other
processes than the clients that measure. Pure in here: `method`, `quantiles`, `report`, `comparison`, `report_text`.
"""

from __future__ import annotations

__all__: list[str] = []
