from __future__ import annotations

from pathlib import Path

import pytest

from infra.targets.file_tables import Findings
from infra.targets.users_file import FAULTS_MAX, read_users
from schemas.tiers import Standing

__all__: list[str] = []

TIERS = ("free", "open")


def read(folder: Path, content: str | bytes) -> tuple[dict[str, Standing], list[str]]:
    path, findings = folder / "users.csv", Findings("tokenwire.toml")
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    users = read_users(path, TIERS, findings)
    return users, [fault.replace(f"{path}: ", "") for fault in findings.faults]


def test_users_come_back_as_written(tmp_path: Path) -> None:
    """In any order of columns, with or without tenants, quoted or not, with any line ends."""
    text = 'tier,user,tenant\r\nfree,alice,acme\r\nopen,"bob",\r\n\r\n'

    assert read(tmp_path, text) == ({"alice": Standing("free", "acme"), "bob": Standing("open")}, [])
    assert read(tmp_path, "\ufeffuser,tier\nalice,free\n") == ({"alice": Standing("free")}, [])
    assert read(tmp_path, "user,tier\n") == ({}, [])


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "line 1 names no column user and tier; begin with user,tier,tenant"),
        ("user\nalice\n", "line 1 names no column tier; begin with user,tier,tenant"),
        ("user,tire\n", "line 1: column 'tire' is unknown; did you mean tier?"),
        ("user,tier,user\n", "line 1: column user is there twice; take one of them out"),
        ("user,tier\nalice\n", "line 2 has 1 values; write 2: user, tier"),
        ("user,tier\nalice,fre\n", "line 2 names the tier 'fre', which is not there; did you mean free?"),
        ("user,tier\nalice,free\nalice,open\n", "line 3 names the user 'alice' again; keep one of the lines"),
        (b"user,tier\n\xe9,free\n", "the users file is not written in UTF-8; save it as UTF-8"),
    ],
)
def test_fault_is_one_sentence(tmp_path: Path, text: str | bytes, fault: str) -> None:
    """The line, what is wrong, what to do."""
    assert read(tmp_path, text)[1] == [fault]


def test_user_and_tenant_are_checked_as_everywhere(tmp_path: Path) -> None:
    """What can't be a user of ours is a fault; a quote that never ends is one too."""
    faults = read(tmp_path, 'user,tier,tenant\n"a\tb",free,\nbob,free,"a\tb"\n')[1]

    assert [fault.split()[:3] for fault in faults] == [["line", "2", "user"], ["line", "3", "tenant"]]
    (open_quote,) = read(tmp_path, 'user,tier\n"alice,free\n')[1]
    assert open_quote.startswith("line 2 is no comma-separated line: ")


def test_all_faults_up_to_a_number(tmp_path: Path) -> None:
    """A file that is wrong throughout is told in bounds."""
    faults = read(tmp_path, "user,tier\n" + "".join(f"user-{number},fre\n" for number in range(FAULTS_MAX + 5)))[1]

    assert len(faults) == FAULTS_MAX + 1
    assert faults[-1].endswith("has 5 more faults; mend the first ones, then see")


def test_absent_file_is_a_fault(tmp_path: Path) -> None:
    """Nobody meant to know no users."""
    findings = Findings("tokenwire.toml")

    assert read_users(tmp_path / "absent.csv", TIERS, findings) == {}
    assert findings.faults == [
        f"{tmp_path / 'absent.csv'}: the users file cannot be read (no such file or directory); "
        "mend that, or name another with users"
    ]
