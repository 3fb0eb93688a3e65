"""The sessions of one partition of users, as far as they are in use: each is one lane."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import takewhile

from infra.clock import Clock
from processors.ledger.user_accounts import UserAccounts
from processors.sessions.open_turn import OpenTurn
from processors.sessions.session_lane import Joined, SessionLane, Settle
from processors.sessions.session_logs import SessionLogs
from processors.sessions.turn_journal import TurnJournal
from schemas.identifiers import SessionId, SessionKey, UserId, session_key_of

__all__ = ["PartitionSessions"]


@dataclass(eq=False, kw_only=True)
class PartitionSessions:
    """Lanes by session, the one used last at the end. `settle` and `joined` are every lane's."""

    journal: TurnJournal
    accounts: UserAccounts
    logs: SessionLogs
    clock: Clock
    lanes_max: int
    lane_idle_s: float
    settle: Settle
    joined: Joined
    lanes: OrderedDict[SessionKey, SessionLane] = field(default_factory=OrderedDict, init=False)

    def lane_of(self, user: str, session: str) -> SessionLane:
        """The session's lane, made if it is new."""
        key = session_key_of(UserId(user), SessionId(session))
        lane = self.lanes.get(key)
        if lane is None:
            self.forget_idle()
            lane = self.lanes[key] = SessionLane(
                key, session, self.journal, self.accounts, settle=self.settle, joined=self.joined
            )
        self.lanes.move_to_end(key)
        lane.used_s = self.clock.monotonic_s()
        return lane

    def running_turns(self) -> list[OpenTurn]:
        """The turns whose answer is under way."""
        return [turn for lane in self.lanes.values() for turn in lane.running]

    def waiting_turns(self) -> int:
        """How many were taken in and wait for their session or for a place."""
        return sum(turn.waits for lane in self.lanes.values() for turn in lane.turns)

    def forget_idle(self) -> None:
        surplus = len(self.lanes) + 1 - self.lanes_max  # one is about to be added
        for lane in [lane for lane in self.lanes.values() if surplus > 0 and lane.idle][: max(0, surplus)]:
            self.forget(lane)

    def forget_quiet(self) -> None:
        """Forget the sessions that nothing was heard of for a while."""
        quiet_since_s = self.clock.monotonic_s() - self.lane_idle_s
        quiet = takewhile(lambda lane: lane.used_s < quiet_since_s, self.lanes.values())
        for lane in [lane for lane in quiet if lane.idle]:
            self.forget(lane)

    def forget(self, lane: SessionLane) -> None:
        del self.lanes[lane.key]
        self.logs.forget(lane)
