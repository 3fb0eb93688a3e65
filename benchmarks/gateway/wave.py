"""One wave: answers written side by side at a rate, read by clients, and everything that is known of it afterwards.

What is lost is counted for each client: tokens and records that were offered to it less those that it received for the
first time. Holes and duplicates are counted apart: a hole is also a loss unless it was filled, a duplicate is none.

The relay time is a record's: from being on the log, by the broker's own stamp, to its last token being read by the
client. The stamp is cut to whole milliseconds, so it is up to 1 ms too early and the relay time up to 1 ms too long.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from array import array
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.gateway.client_fleet import LINE_BYTES_MAX, ClientFleet, module_environment
from benchmarks.gateway.load import Load
from benchmarks.gateway.parts import Ground, RunningGateway
from benchmarks.gateway.processes import CpuClock, kernel_socket_mib, resident_mib

__all__ = ["READERS", "Wave", "account", "quantiles", "relayed", "run_wave"]

READERS: Final = "readers"
QUANTILES: Final = (0.5, 0.9, 0.99, 1.0)
LATE_S_MAX: Final = 60.0
"""How long the last of an answer may take after it was written; then it counts as lost."""
BEGIN_S_MAX: Final = 180.0
WATCH_S: Final = 0.5
LATER_S: Final = 8.0
"""By then those who do not read have been found out: what their system takes for them is full."""
KEPT_UP_S: Final = 2.0
"""Whoever keeps up has told everything so soon after the end."""
RATE_KEPT: Final = 0.95
SATURATED_PERCENT: Final = 85.0


@dataclass(slots=True, kw_only=True)
class Wave:
    """What was seen."""

    design: str
    streaming: int
    tokens_per_record: int
    records_per_s_asked: float
    records_per_s: float = 0.0
    records: int = 0
    tokens: int = 0
    records_lost: int = 0
    tokens_lost: int = 0
    hole_tokens: int = 0
    duplicate_tokens: int = 0
    wrong_texts: int = 0
    answers_ended: int = 0
    relay_ms: list[float] = field(default_factory=list)
    """p50, p90, p99, largest, of records."""
    given_ms: list[float] = field(default_factory=list)
    """The same from handing the record to the producer."""
    later_ms: list[float] = field(default_factory=list)
    """As `relay_ms`, of the records that were written after the first LATER_S seconds."""
    acknowledged_ms: list[float] = field(default_factory=list)
    """p50 and p99 of the producer's own round trip."""
    late_s: float = 0.0
    """From the last record written to the last end read."""
    seconds: float = 0.0
    """Measured, from the first record to the last end read."""
    frames: int = 0
    """Read by all clients."""
    cpu_percent: dict[str, float] = field(default_factory=dict)
    """Of one core, by process, over `seconds`; `others` is everything else on the machine."""
    gateway_cpu_s: float = 0.0
    resident_mib_most: float = 0.0
    socket_mib_most: float = 0.0
    """The kernel's, for all TCP sockets of the machine, both ends."""

    @property
    def kept_up(self) -> bool:
        """Nothing lost, nothing twice, the rate held, and everything told soon after it was written."""
        return self.is_whole and self.wrote_at_rate and self.late_s <= KEPT_UP_S

    @property
    def wrote_at_rate(self) -> bool:
        """Whether the writer, and the broker behind it, did what was asked."""
        return self.records_per_s >= RATE_KEPT * self.records_per_s_asked

    @property
    def is_whole(self) -> bool:
        """Every client got everything, once."""
        faults = self.records_lost or self.tokens_lost or self.hole_tokens or self.duplicate_tokens or self.wrong_texts
        return not faults and self.answers_ended == self.streaming

    @property
    def saturated_clients(self) -> bool:
        """Whether the clients may have been what was measured."""
        return any(used >= SATURATED_PERCENT for name, used in self.cpu_percent.items() if name.startswith("clients"))

    def per_core_s(self, count: int) -> float:
        """So many of something for each second of the gateway's CPU."""
        return round(count / max(self.gateway_cpu_s, 1e-9), 1)


def quantiles(values: Sequence[float]) -> list[float]:
    """p50, p90, p99 and the largest; zeros where there is nothing."""
    ordered = sorted(values) or [0.0]
    return [round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 2) for share in QUANTILES]


