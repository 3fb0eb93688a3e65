"""Any provider that speaks OpenAI's chat completions, through the openai client and past its object models."""

from __future__ import annotations

from processors.providers.openai_endpoint import OpenAIEndpoint
from processors.providers.openai_stream import OpenAIStream
from processors.providers.provider import ChatRequest

__all__ = ["OpenAIProvider"]


class OpenAIProvider(OpenAIEndpoint):
    """A provider reached at a base URL with a key. Keeps its connections; `aclose` when done."""

    def stream(self, request: ChatRequest) -> OpenAIStream:
        """One call. See ChatProvider.stream."""
        return OpenAIStream(self, request)
