"""The command `tokenwire`: its commands, and how a failure is told: one clear line, and an exit code that is not 0."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from typing import Final

import click

from tokenwire.commands.access_token import token
from tokenwire.commands.acls import acls
from tokenwire.commands.batch import batch
from tokenwire.commands.bench import bench
from tokenwire.commands.cancel import cancel
from tokenwire.commands.deadletters import deadletters
from tokenwire.commands.migrate import migrate
from tokenwire.commands.page import page
from tokenwire.commands.processes import analytics, broker, gateway, provider, reader, worker
from tokenwire.commands.query import query
from tokenwire.commands.restart import restart
from tokenwire.commands.send import send
from tokenwire.commands.terminal_text import printable
from tokenwire.commands.up import up

__all__ = ["cli", "main"]

FAILED: Final = 1
INTERRUPTED: Final = 130
OUR_PACKAGES: Final = frozenset({"schemas", "infra", "producers", "processors", "gateway", "tokenwire"})


class Commands(click.Group):
    """Names the nearest command for one that does not exist."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does. Raises UsageError."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            names = self.list_commands(ctx)
            near = difflib.get_close_matches(args[0], names, n=1)
            error.message += f" Did you mean {near[0]}?" if near else f" There are: {', '.join(names)}."
            raise


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tokenwire")
def cli() -> None:
    """A durable wire between prompts and the people who read the answers.

    \b
    Begin with:
      tokenwire up                        run everything on this machine
      tokenwire send "Why is the sky blue?"

    Settings are TOKENWIRE_* variables of the environment; docs/reference/settings.md lists them all.
    """


for command in (
    up,
    restart,
    gateway,
    worker,
    analytics,
    reader,
    provider,
    broker,
    migrate,
    acls,
    token,
    page,
    send,
    cancel,
    batch,
    query,
    bench,
    deadletters,
):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit. Our own errors, and the system's, are told in a line; a bug keeps its trace."""
    try:
        code = cli.main(None if arguments is None else list(arguments), prog_name="tokenwire", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Stopped.", err=True)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone: nobody wants to hear of it
        sys.exit(FAILED)
    except Exception as error:  # the process root: what is not ours is raised again
        told = told_fault(error)
        if told is None:
            raise
        click.echo(f"Error: {printable(told, sys.stderr)}", err=True)  # the database's words may hold what is stored
        sys.exit(FAILED)
    sys.exit(code if isinstance(code, int) else 0)


def told_fault(error: BaseException) -> str | None:
    """What to tell of an error: our errors are written for people, and so are the system's. None = it is a bug."""
    if isinstance(error, BaseExceptionGroup):
        told = [told_fault(inner) for inner in error.exceptions]
        return None if None in told else "; ".join(dict.fromkeys(str(each) for each in told))
    faults = getattr(error, "faults", None)
    if type(error).__name__ == "SettingsError" and isinstance(faults, list):
        return "these settings are wrong:" + "".join(f"\n  {fault}" for fault in faults)
    if type(error).__module__.partition(".")[0] in OUR_PACKAGES:
        return str(error) or type(error).__name__
    if isinstance(error, OSError):
        place = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror or error}{place}"
    return None
