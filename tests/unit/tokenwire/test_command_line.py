"""The command line: quick to start, an example in every help, one clear line for a failure.

Covers: infra.setting_fields, infra.settings, tokenwire.__main__, tokenwire.line.client_start,
tokenwire.commands.access_token, tokenwire.commands.page.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from infra.ports import PortTaken
from infra.settings import SettingsError
from producers.errors import ProducerBusy
from schemas.errors import InvalidField
from tokenwire.command_line import cli, main, told_fault

COMMANDS = (
    "up",
    "restart",
    "gateway",
    "worker",
    "analytics",
    "reader",
    "provider",
    "broker",
    "migrate",
    "acls",
    "token",
    "page",
    "send",
    "cancel",
    "batch",
    "query",
    "bench",
    "deadletters",
)
HEAVY = ("aiokafka", "chdb", "clickhouse_connect", "confluent_kafka", "faust", "openai", "pydantic", "aiohttp")


def run_main(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    environment: Mapping[str, str],
) -> tuple[int, str, str]:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    told = capsys.readouterr()
    assert isinstance(raised.value.code, int)
    return raised.value.code, told.out, told.err


def test_help_loads_nothing_heavy() -> None:
    """`tokenwire --help` and `import tokenwire` start without any of the big libraries."""
    script = "import sys, tokenwire, tokenwire.command_line; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=20)

    assert not {name.partition(".")[0] for name in loaded.stdout.split()} & set(HEAVY)


def test_module_is_the_same_command(tmp_path: Path) -> None:
    """`python -m tokenwire` works wherever one stands, also beside folders called as ours are."""
    (tmp_path / "gateway").mkdir()
    (tmp_path / "schemas").mkdir()
    told = subprocess.run(
        [sys.executable, "-P", "-m", "tokenwire", "--version"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )

    assert told.stdout.startswith("tokenwire, version ")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str) -> None:
    """The example names the command itself."""
    told = CliRunner().invoke(cli, [name, "--help"])

    assert told.exit_code == 0
    assert "Example" in told.output
    assert f"tokenwire {name}" in told.output


def test_all_wrong_settings_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault never hides another; each names its variable; the exit code says that it failed."""
    environment = {"TOKENWIRE_HOME": str(tmp_path), "TOKENWIRE_KAFKA_PORT": "x", "TOKENWIRE_TURN_S": "-1"}
    code, out, err = run_main(capsys, monkeypatch, ["send", "Hello"], environment)

    assert (code, out) == (1, "")
    assert "TOKENWIRE_KAFKA_PORT" in err
    assert "TOKENWIRE_TURN_S" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["send", ""], "input is empty"),
        (["send", "--user", "../x", "Hi"], "user holds a character"),
        (["send", "Hi"], "no Kafka broker answered at 127.0.0.1:9"),
        (["send", "--file", "/nowhere/p.jsonl"], "No such file"),
        (["token", "--user", "a b"], "user holds a character"),
        (["page"], "no `tokenwire up` that is ready runs in"),
        (["page", "--user", "a b", "--address", "http://chat"], "user holds a character"),
        (["query", "SELECT 1"], "127.0.0.1:9"),
    ],
)
def test_failure_is_told_in_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    """What is wrong, on standard error, and nothing else."""
    environment = {"TOKENWIRE_HOME": str(tmp_path), "TOKENWIRE_KAFKA": "127.0.0.1:9", "TOKENWIRE_ANALYTICS_PORT": "9"}
    code, out, err = run_main(capsys, monkeypatch, arguments, environment)

    assert (code, out) == (1, "")
    assert words in err
    assert len(err.strip().splitlines()) == 1


