"""Sessions without a log are looked for often enough and not too often; new ones begin no faster than they may.

Covers: gateway.access.decisions.request_rates, gateway.fetching.decisions.absent_logs.
"""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.decisions import request_rates
from gateway.access.decisions.request_rates import RequestRates
from gateway.fetching.decisions import absent_logs
from gateway.fetching.decisions.absent_logs import LOOK_EVERY_S, AbsentLogs
from gateway.hubs.decisions.new_sessions import HOUR_S, NewSessions
from schemas.identifiers import SessionKey, UserId

ALICE, BOB = UserId("alice"), UserId("bob")
KEYS = st.sampled_from([SessionKey(f"key-{number}") for number in range(4)])
STEPS = st.lists(
    st.tuples(st.sampled_from(["admit", "leave", "prompted", "heard", "look"]), KEYS, st.floats(0, 40)), max_size=40
)


@given(STEPS)
def test_each_absent_log_is_looked_for_in_bounded_time(steps: list[tuple[str, SessionKey, float]]) -> None:
    """At once, after every word, and at the latest LOOK_EVERY_S after the last look; never one that nobody awaits."""
    logs, now_s = AbsentLogs(), 0.0
    looked: dict[SessionKey, float] = {}
    for step, key, passed_s in steps:
        now_s += passed_s
        match step:
            case "admit" if key not in logs:
                assert logs.admit(key, ALICE, now_s)
                assert logs.next_look_s() <= now_s
            case "leave":
                logs.leave(key)
                looked.pop(key, None)
            case "prompted":
                logs.prompted(key, now_s)
            case "heard":
                logs.heard(key, now_s)
                assert key not in logs or logs.next_look_s() <= now_s
            case _:
                for due in logs.due(now_s, 10):
                    looked[due] = now_s
        assert looked.keys() <= logs.awaited.keys()
        assert logs.next_look_s() == min((each.look_at_s for each in logs.awaited.values()), default=math.inf)
        for each, at_s in looked.items():
            assert logs.awaited[each].look_at_s <= max(now_s, at_s + LOOK_EVERY_S)
    assert sum(logs.by_user.values()) == len(logs.awaited)


@given(st.integers(1, 50), st.integers(0, 200))
def test_looks_grow_rarer_by_themselves(admitted: int, seconds: int) -> None:
    """Nobody prompts and nobody speaks: one look at once, then one a minute each."""
    logs, looks = AbsentLogs(), 0
    for number in range(admitted):
        logs.admit(SessionKey(str(number)), ALICE, 0.0)
    for second in range(seconds + 1):
        looks += len(logs.due(float(second), 1_000))

    assert looks == admitted * (1 + seconds // int(LOOK_EVERY_S))


def test_times_to_look_take_bounded_room() -> None:
    """However often sessions come and go, no more of them is kept than of those that are waited for."""
    logs = AbsentLogs()
    for number in range(5_000):
        logs.admit(SessionKey(str(number)), ALICE, 0.0)
        logs.due(0.0, 1)
        logs.leave(SessionKey(str(number)))

    assert len(logs.order) <= absent_logs.OVERTAKEN_MIN + 2
    assert logs.next_look_s() == math.inf


def test_room_for_absent_logs_is_bounded() -> None:
    """A user's share and that of all; whoever leaves makes room."""
    logs = AbsentLogs()
    for number in range(absent_logs.USER_WAITING_MAX):
        assert logs.admit(SessionKey(str(number)), ALICE, 0.0)
    assert not logs.admit(SessionKey("one more"), ALICE, 0.0)
    assert logs.admit(SessionKey("0"), ALICE, 0.0)
    for number in range(absent_logs.WAITING_MAX - absent_logs.USER_WAITING_MAX):
        assert logs.admit(SessionKey(f"b{number}"), UserId(f"user-{number}"), 0.0)
    assert not logs.admit(SessionKey("another"), BOB, 0.0)
    logs.leave(SessionKey("0"))

    assert logs.admit(SessionKey("another"), BOB, 0.0)


@given(st.integers(1, 5), st.integers(1, 8), st.lists(st.tuples(st.sampled_from([ALICE, BOB]), st.floats(0, 2_000))))
def test_sessions_begin_no_faster_than_they_may(per_user: int, in_all: int, asked: list[tuple[UserId, float]]) -> None:
    """In no hour more than twice what an hour brings (a full bucket, and what flows in); who waits as told gets in."""
    sessions, now_s = NewSessions(per_user, in_all, now_s=0.0), 0.0
    begun: list[tuple[float, UserId]] = []
    for user, passed_s in asked:
        now_s += passed_s
        wait_s = sessions.begin(user, now_s)
        if wait_s:
            now_s += wait_s
            assert sessions.begin(user, now_s) == 0
        begun.append((now_s, user))
    for at_s, _ in begun:
        within = [user for began_s, user in begun if at_s - HOUR_S < began_s <= at_s]
        assert len(within) <= 2 * in_all
        assert max(within.count(ALICE), within.count(BOB)) <= 2 * per_user


@given(st.integers(1, 5), st.floats(0.1, 10), st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 3)), max_size=60))
def test_nobody_asks_faster_than_they_may(burst: int, per_s: float, asked: list[tuple[str, float]]) -> None:
    """At most a burst and what flows in, each for themselves; who waits as told is heard."""
    rates, now_s = RequestRates(burst, per_s), 0.0
    heard: dict[str, int] = {"a": 0, "b": 0}
    for asker, passed_s in asked:
        now_s += passed_s
        wait_s = rates.ask(asker, now_s)
        if wait_s:
            now_s += wait_s + 1e-6
            assert rates.ask(asker, now_s) == 0
        heard[asker] += 1
        assert heard[asker] <= burst + per_s * now_s + 1e-3


def test_room_for_askers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those whose buckets are full again go first, then who came first."""
    monkeypatch.setattr(request_rates, "ASKERS_MAX", 3)
    rates = RequestRates(1, 1.0)
    for number in range(3):
        rates.ask(str(number), float(number))
    rates.ask("3", 1.5)
    assert list(rates.by_asker) == ["1", "2", "3"]
    for asker in ("4", "5"):
        rates.ask(asker, 2.0)

    assert list(rates.by_asker) == ["2", "3", "4", "5"][-3:]
