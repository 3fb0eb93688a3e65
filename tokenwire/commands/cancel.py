"""`tokenwire cancel`: end a prompt that was sent."""

from __future__ import annotations

import asyncio
import json
from typing import Final

import click

from tokenwire.commands.send import DEFAULT_USER

__all__ = ["cancel"]

CONNECT_S: Final = 3.0


@click.command()
@click.option("--user", default=DEFAULT_USER, show_default=True, help="Who asked.")
@click.option("--session", required=True, help="The conversation.")
@click.option("--prompt-id", required=True, help="The prompt to end.")
@click.option("--json", "as_json", is_flag=True, help="Print where the wish was written, as one JSON object.")
def cancel(user: str, session: str, prompt_id: str, as_json: bool) -> None:
    """End a prompt's answer, all of its models' answers, whether they run, wait or have not begun.

    What was said so far is kept, and paid for. A prompt that has ended stays as it is; one that has not arrived yet is
    cancelled when it does, within ten minutes.

    \b
    Example:
      tokenwire cancel --session s1 --prompt-id q1
    """
    asyncio.run(publish_cancel(user, session, prompt_id, as_json=as_json))


async def publish_cancel(user: str, session: str, prompt_id: str, *, as_json: bool) -> None:
    from producers.prompt_producer import PromptProducer
    from schemas.identifiers import check_prompt_id, check_session_id, check_user_id
    from schemas.prompts import PromptCancelled
    from tokenwire.line.client_start import client_start

    settings = client_start()
    check_user_id(user)
    check_session_id(session)
    check_prompt_id(prompt_id)
    producer = PromptProducer(settings)
    await producer.start(deadline_s=CONNECT_S)
    try:
        written = await producer.cancel(PromptCancelled(user=user, session=session, prompt_id=prompt_id))
    finally:
        await producer.stop()
    if as_json:
        place = {"topic": written.topic, "partition": written.partition, "offset": written.offset}
        click.echo(json.dumps({"user": user, "session": session, "prompt_id": prompt_id} | place))
    else:
        click.echo(f"Asked to end {prompt_id} in session {session}.", err=True)
