"""What the embedded engine is told at start: one user with grants on its own database, and nothing outside it.

chDB runs as its user `default`, who may do anything: read any file of this account, fetch any address, run programs.
A query must not be able to, so the engine is started with a users file of ours. Its grants leave out every external
source (file, url, s3, remote, databases, executables), for readers and the writer alike, and its profile bounds the
limits that a reader's own SETTINGS clause could otherwise lift. Queries and inserts together have a limit of memory as
well: beyond it a query is ended, and the writer tries its insert again. Without a configuration file of its own the
engine would read any `config.xml` of the working directory.
"""

from __future__ import annotations

import fcntl
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final
from xml.sax.saxutils import escape

from infra.clickhouse.decisions.allowed_names import SYSTEM_TABLES
from infra.clickhouse.errors import DataFolderInUse

__all__ = ["QUERIES_MEMORY_BYTES_MAX", "READER_MEMORY_BYTES_MAX", "READER_THREADS_MAX", "EngineFiles"]

READER_MEMORY_BYTES_MAX: Final = 1_073_741_824
"""Memory of one query at the read-only endpoint."""
QUERIES_MEMORY_BYTES_MAX: Final = 1_610_612_736
"""Memory of all queries together, inserts included."""
READER_THREADS_MAX: Final = 8
FOLDERS: Final = (
    "user_files_path",
    "format_schema_path",
    "top_level_domains_path",
    "dictionaries_lib_path",
    "user_scripts_path",
    "user_defined_path",
    "filesystem_caches_path",
    "custom_cached_disks_base_directory",
)
"""Where the engine looks for files of users: an empty folder."""
EXECUTION_S_MIN: Final = 0.001  # 0 would mean no limit
OWN_RIGHTS: Final = (
    "SHOW, SELECT, INSERT, ALTER, CREATE DATABASE, CREATE TABLE, CREATE VIEW, DROP TABLE, DROP VIEW, OPTIMIZE"
)


@dataclass(frozen=True, slots=True)
class EngineFiles:
    """Where the embedded engine lies below TOKENWIRE_HOME."""

    home: Path

    @property
    def data(self) -> Path:
        """The engine's data; one process at a time."""
        return self.home.resolve() / "clickhouse"

    @property
    def config(self) -> Path:
        """The engine's configuration, written anew at every start."""
        return self.home.resolve() / "clickhouse-config" / "config.xml"

    def claim(self) -> IO[bytes]:
        """Take the folder for this process until the file is closed, or the process gone. Raises DataFolderInUse.

        The engine has a lock too, but reports it as an internal error without a reason.
        """
        self.config.parent.mkdir(parents=True, exist_ok=True)
        claimed = self.config.with_name("owner.lock").open("ab")
        try:
            fcntl.flock(claimed, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            claimed.close()
            raise DataFolderInUse(
                f"Another process has the analytics database in {self.data} open: stop the other `tokenwire up` or "
                "`tokenwire analytics`, or set TOKENWIRE_HOME to another folder."
            ) from None
        return claimed

    def write(self, *, query_s_max: float) -> None:
        """Write the configuration; `query_s_max` bounds what a reader may ask for."""
        users = self.config.with_name("users.xml")
        self.config.parent.mkdir(parents=True, exist_ok=True)
        self.data.mkdir(parents=True, exist_ok=True)
        users.write_text(users_xml(query_s_max), encoding="utf-8")
        empty = self.config.with_name("empty")
        empty.mkdir(exist_ok=True)
        lines = [f"<users_config>{escape(str(users))}</users_config>"]
        lines += [f"<{name}>{escape(str(empty))}/</{name}>" for name in FOLDERS]
        self.config.write_text(f"<clickhouse>{''.join(lines)}</clickhouse>\n", encoding="utf-8")


def users_xml(query_s_max: float) -> str:
    grants = [f"GRANT {OWN_RIGHTS} ON tokenwire.*", "GRANT SELECT ON information_schema.*"]
    grants += ["GRANT SELECT ON INFORMATION_SCHEMA.*", "GRANT SHOW ON default.*"]
    grants += [f"GRANT SELECT ON system.{name}" for name in SYSTEM_TABLES]
    queries = "\n        ".join(f"<query>{grant}</query>" for grant in grants)
    return f"""<clickhouse>
  <profiles><default><max_memory_usage_for_user>{QUERIES_MEMORY_BYTES_MAX}</max_memory_usage_for_user><constraints>
    <max_memory_usage_for_user><const/></max_memory_usage_for_user>
    <max_execution_time><min>{EXECUTION_S_MIN}</min><max>{query_s_max:g}</max></max_execution_time>
    <max_memory_usage><min>1</min><max>{READER_MEMORY_BYTES_MAX}</max></max_memory_usage>
    <max_threads><min>1</min><max>{READER_THREADS_MAX}</max></max_threads>
    <timeout_overflow_mode><const/></timeout_overflow_mode>
  </constraints></default></profiles>
  <users><default>
    <password></password>
    <networks><ip>::1</ip><ip>127.0.0.1</ip></networks>
    <profile>default</profile>
    <quota>default</quota>
    <grants>
        {queries}
    </grants>
  </default></users>
  <quotas><default/></quotas>
</clickhouse>
"""
