"""`tokenwire gateway --processes N`: several gateways on one port, and one process that keeps them.

The kernel spreads new connections over those that listen (SO_REUSEPORT). The keeper holds the port without listening,
so it is there before the first and stays while they are replaced. One place more than asked for is kept empty: on
SIGHUP a successor starts there, is ready, and only then the first one is told to leave; its place is the next one's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from gateway.process.decisions.stop_times import gateway_stop_s
from gateway.process.listening import bound_listener
from infra.embedded.child_spec import ChildSpec
from infra.embedded.decisions.child_environment import child_environment
from infra.embedded.ready_notices import ready_notices
from infra.embedded.rolling_restart import replace_in_turn
from infra.embedded.supervisor import NotStarted, Supervisor
from infra.interpreter_settings import RETURNING_ALLOCATOR
from infra.settings import Settings, setting_variables
from infra.telemetry.shared_metrics import FOLDER_VARIABLE
from tokenwire.line.launch_plan import own_command

__all__ = ["serve_on_one_port"]

READY_S: Final = 60.0


async def serve_on_one_port(settings: Settings, processes: int, say: Callable[[str], None]) -> int:
    """Run them until told to stop; an exit code. `say` hears what happens. Raises PortTaken, OSError.

    Cancellation: they are killed.
    """
    names = [f"gateway-{number}" for number in range(1, processes + 2)]

    def pid_of(name: str) -> int | None:
        return supervisor.pid_of(name)

    with held_port(settings) as port, places(settings, names, port, pid_of) as specs:
        supervisor = Supervisor(
            specs,
            logs_folder=settings.home.absolute() / "logs",
            say=say,
            on_all_ready=lambda: say(ready_sentence(settings, processes, port)),
        )
        with handled_signals(supervisor) as asked:
            replacing = asyncio.create_task(replaced_on_request(supervisor, names, asked, say), name="replacing")
            try:
                return await supervisor.run(handle_signals=False)
            finally:
                replacing.cancel()
                await asyncio.gather(replacing, return_exceptions=True)


def ready_sentence(settings: Settings, processes: int, port: int) -> str:
    where = f"http://{settings.gateway_host}:{port}"
    return f"{processes} gateways are ready at {where}; SIGHUP to process {os.getpid()} replaces them one by one"


@contextlib.contextmanager
def held_port(settings: Settings) -> Iterator[int]:
    """The port, bound so that our gateways may listen on it and nobody else. Raises PortTaken, OSError."""
    with bound_listener(settings.gateway_host, settings.gateway_port, reuse_port=True) as held:
        yield held.getsockname()[1]


@contextlib.contextmanager
def places(
    settings: Settings, names: Sequence[str], port: int, pid_of: Callable[[str], int | None]
) -> Iterator[list[ChildSpec]]:
    """A place for each name, the last one spare; what they share is removed in the end."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tokenwire-gateways-")))
        metrics = folder / "metrics"
        metrics.mkdir()
        shared = {
            **child_environment(
                os.environ,
                "gateway",
                settings=setting_variables(),
                signs_by_cloud=settings.kafka_sasl_mechanism == "AWS_MSK_IAM",
            ),
            **RETURNING_ALLOCATOR,
            FOLDER_VARIABLE: str(metrics),
            "TOKENWIRE_GATEWAY_PORT": str(port),
            "TOKENWIRE_GATEWAY_REUSE_PORT": "true",
        }
        notices = {name: stack.enter_context(ready_notices(folder, name)) for name in names}
        yield [
            ChildSpec(
                name=name,
                argv=own_command("gateway"),
                environment=shared | notices[name].environment,
                ready=notices[name].probe(partial(pid_of, name)),
                ready_deadline_s=READY_S,
                stop_deadline_s=gateway_stop_s(settings.gateway_drain_s),
                spare=name == names[-1],
            )
            for name in names
        ]


@contextlib.contextmanager
def handled_signals(supervisor: Supervisor) -> Iterator[asyncio.Event]:
    """SIGINT and SIGTERM stop; yields what SIGHUP sets."""
    loop, asked = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, asked.set)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, supervisor.request_stop)
    try:
        yield asked
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.remove_signal_handler(number)


async def replaced_on_request(
    supervisor: Supervisor, names: Sequence[str], asked: asyncio.Event, say: Callable[[str], None]
) -> None:
    """Each time that it is asked for, replace all, successors first."""
    running, spare = list(names[:-1]), names[-1]
    while True:
        await asked.wait()
        asked.clear()
        try:
            async for step in replace_in_turn(supervisor, list(running), spare):
                if step.stage == "ready":
                    running.append(step.name)
                elif step.stage == "stopped":
                    running.remove(step.name)
                    spare = step.name
                    say(f"{step.name} {'was killed' if step.killed else 'has left'} ({step.seconds:.1f} s)")
        except NotStarted as error:
            say(f"{error}; those that were not replaced go on")
            await supervisor.stop(spare)
        else:
            say(f"all {len(running)} gateways were replaced")
