"""`tokenwire acls` as somebody types it; that the rules hold is tried on a broker (`test_tls_and_sasl.py`)."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tokenwire.commands.acls import acls


def typed(home: Path, *arguments: str) -> Result:
    environment = {"TOKENWIRE_HOME": str(home), "TOKENWIRE_TOPIC_PREFIX": "team.a", "TOKENWIRE_TOPIC_LAYOUT": "shared"}
    return CliRunner().invoke(acls, list(arguments), env=environment)


def test_rules_are_printed_for_the_line_of_the_settings(tmp_path: Path) -> None:
    """One line for each resource, as Kafka's own command is given it; nothing is asked of a broker."""
    shown = typed(tmp_path, "--role", "analytics", "--role", "producer", "--principal", "analytics=team-a-writer")

    assert shown.exit_code == 0
    assert shown.output.splitlines() == [
        "--add --allow-principal User:team-a-writer --operation Read --topic team.a.records",
        "--add --allow-principal User:team-a-writer --operation Write --topic team.a.deadletters",
        "--add --allow-principal User:team-a-writer --operation Read --group team.a-analytics",
        "--add --allow-principal User:producer --operation Write --topic team.a.prompts",
    ]


@pytest.mark.parametrize("named", ["worker", "worker=", "worker=*", "nobody=me"])
def test_a_principal_that_is_none_is_refused(tmp_path: Path, named: str) -> None:
    """A role's user is never everybody; the sentence names the option."""
    shown = typed(tmp_path, "--principal", named)

    assert shown.exit_code != 0
    assert "ROLE=NAME" in shown.output
