"""A user's account: what is granted and refused, settled, corrected, reset and given back.

Covers: processors.ledger.decisions.amounts, processors.ledger.decisions.open_runs, processors.ledger.decisions.usage,
processors.ledger.decisions.verdicts.
"""

from __future__ import annotations

import random

import pytest

from processors.ledger.decisions.account import SETTLED_KEPT_MAX, Account
from processors.ledger.decisions.calendar import DAY_US
from processors.ledger.decisions.open_runs import UnknownRun
from processors.ledger.decisions.reservation import SAMPLES_MIN, AnswerLengths
from processors.ledger.decisions.usage import SESSIONS_KEPT_MAX
from processors.ledger.decisions.verdicts import Granted, Refused
from schemas.ledger import NOTHING, Amount, LedgerSnapshot, RunAccount
from schemas.refusals import Refusal
from schemas.tiers import LIMIT_NAMES, SHIPPED_TIERS, Tier

__all__: list[str] = []

NOW_US = 1_900_000_000_000_000
SECOND_US = 1_000_000


def new_account() -> Account:
    return Account(LedgerSnapshot(user="alice", at_us=0))


def tier_of(*, bucket_tokens_per_s: int = 0, **limits: int) -> Tier:
    named = {name: limits[name] for name in LIMIT_NAMES if name in limits}
    return Tier(name="test", limits=named, bucket_tokens_per_s=bucket_tokens_per_s)


def run_of(number: int, held: Amount, session: str = "s1", turn: str = "") -> RunAccount:
    return RunAccount(turn=turn or f"turn-{number}", run=f"run-{number}", session=session, at_us=0, held=held)


def refusal_of(verdict: Granted | Refused) -> Refusal:
    assert isinstance(verdict, Refused)
    return verdict.refusal


def test_hundred_prompts_at_once_with_budget_for_one() -> None:
    """S8: one is granted; the others are told that it is in flight, and nothing else."""
    account, tier = new_account(), tier_of(tokens_per_day=1_000)
    verdicts = [account.reserve(tier, run_of(n, Amount(100, 512)), now_us=NOW_US) for n in range(100)]

    assert [isinstance(verdict, Granted) for verdict in verdicts] == [True] + [False] * 99
    assert refusal_of(verdicts[-1]) == Refusal(
        code="tokens_per_day",
        limit=1_000,
        used=612,
        remaining=388,
        asked=612,
        limit_source="in_flight",
        remedy="wait for one of your prompts that run to be answered",
        temporary=True,
    )
    account.settle(tier, run_of(0, NOTHING), Amount(100, 250), NOW_US)
    assert isinstance(account.reserve(tier, run_of(1, Amount(100, 512)), now_us=NOW_US), Granted)


def test_agents_that_ask_for_much_and_take_little() -> None:
    """Twenty ask 32,000 tokens and take 300, with budget for twelve: ten and more run at once, and twelve in all."""
    lengths = AnswerLengths()
    for _ in range(SAMPLES_MIN):
        lengths.add(300)
    account, tier = new_account(), tier_of(tokens_per_day=12 * 400)
    held = Amount(100, lengths.expected(100, 32_000))
    granted = [n for n in range(20) if isinstance(account.reserve(tier, run_of(n, held), now_us=NOW_US), Granted)]

    assert len(granted) >= 10
    for n in granted:
        account.settle(tier, run_of(n, held), Amount(100, 300), NOW_US)
    later = [n for n in range(20, 40) if isinstance(account.reserve(tier, run_of(n, held), now_us=NOW_US), Granted)]
    assert len(granted) + len(later) == 12


