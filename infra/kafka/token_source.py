"""The access token of a process for its brokers (SASL OAUTHBEARER): fetched once, handed to all of its clients.

A process has a dozen Kafka clients on several event loops and on librdkafka's threads, and when a token ends, they all
ask in the same instant. So the source belongs to no loop: a lock guards the newest token and the one fetch in flight,
which runs on a thread of its own; everybody else waits for that fetch or, while the token lives, for nothing
(`decisions/broker_tokens.py`). After a failure the endpoint is left alone for PAUSE_S, however many ask.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

import structlog

from infra.clock import Clock, SystemClock
from infra.kafka.decisions.broker_tokens import BrokerToken, token_state

__all__ = ["FETCH_S", "BrokerTokenUnavailable", "TokenSource"]

log = structlog.get_logger(__name__)

FETCH_S: Final = 8.0
"""Longest time that a fetch may take; librdkafka's clients give up a start without a token after 10 s."""
WAIT_S: Final = FETCH_S + 1.0
PAUSE_S: Final = 1.0
"""No further fetch so soon after one that failed."""


class BrokerTokenUnavailable(Exception):
    """There is no access token for the brokers. The sentence says why and what to set; it holds no secret."""


class TokenSource:
    """Hands out the newest token. Safe to use from any thread and any event loop."""

    def __init__(self, fetch: Callable[[], BrokerToken], clock: Clock | None = None) -> None:
        """`fetch` blocks, at most FETCH_S, and raises BrokerTokenUnavailable."""
        self._fetch = fetch
        self._clock = clock or SystemClock()
        self._guard = threading.Lock()
        self._newest: BrokerToken | None = None
        self._flight: Future[BrokerToken] | None = None
        self._failure: BrokerTokenUnavailable | None = None
        self._pause_ends_s = float("-inf")
        self.fetches = 0
        """Fetches begun so far."""

    async def token(self) -> BrokerToken:
        """A token that lives. Raises BrokerTokenUnavailable.

        Cancellation: the fetch goes on for those who ask next.
        """
        asked = self._ask()
        if isinstance(asked, BrokerToken):
            return asked
        try:
            async with asyncio.timeout(WAIT_S):
                return await asyncio.shield(asyncio.wrap_future(asked))
        except TimeoutError:
            raise too_slow() from None

    def token_blocking(self) -> BrokerToken:
        """The same, for threads."""
        asked = self._ask()
        return asked if isinstance(asked, BrokerToken) else waited_for(asked)

    def renewed_blocking(self) -> BrokerToken:
        """For whoever asks ahead of time, on a thread: waits for the successor of a token that ages.

        Where there is none, the token that lives. Raises BrokerTokenUnavailable.
        """
        self.token_blocking()  # which sets off the fetch, where one is due
        with self._guard:
            flight = self._flight
        if flight is not None:
            with contextlib.suppress(BrokerTokenUnavailable):
                return waited_for(flight)
        return self.token_blocking()

    def at_hand(self) -> bool:
        """Whether nobody would have to wait for a token now; sets off the fetch where one is due."""
        try:
            return isinstance(self._ask(), BrokerToken)
        except BrokerTokenUnavailable:
            return False

    def _ask(self) -> BrokerToken | Future[BrokerToken]:
        with self._guard:
            now_s = self._clock.now_us() / 1e6
            state = "ended" if self._newest is None else token_state(self._newest, now_s)
            if state != "fresh":
                self._begin()
            if self._newest is not None and state != "ended":
                return self._newest
            if self._flight is not None:
                return self._flight
            assert self._failure is not None  # no token, no flight: the last fetch has failed a moment ago
            raise self._failure

    def _begin(self) -> None:
        if self._flight is not None or self._clock.monotonic_s() < self._pause_ends_s:
            return
        self.fetches += 1
        flight: Future[BrokerToken] = Future()
        flight.set_running_or_notify_cancel()  # from here on nobody who waits can cancel it for the others
        self._flight = flight
        # A daemon: the end of the process does not wait for it. It ends by itself within FETCH_S.
        threading.Thread(target=self._run, args=(flight,), name="broker-token", daemon=True).start()

    def _run(self, flight: Future[BrokerToken]) -> None:
        try:
            token = self._fetch()
        except BrokerTokenUnavailable as error:
            self._failed(flight, error)
        except Exception as error:  # noqa: BLE001  # a thread's root: whoever waits must hear of it
            self._failed(flight, BrokerTokenUnavailable(f"no access token for the brokers: {type(error).__name__}"))
        else:
            with self._guard:
                self._newest, self._flight, self._failure = token, None, None
            flight.set_result(token)

    def _failed(self, flight: Future[BrokerToken], error: BrokerTokenUnavailable) -> None:
        log.warning("broker_token_unavailable", reason=str(error))
        with self._guard:
            self._flight, self._failure = None, error
            self._pause_ends_s = self._clock.monotonic_s() + PAUSE_S
        flight.set_exception(error)


def waited_for(flight: Future[BrokerToken]) -> BrokerToken:
    try:
        return flight.result(WAIT_S)
    except TimeoutError:
        raise too_slow() from None


def too_slow() -> BrokerTokenUnavailable:
    return BrokerTokenUnavailable(f"no access token for the brokers came within {WAIT_S:g} s")
