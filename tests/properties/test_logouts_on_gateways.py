"""Logouts on two gateways whose clocks differ, which hear the log when they get to it.

The model is all of a gateway that decides about tokens: `LoggedOut`, used as `AccessDesk` uses it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from gateway.access.decisions.logged_out import CLOCKS_DIFFER_S, Heard, LoggedOut
from infra.access_tokens import VerifiedToken
from schemas.access import UserLoggedOut
from schemas.identifiers import UserId

ALICE: Final = UserId("alice")
BEGAN_S: Final = 1_000_000.0
GATEWAYS: Final = st.integers(0, 1)
SKEWS_S: Final = st.floats(-5, 5)
LAG_S_MAX: Final = 15.0
"""At each step."""
ISSUER_SKEWS_S: Final = st.floats(-20, 50)


@dataclass
class Word:
    """What lies on the log."""

    at_s: float
    issued_until_s: float
    stamp_s: float


@dataclass
class Door:
    """One gateway."""

    skew_s: float
    logged_out: LoggedOut = field(default_factory=lambda: LoggedOut(1e9))
    heard: int = 0

    def verified(self, token: VerifiedToken, now_s: float) -> VerifiedToken | None:
        """As `GuardedTokens.verify`."""
        if token.issued_at_s > now_s + self.skew_s + CLOCKS_DIFFER_S:
            return None
        token = replace(token, place=self.logged_out.place)
        if self.ends(token):
            return None
        self.logged_out.saw(token.user, token.issued_at_s, now_s + self.skew_s)
        return token

    def ends(self, token: VerifiedToken) -> bool:
        """As `GuardedTokens.check`."""
        return self.logged_out.ends(token.user, token.issued_at_s, token.place)

    def opens(self, token: VerifiedToken) -> bool:
        """Whether it would be believed if it were shown now."""
        return not self.ends(replace(token, place=self.logged_out.place))


def told(door: Door, word: Word, offset: int) -> Heard:
    """A record of the log is read."""
    place = door.logged_out.advance(offset)
    return door.logged_out.hear(ALICE, word.at_s, word.issued_until_s, word.stamp_s, place)


class Logouts(RuleBasedStateMachine):
    """One user, in and out."""

    @initialize(skews=st.tuples(SKEWS_S, SKEWS_S), broker=SKEWS_S, issuer=ISSUER_SKEWS_S)
    def begin(self, skews: tuple[float, float], broker: float, issuer: float) -> None:
        """Clocks differ; nothing has happened."""
        self.now_s = BEGAN_S
        self.broker_skew_s, self.issuer_skew_s = broker, issuer
        self.doors = tuple(map(Door, skews))
        self.log: list[Word] = []
        self.tokens: list[VerifiedToken] = []
        self.let_in: list[tuple[VerifiedToken, Door]] = []
        """On a token, and where that was verified; as sockets, handshakes and tickets."""

    @rule(seconds=st.floats(0, 5) | st.floats(0, 900))
    def time_passes(self, seconds: float) -> None:
        """Also beyond the time for which tokens that were seen are remembered; gateways lag by minutes at most."""
        lags = any(door.heard < len(self.log) for door in self.doors)
        self.now_s += min(seconds, LAG_S_MAX) if lags else seconds
        for door in self.doors:
            door.logged_out.forget_seen(self.now_s + door.skew_s)

    @rule()
    def issue(self) -> None:
        """A sign-in."""
        self.tokens.append(VerifiedToken(ALICE, 2 * BEGAN_S, int(self.now_s + self.issuer_skew_s)))

    @precondition(lambda self: self.tokens)
    @rule(data=st.data(), number=GATEWAYS)
    def show(self, data: st.DataObject, number: int) -> None:
        """A token comes to a gateway."""
        verified = self.doors[number].verified(data.draw(st.sampled_from(self.tokens)), self.now_s)
        if verified is not None:
            self.let_in.append((verified, self.doors[number]))

    @rule(number=GATEWAYS)
    def log_out(self, number: int) -> None:
        """The user asks a gateway."""
        self.log.append(Word(self.now_s + self.doors[number].skew_s, 0.0, self.now_s + self.broker_skew_s))

    @rule(number=GATEWAYS)
    def hear(self, number: int) -> None:
        """A gateway reads one record."""
        door = self.doors[number]
        if door.heard == len(self.log):
            return
        heard = told(door, self.log[door.heard], door.heard)
        if heard.tells_s is not None:
            self.log.append(Word(self.log[door.heard].at_s, heard.tells_s, self.now_s + self.broker_skew_s))
        door.heard += 1
        self.look(door)

    def look(self, door: Door) -> None:
        """What was let in before the newest word that this gateway has heard of is out, at this gateway."""
        logouts = [place for place in range(door.heard) if not self.log[place].issued_until_s]
        for token, _ in self.let_in:
            if logouts and token.place <= logouts[-1]:
                assert door.ends(token)

    def teardown(self) -> None:
        """When all is heard, what was let in before a logout opens nothing, shown anew to whomever; also to a gateway
        that starts later and reads what compaction has left.
        """
        if not hasattr(self, "doors"):
            return
        while any(door.heard < len(self.log) for door in self.doors):
            for number in range(2):
                self.hear(number)
        kept = {
            UserLoggedOut(user=ALICE, at_s=word.at_s, issued_until_s=word.issued_until_s).key: place
            for place, word in enumerate(self.log)
        }
        later = Door(0.0)
        for place in sorted(kept.values()):
            told(later, self.log[place], place)
        logouts = [place for place, word in enumerate(self.log) if not word.issued_until_s]
        for token, _ in self.let_in:
            if logouts and token.place <= logouts[-1]:
                assert not any(door.opens(token) for door in (*self.doors, later))
        assert len(self.log) <= 3 * len(logouts)


TestLogouts = Logouts.TestCase
TestLogouts.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)


@given(ISSUER_SKEWS_S.filter(lambda skew_s: skew_s >= 0), st.lists(GATEWAYS, max_size=4), GATEWAYS, st.floats(0, 1))
def test_signing_in_again_works_within_a_second(skew_s: float, shown: list[int], asked: int, part_s: float) -> None:
    """However far the issuer's clock is ahead, once a gateway has heard of the logout."""
    doors, now_s = (Door(0.0), Door(0.0)), BEGAN_S + part_s
    token = VerifiedToken(ALICE, 2 * BEGAN_S, int(now_s + skew_s))
    for number in shown:
        assert doors[number].verified(token, now_s) is not None
    words = [Word(now_s, 0.0, now_s)]
    for offset in range(3):
        for door in doors:
            if offset < len(words):
                heard = told(door, words[offset], offset)
                words += [] if heard.tells_s is None else [Word(now_s, heard.tells_s, now_s)]
    again = VerifiedToken(ALICE, 2 * BEGAN_S, int(now_s + 1 + skew_s))

    assert not shown or not any(door.opens(token) for door in doors)
    assert doors[asked].verified(again, now_s + 1) is not None
