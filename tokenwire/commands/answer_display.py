"""Answers on a terminal, and as JSON.

One answer streams as it grows. Several would run into each other, so each is shown whole as it ends, under a line that
says whose it is, while one line below tells how far the others are.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any, Final, assert_never

import click

from tokenwire.commands.status_line import StatusLine
from tokenwire.commands.terminal_text import escaped, printable

if TYPE_CHECKING:
    from producers.answers.followed_answer import AnswerEnded, AnswerPiece, AnswerQueued, AnswersCompared
    from schemas.prompts import PromptSubmitted

__all__ = [
    "AnswerDisplay",
    "ComparedAnswers",
    "SilentAnswers",
    "StreamedAnswer",
    "cost_of",
    "display_of",
    "summary",
    "waits",
]

NANO: Final = 1_000_000_000
STATES: Final = {"place": "waiting", "server": "waiting for its server", "model": "loading", "answer": "not begun yet"}


class AnswerDisplay:
    """Takes the pieces of a prompt's answers, and knows in the end what came of it."""

    def __init__(self, prompt: PromptSubmitted) -> None:
        self.prompt = prompt
        self.ended: dict[int, AnswerEnded] = {}
        self.compared: AnswersCompared | None = None

    def take(self, piece: AnswerPiece) -> None:
        """Show a piece."""
        from producers.answers.followed_answer import AnswerEnded, AnswersCompared

        if isinstance(piece, AnswerEnded):
            self.ended[piece.index] = piece
        elif isinstance(piece, AnswersCompared):
            self.compared = piece

    def close(self) -> None:
        """Sum up."""

    @property
    def good(self) -> bool:
        """Whether what was asked for is there: all answers where each stands, else one of them."""
        reasons = [each.reason for each in self.ended.values()]
        if self.prompt.compare == "all":
            return set(reasons) == {"complete"}
        return "complete" in reasons


class SilentAnswers(AnswerDisplay):
    """For --json: nothing until the end, then one object."""

    def close(self) -> None:
        """Print it."""
        import msgspec

        from schemas.prompts import models_of

        prompt = self.prompt
        told: dict[str, Any] = {"user": prompt.user, "session": prompt.session, "prompt_id": prompt.prompt_id}
        if not prompt.models:
            told |= described(self.ended[0])
        else:
            models = models_of(prompt)
            told["compare"] = prompt.compare
            told["answers"] = [
                {"index": index, "model": models[index]} | described(ended)
                for index, ended in sorted(self.ended.items())
            ]
            told["chosen"] = msgspec.to_builtins(self.compared, str_keys=True) if self.compared else None
        click.echo(json.dumps(told, ensure_ascii=False))


class StreamedAnswer(AnswerDisplay):
    """One answer, as it grows."""

    def __init__(self, prompt: PromptSubmitted) -> None:
        super().__init__(prompt)
        self._status = StatusLine()

    def take(self, piece: AnswerPiece) -> None:
        """Show text as it comes; on a terminal also what the prompt waits for."""
        from producers.answers.followed_answer import (
            AnswerEnded,
            AnswerQueued,
            AnswersCompared,
            AnswerStarted,
            AnswerText,
        )

        super().take(piece)
        match piece:
            case AnswerQueued():
                self._status.clear()
                self._status.show(lambda: waits(piece))
            case AnswerStarted(attempt, _, cause, continues):
                self._status.clear()
                if attempt > 1:
                    how = "goes on" if continues else "begins anew"
                    click.echo("" if continues else "\n", nl=False)
                    click.secho(f"The answer {how} (attempt {attempt}: {cause}).", err=True, dim=True)
            case AnswerText(text):
                self._status.clear()
                click.echo(printable(text), nl=False)
                sys.stdout.flush()
            case AnswerEnded(text=text):
                self._status.clear()
                click.echo("\n" if text else "", nl=False)
            case AnswersCompared():
                pass  # there is one

    def close(self) -> None:
        """One line on how it ended."""
        self._status.clear()
        click.echo(summary(self.prompt, self.ended[0]), err=True)


