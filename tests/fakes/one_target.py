"""A catalogue of a model and its namesakes at one provider, and the pool that leads to a provider of the test's own."""

from __future__ import annotations

from infra.clock import Clock
from infra.settings import load_settings
from infra.targets.model_catalogue import ModelCatalogue
from infra.targets.single_target import single_target
from processors.providers.provider import ChatProvider
from processors.target_pool import TargetPool

__all__ = ["COMPARED", "one_model", "pool_to"]

COMPARED = ("model-a", "model-b", "model-c")

ANSWER_TOKENS_MAX = "1000"


def one_model() -> ModelCatalogue:
    """The model `simulated`, unlimited, and others beside it that can be compared."""
    settings = {"TOKENWIRE_ANSWER_TOKENS_MAX": ANSWER_TOKENS_MAX, "TOKENWIRE_MODELS": ",".join(COMPARED)}
    return single_target(load_settings(settings), "")


def pool_to(provider: ChatProvider, clock: Clock) -> TargetPool:
    """A pool whose every target is this provider."""
    return TargetPool(lambda _: provider, clock)
