"""Runs children in the order of their needs, restarts those that die, stops them in reverse.

Each child has a keeper, one task that alone starts, watches and stops it. A keeper waits until those its child depends
on are ready; when everything is to stop it waits until those that depend on its child have ended. So order needs no
central plan, and a child that is just being started when the stop comes is stopped by the one who started it.

A child may also be stopped and started alone (`stop`, `start`), which its keeper does too: what was asked for is no
failure. `rolling_restart.py` makes restarts without a pause of these two.

A child whose chosen port another program has waits for it; a run that ended because somebody was quicker is no failure.

What children write goes to files; the supervisor itself says one clear line per event. When it is killed its children
die with it (`child_process.py`). Restarts are decided in `decisions/restart_policy.py`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, assert_never

from infra.async_waits import end_tasks
from infra.embedded.child_log import bound_log, read_tail
from infra.embedded.child_process import ChildProcess, start_child
from infra.embedded.child_spec import ChildSpec, check_order, until_ready
from infra.embedded.decisions.child_environment import program_environment
from infra.embedded.decisions.restart_policy import ChildExit, GiveUp, RestartAt, RestartPolicy, decide_restart
from infra.embedded.decisions.stop_times import whole_stop_s
from infra.ports import first_taken, until_ports_free

__all__ = ["NotStarted", "Supervisor"]

LOG_CHECK_S: Final = 30.0
EXITS_REMEMBERED: Final = 64
TOLD_EVERY_S: Final = 20.0
"""How often it is said that a child still starts: a broker with thousands of logs takes minutes."""
STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class NotStarted(Exception):
    """A child that was asked for did not become ready. Its log says why."""


@dataclass(slots=True, eq=False)
class Kept:
    """A child and what its keeper knows of it."""

    spec: ChildSpec
    log_file: Path
    process: ChildProcess | None = None
    wanted: asyncio.Event = field(default_factory=asyncio.Event)
    unwanted: asyncio.Event = field(default_factory=asyncio.Event)
    """The opposite of `wanted`; both are waited for."""
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    down: asyncio.Event = field(default_factory=asyncio.Event)
    """No process runs."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """None will be started any more."""
    exits: deque[ChildExit] = field(default_factory=lambda: deque(maxlen=EXITS_REMEMBERED))
    restarts: int = 0
    killed: bool = False

    def __post_init__(self) -> None:
        self.down.set()
        self.want(not self.spec.spare)

    def want(self, wanted: bool) -> None:
        """Say whether a process is to run."""
        for event, is_so in ((self.wanted, wanted), (self.unwanted, not wanted)):
            if is_so:
                event.set()
            else:
                event.clear()


class Supervisor:
    """Runs a list of children, in which each comes after those that it depends on."""

    def __init__(
        self,
        specs: Sequence[ChildSpec],
        *,
        logs_folder: Path,
        say: Callable[[str], None],
        on_all_ready: Callable[[], None] | None = None,
        policy: RestartPolicy | None = None,
    ) -> None:
        check_order(tuple(specs))
        self._children = {spec.name: Kept(spec, logs_folder / f"{spec.name}.log") for spec in specs}
        self._say = say
        self._on_all_ready = on_all_ready
        self._policy = policy or RestartPolicy()
        self._stopping = asyncio.Event()
        self._kill_now = asyncio.Event()
        self._stop_started_s = 0.0
        self._all_ready_said = False
        self._gave_up = False

    def pid_of(self, name: str) -> int | None:
        """The process id of a child while it runs."""
        process = self._children[name].process
        return None if process is None or process.exit_code is not None else process.pid

    def is_ready(self, name: str) -> bool:
        """Whether a child runs and is ready."""
        return self._children[name].ready.is_set()

    @property
    def whole_stop_s(self) -> float:
        """Longest time from `request_stop` until no child is left."""
        specs = [child.spec for child in self._children.values()]
        return whole_stop_s(
            {spec.name: spec.stop_deadline_s for spec in specs}, {spec.name: spec.depends_on for spec in specs}
        )

    async def stop(self, name: str) -> bool:
        """Stop one child, others or not needing it, within its own time; False: it had to be killed.

        It stays down until `start`. Cancellation: it is stopped all the same.
        """
        child = self._children[name]
        process = child.process
        child.want(False)
        await child.down.wait()
        return process is None or process.exit_code != -signal.SIGKILL

    async def start(self, name: str) -> None:
        """Start a child that is down, and wait until it is ready. Raises NotStarted; it is then still tried.

        Cancellation: it is started all the same.
        """
        child = self._children[name]
        child.want(True)
        try:
            async with asyncio.timeout(child.spec.ready_deadline_s):
                await first_of(child.ready.wait(), self._stopping.wait())
        except TimeoutError:
            pass
        if not child.ready.is_set():
            reason = "everything is being stopped" if self._stopping.is_set() else f"see {child.log_file}"
            raise NotStarted(f"{name} is not ready: {reason}")

    def request_stop(self) -> None:
        """Begin to stop; asked a second time, kill what still runs."""
        if self._stopping.is_set():
            self._kill_now.set()
            return
        self._stop_started_s = time.monotonic()
        self._stopping.set()

    async def run(self, *, handle_signals: bool = True) -> int:
        """Run until asked to stop or until a child is given up; 0 or 1, an exit code.

        Cancellation: the children are killed.
        """
        loop = asyncio.get_running_loop()
        if handle_signals:
            for number in STOP_SIGNALS:
                loop.add_signal_handler(number, self.request_stop)
        try:
            async with asyncio.TaskGroup() as keepers:
                logs = keepers.create_task(self._bound_logs())
                for child in self._children.values():
                    keepers.create_task(self._keep(child))
                await self._stopping.wait()
                self._say(f"stopping {self._wanted()} processes, within {self.whole_stop_s:.0f} s")
                await all_set(child.ended for child in self._children.values())
                logs.cancel()
        finally:
            if handle_signals:
                for number in STOP_SIGNALS:
                    loop.remove_signal_handler(number)
        self._say(self._summary())
        return 1 if self._gave_up else 0

    async def _keep(self, child: Kept) -> None:
        try:
            while not self._stopping.is_set():
                needed = (self._children[name].ready for name in child.spec.depends_on)
                if await first_of(all_set((child.wanted, *needed)), self._stopping.wait()) == 0:
                    by_itself = await self._run_once(child)
                    child.down.set()
                    if by_itself:
                        await self._pause(child)
        finally:
            child.ended.set()

    async def _run_once(self, child: Kept) -> bool:
        """One run, from start to exit; True: it ended by itself or got no port. Who stops a child is always its run."""
        child.down.clear()
        if not await self._has_ports(child):
            return not (self._stopping.is_set() or child.unwanted.is_set())
        started_s = time.monotonic()
        bound_log(child.log_file)
        environment = {**program_environment(os.environ), **child.spec.environment}
        process = child.process = await start_child(child.spec.argv, log_file=child.log_file, environment=environment)
        was_ready = False
        try:
            was_ready = await self._until_ready(child, process)
            if was_ready:
                self._note_ready(child, time.monotonic() - started_s)
            by_itself = await first_of(process.wait(), self._stopping.wait(), child.unwanted.wait()) == 0
            if process.exit_code is None:
                await self._stop(child, process)
        finally:
            child.ready.clear()
            if process.exit_code is None:
                await process.kill()
        taken = None if was_ready else first_taken(child.spec.chosen_ports)
        child.exits.append(ChildExit(started_s, time.monotonic(), was_ready, None if taken is None else taken.port))
        return by_itself and not self._stopping.is_set()

    async def _has_ports(self, child: Kept) -> bool:
        """Wait until nobody sits on the ports that were chosen for it; False: in vain, or it is to stop."""
        taken, began_s = first_taken(child.spec.chosen_ports), time.monotonic()
        if taken is None:
            return True
        self._say(f"{child.spec.name} waits for port {taken.port}, which another program has")
        try:
            async with asyncio.timeout(self._policy.port_wait_s):
                over = (self._stopping.wait(), child.unwanted.wait())
                return await first_of(*over, until_ports_free(child.spec.chosen_ports)) == len(over)
        except TimeoutError:
            child.exits.append(ChildExit(began_s, time.monotonic(), False, taken.port))
            return False

    async def _until_ready(self, child: Kept, process: ChildProcess) -> bool:
        """False if it exited first, took too long (then it is killed) or is to stop."""
        over = (process.wait(), self._stopping.wait(), child.unwanted.wait())
        try:
            async with asyncio.timeout(child.spec.ready_deadline_s):
                return await first_of(*over, until_ready(child.spec), self._tell_of_the_wait(child)) == len(over)
        except TimeoutError:
            self._say(f"{child.spec.name} was not ready after {child.spec.ready_deadline_s:g} s; see {child.log_file}")
            await process.kill()
            return False

    async def _tell_of_the_wait(self, child: Kept) -> None:
        began_s = time.monotonic()
        while True:
            await asyncio.sleep(TOLD_EVERY_S)
            waited_s, most_s = time.monotonic() - began_s, child.spec.ready_deadline_s
            self._say(f"{child.spec.name} still starts, {waited_s:.0f} s of at most {most_s:.0f}; see {child.log_file}")

    def _note_ready(self, child: Kept, seconds: float) -> None:
        child.ready.set()
        self._say(f"{child.spec.name} is ready ({seconds:.1f} s)")
        self._note_all_ready()

    def _note_all_ready(self) -> None:
        awaited = (
            child
            for child in self._children.values()
            if not (child.spec.spare or (child.spec.dispensable and child.exits))
        )
        if not self._all_ready_said and all(child.ready.is_set() for child in awaited):
            self._all_ready_said = True
            if self._on_all_ready is not None:
                self._on_all_ready()

    async def _pause(self, child: Kept) -> None:
        """After an exit that nobody asked for: wait for the time of the restart, or give up."""
        taken_port = child.exits[-1].taken_port
        code = None if child.process is None else child.process.exit_code
        ended = f"{child.spec.name} {exit_sentence(code, taken_port)}"
        decision = decide_restart(self._policy, tuple(child.exits), dispensable=child.spec.dispensable)
        match decision:
            case RestartAt(at_s=at_s):
                pause_s = max(0.0, at_s - time.monotonic())
                self._say(f"{ended}; restarting in {pause_s:.1f} s")
                child.restarts += 1
                self._note_all_ready()
                await first_of(asyncio.sleep(pause_s), self._stopping.wait())
            case GiveUp(reason=reason):
                self._say(
                    f"{ended}; giving up: {reason}. The last lines of {child.log_file}:\n{read_tail(child.log_file)}"
                )
                self._gave_up = True
                self.request_stop()
            case unreachable:
                assert_never(unreachable)

    async def _stop(self, child: Kept, process: ChildProcess) -> None:
        """Stop it within its own time; where everything is to stop, once its dependents have ended."""
        if self._stopping.is_set():
            dependents = [other for other in self._children.values() if child.spec.name in other.spec.depends_on]
            await first_of(all_set(other.ended for other in dependents), process.wait())
        await first_of(process.stop(child.spec.stop_deadline_s), self._kill_now.wait())
        if process.exit_code is None:
            await process.kill()
        if process.exit_code == -signal.SIGKILL:
            child.killed = True
            self._say(f"{child.spec.name} did not stop in time and was killed")

    async def _bound_logs(self) -> None:
        while True:
            await asyncio.sleep(LOG_CHECK_S)
            for child in self._children.values():
                bound_log(child.log_file)

    def _wanted(self) -> int:
        return sum(child.wanted.is_set() for child in self._children.values())

    def _summary(self) -> str:
        seconds = time.monotonic() - self._stop_started_s
        restarts = [f"{child.spec.name} {child.restarts}×" for child in self._children.values() if child.restarts]
        killed = [child.spec.name for child in self._children.values() if child.killed]
        parts = [f"stopped {self._wanted()} processes in {seconds:.1f} s"]
        parts += [f"killed: {', '.join(killed)}"] if killed else []
        parts += [f"restarted: {', '.join(restarts)}"] if restarts else []
        return "; ".join(parts)


async def first_of(*awaitables: Awaitable[object]) -> int:
    """Wait for the first of several; the others are cancelled and awaited. Its place; its error is raised.

    Cancellation: all are cancelled and awaited.
    """
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end_tasks(*tasks)
    first = next(place for place, task in enumerate(tasks) if task in done)
    tasks[first].result()
    return first


async def all_set(events: Iterable[asyncio.Event]) -> None:
    for event in tuple(events):
        await event.wait()


def exit_sentence(code: int | None, taken_port: int | None) -> str:
    if taken_port is not None:
        return f"could not have port {taken_port}, which another program has"
    if code is not None and code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"exited with code {code}"
