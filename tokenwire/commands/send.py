"""`tokenwire send`: one prompt whose answer streams to the terminal, or a file of prompts."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from tokenwire.commands.terminal_text import printable

if TYPE_CHECKING:
    from producers.answer_reader import AnswerEnded
    from schemas.prompts import PromptSubmitted

__all__ = ["DEFAULT_USER", "send"]

DEFAULT_USER: Final = "local"
NANO: Final = 1_000_000_000
CONNECT_S: Final = 3.0
SILENCE_S: Final = 8.0
SILENCE_HINT: Final = (
    "No answer yet: does a worker run with the same TOKENWIRE_TOPIC_LAYOUT? Waiting (ctrl-C to stop) …"
)


@click.command()
@click.argument("text", required=False)
@click.option("--user", default=DEFAULT_USER, show_default=True, help="Who asks.")
@click.option("--session", help="The conversation to continue.  [default: a new one]")
@click.option("--prompt-id", help="Idempotency key: the same again shows the same answer.  [default: a new one]")
@click.option("--model", default="", help="A model that the worker knows.  [default: the worker's]")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Longest answer, in tokens.")
@click.option(
    "--timeout", "answer_s", type=click.FloatRange(min=0.1), default=900.0, show_default=True, help="Seconds."
)
@click.option("--no-wait", is_flag=True, help="Print the turn's id once the prompt is accepted; do not wait.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of streaming.")
@click.option("--file", "file", type=click.Path(path_type=Path), help="Send every prompt of a file, one JSON a line.")
@click.option("--results", type=click.Path(path_type=Path), help="Results of --file.  [default: FILE.results.jsonl]")
@click.option("--lanes", type=click.IntRange(1, 256), default=16, show_default=True, help="Answers awaited at once.")
@click.option("--batch-name", help="Same name and line = same prompt, never paid for twice.  [default: FILE's path]")
def send(text: str | None, file: Path | None, **options: Any) -> int:
    """Send a prompt and stream its answer; or a file of them.

    \b
    Examples:
      tokenwire send "Why is the sky blue?"
      echo "Summarise this …" | tokenwire send -
      tokenwire send --no-wait --user alice --session s1 "And at dusk?"
      tokenwire send --file prompts.jsonl --results answers.jsonl

    A line of the file is {"input": "…"} or a whole prompt as docs/prompts.md describes it. Lines of one session are
    a conversation and are sent one after the other. Run the command again to go on where it was stopped.
    """
    if file is not None:
        if text is not None:
            raise click.UsageError("Give a text or --file, not both.")
        from tokenwire.commands.send_batch import BatchOptions, send_batch

        return send_batch(file, BatchOptions.chosen(file, options))
    if text is None or text == "-":
        if text is None and sys.stdin.isatty():
            raise click.UsageError('Give a text, as in: tokenwire send "Why is the sky blue?"')
        text = click.get_text_stream("stdin").read()
    return asyncio.run(send_one(text, options))


async def send_one(text: str, options: dict[str, Any]) -> int:
    from producers.prompt_producer import PromptProducer
    from producers.sdk import prompt_of
    from schemas.prompt_limits import PromptLimits, check_prompt
    from tokenwire.client_start import client_start

    settings = client_start()
    prompt = prompt_of(
        text,
        user=options["user"],
        session=options["session"],
        prompt_id=options["prompt_id"],
        model=options["model"],
        max_tokens=options["max_tokens"],
    )
    check_prompt(prompt, PromptLimits(prompt_bytes_max=settings.prompt_bytes_max))
    producer = PromptProducer(settings)
    await producer.start(deadline_s=CONNECT_S)
    try:
        if options["no_wait"]:
            turn = (await producer.submit(prompt)).turns[0]
            ids = {"turn": turn, "session": prompt.session, "prompt_id": prompt.prompt_id}
            click.echo(json.dumps(ids) if options["as_json"] else turn)
            return 0
        ended = await follow_answer(settings, producer, prompt, options)
    finally:
        await producer.stop()
    if options["as_json"]:
        click.echo(json.dumps(described(prompt, ended), ensure_ascii=False))
    else:
        click.echo(summary(prompt, ended), err=True)
    return 0 if ended.reason == "complete" else 1


async def follow_answer(settings: Any, producer: Any, prompt: PromptSubmitted, options: dict[str, Any]) -> AnswerEnded:
    """Submit, then show the answer as it grows (not with --json); its end."""
    from infra.kafka.session_topics import SessionTopics
    from producers.answer_reader import AnswerEnded, AnswerReader
    from producers.errors import AnswerLost

    topics = SessionTopics(settings)
    reader = AnswerReader(settings, topics)
    await topics.start()
    hint = asyncio.get_running_loop().call_later(SILENCE_S, click.echo, SILENCE_HINT, None, True, True)
    try:
        await reader.start()
        start = await reader.locate(prompt.user, prompt.session, from_start=options["prompt_id"] is not None)
        await producer.submit(prompt)
        async for piece in reader.follow(prompt, start, deadline_s=options["answer_s"]):
            hint.cancel()
            if isinstance(piece, AnswerEnded):
                if piece.text and not options["as_json"]:
                    click.echo()
                return piece
            if not options["as_json"]:
                show(piece)
    finally:
        hint.cancel()
        await reader.stop()
        await topics.stop()
    raise AnswerLost("the log ended before the answer")


def show(piece: Any) -> None:
    from producers.answer_reader import AnswerStarted, AnswerText

    if isinstance(piece, AnswerText):
        click.echo(printable(piece.text), nl=False)
        sys.stdout.flush()
    elif isinstance(piece, AnswerStarted) and piece.attempt > 1:
        click.echo()
        click.secho(f"The answer begins anew (attempt {piece.attempt}: {piece.cause}).", err=True, dim=True)


def summary(prompt: PromptSubmitted, ended: AnswerEnded) -> str:
    """One line on how it ended."""
    if ended.reason not in ("complete", "incomplete"):
        why = f": {ended.error.message}" if ended.error else ""
        return f"Error: the prompt ended {ended.reason}{why} (turn {ended.turn})"
    cost = f", ${ended.cost_nano_usd / NANO:.6f}" if ended.cost_nano_usd else ""
    tokens = f"{ended.usage.input_tokens} + {ended.usage.output_tokens} tokens"
    why = f" ({ended.error.message})" if ended.error else ""
    return click.style(f"{ended.reason}{why} · {tokens}{cost} · session {prompt.session}", dim=True)


def described(prompt: PromptSubmitted, ended: AnswerEnded) -> dict[str, Any]:
    import msgspec

    return {
        "user": prompt.user,
        "session": prompt.session,
        "prompt_id": prompt.prompt_id,
        "turn": ended.turn,
        "reason": ended.reason,
        "text": ended.text,
        "usage": msgspec.to_builtins(ended.usage),
        "cost_nano_usd": ended.cost_nano_usd,
        "error": msgspec.to_builtins(ended.error),
    }