def test_shipped_free_tier() -> None:
    """Ten requests a minute, and a bucket of 5,000 that fills by 10 a second."""
    account, free = new_account(), SHIPPED_TIERS["free"]
    verdicts = [account.admit(free, session="s", at_least=Amount(5), now_us=NOW_US + n) for n in range(11)]

    refusal = refusal_of(verdicts[-1])
    assert (refusal.code, refusal.limit, refusal.used, refusal.retry_after_s) == ("requests_per_minute", 10, 10, 61.0)
    assert refusal.closed_for_s == 60.999
    account.reserve(free, run_of(1, Amount(1_000, 4_000)), now_us=NOW_US)
    account.settle(free, run_of(1, NOTHING), Amount(1_000, 4_000), NOW_US)
    refusal = refusal_of(account.reserve(free, run_of(2, Amount(50, 50)), now_us=NOW_US + SECOND_US))
    assert (refusal.code, refusal.remaining, refusal.limit_source) == ("bucket_tokens", 9, "user")
    assert refusal.retry_after_s is not None
    assert 9.0 <= refusal.retry_after_s <= 9.01


def test_prompt_that_is_larger_than_the_bucket_never_fits() -> None:
    """It is refused as it comes in, and waiting is no remedy."""
    refusal = refusal_of(new_account().admit(SHIPPED_TIERS["free"], session="s", at_least=Amount(5_001), now_us=NOW_US))

    assert (refusal.code, refusal.temporary, refusal.retry_after_s) == ("bucket_tokens", False, None)


def test_prompt_that_comes_in_need_not_fit_beside_what_runs() -> None:
    """Until its turn comes that may have ended; then the whole is asked for."""
    account, tier = new_account(), tier_of(tokens_per_day=1_000)
    account.reserve(tier, run_of(1, Amount(500, 500)), now_us=NOW_US)

    assert isinstance(account.admit(tier, session="s", at_least=Amount(100), now_us=NOW_US), Granted)
    assert isinstance(account.reserve(tier, run_of(2, Amount(100, 1)), now_us=NOW_US), Refused)


def test_limit_in_shadow_refuses_nothing_and_is_told() -> None:
    """It is decided as any other."""
    tier = Tier(name="t", limits={"tokens_per_day": 10}, shadow=frozenset({"tokens_per_day"}))
    verdict = new_account().reserve(tier, run_of(1, Amount(10, 10)), now_us=NOW_US)

    assert isinstance(verdict, Granted)
    assert [refusal.code for refusal in verdict.shadowed] == ["tokens_per_day"]


def test_limit_of_which_nothing_is_asked_is_not_met() -> None:
    """A tier that was made smaller stops no answer that needs nothing of it."""
    account, tier = new_account(), tier_of(concurrent_turns=2)
    for n in (1, 2):
        account.reserve(tier, run_of(n, Amount(1, 1)), now_us=NOW_US)
    smaller = tier_of(concurrent_turns=1)
    verdict = account.grow(smaller, ("turn-1", "run-1"), used=Amount(1, 1), held=Amount(1, 50), now_us=NOW_US)

    assert isinstance(verdict, Granted)
    assert refusal_of(account.reserve(smaller, run_of(3, Amount(1, 1)), now_us=NOW_US)).limit_source == "in_flight"


def test_second_run_of_a_turn_is_no_second_turn() -> None:
    """A hedge reserves anew, beside the first, and counts for the turn."""
    account, tier = new_account(), tier_of(concurrent_turns=1, tokens_per_turn=100, tokens_per_stream=60)
    account.reserve(tier, run_of(1, Amount(10, 40), turn="t"), now_us=NOW_US)

    assert isinstance(account.reserve(tier, run_of(2, Amount(10, 40), turn="t"), now_us=NOW_US), Granted)
    assert refusal_of(account.reserve(tier, run_of(3, Amount(1, 0), turn="t"), now_us=NOW_US)).code == "tokens_per_turn"
    assert refusal_of(account.reserve(tier, run_of(4, Amount(61), turn="u"), now_us=NOW_US)).code == "tokens_per_stream"


