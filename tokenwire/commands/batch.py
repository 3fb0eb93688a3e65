"""`tokenwire batch`: batches of prompts that were sent from here: listed, watched, cancelled."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from tokenwire.commands.status_line import StatusLine
from tokenwire.commands.terminal_text import escaped

if TYPE_CHECKING:
    from producers.batches.batch_ledger import LedgerView
    from producers.batches.batch_watch import BatchWatch, WatchedLine

__all__ = ["BatchProgress", "batch"]

NANO: Final = 1_000_000_000
LINE_EVERY_S: Final = 10.0
CONNECT_S: Final = 3.0
CANCELS_AT_ONCE: Final = 64
INTERRUPTED: Final = 130


@click.group()
def batch() -> None:
    """List, watch and cancel batches that `tokenwire send --file` sent from here.

    \b
    Examples:
      tokenwire batch watch prompts.jsonl
      tokenwire batch cancel prompts.jsonl
    """


@batch.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_batches(as_json: bool) -> None:
    """List the batches that were sent from here.

    \b
    Example:
      tokenwire batch list
    """
    from producers.batches.batch_ledger import known_batches
    from tokenwire.line.client_start import client_start

    settings = client_start()
    told = [described(view) for view in known_batches(settings.home)]
    for each in told:
        at_work = "being sent" if each["being_sent"] else ("cancelled" if each["cancelled"] else "")
        row = f"{each['name']}  {each['sent']} of {each['lines']} sent, {each['at']}  {at_work}".rstrip()
        click.echo(json.dumps(each, ensure_ascii=False) if as_json else escaped(row))
    if not told:
        click.echo(f"No batch was sent from {settings.home}.", err=True)


def described(view: LedgerView) -> dict[str, Any]:
    header = view.header
    at_us = header.at_us if header else 0
    return {
        "name": header.name if header else "",
        "file": header.file if header else "",
        "results": header.results if header else "",
        "lines": header.lines if header else 0,
        "sent": len(view.marks),
        "at": datetime.fromtimestamp(at_us / 1e6, UTC).isoformat(sep=" ", timespec="seconds"),
        "being_sent": view.place.sender_at_work,
        "cancelled": view.place.cancelled,
    }


@batch.command("watch")
@click.argument("named", metavar="FILE|NAME")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
def watch_batch(named: str, as_json: bool) -> int:
    """Watch a batch until every line that was sent has ended. Ctrl-C leaves it; the batch goes on.

    \b
    Examples:
      tokenwire batch watch prompts.jsonl
      tokenwire batch watch nightly --json
    """
    from producers.batches.batch_ledger import find_batch
    from tokenwire.line.client_start import client_start

    settings = client_start()
    progress = BatchProgress(find_batch(settings.home, named))
    try:
        asyncio.run(progress.watch.run(settings))
    except KeyboardInterrupt:
        progress.status.clear()
        click.echo(f"Left at {progress.sentence()}. The same command takes it up again.", err=True)
        return INTERRUPTED
    progress.close(as_json=as_json)
    return 0 if progress.all_complete else 1


@batch.command("cancel")
@click.argument("named", metavar="FILE|NAME")
@click.option("--timeout", "limit_s", type=click.FloatRange(min=1), default=60.0, show_default=True, help="Seconds.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
def cancel_batch(named: str, limit_s: float, as_json: bool) -> int:
    """Cancel every open line of a batch, keep the rest from being sent, and wait for the ends.

    \b
    Examples:
      tokenwire batch cancel prompts.jsonl
      tokenwire batch cancel nightly --json
    """
    from producers.batches.batch_ledger import find_batch
    from tokenwire.line.client_start import client_start

    settings = client_start()
    progress = BatchProgress(find_batch(settings.home, named))
    asked = asyncio.run(cancel_open(settings, progress, limit_s))
    progress.close(as_json=as_json, asked=asked)
    return 0 if not progress.watch.open_lines else 1


async def cancel_open(settings: Any, progress: BatchProgress, limit_s: float) -> int:
    """Cancel what is open and watch it end; how many lines that was."""
    from producers.prompt_producer import PromptProducer
    from schemas.prompts import PromptCancelled

    watch = progress.watch
    watch.cancel()  # first: what is marked from here on is not sent
    watch.look()
    lines = watch.open_lines
    producer = PromptProducer(settings)
    await producer.start(deadline_s=CONNECT_S)
    try:
        for at in range(0, len(lines), CANCELS_AT_ONCE):
            keys = [line.mark.key for line in lines[at : at + CANCELS_AT_ONCE]]
            await asyncio.gather(
                *(
                    producer.cancel(PromptCancelled(user=user, session=session, prompt_id=prompt_id))
                    for user, session, prompt_id in keys
                )
            )
            progress.show()
    finally:
        await producer.stop()
    try:
        async with asyncio.timeout(limit_s):
            await watch.run(settings)
    except TimeoutError:
        progress.status.clear()
        click.echo(f"Not every line had ended within {limit_s:g} s; they will.", err=True)
    return len(lines)


class BatchProgress:
    """How far a batch is, in words: a line rewritten in place on a terminal, elsewhere one now and then."""

    def __init__(self, view: LedgerView) -> None:
        from producers.batches.batch_watch import BatchWatch

        self.watch: BatchWatch = BatchWatch(view, self.show)
        self.status = StatusLine()
        self._next_s = time.monotonic() + LINE_EVERY_S
        self._told = ""

    def show(self) -> None:
        """Say it again if it is time."""
        self.status.show(self.sentence)
        if not sys.stderr.isatty() and time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + LINE_EVERY_S
            sentence = self.sentence()
            if sentence != self._told:
                click.echo(sentence, err=True)
            self._told = sentence

    @property
    def total(self) -> int:
        """Lines of the batch, as of its newest run."""
        header = self.watch.view.header
        return max(header.lines if header else 0, len(self.watch.lines))

    @property
    def not_sent(self) -> int:
        """Lines that no run has sent."""
        return self.total - sum(line.state != "not_sent" for line in self.watch.lines.values())

    @property
    def all_complete(self) -> bool:
        """Whether every line was answered whole."""
        lines = list(self.watch.lines.values())
        return not self.not_sent and all(line.reason == "complete" for line in lines)

    def sentence(self) -> str:
        """For people."""
        lines = list(self.watch.lines.values())
        ended = reasons_of(lines)
        parts = [f"{ended.total()} of {self.total} ended" + told_of(ended)]
        for state, words in (("running", "running"), ("sent", "not taken in yet")):
            count = sum(line.state == state for line in lines)
            parts += [f"{count} {words}"] if count else []
        parts += waiting_of([line for line in lines if line.state == "waiting"])
        parts += [f"{self.not_sent} not sent"] if self.not_sent else []
        tokens, cost = sum(line.output_tokens for line in lines), sum(line.cost_nano_usd for line in lines)
        return " · ".join([*parts, f"{tokens} tokens" + (f", ${cost / NANO:.6f}" if cost else "")])

    def close(self, *, as_json: bool, asked: int | None = None) -> None:
        """The count at the end."""
        self.status.clear()
        lines = list(self.watch.lines.values())
        if as_json:
            summary = {
                "lines": self.total,
                "ended": dict(reasons_of(lines)),
                "open": len(self.watch.open_lines),
                "not_sent": self.not_sent,
                "output_tokens": sum(line.output_tokens for line in lines),
                "cost_nano_usd": sum(line.cost_nano_usd for line in lines),
            }
            click.echo(json.dumps(summary if asked is None else summary | {"asked_to_cancel": asked}))
            return
        if asked == 0:
            click.echo("Nothing is open: there was nothing to cancel.", err=True)
        elif asked is not None:
            click.echo(f"Asked {asked} open {'line' if asked == 1 else 'lines'} to end.", err=True)
        click.echo(f"{self.sentence()}.", err=True)
        header = self.watch.view.header
        if self.not_sent and asked is None and header is not None:
            click.echo(f"`tokenwire send --file {header.file}` sends those that were not.", err=True)


def reasons_of(lines: Iterable[WatchedLine]) -> Counter[str]:
    return Counter(line.reason or line.state for line in lines if not line.open and line.state != "not_sent")


def told_of(ended: Counter[str]) -> str:
    return f" ({', '.join(f'{count} {reason}' for reason, count in ended.most_common())})" if ended else ""


def waiting_of(lines: list[WatchedLine]) -> list[str]:
    """How many wait, and where the first of them stands."""
    if not lines:
        return []
    first = min(lines, key=lambda line: line.position)
    eta = f", about {first.eta_s:.0f} s" if first.eta_s is not None else ""
    return [f"{len(lines)} waiting (the first: {first.position} before it{eta})"]
