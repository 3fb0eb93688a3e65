"""One token for everybody: one fetch at a time, none too often, none waited for without need."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from infra.kafka.decisions.broker_tokens import BrokerToken
from infra.kafka.token_source import PAUSE_S, BrokerTokenUnavailable, TokenSource

__all__: list[str] = []

LIFE_S = 100.0
WAIT_S = 10.0


class SetClock:
    """Stands until it is set."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def now_us(self) -> int:
        """Wall clock."""
        return round(self.now_s * 1e6)

    def monotonic_s(self) -> float:
        """The same here."""
        return self.now_s


class Issuer:
    """Issues tokens `t1`, `t2` …, each once it is let."""

    def __init__(self, clock: SetClock) -> None:
        self.clock = clock
        self.let = threading.Semaphore(0)
        self.count = 0
        self.failing = False

    def fetch(self) -> BrokerToken:
        """Blocks until it is let."""
        assert self.let.acquire(timeout=WAIT_S)
        if self.failing:
            raise BrokerTokenUnavailable("the endpoint is away")
        self.count += 1
        return BrokerToken(f"t{self.count}", self.clock.now_s, self.clock.now_s + LIFE_S)


@pytest.fixture
def clock() -> SetClock:
    """A clock of the test's own."""
    return SetClock()


@pytest.fixture
def issuer(clock: SetClock) -> Issuer:
    """An issuer that waits to be let."""
    return Issuer(clock)


def in_thread(call: Callable[[], BrokerToken]) -> asyncio.Future[BrokerToken]:
    return asyncio.ensure_future(asyncio.to_thread(call))


async def test_many_ask_at_once(clock: SetClock, issuer: Issuer) -> None:
    """From loops and threads: one fetch serves all; one who stops waiting spoils nothing."""
    source = TokenSource(issuer.fetch, clock)
    asking = [asyncio.create_task(source.token()) for _ in range(20)] + [in_thread(source.token_blocking)]
    await asyncio.sleep(0)
    asking[0].cancel()
    issuer.let.release()

    answers = await asyncio.gather(*asking, return_exceptions=True)

    assert isinstance(answers[0], asyncio.CancelledError)
    assert {answer.value for answer in answers[1:] if isinstance(answer, BrokerToken)} == {"t1"}
    assert source.fetches == 1


async def test_ageing_token(clock: SetClock, issuer: Issuer) -> None:
    """It is handed out at once while the next one is fetched behind; who asks ahead waits for that one."""
    source = TokenSource(issuer.fetch, clock)
    issuer.let.release()
    assert (await source.token()).value == "t1"
    clock.now_s += LIFE_S * 0.9

    assert (await source.token()).value == "t1"
    assert source.at_hand()
    ahead = in_thread(source.renewed_blocking)
    issuer.let.release()

    assert (await ahead).value == "t2"
    assert (await source.token()).value == "t2"
    assert source.fetches == 2


async def test_endpoint_away(clock: SetClock, issuer: Issuer) -> None:
    """A token that lives is used on; after its end everybody hears why, and the endpoint is asked once a second."""
    source = TokenSource(issuer.fetch, clock)
    issuer.let.release()
    await source.token()
    issuer.failing = True
    clock.now_s += LIFE_S * 0.9
    issuer.let.release()
    assert source.renewed_blocking().value == "t1"

    clock.now_s += LIFE_S
    issuer.let.release()
    for _ in range(10):
        with pytest.raises(BrokerTokenUnavailable, match="away"):
            await source.token()
    assert source.fetches == 3
    assert not source.at_hand()

    issuer.failing = False
    clock.now_s += PAUSE_S
    issuer.let.release()
    assert (await source.token()).value == "t2"


async def test_fault_of_an_issuer(clock: SetClock) -> None:
    """Whatever it raises, nobody is left waiting, and its words, which may hold anything, are not repeated."""

    def fetch() -> BrokerToken:
        raise KeyError("a secret")

    with pytest.raises(BrokerTokenUnavailable) as told:
        await TokenSource(fetch, clock).token()
    assert "secret" not in str(told.value)
