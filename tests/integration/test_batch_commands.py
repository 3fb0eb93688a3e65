"""Batches and cancels as people type them: real broker, worker and provider, commands as processes of their own.

Covers: producers.batches.batch_watch, tokenwire.commands.cancel, tokenwire.commands.send_batch.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from infra.embedded.broker import EmbeddedBroker
from tests.integration.worker_line import POLL_S, WorkerLine, answer_text, open_line

COMMAND_S = 60.0
SLOW = "[[sim tokens=6000 pace_ms=40]]"
"""Four minutes: commands take long to start on a busy machine."""


class Typed:
    """A command that runs."""

    def __init__(self, line: WorkerLine, process: asyncio.subprocess.Process) -> None:
        self.line = line
        self.process = process

    async def ended(self) -> tuple[int, str, str]:
        async with asyncio.timeout(COMMAND_S):
            out, err = await self.process.communicate()
        return self.process.returncode or 0, out.decode(), err.decode()


async def typed(line: WorkerLine, *arguments: str) -> Typed:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tokenwire",
        *arguments,
        env=line.environment,
        stdout=pipe,
        stderr=pipe,
    )
    return Typed(line, process)


async def run(line: WorkerLine, *arguments: str) -> tuple[int, str, str]:
    return await (await typed(line, *arguments)).ended()


def batch_file(folder: Path, lines: list[dict[str, Any]]) -> str:
    path = folder / "prompts.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


async def until_streaming(line: WorkerLine, sessions: list[str]) -> None:
    """Until each of these sessions has a chunk."""
    async with asyncio.timeout(COMMAND_S):
        for session in sessions:
            while True:
                fold = await line.fold("local", session)
                if any(turn.next_seq for turn in fold.turns.values()):
                    break
                await asyncio.sleep(POLL_S)


async def test_batch_is_watched_from_elsewhere_and_cancelled(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Open lines end and are counted, the rest is not sent, the sender and whoever watches say so."""
    lines = [{"input": f"{SLOW} {number}", "session": f"cancel-{number}"} for number in range(6)]
    file = batch_file(tmp_path, lines)
    async with open_line(broker, tmp_path) as line:
        line.start_worker()
        sender = await typed(line, "send", "--file", file, "--lanes", "3")
        await until_streaming(line, [f"cancel-{number}" for number in range(3)])
        watcher = await typed(line, "batch", "watch", file, "--json")
        second = await run(line, "send", "--file", file)
        code, out, err = await run(line, "batch", "cancel", file, "--json")
        sent, watched = await sender.ended(), await watcher.ended()
        listed = await run(line, "batch", "list", "--json")
        folds = [await line.fold("local", f"cancel-{number}") for number in range(6)]

    told = json.loads(out)
    assert (code, told["asked_to_cancel"], told["ended"], told["not_sent"]) == (0, 3, {"cancelled": 3}, 3), err
    assert told["output_tokens"] > 0
    assert (second[0], "batch watch" in second[2]) == (1, True)
    assert sent[0] == 1
    assert "3 cancelled" in sent[2]
    assert "3 lines were not sent" in sent[2]
    assert json.loads(watched[1])["ended"] == {"cancelled": 3}
    assert [len(fold.turns) for fold in folds] == [1, 1, 1, 0, 0, 0]
    assert json.loads(listed[1])["cancelled"]