def test_session_is_exhausted_and_others_are_not() -> None:
    """The remedy is another session; after a day of rest it is as new."""
    account, tier = new_account(), tier_of(tokens_per_session=100)
    account.reserve(tier, run_of(1, Amount(50, 50)), now_us=NOW_US)
    account.settle(tier, run_of(1, NOTHING), Amount(50, 50), NOW_US)
    refusal = refusal_of(account.reserve(tier, run_of(2, Amount(1)), now_us=NOW_US))

    assert (refusal.code, refusal.limit_source, refusal.temporary) == ("tokens_per_session", "session", False)
    assert isinstance(account.reserve(tier, run_of(3, Amount(1), session="s2"), now_us=NOW_US), Granted)
    assert isinstance(account.reserve(tier, run_of(4, Amount(1)), now_us=NOW_US + DAY_US + 10), Granted)


def test_sessions_are_remembered_up_to_a_number() -> None:
    """The one that was used longest ago is forgotten first."""
    account, tier = new_account(), tier_of(tokens_per_session=100)
    for n in range(SESSIONS_KEPT_MAX + 1):
        account.settle(tier, run_of(n, NOTHING, session=f"s{n}"), Amount(1), NOW_US)

    assert len(account.usage.sessions) == SESSIONS_KEPT_MAX
    assert "s0" not in account.usage.sessions


def test_money_is_limited_and_needs_prices() -> None:
    """A model without a price is refused where money is limited, unless the tier allows it."""
    account, tier = new_account(), tier_of(nano_usd_per_month=1_000)
    run = run_of(1, Amount(10, 10, 900))

    assert refusal_of(account.reserve(tier, run, priced=False, now_us=NOW_US)).code == "unpriced"
    allowing = Tier(name="t", limits=tier.limits, unpriced="allow")
    assert isinstance(account.reserve(allowing, run, priced=False, now_us=NOW_US), Granted)
    refusal = refusal_of(account.reserve(tier, run_of(2, Amount(1, 1, 101)), now_us=NOW_US))
    assert (refusal.code, refusal.remaining) == ("nano_usd_per_month", 100)
    shadowing = Tier(name="t", limits=tier.limits, shadow=frozenset({"nano_usd_per_month"}))
    assert isinstance(account.reserve(shadowing, run_of(3, NOTHING), priced=False, now_us=NOW_US), Granted)


def test_grown_reservation_ends_at_the_limit() -> None:
    """What was used is counted, what is refused is not reserved, and the answer may go as far as it was held."""
    account, tier, key = new_account(), tier_of(tokens_per_day=300), ("turn-1", "run-1")
    account.reserve(tier, run_of(1, Amount(100, 100)), now_us=NOW_US)

    grown = account.grow(tier, key, used=Amount(100, 90), held=Amount(100, 200), now_us=NOW_US)
    assert isinstance(grown, Granted)
    assert account.headroom(tier, key, now_us=NOW_US) == 0
    refused = account.grow(tier, key, used=Amount(100, 190), held=Amount(100, 300), now_us=NOW_US)
    assert refusal_of(refused).code == "tokens_per_day"
    assert account.open[key].used == Amount(100, 190)
    assert account.flight == Amount(0, 10)


def test_headroom_is_the_least_of_what_is_left() -> None:
    """By tokens and by money, of the user, the session, the turn and the stream; limits in shadow do not count."""
    account = new_account()
    tier = tier_of(
        tokens_per_day=1_000, tokens_per_turn=700, nano_usd_per_month=5_000, requests_per_minute=1, concurrent_turns=1
    )
    account.reserve(tier, run_of(1, Amount(100, 100, 2_000)), now_us=NOW_US)
    key = ("turn-1", "run-1")

    assert account.headroom(tier, key, now_us=NOW_US) == 500
    assert account.headroom(tier, key, output_nano_usd=10, now_us=NOW_US) == 300
    assert account.headroom(tier, key, turn_tokens=450, now_us=NOW_US) == 50
    assert account.headroom(tier_of(), key, now_us=NOW_US) is None
    shadowing = Tier(name="t", limits={"tokens_per_day": 1}, shadow=frozenset({"tokens_per_day"}))
    assert account.headroom(shadowing, key, now_us=NOW_US) is None
    assert account.remaining(tier, NOW_US)["tokens_per_day"] == 800


