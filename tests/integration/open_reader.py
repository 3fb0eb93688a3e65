"""A readers' process with walls taken down, for tests of those that are left: argv = any of `list`, `confinement`.

`list`: no statement, setting or format is judged, the engine's user may do anything, and no session is read-only.
`confinement`: the process keeps the rights of its account.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

from infra.clickhouse import engine_files
from infra.clickhouse.decisions.read_policy import Allowed
from infra.clickhouse.embedded_reader import EmbeddedReader, ReaderLimits, ReadRequest, escaped
from infra.clickhouse.engine_files import EngineFiles
from infra.confinement import Confinement
from infra.embedded import reader_process
from infra.settings import load_settings

__all__: list[str] = []

ALL_RIGHTS = """<clickhouse>
  <profiles><default/></profiles>
  <users><default>
    <password></password>
    <networks><ip>::/0</ip></networks>
    <profile>default</profile>
    <quota>default</quota>
  </default></users>
  <quotas><default/></quotas>
</clickhouse>
"""


class OpenReader(EmbeddedReader):
    """Runs whatever it is sent, in sessions that may write."""

    def __init__(self, files: EngineFiles, limits: ReaderLimits, bring_up: Callable[[], None]) -> None:
        super().__init__(files, limits, bring_up)
        self._address = self._control_address

    def verdict(self, session: Any, canonical: str, request: ReadRequest) -> Allowed:
        return Allowed(streams=False, format=None)

    def prepare(self, session: Any, request: ReadRequest) -> None:
        for name, value in request.settings.items():
            session.query(f"SET {name} = '{escaped(value)}'", "TabSeparated")


def main() -> None:
    down = sys.argv[1:]
    if "list" in down:
        vars(engine_files).update(users_xml=lambda *_: ALL_RIGHTS)
        vars(reader_process).update(EmbeddedReader=OpenReader)
    if "confinement" in down:
        vars(reader_process).update(confine_reader=lambda *_: Confinement(0))
    asyncio.run(reader_process.run_reader(load_settings(), say_listening))


def say_listening(port: int) -> None:
    sys.stdout.write(f"Listening at http://127.0.0.1:{port}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