async def test_watch_outlives_its_sender_and_nothing_is_paid_for_twice(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Killed in mid-batch: what was sent is followed to its end, the rest named; sent again, all is there once."""
    lines = [{"input": f"[[sim tokens=60 pace_ms=40]] {number}", "session": f"watch-{number}"} for number in range(5)]
    file = batch_file(tmp_path, lines)
    async with open_line(broker, tmp_path) as line:
        line.start_worker()
        sender = await typed(line, "send", "--file", file, "--lanes", "2", "--batch-name", "nightly")
        await until_streaming(line, ["watch-0", "watch-1"])
        sender.process.kill()
        await sender.ended()
        watched = await run(line, "batch", "watch", "nightly")
        again = await run(line, "send", "--file", file, "--batch-name", "nightly")
        whole = await run(line, "batch", "watch", file, "--json")
        turns = [turn for n in range(5) for turn in (await line.fold("local", f"watch-{n}")).turns.values()]

    assert watched[0] == 1
    assert "2 of 5 ended (2 complete)" in watched[2]
    assert "3 not sent" in watched[2]
    assert again[0] == 0
    assert whole[0] == 0
    assert json.loads(whole[1])["ended"] == {"complete": 5}
    assert [turn.attempt for turn in turns] == [1] * 5


async def test_prompt_is_cancelled_from_the_command_line(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """A running answer ends with what it has."""
    async with open_line(broker, tmp_path) as line:
        line.start_worker()
        ids = ("--session", "by-hand", "--prompt-id", "q1")
        sent = await run(line, "send", "--no-wait", *ids, f"{SLOW} Go on")
        await until_streaming(line, ["by-hand"])
        cancelled = await run(line, "cancel", *ids)
        shown = await run(line, "send", *ids, "--json", f"{SLOW} Go on")

    assert (sent[0], cancelled[0]) == (0, 0)
    assert json.loads(shown[1])["reason"] == "cancelled"
    assert json.loads(shown[1])["text"]


async def test_several_models_are_asked_from_the_command_line(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Each answer by its model, and which one goes on in the conversation."""
    config = tmp_path / "tokenwire.toml"
    async with open_line(broker, tmp_path, config=config) as line:
        models = "".join(f'[models.{name}]\ntargets = ["sim:{name}"]\n' for name in ("fast", "clever"))
        config.write_text(f'{models}[providers.sim]\nbase_url = "{line.provider.base_url}"\n')
        line.start_worker()
        question = "Why do rivers bend?"
        code, out, err = await run(line, "send", "--models", "fast,clever", "--compare", "best", "--json", question)
        unknown = await run(line, "send", "--models", "fast,nobody", "--json", question)

    told = json.loads(out)
    assert code == 0, err
    assert [answer["model"] for answer in told["answers"]] == ["fast", "clever"]
    assert {answer["text"] for answer in told["answers"]} == {answer_text(question)}
    assert (told["chosen"]["mode"], told["chosen"]["index"]) == ("best", 0)
    assert unknown[0] == 1
    assert {answer["reason"] for answer in json.loads(unknown[1])["answers"]} == {"rejected"}


async def test_failed_lines_are_told_apart_and_asked_anew(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """A second run asks no failed line and exits 1; `--retry failed` asks it alone, the results name it."""
    lines = [
        {"input": "[[sim tokens=3]] whole", "session": "talk"},
        {"input": "[[sim status=400]] refused", "session": "talk"},
        {"input": "[[sim tokens=3]] after it", "session": "talk"},
    ]
    file = batch_file(tmp_path, lines)
    async with open_line(broker, tmp_path) as line:
        line.start_worker()
        first = await run(line, "send", "--file", file)
        second = await run(line, "send", "--file", file)
        retried = await run(line, "send", "--file", file, "--retry", "failed", "--json")
        watched = await run(line, "batch", "watch", file, "--json")
        turns = (await line.fold("local", "talk")).turns
    results = [json.loads(raw) for raw in (tmp_path / "prompts.jsonl.results.jsonl").read_text().splitlines()]

    assert (first[0], second[0], retried[0]) == (1, 1, 1), (first, second, retried)
    assert "2 answered before, 1 failed before" in second[2]
    assert "--retry failed" in second[2]
    assert "middle of a conversation" in retried[2]
    assert json.loads(retried[1])["answered_before"] == 2
    assert len(turns) == 4
    assert [each.get("retry_of", "") for each in results] == ["", "", "", results[1]["prompt_id"]]
    assert results[3]["prompt_id"] == f"{results[1]['prompt_id']}.retry-1"
    assert json.loads(watched[1])["ended"] == {"complete": 2, "error": 1}


async def test_retry_that_is_killed_pays_once(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Killed while the failed lines stream anew, and run again: each is asked once more in all, and then answered."""
    failing = "[[sim fault=400 times=1 tokens=60 pace_ms=40]]"
    lines = [{"input": f"{failing} {number}", "session": f"again-{number}"} for number in range(2)]
    file = batch_file(tmp_path, lines)
    async with open_line(broker, tmp_path) as line:
        line.start_worker()
        first = await run(line, "send", "--file", file)
        retrying = await typed(line, "send", "--file", file, "--retry", "failed")
        await until_streaming(line, ["again-0", "again-1"])
        retrying.process.kill()
        await retrying.ended()
        again = await run(line, "send", "--file", file, "--retry", "failed", "--json")
        after = await run(line, "send", "--file", file, "--retry", "failed", "--json")
        calls = [line.provider.call_log.for_prompt(f"{number}") for number in range(2)]
        turns = [turn for n in range(2) for turn in (await line.fold("local", f"again-{n}")).turns.values()]

    assert first[0] == 1
    assert (again[0], after[0]) == (0, 0), (again, after)
    assert [[call.status for call in each] for each in calls] == [[400, 200]] * 2
    assert sorted((turn.ended.reason, turn.attempt) for turn in turns if turn.ended) == [
        *[("complete", 1)] * 2,
        *[("error", 1)] * 2,
    ]
