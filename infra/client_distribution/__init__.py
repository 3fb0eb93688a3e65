"""The light client: the distribution `tokenwire-client`, made from the sources of the client, none of them kept twice.

Reads this checkout; writes a wheel. Guarantees that the wheel has one top-level name, and that nothing in it needs
more than is declared. Pure: `decisions/import_closure.py`.
"""

from __future__ import annotations

__all__: list[str] = []
