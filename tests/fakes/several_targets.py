"""Gives a worker's model several targets, each a scripted provider of its own."""

from __future__ import annotations

from typing import Final

from infra.targets.model_catalogue import Ability
from tests.fakes.one_target import some_targets
from tests.fakes.one_worker import OneWorker
from tests.fakes.scripted_provider import Script, ScriptedProvider

__all__ = ["ABLE", "UNABLE", "Named", "with_targets"]

ABLE: Final = frozenset[Ability]({"prefix"})
"""It goes on from a text."""
UNABLE: Final = frozenset[Ability]()


class Named(ScriptedProvider):
    """A provider with a name, whose calls go by these scripts one after another, the last one from then on."""

    def __init__(self, name: str, *scripts: Script) -> None:
        super().__init__(lambda _: scripts[min(len(self.calls), len(scripts)) - 1])
        self.named = name

    @property
    def name(self) -> str:
        """How records call it."""
        return self.named


def with_targets(
    worker: OneWorker, *targets: tuple[frozenset[Ability], Script | ScriptedProvider], hedge: bool = False
) -> list[ScriptedProvider]:
    """Serve the worker's model by these, in order; they are called `t0`, `t1` …"""
    providers = [
        answer if isinstance(answer, ScriptedProvider) else Named(f"t{rank}", answer)
        for rank, (_, answer) in enumerate(targets)
    ]
    catalogue = some_targets(*(abilities for abilities, _ in targets), hedge=hedge)
    runner = worker.parts.runner
    runner.pool.states.clear()
    runner.pool.make_provider = lambda target: providers[int(target.name.removeprefix("t"))]
    runner.calls.catalogue = lambda: catalogue
    return providers
