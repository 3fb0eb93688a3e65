"""The page of state machines: every `TRANSITIONS` table, drawn.

A machine is a module with `TRANSITIONS: dict[tuple[State, Event], State]` over two enums. The drawing is Mermaid's,
which code hosts show as a picture, and the table below it says the same in plain text.
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final, TypeAlias

from gateway.clients.decisions import client_protocol
from gateway.sockets.decisions import client_outbox
from processors.sessions.decisions import turn_life
from processors.targets.decisions import circuit_breaker

__all__ = ["MACHINES", "Machine", "machine_blocks"]

Transitions: TypeAlias = Mapping[tuple[enum.Enum, enum.Enum], enum.Enum]


@dataclass(frozen=True, slots=True)
class Machine:
    """A table, whose it is, and where it begins."""

    title: str
    module: ModuleType
    start: enum.Enum
    absent: str
    """What a pair that is not in the table does."""

    @property
    def transitions(self) -> Transitions:
        """The table itself."""
        table: Any = self.module.TRANSITIONS
        checked: Transitions = table
        return checked


MACHINES: Final = (
    Machine(
        "A connection's conversation",
        client_protocol,
        client_protocol.ProtocolState.AWAITING_HELLO,
        "an error of ours: it raises",
    ),
    Machine(
        "At what pace a connection is told",
        client_outbox,
        client_outbox.OutboxState.DIRECT,
        "nothing to be done: the state stays",
    ),
    Machine(
        "A turn, as its worker sees it",
        turn_life,
        turn_life.TurnState.NEW,
        "an error of ours: it raises and changes nothing",
    ),
    Machine(
        "Whether a provider's target is called",
        circuit_breaker,
        circuit_breaker.BreakerPhase.CLOSED,
        "an error of ours: it raises and changes nothing",
    ),
)


def machine_blocks() -> list[str]:
    """The page's sections."""
    return [block for machine in MACHINES for block in machine_section(machine)]


def machine_section(machine: Machine) -> list[str]:
    source = machine.module.__name__.replace(".", "/")
    return [
        f"## {machine.title}",
        f"`{source}.py`. A pair of state and event that is not here is {machine.absent}.",
        "\n".join(("```mermaid", *diagram(machine), "```")),
        "\n".join(("| state | event | next state |", "| --- | --- | --- |", *rows(machine))),
        "\n".join(meanings(machine)),
    ]


def diagram(machine: Machine) -> list[str]:
    """One arrow for each pair of states, with every event that leads along it."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for (before, event), reached in machine.transitions.items():
        arrows.setdefault((before.name, reached.name), []).append(event.value)
    return [
        "stateDiagram-v2",
        f"    [*] --> {machine.start.name}",
        *(f"    {before} --> {reached}: {', '.join(events)}" for (before, reached), events in arrows.items()),
    ]


def rows(machine: Machine) -> list[str]:
    return [
        f"| {before.name} | {event.value} | {reached.name} |"
        for (before, event), reached in machine.transitions.items()
    ]


def meanings(machine: Machine) -> list[str]:
    """What states and events are, in the words of their enums."""
    event = next(iter(machine.transitions))[1]
    return [
        f"- {kind}: {inspect.cleandoc(type(member).__doc__ or '')}"
        for kind, member in (("States", machine.start), ("Events", event))
    ]
