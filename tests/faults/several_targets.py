"""A line whose model has several targets, each a simulated provider with a behaviour of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from infra.embedded.broker import EmbeddedBroker
from infra.simulated_provider.behaviour import Behaviour, parse_fault
from infra.simulated_provider.server import SimulatedProvider
from tests.integration.worker_line import WorkerLine, open_line

__all__ = ["acting", "several_targets"]


def acting(fault: str = "", *, tokens: int = 40, first_ms: float = 10.0, pace_ms: float = 2.0) -> Behaviour:
    """How a target acts."""
    return Behaviour(
        first_ms=first_ms, pace_ms=pace_ms, jitter=0.0, tokens=tokens, fault=parse_fault(fault) if fault else None
    )


@asynccontextmanager
async def several_targets(
    broker: EmbeddedBroker,
    folder: Path,
    *behaviours: Behaviour,
    able: Sequence[bool] = (),
    model_keys: str = "",
) -> AsyncIterator[tuple[WorkerLine, list[SimulatedProvider]]]:
    """`t0:sim`, `t1:sim` … in this order; `able` says which go on from a text that another has begun (all)."""
    async with AsyncExitStack() as stack:
        providers = [
            await stack.enter_async_context(SimulatedProvider(behaviour=behaviour)) for behaviour in behaviours
        ]
        names = [f"t{number}" for number in range(len(providers))]
        targets = ", ".join(f'"{name}:sim"' for name in names)
        lines = ['default_model = "chat"', "[models.chat]", f"targets = [{targets}]", model_keys]
        for name, provider, prefix in zip(names, providers, able or [True] * len(names), strict=True):
            lines += [f"[providers.{name}]", f'base_url = "{provider.base_url}"']
            lines += ['abilities = ["prefix"]'] if prefix else []
        config = folder / "tokenwire.toml"
        config.write_text("\n".join(lines) + "\n")
        line = await stack.enter_async_context(open_line(broker, folder, config=config))
        line.start_worker()
        yield line, providers
