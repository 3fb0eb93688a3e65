"""`tokenwire send --file`: a batch with its progress on the terminal and its results in a file."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import click

if TYPE_CHECKING:
    from producers.batches.batch_ledger import BatchLedger
    from producers.batches.batch_plan import BatchPlan
    from producers.batches.batch_results import BatchResult
    from schemas.prompts import Priority

__all__ = ["BatchOptions", "send_batch"]

LINE_EVERY_S: Final = 10.0
NANO: Final = 1_000_000_000
UNKNOWN: Final = "not known"
ONE_PROMPT: Final = (
    "session",
    "prompt_id",
    "model",
    "models",
    "compare",
    "merge_model",
    "max_tokens",
    "temperature",
    "on_busy",
    "cache",
    "no_wait",
)
"""Options that are about a single prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """What the command line says about a batch."""

    user: str
    results: Path
    lanes: int
    name: str
    line_s: float | None
    """None: as long as a prompt may stand in line."""
    as_json: bool
    priority: Priority
    retry_failed: bool

    @classmethod
    def chosen(cls, file: Path, options: dict[str, Any]) -> Self:
        """From the options of `tokenwire send`; those that are about a single prompt are refused."""
        for option in ONE_PROMPT:
            if options[option] not in (None, "", (), False, "all", "enqueue"):
                raise click.UsageError(f"--{option.replace('_', '-')} goes into the lines of the file.")
        return cls(
            user=options["user"],
            results=options["results"] or file.with_name(file.name + ".results.jsonl"),
            lanes=options["lanes"],
            name=options["batch_name"] or str(file.resolve()),
            line_s=options["answer_s"],
            as_json=options["as_json"],
            priority=options["priority"] or "batch",
            retry_failed=options["retry"] == "failed",
        )


class BatchCount:
    """What has come of the lines so far."""

    def __init__(self, total: int, answered_before: int, failed_before: int = 0) -> None:
        self.total = total
        self.answered_before = answered_before
        self.failed_before = failed_before
        self.reasons: Counter[str] = Counter()
        self.output_tokens = 0
        self.cost_nano_usd = 0

    def add(self, result: BatchResult) -> None:
        self.reasons[result.reason or UNKNOWN] += 1
        self.output_tokens += result.usage.output_tokens
        self.cost_nano_usd += result.cost_nano_usd

    @property
    def done(self) -> int:
        """Lines with a result, those of earlier runs included."""
        return self.answered_before + self.failed_before + self.reasons.total()

    @property
    def all_complete(self) -> bool:
        """Whether every line so far was answered whole, in this run or before it."""
        return not self.failed_before and set(self.reasons) <= {"complete"}

    def sentence(self) -> str:
        """For people."""
        parts = [f"{number} {reason}" for reason, number in self.reasons.most_common()]
        parts += [f"{self.answered_before} answered before"] if self.answered_before else []
        parts += [f"{self.failed_before} failed before"] if self.failed_before else []
        cost = f", ${self.cost_nano_usd / NANO:.6f}" if self.cost_nano_usd else ""
        return f"{self.done} of {self.total}: {', '.join(parts) or 'nothing yet'}; {self.output_tokens} tokens{cost}"


def send_batch(file: Path, options: BatchOptions) -> int:
    """Send what is not finished; exit code 0 when every line was answered whole."""
    from producers.batches.batch_file import read_batch
    from producers.batches.batch_ledger import BatchHeader, BatchLedger, BatchPlace
    from producers.batches.batch_plan import plan_batch
    from producers.batches.batch_results import ResultsFile
    from schemas.prompt_limits import PromptLimits
    from tokenwire.line.client_start import client_start

    settings = client_start()
    limits = PromptLimits(prompt_bytes_max=settings.prompt_bytes_max)
    lines = read_batch(file, user=options.user, name=options.name, limits=limits, priority=options.priority)
    header = BatchHeader(
        name=options.name,
        file=str(file.resolve()),
        results=str(options.results.resolve()),
        lines=len(lines),
        at_us=time.time_ns() // 1_000,
    )
    ledger = BatchLedger(BatchPlace.of(settings.home, options.name), header)
    with ledger, ResultsFile(options.results) as results:
        plan = plan_batch(lines, results.finished, retry_failed=options.retry_failed)
        tell_retries(plan)
        count = BatchCount(len(lines), plan.answered_before, plan.failed_before)
        try:
            if plan.send:
                run_lines(settings, plan.send, results, count, Sender(ledger, options))
        except KeyboardInterrupt:
            click.echo(f"\nStopped at {count.sentence()}. Run the same command to go on.", err=True)
            return 130
        cancelled = ledger.cancelled
    tell(count, options)
    if cancelled and count.done < count.total:
        click.echo(f"The batch was cancelled: {count.total - count.done} lines were not sent.", err=True)
    return 0 if count.all_complete and count.done == count.total else 1


def tell_retries(plan: BatchPlan) -> None:
    """Say what is asked anew, and where."""
    if plan.retried:
        click.echo(f"Asking {lines_of(plan.retried)} anew that earlier runs did not answer whole.", err=True)
    if plan.retried_amid:
        click.echo(
            f"{plan.retried_amid} of them stand in the middle of a conversation: each is asked after everything that "
            "was said since, and the lines behind it keep their answers.",
            err=True,
        )


def lines_of(number: int) -> str:
    return f"{number} {'line' if number == 1 else 'lines'}"


@dataclass(frozen=True, slots=True)
class Sender:
    """What a run sends with."""

    ledger: BatchLedger
    options: BatchOptions


def run_lines(settings: Any, left: list[Any], results: Any, count: BatchCount, sender: Sender) -> None:
    from producers.batches.batch import Batch

    with progress(count) as advance:

        def on_result(result: BatchResult) -> None:
            results.append(result)
            count.add(result)
            advance()

        lanes, line_s = sender.options.lanes, sender.options.line_s or settings.line_wait_s
        asyncio.run(Batch(lines=left, lanes=lanes, line_s=line_s).run(settings, sender.ledger, on_result))


@contextmanager
def progress(count: BatchCount) -> Iterator[Any]:
    """A bar on a terminal; elsewhere a line every LINE_EVERY_S seconds."""
    if sys.stderr.isatty():
        with click.progressbar(length=count.total, label="Answered", file=sys.stderr, show_pos=True) as bar:
            bar.update(count.done)
            yield lambda: bar.update(1)
        return
    told_s = time.monotonic()

    def advance() -> None:
        nonlocal told_s
        if time.monotonic() - told_s >= LINE_EVERY_S:
            told_s = time.monotonic()
            click.echo(count.sentence(), err=True)

    yield advance


def tell(count: BatchCount, options: BatchOptions) -> None:
    if options.as_json:
        summary = {
            "results": str(options.results),
            "lines": count.total,
            "answered_before": count.answered_before,
            "failed_before": count.failed_before,
            "reasons": dict(count.reasons),
            "output_tokens": count.output_tokens,
            "cost_nano_usd": count.cost_nano_usd,
        }
        click.echo(json.dumps(summary))
    else:
        click.echo(f"{count.sentence()}. Results: {options.results}", err=True)
        if count.failed_before or set(count.reasons) - {"complete", UNKNOWN}:
            click.echo("`--retry failed` asks those anew that were not answered whole.", err=True)
        if UNKNOWN in count.reasons:
            click.echo("Run the same command again for those whose end is not known.", err=True)
