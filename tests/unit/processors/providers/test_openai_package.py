"""What of the openai package a worker reads."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Final

PROGRAM: Final = """
import json, sys
from processors.providers.openai_package import openai
client = openai.AsyncOpenAI(api_key="x")
read = sorted(name for name in sys.modules if name.startswith("openai.types."))
from openai.types import Completion
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import Response
kinds = [Completion, ChatCompletionChunk, Response, openai.types.responses.ResponseUsage, openai.types.Model]
print(json.dumps([read, [kind.__name__ for kind in kinds], hasattr(openai.types, "nothing_of_the_kind")]))
"""


def test_models_that_nobody_calls_are_read_when_asked_for() -> None:
    """The client works without them; whoever names one gets it, and a name that is none is none."""
    output = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True)
    read, kinds, has_nothing = json.loads(output.stdout)

    assert "openai.types.responses.response" not in read
    assert kinds == ["Completion", "ChatCompletionChunk", "Response", "ResponseUsage", "Model"]
    assert not has_nothing
