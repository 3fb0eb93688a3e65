"""What an embedded engine is told at start: one user with grants on its own database, and nothing outside it.

There are two, each in a process and a folder of its own: the writer's, and the readers' (`reader_engine`), which can
make tables and read them.

chDB runs as its user `default`, who may do anything: read any file of this account, fetch any address, run programs.
A query must not be able to, so the engine is started with a users file of ours. Its grants leave out every external
source (file, url, s3, remote, databases, executables), for readers and the writer alike, and its profile bounds the
limits that a reader's own SETTINGS clause could otherwise lift. All queries of an engine together have a limit of
memory and of temporary files as well; beyond it a query is ended, and the writer tries its insert again. Without a
configuration file of its own the engine would read any `config.xml` of the working directory.
"""

from __future__ import annotations

import fcntl
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final
from xml.sax.saxutils import escape

from infra.clickhouse.decisions.allowed_names import SYSTEM_TABLES
from infra.clickhouse.decisions.reader_tables import old_parts_s
from infra.clickhouse.errors import DataFolderInUse

__all__ = [
    "QUERIES_MEMORY_BYTES_MAX",
    "READER_MEMORY_BYTES_MAX",
    "READER_RIGHTS",
    "READER_THREADS_MAX",
    "EngineFiles",
]

READER_MEMORY_BYTES_MAX: Final = 1_073_741_824
"""Memory of one query at the read-only endpoint."""
QUERIES_MEMORY_BYTES_MAX: Final = 1_610_612_736
"""Memory of all queries of an engine together, inserts included."""
TEMPORARY_BYTES_MAX: Final = 4_294_967_296
"""Disk for what queries of an engine put aside while they sort and group."""
CACHE_BYTES_MAX: Final = 134_217_728
"""Of each cache of an engine; its own default is 5 GiB."""
CACHES: Final = ("mark_cache_size", "primary_index_cache_size", "index_mark_cache_size")
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
READER_RIGHTS: Final = "SHOW, SELECT, CREATE DATABASE, CREATE TABLE, CREATE VIEW, DROP TABLE, DROP VIEW"
WRITER_RIGHTS: Final = f"{READER_RIGHTS}, INSERT, ALTER, OPTIMIZE"


@dataclass(frozen=True, slots=True)
class EngineFiles:
    """Where an embedded engine lies below a folder: TOKENWIRE_HOME for the writer's."""

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
                f"Another process has the analytics database in {self.data} open: stop the other `tokenwire up`, "
                "`tokenwire analytics` or `tokenwire reader`, or set TOKENWIRE_HOME to another folder."
            ) from None
        return claimed

    def write(self, *, query_s_max: float, rights: str = WRITER_RIGHTS) -> None:
        """Write the configuration; `query_s_max` bounds what a reader may ask for, `rights` are on our own database."""
        users = self.config.with_name("users.xml")
        self.config.parent.mkdir(parents=True, exist_ok=True)
        self.data.mkdir(parents=True, exist_ok=True)
        users.write_text(users_xml(query_s_max, rights), encoding="utf-8")
        empty = self.config.with_name("empty")
        empty.mkdir(exist_ok=True)
        lines = [f"<users_config>{escape(str(users))}</users_config>"]
        lines += [f"<{name}>{escape(str(empty))}/</{name}>" for name in FOLDERS]
        lines += [f"<{name}>{CACHE_BYTES_MAX}</{name}>" for name in CACHES]
        lines.append(f"<max_temporary_data_on_disk_size>{TEMPORARY_BYTES_MAX}</max_temporary_data_on_disk_size>")
        lines.append(f"<merge_tree><old_parts_lifetime>{old_parts_s(query_s_max)}</old_parts_lifetime></merge_tree>")
        self.config.write_text(f"<clickhouse>{''.join(lines)}</clickhouse>\n", encoding="utf-8")


def users_xml(query_s_max: float, rights: str) -> str:
    grants = [f"GRANT {rights} ON tokenwire.*", "GRANT SELECT ON information_schema.*"]
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