class ComparedAnswers(AnswerDisplay):
    """Several answers, each whole as it ends."""

    def __init__(self, prompt: PromptSubmitted) -> None:
        from schemas.prompts import models_of

        super().__init__(prompt)
        self._models = tuple(model or "default" for model in models_of(prompt))
        self._states = ["waiting"] * len(self._models)
        self._chars = [0] * len(self._models)
        self._begun_s = time.monotonic()
        self._first_s: list[float | None] = [None] * len(self._models)
        self._status = StatusLine()

    def take(self, piece: AnswerPiece) -> None:
        """Note how far each is; show one that has ended."""
        from producers.answers.followed_answer import (
            AnswerEnded,
            AnswerQueued,
            AnswersCompared,
            AnswerStarted,
            AnswerText,
        )

        super().take(piece)
        match piece:
            case AnswerQueued(position, index=index, waits_for=waits_for):
                self._states[index] = f"waiting ({position} before it)" if position else STATES[waits_for]
            case AnswerStarted(attempt, continues=continues, index=index):
                self._states[index] = "thinking" if attempt == 1 else f"attempt {attempt}"
                self._chars[index] = self._chars[index] if continues else 0
            case AnswerText(text, index):
                self._chars[index] += len(text)
                self._states[index] = f"{self._chars[index]} characters"
                if self._first_s[index] is None:
                    self._first_s[index] = time.monotonic() - self._begun_s
            case AnswerEnded(index=index):
                self._states[index] = piece.reason
                self._status.clear()
                self._section(piece)
            case AnswersCompared():
                pass  # told at the end
        self._status.show(self._told)

    def close(self) -> None:
        """Which answer was chosen, and what all of them cost."""
        self._status.clear()
        cost = sum(each.cost_nano_usd for each in self.ended.values())
        parts = [f"{sum(each.reason == 'complete' for each in self.ended.values())} of {len(self._models)} complete"]
        if self.compared is not None and self.compared.index is not None:
            scores = ", ".join(f"{self._models[at]} {score:.2f}" for at, score in sorted(self.compared.scores.items()))
            parts.append(
                f"{self.compared.mode}: {self._models[self.compared.index]}" + (f" ({scores})" if scores else "")
            )
        parts += [f"${cost / NANO:.6f}"] if cost else []
        parts.append(f"session {self.prompt.session}")
        click.secho(escaped(" · ".join(parts)), err=True, dim=True)

    def _section(self, ended: AnswerEnded) -> None:
        first_s, whole_s = self._first_s[ended.index], time.monotonic() - self._begun_s
        label = self._models[ended.index]
        if self.prompt.compare == "merge" and ended.index == len(self._models) - 1:
            label = f"merged by {label}"
        parts = [label, ended.reason, f"{ended.usage.input_tokens} + {ended.usage.output_tokens} tokens"]
        parts += [cost_of(ended)] if ended.cost_nano_usd else []
        parts.append(
            f"first after {first_s:.1f} s, {whole_s:.1f} s in all" if first_s is not None else f"{whole_s:.1f} s"
        )
        click.secho(f"── {escaped(' · '.join(parts))} ──", bold=True)
        if ended.text:
            click.echo(printable(ended.text))
        if ended.error is not None:
            click.secho(escaped(f"({ended.error.message})"), dim=True)
        click.echo()

    def _told(self) -> str:
        return "   ".join(f"{model}: {state}" for model, state in zip(self._models, self._states, strict=True))


def display_of(prompt: PromptSubmitted, *, as_json: bool) -> AnswerDisplay:
    """How this prompt's answers are shown."""
    if as_json:
        return SilentAnswers(prompt)
    return ComparedAnswers(prompt) if prompt.models else StreamedAnswer(prompt)


def waits(queued: AnswerQueued) -> str:
    """What a prompt waits for."""
    match queued.waits_for:
        case "server":
            return "Waiting for the model's server to be started …"
        case "model":
            return "Waiting for the model to be loaded …"
        case "answer":
            return "The model has not begun to answer yet; it may still be loading, or answering others first …"
        case "place":
            return waits_in_line(queued)
        case unreachable:
            assert_never(unreachable)


def waits_in_line(queued: AnswerQueued) -> str:
    if not queued.position:
        return "Next in line …" if queued.at_provider else "Taken in …"
    eta = f", about {queued.eta_s:.0f} s" if queued.eta_s is not None else ""
    where = "at the provider" if queued.at_provider else "in this session"
    return f"Waiting: {queued.position} before it {where}{eta} …"


def cost_of(ended: AnswerEnded) -> str:
    """In dollars."""
    return f"${ended.cost_nano_usd / NANO:.6f}"


def summary(prompt: PromptSubmitted, ended: AnswerEnded) -> str:
    """One line on how it ended."""
    if ended.reason not in ("complete", "incomplete"):
        why = f": {ended.error.message}" if ended.error else ""
        return f"Error: the prompt ended {ended.reason}{why} (turn {ended.turn})"
    cost = f", {cost_of(ended)}" if ended.cost_nano_usd else ""
    tokens = f"{ended.usage.input_tokens} + {ended.usage.output_tokens} tokens"
    why = f" ({ended.error.message})" if ended.error else ""
    return click.style(f"{ended.reason}{why} · {tokens}{cost} · session {prompt.session}", dim=True)


def described(ended: AnswerEnded) -> dict[str, Any]:
    """What a script wants of an answer."""
    import msgspec

    return {
        "turn": ended.turn,
        "reason": ended.reason,
        "text": ended.text,
        "usage": msgspec.to_builtins(ended.usage),
        "cost_nano_usd": ended.cost_nano_usd,
        "error": msgspec.to_builtins(ended.error),
    }
