"""The Faust agent: takes records off the prompts topic and hands each to its partition's owner.

The stream is read without Faust's own acknowledgements: what may be committed is known to the owner alone (see
`processors.ordered_commits`). The agent raises nothing, so Faust never restarts it over a record.
"""

from __future__ import annotations

from typing import Any

from processors.ownership import Ownership

__all__ = ["add_prompt_agent"]


def add_prompt_agent(app: Any, ownership: Ownership) -> Any:
    """Wire the agent to the prompts topic; returns it."""
    prompts = ownership.parts.names.prompts
    topic = app.topic(prompts, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")

    async def answer_prompts(stream: Any) -> None:
        async for event in stream.noack().events():
            await ownership.deliver(event.message)
            event.ack()

    return app.agent(topic, name="answer-prompts")(answer_prompts)
