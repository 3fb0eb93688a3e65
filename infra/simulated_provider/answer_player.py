"""Plays a wire script onto a connection: one timer per answer, no task switch per token.

A timer callback writes what is due straight to the transport, as one chunk of the body, and sets the next timer by
the script's own schedule, so a late callback never shifts the tokens after it. While a slow client leaves more
than UNSENT_BYTES_MAX unsent the answer waits, as a real provider would.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Final

from infra.simulated_provider.behaviour import Behaviour
from infra.simulated_provider.call_log import Call
from infra.simulated_provider.wire_script import Beat, Then

__all__ = ["AnswerPlayer"]

UNSENT_BYTES_MAX: Final = 65_536
UNSENT_RETRY_S: Final = 0.01
WRITE_BYTES_TARGET: Final = 32_768
TIMER_GRAIN_S: Final = 0.001  # uvloop rounds timers to milliseconds: one that fires early must not fire again at once
RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # linger for zero seconds: closing sends a reset


class AnswerPlayer:
    """One answer on its way. `finished` gives what the script's last beat led to."""

    def __init__(
        self,
        transport: asyncio.Transport,
        script: Iterator[Beat],
        behaviour: Behaviour,
        call: Call,
        *,
        slowness: Callable[[], float] = lambda: 1.0,
    ) -> None:
        """`slowness`: how many times as long as it should each token takes now."""
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._script = script
        self._call = call
        self._slowness = slowness
        self._pace_s = behaviour.pace_ms / 1_000
        self._jitter = behaviour.jitter
        self._draw = random.Random(behaviour.seed)
        self.finished: asyncio.Future[Then] = self._loop.create_future()
        self._due_s = self._loop.time() + behaviour.first_ms / 1_000
        self._timer = self._loop.call_at(self._due_s, self.play)

    def stop(self) -> None:
        """Write nothing more."""
        self._timer.cancel()

    def play(self) -> None:
        """Write every beat that is due and set the timer for the next one."""
        if self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
            self._due_s = self._loop.time() + UNSENT_RETRY_S
            self._timer = self._loop.call_at(self._due_s, self.play)
            return
        then = self.write_due(self._loop.time() + TIMER_GRAIN_S)
        if then is Then.GO_ON:
            self._timer = self._loop.call_at(self._due_s, self.play)
        elif then is not Then.STALL:
            self.finished.set_result(then)

    def write_due(self, until_s: float) -> Then:
        payloads: list[bytes] = []
        size = 0
        then = Then.GO_ON
        while then is Then.GO_ON and self._due_s <= until_s and size < WRITE_BYTES_TARGET:
            beat = next(self._script)
            payloads.append(beat.payload)
            size += len(beat.payload)
            self._call.tokens_sent += beat.tokens
            self._due_s += self.gap_s(beat)
            then = beat.then
        if size:
            self._transport.write(b"%x\r\n%b\r\n" % (size, b"".join(payloads)))
        return then

    def gap_s(self, beat: Beat) -> float:
        if beat.gap_s is not None:
            return beat.gap_s
        if not self._jitter or not self._pace_s:
            return self._pace_s * self._slowness()
        return self._pace_s * self._slowness() * (1 + self._jitter * (2 * self._draw.random() - 1))

    def reset(self) -> None:
        """Close the connection so that the client sees a reset, not an end."""
        connection = self._transport.get_extra_info("socket")
        if connection is not None:
            # A twin of the descriptor: uvloop's stand-in for the socket refuses to set options.
            with socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM) as twin:
                twin.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self._transport.abort()
