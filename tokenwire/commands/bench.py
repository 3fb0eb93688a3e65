"""`tokenwire bench`: what the line costs, measured against the same prompts sent straight to the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from infra.settings import Settings
    from tokenwire.benchmark.method import Method
    from tokenwire.benchmark.report import Report

__all__ = ["bench"]

STREAMS_MAX: Final = 1_000


class StreamCounts(click.ParamType):
    """Comma-separated numbers of concurrent streams."""

    name = "numbers"

    def convert(
        self, value: object, parameter: click.Parameter | None, context: click.Context | None
    ) -> tuple[int, ...]:
        """Raises BadParameter."""
        try:
            counts = tuple(dict.fromkeys(int(part) for part in str(value).split(",")))
        except ValueError:
            counts = ()
        if not counts or not all(1 <= count <= STREAMS_MAX for count in counts):
            self.fail(f"{value!r} is not a list of numbers from 1 to {STREAMS_MAX}, as in 1,16,64", parameter, context)
        return counts


@click.command()
@click.option("--streams", type=StreamCounts(), default="1,16,64,128", show_default=True, help="Concurrent streams.")
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True, help="Waves of each kind.")
@click.option("--answers", type=click.IntRange(0, 1_000), default=0, help="Per stream and wave.  [default: 3 or more]")
@click.option("--tokens", type=click.IntRange(2, 4_096), default=64, show_default=True, help="Length of an answer.")
@click.option("--pace-ms", type=click.IntRange(1, 1_000), default=20, show_default=True, help="Between two tokens.")
@click.option("--warm-up", type=click.IntRange(1, 1_000), default=8, show_default=True, help="Answers not counted.")
@click.option("--topic-layout", type=click.Choice(["dedicated", "shared"]), default="dedicated", show_default=True)
@click.option("--save", type=click.Path(dir_okay=False, path_type=Path), help="Write the report to a file as JSON.")
@click.option(
    "--compare", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A saved report to compare with."
)
@click.option("--fail-on-regression", is_flag=True, help="With --compare: exit with 1 if a figure regressed.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
def bench(
    *,
    streams: tuple[int, ...],
    rounds: int,
    answers: int,
    tokens: int,
    pace_ms: int,
    warm_up: int,
    topic_layout: str,
    save: Path | None,
    compare: Path | None,
    fail_on_regression: bool,
    as_json: bool,
) -> int:
    """Measure what the line adds to a model's answers.

    The same prompts straight to the simulated model and through websocket, gateway, Kafka and worker, in turns, on a
    line of its own: free ports, a temporary folder. Every answer is checked; one that is wrong makes the exit code 1.

    \b
    Examples:
      tokenwire bench --save before.json
      tokenwire bench --compare before.json --fail-on-regression
      tokenwire bench --streams 64 --rounds 1
    """
    from tokenwire.benchmark.method import Method

    if fail_on_regression and compare is None:
        raise click.UsageError("--fail-on-regression needs --compare FILE.")
    old = None if compare is None else saved_report(compare)
    method = Method(
        streams=streams,
        rounds=rounds,
        answers=answers,
        tokens=tokens,
        pace_ms=pace_ms,
        warm_up=warm_up,
        layout=topic_layout,
    )
    report = measured(bench_settings(), method)
    if save is not None:
        write_report(save, report)
    show(report, as_json=as_json)
    regressed = old is not None and show_comparison(old, report, as_json=as_json)
    return 1 if report.wrong or (regressed and fail_on_regression) else 0


def bench_settings() -> Settings:
    from infra.settings import load_settings
    from infra.telemetry.log_setup import configure_logging

    settings = load_settings()
    configure_logging(settings.log_format, "debug" if settings.log_level == "debug" else "error", "bench")
    return settings


def measured(settings: Settings, method: Method) -> Report:
    """On uvloop, so that many clients fit into one process."""
    import asyncio

    import uvloop

    from tokenwire.benchmark.benchmark_run import run_benchmark

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(
            run_benchmark(method, settings.home.absolute(), lambda sentence: click.echo(sentence, err=True))
        )


def saved_report(file: Path) -> Report:
    """Raises UsageError if the file holds something else."""
    import msgspec

    from tokenwire.benchmark.report import Report

    try:
        return msgspec.json.decode(file.read_bytes(), type=Report)
    except msgspec.MsgspecError as error:
        raise click.UsageError(f"{file} holds no report that `tokenwire bench --save` wrote: {error}") from None


def write_report(file: Path, report: Report) -> None:
    import msgspec

    file.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")


def show(report: Report, *, as_json: bool) -> None:
    import msgspec

    from tokenwire.benchmark.report_text import report_text

    click.echo(msgspec.json.encode(report).decode() if as_json else f"\n{report_text(report)}")


def show_comparison(old: Report, new: Report, *, as_json: bool) -> bool:
    """Whether a figure regressed. With --json the words go where people read."""
    from tokenwire.benchmark.comparison import compare_reports, differences_of_method
    from tokenwire.benchmark.report_text import comparison_text

    compared = compare_reports(old, new)
    click.echo(f"\n{comparison_text(compared, differences_of_method(old, new))}", err=as_json)
    return any(figure.regressed for figure in compared)