def test_token_is_good_for_a_gateway_of_the_same_home(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The development key is made on first use and kept."""
    from infra.access_tokens import verify_token
    from infra.keys import load_or_create_secret

    environment = {"TOKENWIRE_HOME": str(tmp_path)}
    code, out, _ = run_main(capsys, monkeypatch, ["token", "--user", "alice"], environment)

    assert code == 0
    assert verify_token(load_or_create_secret(tmp_path / "keys", "auth"), out.strip()).user == "alice"


def test_page_is_where_it_is_said_to_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its code is one that gateways of the same secret take; what is no page's address is refused."""
    from infra.settings import load_settings
    from infra.sign_in_codes import SignInCodes

    environment = {"TOKENWIRE_HOME": str(tmp_path), "TOKENWIRE_AUTH_SECRET": "s" * 40}
    code, out, _ = run_main(capsys, monkeypatch, ["page", "--address", "https://chat.example/a"], environment)
    address, _, sign_in = out.strip().partition("#code=")
    codes = SignInCodes.from_settings(load_settings(environment))
    refused = [
        run_main(capsys, monkeypatch, ["page", "--address", each], environment)
        for each in ("chat.example", "ftp://chat.example", "https://", "http://[::1", "https://a/?x=1", "https://a/#b")
    ]

    assert (code, address) == (0, "https://chat.example/a/")
    assert codes is not None
    assert codes.read(sign_in).token.user == "local"
    assert all(told[:2] == (2, "") and "--address" in told[2] for told in refused)


def test_page_of_a_line_whose_tokens_are_made_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No code that nobody would take, but the sentence that says whom to ask."""
    environment = {"TOKENWIRE_HOME": str(tmp_path), "TOKENWIRE_AUTH_JWKS": str(tmp_path / "keys.json")}
    code, out, err = run_main(capsys, monkeypatch, ["page", "--address", "https://chat.example"], environment)

    assert (code, out) == (1, "")
    assert "TOKENWIRE_AUTH_JWKS" in err


def test_token_that_no_gateway_would_accept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused, with what would be accepted."""
    environment = {"TOKENWIRE_HOME": str(tmp_path), "TOKENWIRE_AUTH_TOKEN_DAYS_MAX": "2"}
    refused = run_main(capsys, monkeypatch, ["token", "--user", "alice", "--hours", "48.5"], environment)
    longest = run_main(capsys, monkeypatch, ["token", "--user", "alice", "--hours", "48"], environment)

    assert refused[:2] == (1, "")
    assert "give --hours 48 or less" in refused[2]
    assert longest[0] == 0


@pytest.mark.parametrize(
    ("typed", "told"),
    [("snd", "Did you mean send?"), ("dead-letters", "Did you mean deadletters?"), ("xyz", "There are: ")],
)
def test_command_that_does_not_exist(
    typed: str, told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nearest one is named, else all."""
    code, out, err = run_main(capsys, monkeypatch, [typed], {})

    assert (code, out) == (2, "")
    assert told in err


def test_variable_that_is_no_setting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named with the one that was meant, on standard error; the command goes on."""
    environment = {"TOKENWIRE_HOME": str(tmp_path), "TOKENWIRE_FRIST_TOKEN_S": "3", "TOKENWIRE_TEST_CACHE": "x"}
    code, out, err = run_main(capsys, monkeypatch, ["token", "--user", "alice"], environment)

    assert code == 0
    assert out.count(".") == 2
    assert err == "Warning: TOKENWIRE_FRIST_TOKEN_S is no setting; did you mean TOKENWIRE_FIRST_TOKEN_S?\n"


def test_our_errors_are_told_and_bugs_are_not_hidden() -> None:
    """Errors of our trees and of the system become a sentence, also in groups; anything else keeps its trace."""
    group = ExceptionGroup("", [ProducerBusy("busy"), ExceptionGroup("", [InvalidField("user", "is bad", "mend it")])])

    assert told_fault(SettingsError(["A: wrong", "B: wrong"])) == "these settings are wrong:\n  A: wrong\n  B: wrong"
    assert told_fault(group) == "busy; user is bad; mend it"
    assert told_fault(PortTaken(80, "TOKENWIRE_KAFKA_PORT")) is not None
    assert told_fault(FileNotFoundError(2, "No such file or directory", "/x")) == "No such file or directory (/x)"
    assert told_fault(KeyError("x")) is None
    assert told_fault(ExceptionGroup("", [ProducerBusy("busy"), KeyError("x")])) is None


def test_interrupted_command_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C: no trace, and the exit code that shells expect."""

    @click.command("wait")
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.commands, "wait", interrupted)
    code, _, err = run_main(capsys, monkeypatch, ["wait"], {})

    assert code == 130
    assert err.strip() == "Stopped."
