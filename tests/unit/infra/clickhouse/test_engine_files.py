from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from infra.clickhouse.engine_files import EngineFiles

__all__: list[str] = []


def test_written_files_are_well_formed_and_grant_no_outside_source(tmp_path: Path) -> None:
    """The user may read and write its own database; no grant names a file, an address or another database."""
    files = EngineFiles(tmp_path / "a & b")
    files.write(query_s_max=12.5)
    users = ElementTree.parse(files.config.with_name("users.xml"))
    grants = [element.text or "" for element in users.iter("query")]

    assert ElementTree.parse(files.config).findtext("users_config") == str(files.config.with_name("users.xml"))
    assert users.findtext(".//max_execution_time/max") == "12.5"
    assert all(
        " ON tokenwire." in grant or "SELECT ON " in grant or grant == "GRANT SHOW ON default.*" for grant in grants
    )
    assert not any(source in " ".join(grants).upper() for source in ("FILE", "URL", "S3", "REMOTE", "SOURCES", " *.*"))
    assert files.data.is_dir()