def test_run_is_settled_once() -> None:
    """The second word about it changes nothing, and it is not reserved or grown again."""
    account, tier = new_account(), tier_of(tokens_per_day=1_000)
    run = run_of(1, Amount(100, 100))
    account.reserve(tier, run, now_us=NOW_US)

    settled = account.settle(tier, run, Amount(90, 20), NOW_US)
    assert settled is not None
    assert settled.settled_at_us == account.at_us
    assert account.settle(tier, run, Amount(500, 500), NOW_US) is None
    assert account.usage.day_tokens == 110
    with pytest.raises(UnknownRun):
        account.reserve(tier, run, now_us=NOW_US)
    with pytest.raises(UnknownRun):
        account.grow(tier, ("turn-1", "run-1"), used=NOTHING, held=NOTHING, now_us=NOW_US)


def test_run_that_used_nothing_leaves_no_trace() -> None:
    """As if it had never been reserved."""
    account, tier = new_account(), tier_of(tokens_per_day=1_000, nano_usd_per_month=10)
    account.reserve(tier, run_of(1, Amount(100, 100, 10)), now_us=NOW_US)
    account.settle(tier, run_of(1, NOTHING), NOTHING, NOW_US)

    assert account.remaining(tier, NOW_US) == {"tokens_per_day": 1_000, "nano_usd_per_month": 10}


def test_provider_counts_less_than_we_did() -> None:
    """The day and the month get it back; the minute forgets by itself."""
    account, key = new_account(), ("turn-1", "run-1")
    tier = tier_of(tokens_per_day=1_000, nano_usd_per_month=1_000, input_tokens_per_minute=500, tokens_per_session=900)
    account.reserve(tier, run_of(1, Amount(200, 100, 300)), now_us=NOW_US)
    account.grow(tier, key, used=Amount(200, 10, 210), held=NOTHING, now_us=NOW_US)
    account.settle(tier, run_of(1, NOTHING), Amount(150, 10, 160), NOW_US)

    assert account.remaining(tier, NOW_US, "s1") == {
        "tokens_per_day": 840,
        "nano_usd_per_month": 840,
        "input_tokens_per_minute": 300,
        "tokens_per_session": 740,
    }


def test_what_may_go_back_keeps_nothing_closed() -> None:
    """A gateway remembers no refusal that a run which is open would lift by having used less than was counted."""
    account, tier = new_account(), tier_of(tokens_per_day=100, nano_usd_per_month=100)
    account.reserve(tier, run_of(1, Amount(90, 0, 90)), now_us=NOW_US)
    account.grow(tier, ("turn-1", "run-1"), used=Amount(90, 0, 90), held=NOTHING, now_us=NOW_US)
    open_refusal = refusal_of(account.reserve(tier, run_of(2, Amount(50, 0, 50)), now_us=NOW_US))
    account.settle(tier, run_of(1, NOTHING), Amount(90, 0, 90), NOW_US)
    settled_refusal = refusal_of(account.reserve(tier, run_of(2, Amount(50, 0, 50)), now_us=NOW_US))

    assert open_refusal.closed_for_s == 0
    assert settled_refusal.closed_for_s > 0


def test_correction_does_not_reach_into_another_month() -> None:
    """What yesterday counted too much is lost with yesterday."""
    account, key = new_account(), ("turn-1", "run-1")
    tier = tier_of(tokens_per_day=1_000, nano_usd_per_month=1_000)
    account.reserve(tier, run_of(1, Amount(200, 0, 200)), now_us=NOW_US)
    account.grow(tier, key, used=Amount(200, 0, 200), held=NOTHING, now_us=NOW_US)
    later_us = NOW_US + 40 * DAY_US
    account.settle(tier, run_of(2, NOTHING), Amount(5, 0, 5), later_us)
    account.settle(tier, run_of(1, NOTHING), NOTHING, later_us)

    assert account.remaining(tier, later_us) == {"tokens_per_day": 995, "nano_usd_per_month": 995}


