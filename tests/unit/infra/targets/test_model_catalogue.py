from __future__ import annotations

from infra.targets.model_catalogue import ModelCatalogue, ServedModel, Target

__all__: list[str] = []


def target(name: str, weights: str, rank: int = 0) -> Target:
    provider, _, model = name.partition(":")
    return Target(
        name=name,
        provider=provider,
        base_url=None,
        key_env="",
        model=model,
        weights=weights,
        rank=rank,
        context_tokens=1_000,
        connect_s=1,
        leave_s=1,
        first_token_s=1,
        between_tokens_s=1,
        total_s=1,
    )


def model(name: str, *targets: Target, substitute: bool = True) -> ServedModel:
    return ServedModel(
        name=name, targets=targets, weights=targets[0].weights, substitute=substitute, answer_tokens_max=10
    )


SAME, ALSO, OTHER = target("p:a", "w"), target("q:a", "w", 1), target("p:b", "v", 2)


def test_prompt_can_forbid_substitutes_but_not_allow_them() -> None:
    """The narrower of the two wishes counts."""
    allowing, forbidding = model("m", SAME, ALSO, OTHER), model("m", SAME, ALSO, OTHER, substitute=False)

    assert allowing.targets_for() == (SAME, ALSO, OTHER)
    assert allowing.targets_for(substitute=False) == (SAME, ALSO)
    assert forbidding.targets_for() == (SAME, ALSO)


def test_empty_name_is_the_default_model() -> None:
    """And a name that nobody serves is none."""
    first, second = model("first", SAME), model("second", OTHER)
    catalogue = ModelCatalogue({"first": first, "second": second}, "second")

    assert catalogue.find("") is second
    assert catalogue.find("first") is first
    assert catalogue.find("third") is None
    assert catalogue.known_models == ("second", "first")


def test_every_target_is_there_once() -> None:
    """However many models list it."""
    catalogue = ModelCatalogue({"m": model("m", SAME, OTHER), "n": model("n", OTHER, ALSO)}, "m")

    assert set(catalogue.targets) == {"p:a", "p:b", "q:a"}
