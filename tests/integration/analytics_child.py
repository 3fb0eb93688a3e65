"""A writer in a process of its own that is killed at an insert: argv = home, bootstrap servers, before | after."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.integration.analytics_fixture import DyingTable, analytics_settings, writing

__all__: list[str] = []


async def main() -> None:
    home, bootstrap, moment = sys.argv[1:4]
    settings = analytics_settings(Path(home), bootstrap)
    async with writing(settings, around=lambda table: DyingTable(table, after=moment == "after")):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
