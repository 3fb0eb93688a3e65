"""A catalogue of one model, at one provider or at several, and the pool that leads to providers of the test's own."""

from __future__ import annotations

from dataclasses import replace

from infra.clock import Clock
from infra.settings import load_settings
from infra.targets.model_catalogue import Ability, ModelCatalogue
from infra.targets.single_target import single_target
from processors.providers.provider import ChatProvider
from processors.target_pool import TargetPool

__all__ = ["one_model", "pool_to", "some_targets"]

ANSWER_TOKENS_MAX = "1000"


def one_model() -> ModelCatalogue:
    """The model `simulated`, unlimited."""
    return single_target(load_settings({"TOKENWIRE_ANSWER_TOKENS_MAX": ANSWER_TOKENS_MAX}), "")


def some_targets(*abilities: frozenset[Ability], hedge: bool = False) -> ModelCatalogue:
    """The model `simulated` at as many targets, `t0`, `t1` …, each with these abilities."""
    catalogue = one_model()
    served = catalogue.models[catalogue.default]
    targets = tuple(
        replace(served.targets[0], name=f"t{rank}", provider=f"t{rank}", rank=rank, abilities=able)
        for rank, able in enumerate(abilities)
    )
    return ModelCatalogue({served.name: replace(served, targets=targets, hedge=hedge)}, served.name)


def pool_to(provider: ChatProvider, clock: Clock) -> TargetPool:
    """A pool whose every target is this provider."""
    return TargetPool(lambda _: provider, clock)
