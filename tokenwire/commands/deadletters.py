"""`tokenwire deadletters`: what could not be processed: looked through, looked at, sent again."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from tokenwire.commands.terminal_text import escaped
from tokenwire.commands.time_since import TimeSince

if TYPE_CHECKING:
    from producers.dead_letters.dead_letter_box import DeadLetterBox, FoundLetter, LetterFilter
    from producers.prompt_producer import PromptProducer

__all__ = ["deadletters"]

LISTED_MAX: Final = 10_000
RETRIED_MAX: Final = 10_000
MESSAGE_CHARS: Final = 60
IDENTIFIER_CHARS: Final = 20
CONNECT_S: Final = 3.0
HIDDEN_FIELDS: Final = ("input", "messages", "metadata")


@click.group()
def deadletters() -> None:
    """Look through what could not be processed, and send it again.

    A letter is named by its offset on tokenwire.deadletters. Nothing here shows what users wrote, unless asked to.

    \b
    Examples:
      tokenwire deadletters list --since 2h
      tokenwire deadletters show 17
      tokenwire deadletters retry 17
    """


def filtered(command: Any) -> Any:
    """The options that choose letters."""
    for option in (
        click.option("--since", type=TimeSince(), help="Not older: 30m, 2h, 3d, or a date and time (UTC)."),
        click.option("--user", default="", help="Of this user alone."),
        click.option("--reason", default="", help="With this reason alone, such as crashed or malformed."),
    ):
        command = option(command)
    return command


@deadletters.command("list")
@filtered
@click.option("--limit", type=click.IntRange(1, LISTED_MAX), default=50, show_default=True, help="Letters at most.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_letters(reason: str, user: str, since: datetime | None, limit: int, as_json: bool) -> None:
    """List dead letters, newest first.

    \b
    Examples:
      tokenwire deadletters list
      tokenwire deadletters list --reason crashed --since 2d --json
    """
    asyncio.run(told_list(reason, user, since, limit=limit, as_json=as_json))


@deadletters.command("show")
@click.argument("offset", type=click.IntRange(min=0))
@click.option("--text", is_flag=True, help="Also what the user wrote, or the bytes where they are no prompt.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def show_letter(offset: int, text: bool, as_json: bool) -> None:
    """Show one dead letter.

    \b
    Examples:
      tokenwire deadletters show 17
      tokenwire deadletters show 17 --text
    """
    asyncio.run(told_letter(offset, text=text, as_json=as_json))


@deadletters.command("retry")
@click.argument("offsets", type=click.IntRange(min=0), nargs=-1)
@click.option("--all", "every", is_flag=True, help="Every letter with --reason, oldest first.")
@filtered
@click.option("--number", type=click.IntRange(1, 999_999), help="Retry as <prompt_id>.retry-NUMBER; see below.")
@click.option("--limit", type=click.IntRange(1, RETRIED_MAX), default=1_000, show_default=True, help="With --all.")
@click.option("--dry-run", is_flag=True, help="Only say what would be sent.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a letter.")
def retry_letters(offsets: tuple[int, ...], every: bool, **options: Any) -> int:
    """Send the prompts of dead letters again.

    The prompt order-7 is sent again as order-7.retry-1. Sending the same letter again within a day names the same
    prompt, which is answered, and paid for, once; to have it answered anew say --number 2.

    \b
    Examples:
      tokenwire deadletters retry 17 19
      tokenwire deadletters retry --all --reason crashed --since 2h
    """
    if every == bool(offsets):
        raise click.UsageError("Give offsets, or --all with --reason.")
    if every and not options["reason"]:
        raise click.UsageError("--all needs --reason: say which letters you mean.")
    if not every and (options["reason"] or options["user"] or options["since"]):
        raise click.UsageError("--reason, --user and --since go with --all.")
    return asyncio.run(retried(offsets, options))


async def told_list(reason: str, user: str, since: datetime | None, *, limit: int, as_json: bool) -> None:
    from producers.dead_letters.dead_letter_box import DeadLetterBox
    from tokenwire.line.client_start import client_start

    settings = client_start()
    shown = 0
    async with DeadLetterBox(settings) as box:
        async for found in box.newest(wanted_of(reason, user, since)):
            if shown == limit:
                click.echo(f"There are more; --limit {limit * 10} shows more of them.", err=True)
                break
            if not shown and not as_json:
                click.echo(ROW.format("offset", "when (UTC)", "reason", "user", "session", "prompt", "what happened"))
            click.echo(json.dumps(described(found), ensure_ascii=False) if as_json else row_of(found))
            shown += 1
    if not shown:
        click.echo("No dead letters.", err=True)


ROW: Final = "{:>7}  {:19}  {:14}  {:20}  {:20}  {:20}  {}"


def row_of(found: FoundLetter) -> str:
    letter = found.letter
    identifiers = [shortened(each, IDENTIFIER_CHARS) for each in (found.user, letter.session, letter.prompt_id)]
    reason, message = shortened(letter.reason, 14), shortened(letter.message, MESSAGE_CHARS)
    return ROW.format(found.offset, when(letter.at_us)[:19], reason, *identifiers, message).rstrip()


def shortened(text: str, chars: int) -> str:
    shown = escaped(text)
    return shown if len(shown) <= chars else shown[: chars - 1] + "…"


def when(at_us: int) -> str:
    try:
        return datetime.fromtimestamp(at_us / 1e6, UTC).isoformat(sep=" ", timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return "?"


def wanted_of(reason: str, user: str, since: datetime | None) -> LetterFilter:
    from producers.dead_letters.dead_letter_box import LetterFilter

    since_ms = round(since.timestamp() * 1_000) if since else 0
    return LetterFilter(reason=reason, user=user, since_ms=max(0, since_ms))


def described(found: FoundLetter) -> dict[str, Any]:
    """Everything but what the user wrote."""
    letter = found.letter
    return {
        "offset": found.offset,
        "at": when(letter.at_us),
        "reason": letter.reason,
        "message": letter.message,
        "user": found.user,
        "session": letter.session,
        "prompt_id": letter.prompt_id,
        "from": {"topic": letter.topic, "partition": letter.partition, "offset": letter.offset},
        "value_bytes": letter.value_bytes,
        "value_sha256": letter.value_sha256,
    }


async def told_letter(offset: int, *, text: bool, as_json: bool) -> None:
    from producers.dead_letters.dead_letter_box import DeadLetterBox
    from tokenwire.line.client_start import client_start

    settings = client_start()
    async with DeadLetterBox(settings) as box:
        found = await box.letter_at(offset)
    told = described(found) | content_of(found, text=text)
    if as_json:
        click.echo(json.dumps(told, ensure_ascii=False))
        return
    for name, value in told.items():
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        click.echo(f"{name:14} {escaped(shown)}")
    if not text:
        click.echo("What the user wrote is not shown; --text shows it.", err=True)


def content_of(found: FoundLetter, *, text: bool) -> dict[str, Any]:
    """The record's own fields; those that a user wrote, and bytes that are no command, only with `text`."""
    import msgspec

    from schemas.codec import decode_prompt_command
    from schemas.errors import SchemaError

    value = found.letter.value
    if value is None:
        return {"content": None}
    try:
        command = decode_prompt_command(value)
    except SchemaError as error:
        told = {"unreadable": str(error)}
        return told | {"bytes": value.decode(errors="backslashreplace")} if text else told
    fields = msgspec.to_builtins(command)
    return {"content": {name: each for name, each in fields.items() if text or name not in HIDDEN_FIELDS}}


