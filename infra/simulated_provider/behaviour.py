"""How the simulated model behaves: its pace, its length, and the faults it is asked to show.

A prompt may begin with a directive, which travels through every pipeline untouched because it is prompt text:

    [[sim tokens=400 pace_ms=20 first_ms=300 jitter=0.2 seed=7 fault=stall_after:10 times=1]] the prompt itself

What each option and each fault means stands in docs/simulated-model.md.

`times=N` limits the fault to the first N calls with that same prompt. The directive is no part of the text that
the answer is derived from. An option that does not exist is an error that names it, so that no test passes by a typo.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias, get_args

__all__ = ["Behaviour", "DirectiveError", "Fault", "FaultKind", "behaviour_for", "parse_fault", "split_directive"]

FaultKind: TypeAlias = Literal[
    "400",
    "401",
    "404",
    "429",
    "500",
    "503",
    "loading",
    "late_headers",
    "empty",
    "interrupt_after",
    "stall_headers",
    "stall_first",
    "stall_after",
    "cut_after",
    "drop_after",
    "eof_after",
    "broken_json",
    "invalid_line",
    "huge_line",
    "error_after",
    "html",
    "no_done",
    "double_done",
    "keep_alive",
    "crlf",
    "split",
]
FAULT_KINDS: Final[dict[str, FaultKind]] = {kind: kind for kind in get_args(FaultKind)}

DIRECTIVE: Final = re.compile(r"\s*\[\[sim\b([^\]\n]*)\]\] ?")
TOKENS_MAX: Final = 1_000_000
MILLISECONDS_MAX: Final = 3_600_000.0


class DirectiveError(ValueError):
    """A directive with an option, fault or value that does not exist. The message names it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong, and its number: tokens before it, or seconds to retry after."""

    kind: FaultKind
    number: float | None = None

    @property
    def after_tokens(self) -> int:
        return int(self.number or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How one answer is given. The defaults suit a demonstration."""

    first_ms: float = 250.0
    """Time from the request to the first token."""
    pace_ms: float = 1_000 / 60
    """Time between two tokens; 0 = all at once."""
    jitter: float = 0.2
    """Share of `pace_ms` by which each gap may differ, drawn from the seed."""
    tokens: int | None = None
    """Length of the answer; None = 120 to 250, by the prompt."""
    seed: int = 0
    """Changes every answer."""
    fault: Fault | None = None
    """What goes wrong, if anything."""
    quota: int | None = None
    """Requests that the server takes in QUOTA_S; what is left of them is in every answer's headers. None = any."""
    times: int | None = None
    """Only so many first calls with the same prompt get the fault; None = all."""


def split_directive(text: str) -> tuple[str, str]:
    """The options of a leading directive (empty if there is none) and the rest of the text."""
    match = DIRECTIVE.match(text)
    return (match[1].strip(), text[match.end() :]) if match else ("", text)


def behaviour_for(text: str, defaults: Behaviour) -> Behaviour:
    """What a prompt asks for, on top of the server's own settings. Raises DirectiveError."""
    options, _ = split_directive(text)
    changes: dict[str, float | int | Fault | None] = {}
    for option in options.split():
        name, _, value = option.partition("=")
        changes[name] = parse_option(name, value)
    return replace(defaults, **changes) if changes else defaults  # type: ignore[arg-type]  # typed by parse_option


def parse_fault(value: str) -> Fault | None:
    """`kind` or `kind:number`; `none` takes a default fault away. Raises DirectiveError."""
    if value == "none":
        return None
    name, _, number = value.partition(":")
    if name not in FAULT_KINDS:
        raise DirectiveError(f"there is no fault named {name!r}; known are {', '.join(FAULT_KINDS)}")
    return Fault(FAULT_KINDS[name], parse_number("fault", number, MILLISECONDS_MAX) if number else None)


def parse_option(name: str, value: str) -> float | int | Fault | None:
    match name:
        case "first_ms" | "pace_ms":
            return parse_number(name, value, MILLISECONDS_MAX)
        case "jitter":
            return parse_number(name, value, 1.0)
        case "tokens" | "times" | "seed":
            return int(parse_number(name, value, TOKENS_MAX))
        case "fault":
            return parse_fault(value)
        case _:
            raise DirectiveError(
                f"there is no option named {name!r}; known are first_ms, pace_ms, jitter, tokens, seed, fault, times"
            )


def parse_number(name: str, value: str, most: float) -> float:
    try:
        number = float(value)
    except ValueError:
        raise DirectiveError(f"{name} needs a number, not {value!r}") from None
    if not 0 <= number <= most:
        raise DirectiveError(f"{name} must lie between 0 and {most:g}")
    return number
