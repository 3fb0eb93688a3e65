"""`tokenwire send`: one prompt whose answer streams to the terminal, or a file of prompts."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from tokenwire.commands.answer_display import display_of

if TYPE_CHECKING:
    from schemas.prompts import PromptSubmitted
    from tokenwire.commands.answer_display import AnswerDisplay

__all__ = ["DEFAULT_USER", "send"]

DEFAULT_USER: Final = "local"
CONNECT_S: Final = 3.0
SILENCE_S: Final = 8.0
ANSWER_S: Final = 900.0
SILENCE_HINT: Final = (
    "No answer yet: does a worker run with the same TOKENWIRE_TOPIC_LAYOUT? Waiting (ctrl-C to stop) …"
)
SAID_OF_THE_PROMPT: Final = (
    "session",
    "prompt_id",
    "model",
    "models",
    "compare",
    "merge_model",
    "max_tokens",
    "temperature",
    "on_busy",
    "priority",
    "cache",
)


class Names(click.ParamType):
    """Names separated by commas."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """The names."""
        if isinstance(value, tuple):
            return value
        return tuple(name.strip() for name in str(value).split(",") if name.strip())


@click.command()
@click.argument("text", required=False)
@click.option("--user", default=DEFAULT_USER, show_default=True, help="Who asks.")
@click.option("--session", help="The conversation to continue.  [default: a new one]")
@click.option("--prompt-id", help="Idempotency key: the same again shows the same answer.  [default: a new one]")
@click.option("--model", default="", help="A model that the worker knows.  [default: the worker's]")
@click.option("--models", type=Names(), default=(), help="Ask several side by side: a,b,c.")
@click.option(
    "--compare",
    type=click.Choice(["all", "first", "best", "merge"]),
    default="all",
    help="Of several answers: keep all, the first to be whole, the best by a scorer, or one made of all.",
)
@click.option("--merge-model", default="", help="With --compare merge: who makes it.  [default: the worker's]")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Longest answer, in tokens.")
@click.option("--temperature", type=click.FloatRange(0, 2), help="0 to 2.  [default: the provider's]")
@click.option(
    "--on-busy",
    type=click.Choice(["enqueue", "parallel", "reject", "interrupt", "rollback"]),
    default="enqueue",
    help="While the session has an open turn: wait, run beside it, be refused, or end it and keep or forget it.",
)
@click.option("--cache", is_flag=True, help="The answer may come from the response cache.")
@click.option(
    "--priority",
    type=click.Choice(["interactive", "batch"]),
    help="Place in a provider's line.  [default: interactive; batch with --file]",
)
@click.option(
    "--timeout",
    "answer_s",
    type=click.FloatRange(min=0.1),
    help="Seconds until the end of an answer.  [default: 900; with --file TOKENWIRE_LINE_WAIT_S, a day]",
)
@click.option("--no-wait", is_flag=True, help="Print the turn's id once the prompt is accepted; do not wait.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of streaming.")
@click.option("--file", "file", type=click.Path(path_type=Path), help="Send every prompt of a file, one JSON a line.")
@click.option("--results", type=click.Path(path_type=Path), help="Results of --file.  [default: FILE.results.jsonl]")
@click.option("--lanes", type=click.IntRange(1, 256), default=16, show_default=True, help="Answers awaited at once.")
@click.option(
    "--retry", type=click.Choice(["failed"]), help="With --file: ask anew what earlier runs did not answer whole."
)
@click.option("--batch-name", help="Same name and line = same prompt, never paid for twice.  [default: FILE's path]")
def send(text: str | None, file: Path | None, **options: Any) -> int:
    """Send a prompt and stream its answer; or a file of them.

    \b
    Examples:
      tokenwire send "Why is the sky blue?"
      echo "Summarise this …" | tokenwire send -
      tokenwire send --models fast,clever --compare best "Why is the sky blue?"
      tokenwire send --no-wait --user alice --session s1 "And at dusk?"
      tokenwire send --file prompts.jsonl --results answers.jsonl
      tokenwire send --file prompts.jsonl --retry failed

    A line of the file is {"input": "…"} or a whole prompt as docs/prompts.md describes it. Lines of one session are
    a conversation and are sent one after the other. Run the command again to go on where it was stopped; `tokenwire
    batch` watches and cancels it.
    """
    if file is not None:
        if text is not None:
            raise click.UsageError("Give a text or --file, not both.")
        from tokenwire.commands.send_batch import BatchOptions, send_batch

        return send_batch(file, BatchOptions.chosen(file, options))
    if options["retry"]:
        raise click.UsageError("--retry goes with --file.")
    if text is None or text == "-":
        if text is None and sys.stdin.isatty():
            raise click.UsageError('Give a text, as in: tokenwire send "Why is the sky blue?"')
        text = click.get_text_stream("stdin").read()
    options["priority"] = options["priority"] or "interactive"
    return asyncio.run(send_one(text, options))


async def send_one(text: str, options: dict[str, Any]) -> int:
    from producers.prompt_options import prompt_of
    from producers.prompt_producer import PromptProducer
    from schemas.prompt_limits import PromptLimits, check_prompt
    from schemas.prompts import turns_of
    from tokenwire.line.client_start import client_start

    settings = client_start()
    prompt = prompt_of(text, user=options["user"], **{name: options[name] for name in SAID_OF_THE_PROMPT})
    check_prompt(prompt, PromptLimits(prompt_bytes_max=settings.prompt_bytes_max))
    producer = PromptProducer(settings)
    await producer.start(deadline_s=CONNECT_S)
    try:
        if options["no_wait"]:
            await producer.submit(prompt)
            turns = turns_of(prompt)
            ids: dict[str, Any] = {"turn": turns[0], "session": prompt.session, "prompt_id": prompt.prompt_id}
            ids |= {"turns": turns} if prompt.models else {}
            if options["as_json"]:
                click.echo(json.dumps(ids))
            else:
                click.echo("\n".join(turns))
                click.echo(f"Accepted. {named(prompt)}", err=True)  # a script takes the turn from standard output
            return 0
        display = display_of(prompt, as_json=options["as_json"])
        await follow_answer(settings, producer, prompt, display, options)
    finally:
        await producer.stop()
    display.close()
    return 0 if display.good else 1


def named(prompt: PromptSubmitted) -> str:
    """How to come back to a prompt, and how to end it."""
    ids = f"--session {prompt.session} --prompt-id {prompt.prompt_id}"
    user = "" if prompt.user == DEFAULT_USER else f"--user {shlex.quote(prompt.user)} "
    return (
        f"Session {prompt.session}, prompt {prompt.prompt_id}: the same command with {ids} shows its answer, "
        f"`tokenwire cancel {user}{ids}` ends it."
    )


async def follow_answer(
    settings: Any, producer: Any, prompt: PromptSubmitted, display: AnswerDisplay, options: dict[str, Any]
) -> None:
    """Submit, then show the answers as they come."""
    from infra.kafka.session_topics import SessionTopics
    from producers.answers.answer_reader import AnswerReader

    topics = SessionTopics(settings)
    reader = AnswerReader(settings, topics)
    await topics.start()
    hint = asyncio.get_running_loop().call_later(SILENCE_S, click.echo, SILENCE_HINT, None, True, True)
    try:
        await reader.start()
        start = await reader.locate(prompt.user, prompt.session, from_start=options["prompt_id"] is not None)
        sent = (await producer.submit(prompt)).offset
        try:
            async for piece in reader.follow(prompt, start, deadline_s=options["answer_s"] or ANSWER_S, sent=sent):
                hint.cancel()
                display.take(piece)
        except asyncio.CancelledError:  # ctrl-C
            click.echo(f"\nThe answer goes on without you. {named(prompt)}", err=True)
            raise
    finally:
        hint.cancel()
        await reader.stop()
        await topics.stop()
