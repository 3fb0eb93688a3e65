"""How many calls a target takes at once, learned from how it answers: an adaptive concurrency limit.

Nobody tells us how many calls a model server answers at once. One that gets more lets them wait unseen, in an order of
its own, until our deadlines run out; or makes all of them slow; or refuses them with 429. Calls that wait should wait
with us: in the order of `priority_queue`, their place told, and free to go elsewhere.

What is looked at, for each call of ours:

    late       its first token came later than LATE_FACTOR times the target's usual one for prompts of that size, and
               SLACK_S more (`usual_first_token`). A call that found others of ours there was one too many
    in time    otherwise. So many calls are fine
    slow       the calls are so many that they bring no more text together than fewer would (`pace_levels`)
    overload   429 that names no limit per minute

A late call lowers the limit to one less than the calls that it found, itself included, or, where less, to the calls
that are being answered: those under way but for the ones that are overdue too, of which as many are being read as calls
ended a moment ago. Not below what came in time since it
began, which shows that it was late for another reason. A slow one lowers it to what `pace_levels` advises, an overload
to those under way. A call in time that took the last place raises it, once its text has flowed for REVIEW_S: by one,
then two, four, …, at most twofold, until the next lowering. After a lowering it is left alone for a while, longer each
time that the raise before it was in vain: so it is tried out seldom where it is right, and found soon where it is not.

A start of 1 is the usual one at a server of one's own: how it does with more calls is seen beside how it does with
fewer. Without a start (a hosted provider) there is no limit until EVIDENCE_CALLS calls in a row are late just after a
call of ours has ended there, as in a queue; a late call alone may be anything, and so may a slow one: a provider that
many use is slower at one time of the day than at another.

The first answers after IDLE_S of silence, when a server may have to load its model, count from the moment that the
first of them speaks, and are no samples. What was learned of the limit is forgotten with that silence.

A sample of the usual first token is a call during whose wait no call of ours ended: one that was let in by another's
end may have stood in a queue. With none yet, a call that others' ends came before counts as late where there is a
limit: it falls until a call is alone, and that one is a sample. Where there is no limit, what the first answer took is
taken for the usual time: too long, if a model was loaded, and no worse.

Trying out costs whoever comes next. Where interactive prompts came within MIXED_S, and more was too many within
MIXED_S, the place that is tried out is for them alone: an interactive prompt in it waits at the target instead of in
our queue, no longer; a batch prompt in it would let those after it wait for one more answer.

Other workers. Each learns for its own calls. One whose limit is 1, and whose calls are late although nothing of its own
runs there, shares the target with others that it cannot see: for SHARED_S it asks one of them for each call
(`asks_another`). That one begins anew with each worker that comes to ask (`see_more`).

Invariants: a limit is at least 1; it grows at most twofold at once; `running` is the number of begun and not ended
calls; the same events in the same order lead to the same limit. Cost: a few comparisons a call, and a walk over the
silent calls when one was late.

Why not Netflix's Gradient2 or Envoy's filter: see decision record 52.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Final

from processors.targets.decisions.pace_levels import PaceLevels
from processors.targets.decisions.usual_first_token import UsualFirstToken
from schemas.permits import CallOutcome

__all__ = ["LIVELY_S", "REVIEW_S", "CallLimit", "SeenCall"]

LATE_FACTOR: Final = 1.5
SLACK_S: Final = 0.25
"""Below this, lateness is weather: ours, the network's, a server's scheduler's."""
EVIDENCE_CALLS: Final = 5
"""Late calls in a row that end an unlimited state: of calls one in seven of which is late by chance, one in
seventeen thousand begins such a row."""
SLOW_CALLS: Final = 2
"""Slow reviews in a row that lower a limit."""
REVIEW_S: Final = 1.0
"""How long an answer must flow before its time per chunk is looked at, and between two looks."""
CHUNKS_MIN: Final = 4
"""Chunks that make a time per chunk."""
CHUNKS_S_MIN: Final = 0.1
HOLD_S_MIN: Final = 1.0
HOLD_S_MAX: Final = 10.0
"""A limit that is right is tried out no more seldom."""
MIXED_S: Final = 60.0
IDLE_S: Final = 300.0
"""Silence after which a server may have put its model away (Ollama's default)."""
LIVELY_S: Final = 10.0
"""A target that was heard so lately is alive."""
SHARED_S: Final = 300.0
LONE_LATES: Final = 3
"""Calls in a row that are late on their own, after which other workers must be there."""
FRESH_S: Final = 600.0
"""How old a level of pace may be that is compared with."""
PROVEN_MAX: Final = 64
"""Calls in time that are remembered."""
RELEASES_MAX: Final = 256
"""Ends of calls that are remembered."""


@dataclass(slots=True, eq=False)
class SeenCall:
    """A call as its target's limit sees it."""

    began_s: float
    load: int
    """Calls under way when it began, itself included; of them those that are answered, once it has spoken in time."""
    cold: bool
    foreign: bool = False
    """Another worker makes it: what it says is not heard before it has ended."""
    """It began when the target had not been heard for long."""
    in_time: bool = False
    spoke: bool = False
    looked_s: float = 0.0
    looked_area: float = 0.0
    looked_chunks: int = 0


