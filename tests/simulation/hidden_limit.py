"""A model server with a limit that nobody is told of, callers in one line before it, and time in small steps.

What the server does with more calls than its limit: `queue` lets them wait in the order of their coming, `slower`
shares its power among all (the first token is as quick as ever, or as slow as the rest, by `shares_first`), `429`
refuses them. Steps instead of events, since sharing changes everybody's end at every beginning.
"""

from __future__ import annotations

import random
import statistics
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, TypeAlias

from processors.targets.decisions.call_limit import REVIEW_S, SeenCall
from schemas.permits import CallOutcome

__all__ = ["STEP_S", "Caller", "FixedLimit", "HiddenLimit", "Mode", "World"]

Mode: TypeAlias = Literal["queue", "slower", "429"]
STEP_S: Final = 0.02
RETRY_S: Final = 1.25
"""When a refused call is asked again: the retry policy's first pause with the mean of its jitter."""


@dataclass(eq=False)
class Caller:
    """One prompt: how much it asks for, and what became of it."""

    came_s: float
    answer_s: float
    """How long its answer flows at full speed."""
    batch: bool = True
    seen: SeenCall | None = None
    sent_s: float = 0.0
    is_read: bool = False
    """The server has taken it up."""
    done_s: float = 0.0
    """Work that the server has done for it, in seconds at full speed."""
    told_s: float = -1.0
    spoke_s: float | None = None
    ended_s: float | None = None
    refusals: int = 0
    longest_rest_s: float = 0.0
    """What the longest of the running answers had left when it came."""


@dataclass
class HiddenLimit:
    """The server."""

    mode: Mode
    limit: int
    first_s: float = 0.25
    chunk_s: float = 0.02
    shares_first: bool = False
    calls: list[Caller] = field(default_factory=list)

    def takes(self, caller: Caller) -> bool:
        """Let a call in; False: refused."""
        if self.mode == "429" and len(self.calls) >= self.limit:
            return False
        self.calls.append(caller)
        return True

    def work(self) -> None:
        """One step for everybody who is being answered."""
        if self.mode == "slower":
            share = min(1.0, self.limit / len(self.calls)) if self.calls else 1.0
            for caller in self.calls:
                caller.done_s += STEP_S * (share if self.shares_first or caller.done_s >= self.first_s else 1.0)
            return
        read = sum(caller.is_read for caller in self.calls)
        for caller in self.calls:
            if not caller.is_read and read < self.limit:
                caller.is_read = True
                read += 1
            if caller.is_read:
                caller.done_s += STEP_S

    def chunks_of(self, caller: Caller) -> int:
        return max(0, int((caller.done_s - self.first_s) / self.chunk_s))


class Limit(Protocol):
    """What `CallLimit` is to the world."""

    running: int

    def places(self, now_s: float, *, batch: bool = False) -> int | None: ...
    def begin(self, now_s: float, *, batch: bool = False) -> SeenCall: ...
    def heard(self, call: SeenCall, now_s: float, *, sent_s: float, chunks: int, input_tokens: int) -> None: ...
    def end(self, call: SeenCall, now_s: float, outcome: CallOutcome = "ended", *, chunks: int = 0) -> None: ...