async def retried(offsets: tuple[int, ...], options: dict[str, Any]) -> int:
    """Exit code 0 when every letter's prompt was sent."""
    from producers.dead_letters.dead_letter_box import DeadLetterBox
    from producers.prompt_producer import PromptProducer
    from tokenwire.line.client_start import client_start

    settings = client_start()
    producer = PromptProducer(settings)
    if not options["dry_run"]:
        await producer.start(deadline_s=CONNECT_S)
    try:
        async with DeadLetterBox(settings) as box:
            chosen = list(offsets) or await matching(box, options)
            sent = [await retry_one(box, producer, offset, options) for offset in chosen]
    finally:
        if not options["dry_run"]:
            await producer.stop()
    verb = "would be sent" if options["dry_run"] else "sent"
    click.echo(f"{sum(sent)} of {len(sent)} {verb} again.", err=True)
    return 0 if all(sent) else 1


async def matching(box: DeadLetterBox, options: dict[str, Any]) -> list[int]:
    """The offsets that --all means, oldest first."""
    wanted = wanted_of(options["reason"], options["user"], options["since"])
    offsets: list[int] = []
    async for found in box.newest(wanted):
        if len(offsets) == options["limit"]:
            click.echo(f"There are more than --limit {options['limit']}: the newest of them are taken.", err=True)
            break
        offsets.append(found.offset)
    return offsets[::-1]


async def retry_one(box: DeadLetterBox, producer: PromptProducer, offset: int, options: dict[str, Any]) -> bool:
    """Send one letter's prompt again; whatever is in the way is told, and the other letters go on."""
    from producers.dead_letters.dead_letter_box import NoSuchLetter
    from producers.dead_letters.decisions.dead_letter_retry import NotRetriable, retried_prompt
    from producers.errors import ProducerError, PublishRefused
    from schemas.errors import InvalidField
    from schemas.prompt_limits import PromptLimits, check_prompt
    from schemas.prompts import turns_of

    told: dict[str, Any] = {"offset": offset}
    try:
        prompt = retried_prompt((await box.letter_at(offset)).letter, options["number"])
        check_prompt(prompt, PromptLimits())
        told |= {"user": prompt.user, "session": prompt.session, "prompt_id": prompt.prompt_id}
        told["turns"] = list(turns_of(prompt))
        if not options["dry_run"]:
            await producer.submit(prompt)
    except PublishRefused:
        raise
    except (NotRetriable, NoSuchLetter, InvalidField, ProducerError) as error:
        told["error"] = str(error)
    if options["as_json"]:
        click.echo(json.dumps(told, ensure_ascii=False))
    elif "error" in told:
        click.echo(f"{offset}: not sent: {escaped(told['error'])}", err=True)
    else:
        click.echo(f"{offset}: {told['prompt_id']} (user {told['user']}, session {told['session']})")
    return "error" not in told
