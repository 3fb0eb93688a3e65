"""What a program asks for, checked before it is sent: whatever the gateway would refuse for its form is refused here.

The fields and their types are those of the wire's `prompt`, the limits those that `welcome` told; what only a gateway
knows (its models, whether there is room) is left to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from websockets.exceptions import InvalidURI
from websockets.uri import parse_uri

from schemas.client_messages import Attach, ClientMessage, Prompt, submitted_by
from schemas.errors import InvalidField
from schemas.gateway_messages import Welcome
from schemas.identifiers import UserId, check_session_id
from schemas.plain_values import struct_of
from schemas.prompt_limits import PromptLimits, check_prompt
from schemas.prompt_parts import parts_of

__all__ = ["checked_attach", "checked_prompt", "checked_token", "checked_urls", "fitting"]

ANYBODY = UserId("anybody")
"""In the place of the user, who is not this side's to name."""


def checked_prompt(
    text: str, *, session: str, prompt_id: str, options: Mapping[str, object], welcome: Welcome | None
) -> Prompt:
    """The message to send; an option that is None is left out. Raises InvalidField, naming the field."""
    said = {name: value for name, value in options.items() if value is not None}
    prompt = struct_of(Prompt, {"input": text, "session": session, "prompt_id": prompt_id, **said})
    limits = PromptLimits()
    if welcome is not None and welcome.prompt_bytes_max:
        limits = PromptLimits(prompt_bytes_max=welcome.prompt_bytes_max)
    check_prompt(submitted_by(prompt, ANYBODY), limits)
    return prompt


def checked_attach(session: str, from_: str) -> Attach:
    """The message to send. Raises InvalidField."""
    attach = struct_of(Attach, {"session": session, "from_": from_})
    check_session_id(session)
    if not from_.isascii():
        raise InvalidField("from_", "is no cursor", 'say "start", "tail" or a cursor that was told')
    return attach


def checked_token(token: object) -> str:
    """The token, if it can be one. Raises InvalidField, which does not quote it."""
    if not isinstance(token, str) or not token or not token.isascii():
        raise InvalidField("token", "is no access token or connect ticket", "say what `tokenwire token` prints")
    return token


def checked_urls(url: str | Sequence[str]) -> list[str]:
    """The addresses to try in turn. Raises InvalidField."""
    urls = [url] if isinstance(url, str) else list(url)
    remedy = "say ws:// or wss://, a host and /v1/connect"
    if not urls:
        raise InvalidField("url", "names no address", remedy)
    for address in urls:
        try:
            parse_uri(address)
        except (InvalidURI, ValueError, TypeError, AttributeError):
            raise InvalidField("url", "is no websocket address", remedy) from None
    return urls


def fitting(message: ClientMessage, welcome: Welcome | None) -> Iterable[ClientMessage]:
    """What to send for a message: itself, or the parts of a long prompt where the gateway takes them."""
    if welcome is None or not welcome.prompt_bytes_max or not isinstance(message, Prompt):
        return (message,)
    return parts_of(message, welcome.frame_bytes_max)