class CallLimit:
    """How many calls one target takes at once from one worker. Times are any monotonic clock's seconds."""

    def __init__(self, start: int | None = None) -> None:
        self.limit: int | None = start
        self._confirmed: int | None = start
        """The limit before a raise that has not been seen to be right."""
        self._start = start
        """Calls at once to begin with; None: no limit until there is evidence for one."""
        self.has_neighbours = False
        """Whether other workers may call the target, of which one can be asked."""
        self._usual = UsualFirstToken()
        self.running = 0
        self.silent: dict[SeenCall, None] = {}
        self._area = 0.0
        """Calls under way times seconds, up to `area_s`."""
        self._area_s = 0.0
        self.heard_s = -math.inf
        self._woke_s = -math.inf
        """When it spoke for the first time after a long silence."""
        self._waking_took_s = math.inf
        """How long that took: a first token and, perhaps, the loading of a model."""
        self._released_s: deque[float] = deque([-math.inf], maxlen=RELEASES_MAX)
        """When calls that had spoken ended, the last one last."""
        self._interactive_s = -math.inf
        self.shared_until_s = -math.inf
        self.forget()

    def start_with(self, start: int | None) -> None:
        """Another start from now on, since more is known of the server; what was learned stands."""
        if start != self._start:
            learned, self._start = self.limit != self._start, start
            if not learned:
                self.forget()

    def see_more(self) -> None:
        """From now on another worker's calls are seen here, which were in the way of ours unseen: what was learned
        beside them is wrong."""
        if self.limit is not None:
            self.forget()
            self.limit = self._confirmed = 1
            self._usual = UsualFirstToken()
            for call in self.silent:
                call.cold = True  # whatever they wait for, it is no sample

    def forget(self) -> None:
        """Begin anew with the limit."""
        self.limit = self._confirmed = self._start
        self._pace = PaceLevels()
        self._proven: deque[tuple[float, int]] = deque(maxlen=PROVEN_MAX)
        """When calls in time began, and which load they were."""
        self._step = 1
        self._hold_s = HOLD_S_MIN
        self._raise_from_s = -math.inf
        self._changed_s = -math.inf
        self._lowered_s = -math.inf
        self._was_raised = False
        self._lates = self._slows = self._lone_lates = 0

    # ---- What follows for those who wait

    def places(self, now_s: float, *, batch: bool = False) -> int | None:
        """Calls that may be under way at once; None: any number."""
        if self.limit is None or self._confirmed is None:
            return self.limit
        is_mixed = batch and now_s - min(self._interactive_s, self._lowered_s) < MIXED_S
        return min(self.limit, self._confirmed) if is_mixed else self.limit

    def asks_another(self, now_s: float) -> bool:
        """Whether one of the other workers is to be asked for each call."""
        return self.has_neighbours and now_s < self.shared_until_s

    def heard_lately(self, now_s: float) -> bool:
        """Whether the target answers calls of ours these days: one that ran out of time there stood in a queue."""
        return now_s - self.heard_s <= LIVELY_S

    # ---- What happens

    def begin(self, now_s: float, *, batch: bool = False, foreign: bool = False) -> SeenCall:
        """A call takes a place. It is `end`ed exactly once, or, a foreign one, `returned`."""
        is_cold = now_s - self.heard_s > IDLE_S
        if is_cold and not self.running:
            self.forget()
        if not batch:
            self._interactive_s = now_s
        self.pass_time(now_s)
        self.running += 1
        call = SeenCall(now_s, self.running, is_cold, foreign)
        self.silent[call] = None
        return call

    def heard(self, call: SeenCall, now_s: float, *, sent_s: float, chunks: int, input_tokens: int) -> None:
        """Text came: the first of it, and about every REVIEW_S more. `sent_s`: when the call was made; `chunks`: all
        so far, 0 where their pace is not the target's."""
        self.pass_time(now_s)
        if now_s - self.heard_s > IDLE_S:
            self._woke_s, self._waking_took_s = now_s, now_s - sent_s
        self.heard_s = now_s
        if call.spoke:
            self.review(call, now_s, chunks)
            return
        self.silent.pop(call, None)
        call.spoke = True
        waited_from_s = max(sent_s, self._woke_s) if call.cold else sent_s
        self.first_token(
            call, now_s, now_s - waited_from_s, input_tokens, hindered=self._released_s[-1] > waited_from_s
        )
        self.look_again_after(call, now_s, chunks)

    def end(self, call: SeenCall, now_s: float, outcome: CallOutcome = "ended", *, chunks: int = 0) -> None:
        """A call gives its place back."""
        self.pass_time(now_s)
        self.running -= 1
        self.silent.pop(call, None)
        if call.spoke:
            self._released_s.append(now_s)
            self.review(call, now_s, chunks)
        elif outcome == "overloaded" and call.load > 1:
            self.lower(max(self.proven_since(call.began_s), min(call.load - 1, self.running)), now_s)
        elif outcome == "timed_out" and self.heard_lately(now_s):
            self.note_late(call, now_s, now_s - call.began_s)

    def returned(
        self, call: SeenCall, now_s: float, outcome: CallOutcome, *, first_token_s: float | None, input_tokens: int
    ) -> None:
        """A call that another worker made in a place of ours has ended; `first_token_s`: None where none came."""
        self.silent.pop(call, None)
        if first_token_s is not None:
            self.heard_s = max(self.heard_s, call.began_s + first_token_s)
            call.spoke = True
            if not call.cold:
                self.first_token(call, now_s, first_token_s, input_tokens, hindered=call.load > 1)
        self.end(call, now_s, outcome)

    # ---- The verdicts

    def first_token(self, call: SeenCall, now_s: float, waited_s: float, input_tokens: int, *, hindered: bool) -> None:
        """Judge a first token. `hindered`: a call of ours ended while this one waited."""
        usual_s = self._usual.of(input_tokens)
        if usual_s is not None:
            due_s = LATE_FACTOR * usual_s + SLACK_S
        else:
            due_s = 0.0 if self.limit is not None else LATE_FACTOR * self._waking_took_s + SLACK_S
        is_late = waited_s > due_s and (usual_s is not None or hindered)
        is_sample = not call.cold and not hindered
        if is_sample and (not is_late or (call.load == 1 and not self.has_neighbours)):
            self._usual.add(input_tokens, waited_s)
        if is_late:
            self.note_late(call, now_s, due_s)
        else:
            call.in_time = True
            call.load = self.answered_beside(call)
            self._lone_lates = 0
            self._lates = 0
            self._proven.append((call.began_s, call.load))

    def answered_beside(self, call: SeenCall) -> int:
        """How many calls are known to be answered at once, now that this one has spoken in time: it may have passed
        those that began before it, and a word that a call has ended takes a while."""
        passed = sum(other.began_s <= call.began_s for other in self.silent)
        return max(1, min(call.load, self.running) - passed)

    def note_late(self, call: SeenCall, now_s: float, due_s: float) -> None:
        found = max(call.load, 2) if self.running > 1 else call.load
        if found <= 1:
            self._lone_lates += 1
            if self.limit == 1 and self._lone_lates >= LONE_LATES:
                self.shared_until_s = now_s + SHARED_S
            return
        if self.limit is None:
            if now_s - self._released_s[-1] > due_s:
                return
            self._lates += 1
            if self._lates < EVIDENCE_CALLS:
                return
        answered = self.running - sum(other.began_s < now_s - due_s and not other.foreign for other in self.silent)
        being_read_s = max(due_s - SLACK_S, LATE_FACTOR * self._waking_took_s if due_s == 0 else 0.0)
        let_in = sum(released_s >= now_s - being_read_s for released_s in self._released_s)
        answered += max(0, let_in - 1)  # one of them let this call in
        self.lower(max(self.proven_since(call.began_s), min(found - 1, answered)), now_s)

    def review(self, call: SeenCall, now_s: float, chunks: int) -> None:
        """Look at what a call has brought since the last time, and raise the limit where it is right to."""
        if self.limit is None:
            return
        flowed_s, new = now_s - call.looked_s, chunks - call.looked_chunks
        if new >= CHUNKS_MIN and flowed_s >= CHUNKS_S_MIN:
            calls = (self._area - call.looked_area) / flowed_s
            enough = self._pace.enough(calls, flowed_s / new, now_s, fresh_s=FRESH_S)
            self.look_again_after(call, now_s, chunks)
            self._slows = self._slows + 1 if enough is not None and enough < self.limit else 0
            if enough is not None and self._slows >= SLOW_CALLS:
                self.lower(enough, now_s)
        if self._slows or now_s < self._raise_from_s:
            return
        if call.in_time and call.load >= self.limit and call.began_s >= self._changed_s:
            self.raise_limit(self.limit, now_s)

    def raise_limit(self, limit: int, now_s: float) -> None:
        self._confirmed, self.limit = limit, limit + min(self._step, limit)
        if self._step > 2:
            self._hold_s = HOLD_S_MIN  # it grows indeed
        self._step *= 2
        self._changed_s, self._was_raised = now_s, True

    def lower(self, limit: int, now_s: float) -> None:
        limit = max(1, limit)
        self._slows = self._lates = 0
        if self.limit is not None and limit >= self.limit:
            return
        if self._was_raised:
            self._hold_s = min(HOLD_S_MAX, 2 * self._hold_s)
        self.limit = self._confirmed = limit
        self._step, self._was_raised = 1, False
        self._changed_s = self._lowered_s = now_s
        self._raise_from_s = now_s + self._hold_s

    def proven_since(self, moment_s: float) -> int:
        """The largest load of the calls in time that began since then."""
        return max((load for began_s, load in self._proven if began_s >= moment_s), default=1)

    def pass_time(self, now_s: float) -> None:
        self._area += self.running * (now_s - self._area_s)
        self._area_s = now_s

    def look_again_after(self, call: SeenCall, now_s: float, chunks: int) -> None:
        call.looked_s, call.looked_area, call.looked_chunks = now_s, self._area, chunks
