"""Catalogues of one model, alone, beside namesakes or at several providers, and pools to a test's own providers."""

from __future__ import annotations

from dataclasses import replace

from infra.clock import Clock
from infra.settings import load_settings
from infra.targets.model_catalogue import Ability, ModelCatalogue
from infra.targets.single_target import single_target
from processors.providers.provider import ChatProvider
from processors.targets.target_pool import CALLS_MAX, TargetPool

__all__ = ["COMPARED", "one_model", "pool_to", "some_targets"]

COMPARED = ("model-a", "model-b", "model-c")

ANSWER_TOKENS_MAX = "1000"


def one_model() -> ModelCatalogue:
    """The model `simulated`, unlimited, and others beside it that can be compared."""
    settings = {"TOKENWIRE_ANSWER_TOKENS_MAX": ANSWER_TOKENS_MAX, "TOKENWIRE_MODELS": ",".join(COMPARED)}
    return single_target(load_settings(settings), "")


def some_targets(*abilities: frozenset[Ability], hedge: bool = False) -> ModelCatalogue:
    """The same models, each at as many targets with these abilities; those of `simulated` are called `t0`, `t1` …"""
    catalogue = one_model()
    models = {
        name: replace(
            served,
            hedge=hedge,
            targets=tuple(
                replace(
                    served.targets[0],
                    name=f"t{rank}" if name == catalogue.default else f"t{rank}:{name}",
                    provider=f"t{rank}",
                    rank=rank,
                    abilities=able,
                )
                for rank, able in enumerate(abilities)
            ),
        )
        for name, served in catalogue.models.items()
    }
    return ModelCatalogue(models, catalogue.default)


def pool_to(provider: ChatProvider, clock: Clock, *, calls_max: int = CALLS_MAX) -> TargetPool:
    """A pool whose every target is this provider."""
    return TargetPool(lambda _: provider, clock, calls_max=calls_max)
