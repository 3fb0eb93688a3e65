"""`tokenwire restart`: gateways or workers of the line that runs here, one after the other."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tokenwire.line.restart_requests import RestartStep

__all__ = ["restart"]


@click.command()
@click.argument("what", metavar="gateways|workers|NAME")
@click.option("--json", "as_json", is_flag=True, help="At the end, print what was done as one JSON object.")
def restart(what: str, as_json: bool) -> None:
    """Restart gateways or workers of the `tokenwire up` that runs here, one by one.

    Each one ends in good order and is ready again before the next one is asked to stop. A gateway sends its clients to
    the others first; with two or more of them nothing is lost and somebody always serves.

    \b
    Examples:
      tokenwire restart gateways
      tokenwire restart worker-1
    """
    from infra.settings import load_settings

    asyncio.run(follow_restart(load_settings().home, what, as_json=as_json))


async def follow_restart(home: Path, what: str, *, as_json: bool) -> None:
    from tokenwire.line.restart_requests import NothingToRestart, RestartDone, RestartRefused, ask_restart
    from tokenwire.line.running_line import running_line

    line = running_line(home)
    if line is None or not line.control:
        raise NothingToRestart(f"no `tokenwire up` that is ready runs in {home}; start it, or set TOKENWIRE_HOME")
    children: dict[str, dict[str, Any]] = {}
    async for reply in ask_restart(line.control, what):
        match reply:
            case RestartDone(names=names, seconds=seconds):
                if as_json:
                    told = [{"name": name, **children[name]} for name in names]
                    click.echo(json.dumps({"restarted": told, "seconds": seconds}))
                click.echo(f"Restarted {', '.join(names)} in {seconds:.1f} s.", err=True)
            case RestartRefused():  # raised by ask_restart
                continue
            case step:
                click.echo(sentence(step), err=True)
                note(children.setdefault(step.name, {}), step)


def note(child: dict[str, Any], step: RestartStep) -> None:
    if step.stage == "stopped":
        child |= {"stopped_s": step.seconds, "killed": step.killed}
    elif step.stage == "ready":
        child |= {"ready_s": step.seconds}


def sentence(step: RestartStep) -> str:
    """A step, for people."""
    match step.stage:
        case "stopped":
            return f"{step.name} {'was killed' if step.killed else 'has ended'} ({step.seconds:.1f} s)"
        case "ready":
            return f"{step.name} is ready ({step.seconds:.1f} s)"
        case _:
            return f"{step.name} is {step.stage}"
