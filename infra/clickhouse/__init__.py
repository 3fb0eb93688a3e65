"""ClickHouse, embedded (chDB) or an existing server: connection, migrations, queries.

Reads and writes the database `tokenwire` only; the embedded engine's files lie in `TOKENWIRE_HOME`. Guarantees: calls
never block the event loop and have a deadline; the embedded engine has no grant to read or write anything outside its
own database. Pure: `decisions/`.
"""

from __future__ import annotations

__all__: list[str] = []
