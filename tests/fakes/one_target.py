"""A catalogue of one model at one provider, and the pool that leads to a provider of the test's own."""

from __future__ import annotations

from infra.clock import Clock
from infra.settings import load_settings
from infra.targets.model_catalogue import ModelCatalogue
from infra.targets.single_target import single_target
from processors.providers.provider import ChatProvider
from processors.target_pool import CALLS_MAX, TargetPool

__all__ = ["one_model", "pool_to"]

ANSWER_TOKENS_MAX = "1000"


def one_model() -> ModelCatalogue:
    """The model `simulated`, unlimited."""
    return single_target(load_settings({"TOKENWIRE_ANSWER_TOKENS_MAX": ANSWER_TOKENS_MAX}), "")


def pool_to(provider: ChatProvider, clock: Clock, *, calls_max: int = CALLS_MAX) -> TargetPool:
    """A pool whose every target is this provider."""
    return TargetPool(lambda _: provider, clock, calls_max=calls_max)
