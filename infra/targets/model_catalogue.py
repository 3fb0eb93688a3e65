"""What can be asked for and who can answer it: models as users name them, each with its targets in order.

A target is a provider's model reached with a key: it has limits, deadlines, abilities and a price of its own. Its
`name` (`groq:llama-3.3-70b-versatile`) is the same in every model that lists it, so whoever counts requests or
failures counts them by name; `rank` and the deadlines belong to its place in one model. Targets of one rank are
equals: whoever has most headroom goes first.

`weights` says which model a target runs, apart from what its provider calls it. Two targets with the same weights give
the same model's answer; any other target is a substitute, which a model, or a prompt, can forbid.

Everything here is a value without a secret in it: `key_env` names a variable, the key itself is kept elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

__all__ = ["ABILITIES", "MAX_TOKENS_FIELDS", "Ability", "MaxTokensField", "ModelCatalogue", "ServedModel", "Target"]

Ability: TypeAlias = Literal["vision", "tools", "prefix", "json"]
"""vision: takes images. tools: calls functions. prefix: continues an assistant message that it is given the beginning
of. json: can be held to JSON (`response_format`)."""

ABILITIES: Final[tuple[Ability, ...]] = get_args(Ability)

MaxTokensField: TypeAlias = Literal["max_tokens", "max_completion_tokens"]
"""What a request calls the longest answer that it asks for."""

MAX_TOKENS_FIELDS: Final[tuple[MaxTokensField, ...]] = get_args(MaxTokensField)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A provider's model in its place among a served model's targets."""

    name: str
    """Provider and model, `groq:llama-3.3-70b-versatile`: whose limits and failures are counted together."""
    provider: str
    """How records and metrics call the provider."""
    preset: str = ""
    """The preset that the provider is made from; empty = none."""
    base_url: str | None
    """Where the API is, without a slash at the end; None = the client's own default."""
    key_env: str
    """Environment variable that holds the key; empty = none is needed."""
    model: str
    """What the provider calls the model."""
    weights: str
    """What the model is called apart from any provider."""
    rank: int
    """Place in the model's list, 0 first; equals share one."""
    requests_per_minute: int | None = None
    """Requests that may begin in a minute, over all workers; None = as many as the provider takes."""
    tokens_per_minute: int | None = None
    """Input and output tokens in a minute, over all workers; None = as many as the provider takes."""
    concurrent_max: int | None = None
    """Requests under way at once, over all workers; None = as many as the provider takes."""
    concurrent_start: int | None = None
    """Requests of one worker under way at once until it has learned how many are right; None = any number."""
    abilities: frozenset[Ability] = frozenset()
    """What it can do besides text; a prompt that needs more goes elsewhere."""
    prefix_fields: tuple[tuple[str, bool], ...] = ()
    """Request fields that an assistant prefix needs to be continued, where the message alone does not do."""
    max_tokens_field: MaxTokensField | None = None
    """What the request calls the longest answer; None = what the provider is thought to take."""
    context_tokens: int
    """Context window."""
    price_ref: str = ""
    """Provider and model on the price list, `groq:llama-3.3-70b-versatile`; empty = found by base URL and model."""
    connect_s: float
    """Deadline for a connection, TLS included."""
    leave_s: float
    """Silence before the first token after which another target is given the call, if one can take it."""
    first_token_s: float
    """Deadline from the request to the first token, where nobody else can take the call."""
    between_tokens_s: float
    """Longest silence between two tokens."""
    total_s: float
    """Longest time an attempt may take in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """A model as users name it."""

    name: str
    targets: tuple[Target, ...]
    """Those that can be used, by rank; never empty. Targets whose key is not set are left out."""
    weights: str
    """The model that was asked for: the weights of the first target that the file lists, usable or not."""
    substitute: bool = True
    """Whether another model may answer when this one cannot."""
    overflow: bool = False
    """Whether a target of lower rank, or a paid one, takes what is over the learned limit of a better one."""
    hedge: bool = False
    """Whether a second target is asked when the first is slower to begin than it usually is."""
    watch_repetition: bool = True
    """Whether an answer that goes round in circles is cut."""
    watch_gibberish: bool = True
    """Whether an answer that is noise is cut."""
    answer_tokens_max: int
    """`max_tokens` of a prompt that names none."""
    cache_s: float | None = None
    """How long an answer may be given again; None = never."""
    cache_tenants: frozenset[str] = frozenset()
    """Tenants whose answers are given again; `*` among them = every one."""

    def targets_for(self, *, substitute: bool = True) -> tuple[Target, ...]:
        """The targets a prompt may use; `substitute` is the prompt's own wish, which cannot allow what is forbidden."""
        if substitute and self.substitute:
            return self.targets
        return tuple(target for target in self.targets if target.weights == self.weights)


@dataclass(frozen=True, slots=True)
class ModelCatalogue:
    """Every model that prompts may name."""

    models: Mapping[str, ServedModel]
    default: str
    """The model of a prompt that names none; one of `models`."""

    @property
    def known_models(self) -> tuple[str, ...]:
        """Every model that a prompt may name, the default one first."""
        return tuple(dict.fromkeys((self.default, *self.models)))

    @property
    def targets(self) -> Mapping[str, Target]:
        """Every target once, by name: whose limits and failures there are to count."""
        return {target.name: target for model in self.models.values() for target in model.targets}

    def find(self, name: str) -> ServedModel | None:
        """The model of this name; an empty name is the default one; None = nobody serves it."""
        return self.models.get(name or self.default)
