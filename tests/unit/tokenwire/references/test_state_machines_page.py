"""The page of state machines."""

from __future__ import annotations

import pytest

from tests.architecture.source_tree import PACKAGES, ROOT
from tokenwire.references.state_machines_page import MACHINES, Machine, machine_blocks

__all__: list[str] = []


def test_every_table_is_drawn() -> None:
    """A decision with TRANSITIONS is on the page; whoever adds one adds it there."""
    tables = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for package in PACKAGES
        for path in (ROOT / package).glob("**/decisions/*.py")
        if "\nTRANSITIONS:" in path.read_text()
    }

    assert {machine.module.__name__ for machine in MACHINES} == tables


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.module.__name__)
def test_every_state_is_reached(machine: Machine) -> None:
    """From the start, along the table: no state is an orphan."""
    reached = {machine.start}
    while more := {after for (before, _), after in machine.transitions.items() if before in reached} - reached:
        reached |= more

    assert reached == set(type(machine.start))


def test_drawing() -> None:
    """Every move of a table is an arrow and a row."""
    page = "\n".join(machine_blocks())

    assert "CLOSED --> OPEN: tripped" in page
    assert "PROBING --> OPEN: probe_failed, probe_abandoned" in page
    assert "| OPEN | probe_started | PROBING |" in page