def test_run_of_a_worker_that_had_lost_the_partition_is_counted() -> None:
    """Nobody here reserved it, and it was paid for: once."""
    account, tier = new_account(), tier_of(tokens_per_day=1_000)

    assert account.settle(tier, run_of(1, NOTHING), Amount(30, 30), NOW_US) is not None
    assert account.settle(tier, run_of(1, NOTHING), Amount(30, 30), NOW_US) is None
    assert account.usage.day_tokens == 60


def test_old_run_that_was_forgotten_is_not_counted_again() -> None:
    """However many were settled since: it was reserved before the newest that is forgotten."""
    account, tier = new_account(), tier_of(tokens_per_day=10**6)
    settled = []
    for n in range(SETTLED_KEPT_MAX + 5):
        verdict = account.reserve(tier, run_of(n, Amount(1)), now_us=NOW_US)
        assert isinstance(verdict, Granted)
        assert verdict.run is not None
        settled.append(verdict.run)
        account.settle(tier, verdict.run, Amount(1), NOW_US)

    assert len(account.settled) == SETTLED_KEPT_MAX
    assert all(account.settle(tier, run, Amount(1), NOW_US) is None for run in settled)
    assert account.usage.day_tokens == len(settled)


def test_operator_blocks_grants_and_resets_once() -> None:
    """A command that is read again does nothing; what runs goes on."""
    account, tier = new_account(), tier_of(tokens_per_day=100)
    account.reserve(tier, run_of(1, Amount(60, 40)), now_us=NOW_US)
    assert account.command(7, lambda own: own.block(blocked=True))

    assert refusal_of(account.reserve(tier, run_of(2, Amount(1)), now_us=NOW_US)).code == "blocked"
    assert refusal_of(account.admit(tier, session="s", at_least=NOTHING, now_us=NOW_US)).code == "blocked"
    grown = account.grow(tier, ("turn-1", "run-1"), used=Amount(60, 40), held=Amount(60, 40), now_us=NOW_US)
    assert isinstance(grown, Granted)
    assert account.command(8, lambda own: own.block(blocked=False))
    assert account.command(9, lambda own: own.grant(50))
    assert not account.command(9, lambda own: own.grant(50))
    assert isinstance(account.reserve(tier, run_of(3, Amount(50)), now_us=NOW_US), Granted)
    refusal = refusal_of(account.reserve(tier, run_of(4, Amount(120)), now_us=NOW_US))
    assert (refusal.limit, refusal.temporary) == (150, True)
    account.reset()
    assert account.usage.day_tokens == 0
    assert account.flight == Amount(50)


def test_what_was_granted_for_today_does_not_last() -> None:
    """A prompt that fits only with it is not told to come back tomorrow."""
    account, tier = new_account(), tier_of(tokens_per_day=100)
    account.settle(tier, run_of(1, NOTHING), Amount(100), NOW_US)
    account.grant(50)
    refusal = refusal_of(account.reserve(tier, run_of(2, Amount(120)), now_us=NOW_US))

    assert (refusal.temporary, refusal.retry_after_s) == (False, None)


def test_same_seed_same_account() -> None:
    """Nothing is drawn and no clock is read: the same words in the same order make the same account."""

    def told(seed: int) -> LedgerSnapshot:
        draw, account = random.Random(seed), new_account()
        for n in range(50):
            account.reserve(SHIPPED_TIERS["premium"], run_of(n, Amount(draw.randint(1, 500))), now_us=NOW_US + n)
        return account.snapshot()

    assert told(3) == told(3)