async def run_wave(
    ground: Ground,
    gateway: RunningGateway,
    fleet: ClientFleet,
    load: Load,
    *,
    others: Sequence[str] = (),
    during: Callable[[], Coroutine[None, None, None]] | None = None,
    late_s_max: float = LATE_S_MAX,
) -> Wave:
    """Write, read, count. Clients of the group `READERS`, number 0 … `streaming` - 1 at least, are attached; `others`:
    groups that read the same answers and whose accounts are looked at by the caller. `during` runs beside the writing.
    """
    file = ground.folder / f"{load.run}-{load.turn}"
    expected = {name: getattr(load, name) for name in ("turn", "streaming", "tokens_per_record", "token_bytes")}
    for group in (READERS, *others):
        await fleet.tell("expect", group=group, note=group == READERS, **expected)
    writer = await started_writer(ground, load, file)
    assert writer.stdin is not None
    pids = {"gateway": gateway.pid, "writer": writer.pid} | fleet.pids
    if ground.broker_pid is not None:
        pids["broker"] = ground.broker_pid
    frames = await fleet.total("frames", "frames")
    clock = CpuClock(pids)
    wave = Wave(
        design=gateway.design,
        streaming=load.streaming,
        tokens_per_record=load.tokens_per_record,
        records_per_s_asked=load.records_per_s,
        records=load.records,
        tokens=load.tokens,
    )
    writer.stdin.write(b"go\n")
    async with asyncio.TaskGroup() as tasks:
        watch = tasks.create_task(watched(wave, gateway.pid))
        beside = None if during is None else tasks.create_task(during())
        told = json.loads(await line_of(writer, load.seconds * 6 + BEGIN_S_MAX))
        if beside is not None:
            await beside
        await fleet.tell("ended", group=READERS, within_s=late_s_max)
        watch.cancel()
    wave.late_s = round(max(0.0, time.time() - told["ended_us"] / 1e6), 2)
    wave.seconds, used = clock.spent()
    writer.stdin.write(b"leave\n")
    await writer.wait()
    wave.gateway_cpu_s = used["gateway"]
    wave.cpu_percent = {name: round(100 * cpu_s / wave.seconds, 1) for name, cpu_s in used.items()}
    wave.frames = await fleet.total("frames", "frames") - frames
    wave.records_per_s = round(load.records / told["seconds"], 1)
    wave.acknowledged_ms = [round(each, 2) for each in told["acknowledged_ms"]]
    account(wave, load, await fleet.accounts(READERS, file))
    relayed(wave, load, file, len(fleet.processes))
    return wave


async def started_writer(ground: Ground, load: Load, file: Path) -> asyncio.subprocess.Process:
    """The writer, with every answer begun."""
    told = json.dumps({"kafka": ground.kafka, "load": asdict(load), "file": str(file)})
    writer = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "benchmarks.gateway.log_writer", told),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LINE_BYTES_MAX,
        env=module_environment(),
    )
    await line_of(writer, BEGIN_S_MAX)
    return writer


async def line_of(writer: asyncio.subprocess.Process, within_s: float) -> bytes:
    assert writer.stdout is not None
    async with asyncio.timeout(within_s):
        line = await writer.stdout.readline()
    if not line:
        raise SystemExit("the writer of the logs ended; its last words are above")
    return line


async def watched(wave: Wave, pid: int) -> None:
    """Keep the most that was seen of what goes up and down."""
    while True:
        wave.resident_mib_most = max(wave.resident_mib_most, round(resident_mib(pid), 1))
        wave.socket_mib_most = max(wave.socket_mib_most, round(kernel_socket_mib(), 1))
        await asyncio.sleep(WATCH_S)


def account(wave: Wave, load: Load, accounts: Sequence[dict[str, int]]) -> None:
    """What each client received against what was offered to it."""
    of = {each["number"]: each for each in accounts if each["number"] < load.streaming}
    for number in range(load.streaming):
        offered, client = load.records_of(number), of[number]
        wave.records_lost += offered - client["records"]
        wave.tokens_lost += offered * load.tokens_per_record - client["received"]
        wave.hole_tokens += client["holes"]
        wave.duplicate_tokens += client["duplicates"]
        wave.wrong_texts += client["wrong"]
        wave.answers_ended += client["ended"]


def relayed(wave: Wave, load: Load, file: Path, processes: int) -> None:
    """Join what the writer and the clients noted of each record."""
    times = array("q", file.read_bytes())
    given_us, appended_us = times[: load.records], times[load.records :]
    relay_ms, later_ms, whole_ms = [], [], []
    later_us = given_us[0] + int(LATER_S * 1e6)
    for place in range(processes):
        samples = array("q", Path(f"{file}.{place}").read_bytes())
        for record, read_us in zip(samples[::2], samples[1::2], strict=True):
            whole_ms.append((read_us - given_us[record]) / 1_000)
            if appended_us[record]:
                relay_ms.append((read_us - appended_us[record]) / 1_000)
                if given_us[record] >= later_us:
                    later_ms.append(relay_ms[-1])
        Path(f"{file}.{place}").unlink()
    file.unlink()
    wave.relay_ms, wave.later_ms, wave.given_ms = quantiles(relay_ms), quantiles(later_ms), quantiles(whole_ms)