class FixedLimit:
    """So many calls at once, whatever happens."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.running = 0

    def places(self, now_s: float, *, batch: bool = False) -> int | None:
        return self.limit

    def begin(self, now_s: float, *, batch: bool = False) -> SeenCall:
        self.running += 1
        return SeenCall(now_s, self.running, cold=False)

    def heard(self, call: SeenCall, now_s: float, *, sent_s: float, chunks: int, input_tokens: int) -> None:
        pass

    def end(self, call: SeenCall, now_s: float, outcome: CallOutcome = "ended", *, chunks: int = 0) -> None:
        self.running -= 1


class World:
    """One worker's line before one server."""

    def __init__(self, limit: Limit, server: HiddenLimit, *, seed: int = 0, answer_s: float = 3.0) -> None:
        self.limit = limit
        self.server = server
        self.draw = random.Random(seed)
        self.answer_s = answer_s
        self.now_s = 0.0
        self.line: deque[Caller] = deque()
        self.first_line: deque[Caller] = deque()
        self.later: list[tuple[float, Caller]] = []
        self.ended: list[Caller] = []
        self.ended_s = 0.0
        """Seconds of text of the answers that have ended."""
        self.told: list[tuple[float, int | None]] = []
        """The limit at every step."""
        self.written: list[tuple[float, float]] = []
        """Seconds of text that have come in all, at every step."""

    def come(self, *, batch: bool = True) -> Caller:
        """One more prompt; its answer is half to one and a half times as long as usual."""
        caller = Caller(self.now_s, self.answer_s * self.draw.uniform(0.5, 1.5), batch)
        caller.longest_rest_s = max(
            (one.answer_s + self.server.first_s - one.done_s for one in self.server.calls), default=0.0
        )
        (self.line if batch else self.first_line).append(caller)
        return caller

    def step(self) -> None:
        """Let STEP_S pass."""
        self.now_s += STEP_S
        self.begin_all()
        self.server.work()
        for caller in list(self.server.calls):
            self.look_at(caller)
        self.told.append((self.now_s, self.limit.places(self.now_s)))
        running_s = sum(max(0.0, caller.done_s - self.server.first_s) for caller in self.server.calls)
        self.written.append((self.now_s, self.ended_s + running_s))

    def until(self, condition: Callable[[], bool], *, at_most_s: float) -> None:
        """Steps until something is so."""
        end_s = self.now_s + at_most_s
        while not condition():
            assert self.now_s < end_s, f"not within {at_most_s} s: {len(self.ended)} ended, limit {self.told[-1]}"
            self.step()

    def run(self, duration_s: float) -> None:
        """Steps for so long."""
        end_s = self.now_s + duration_s
        while self.now_s < end_s:
            self.step()

    def begin_all(self) -> None:
        for at_s, caller in [one for one in self.later if one[0] <= self.now_s]:
            self.later.remove((at_s, caller))
            (self.line if caller.batch else self.first_line).appendleft(caller)
        for line in (self.first_line, self.line):
            while line:
                batch = line[0].batch
                places = self.limit.places(self.now_s, batch=batch)
                if places is not None and self.limit.running >= places:
                    return
                caller = line.popleft()
                caller.seen, caller.sent_s = self.limit.begin(self.now_s, batch=batch), self.now_s
                if not self.server.takes(caller):
                    caller.refusals += 1
                    self.limit.end(caller.seen, self.now_s, "overloaded")
                    self.later.append((self.now_s + RETRY_S, caller))

    def look_at(self, caller: Caller) -> None:
        assert caller.seen is not None
        if caller.done_s < self.server.first_s:
            return
        chunks = self.server.chunks_of(caller)
        if self.now_s >= caller.told_s + REVIEW_S:
            caller.spoke_s = caller.spoke_s or self.now_s
            caller.told_s = self.now_s
            self.limit.heard(caller.seen, self.now_s, sent_s=caller.sent_s, chunks=max(1, chunks), input_tokens=500)
        if caller.done_s >= self.server.first_s + caller.answer_s:
            self.server.calls.remove(caller)
            caller.ended_s = self.now_s
            self.ended.append(caller)
            self.ended_s += caller.answer_s
            self.limit.end(caller.seen, self.now_s, chunks=chunks)

    def median_limit(self, since_s: float) -> float:
        """Of the limit, since then; unlimited counts as very many."""
        return statistics.median(10_000 if limit is None else limit for at_s, limit in self.told if at_s >= since_s)

    def text_s(self, since_s: float) -> float:
        """Seconds of text that have come since then; not of whole answers, of which a minute holds but a few."""
        return self.written[-1][1] - next(written_s for at_s, written_s in self.written if at_s >= since_s)
