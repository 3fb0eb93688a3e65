"""The file of targets: what it may say, and how each fault in it is told.

Covers: infra.targets.file_keys, infra.targets.file_tables, infra.targets.file_values, infra.targets.served_models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from infra.settings import load_settings
from infra.targets.targets_file import NO_KEY, CatalogueError, LoadedCatalogue, load_catalogue
from tests.architecture.source_tree import ROOT
from tests.unit.infra.targets.faulty_pieces import PASTED_KEY, PIECES, SOUND, Piece, file_of

__all__: list[str] = []

EXAMPLE = ROOT / "infra/targets/tokenwire.example.toml"
ALL_KEYS = {
    variable: f"key-of-{variable}"
    for variable in ("OPENAI_API_KEY", "GROQ_API_KEY", "TOGETHER_API_KEY", "OPENROUTER_API_KEY", "ANTHROPIC_API_KEY")
}
CHAIN = '[models.chat]\nchain = "llama"\n'


Load = Callable[..., LoadedCatalogue]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads a text as the file, with these variables set."""

    def load_text(text: str, environment: Mapping[str, str] | None = None, **settings: object) -> LoadedCatalogue:
        path = tmp_path / "tokenwire.toml"
        path.write_text(text)
        environment = environment or {}
        return load_catalogue(load_settings(environment, config=path, **settings), environment)

    return load_text


def faults_of(load: Load, text: str, environment: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(CatalogueError) as refused:
        load(text, environment)
    return [fault.split("tokenwire.toml: ", 1)[1] for fault in refused.value.faults]


def names(loaded: LoadedCatalogue, model: str = "chat") -> list[str]:
    served = loaded.catalogue.find(model)
    assert served is not None
    return [target.name for target in served.targets]


# ---- Faults


@pytest.mark.parametrize("piece", PIECES, ids=lambda piece: piece.fault[:50])
def test_fault_is_one_sentence(load: Load, piece: Piece) -> None:
    """One mistake is one fault: the file, the place, what is wrong, what to do; never a key."""
    faults = faults_of(load, file_of((piece,)))

    assert faults == [piece.fault]
    assert PASTED_KEY not in faults[0]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", 'the file lists no models; add one, such as [models.chat] with targets = ["openai:gpt-4.1-mini"]'),
        ("models = 3", "key models is no table; write [models.NAME] and its keys below"),
        ("[models]\nchat = 3", "[models] chat is no table; write [models.chat] and its keys below"),
        (SOUND + "hedge = tru", "the file is no TOML: invalid value (at line 3, column 9); mend that place"),
        (
            SOUND + SOUND,
            "the file is no TOML: cannot declare ('models', 'good') twice (at line 3, column 13); mend that place",
        ),
        ("x = " + "[" * 5_000, "the file nests too deep; write it flat"),
    ],
)
def test_file_that_is_wrong_as_a_whole(load: Load, text: str, fault: str) -> None:
    """What leaves nothing to be read is one fault too."""
    assert faults_of(load, text) == [fault]


def test_too_many_of_a_kind(load: Load) -> None:
    """Tables, targets and bytes are bounded."""
    many = "[models.m]\ntargets = [" + ", ".join(f'"simulated:{n}"' for n in range(65)) + "]\n"
    tables = SOUND + "".join(f'[targets."openai:{n}"]\n' for n in range(1_001))

    assert faults_of(load, many) == ["[models.m] targets holds 65 targets; list at most 64"]
    assert faults_of(load, tables) == ["[targets] has 1001 tables; keep to 1000"]
    assert faults_of(load, "#" * 1_048_577) == ["the file is too long; keep it within 1048576 bytes"]


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A file that is named must be there and be text."""
    absent, latin = tmp_path / "absent.toml", tmp_path / "latin.toml"
    latin.write_bytes(b"x = '\xe9'")

    for path, reason in (
        (absent, "cannot be read (no such file or directory); mend that, or set TOKENWIRE_CONFIG to another"),
        (tmp_path, "cannot be read (is a directory); mend that, or set TOKENWIRE_CONFIG to another"),
        (latin, "is not written in UTF-8; save it as UTF-8"),
    ):
        with pytest.raises(CatalogueError) as refused:
            load_catalogue(load_settings({}, config=path), {})
        assert refused.value.faults == [f"{path}: the file {reason}"]


def test_error_is_told_as_a_list(load: Load) -> None:
    """The error's own text is what a command line shows."""
    with pytest.raises(CatalogueError, match=r"settings are wrong:\n  .*provders.*\n  .*xyz"):
        load(file_of(PIECES[:2]))


# ---- Keys


def test_target_without_its_key_is_left_out(load: Load) -> None:
    """With another target left it is a warning; the ranks of the others stay."""
    loaded = load(CHAIN, {"OPENAI_API_KEY": "x", "GROQ_API_KEY": " "})
    served = loaded.catalogue.models["chat"]

    assert [(target.name, target.rank) for target in served.targets] == [("openai:gpt-4.1-mini", 2)]
    assert served.weights == "llama-3.3-70b"
    assert [warning.split("tokenwire.toml: ")[1] for warning in loaded.warnings] == [
        "[models.chat] goes without groq:llama-3.3-70b-versatile: GROQ_API_KEY is not set; set it and start again",
        "[models.chat] goes without together:meta-llama/Llama-3.3-70B-Instruct-Turbo: TOGETHER_API_KEY is not set; "
        "set it and start again",
    ]


def test_keys_are_handed_out_and_never_shown(load: Load) -> None:
    """A target's key comes from its variable, without the line end that files leave on it."""
    loaded = load(CHAIN + '[models.own]\ntargets = ["vllm:x"]', ALL_KEYS | {"GROQ_API_KEY": f"{PASTED_KEY}\n"})
    targets = loaded.catalogue.targets

    assert loaded.key_of(targets["groq:llama-3.3-70b-versatile"]).get_secret_value() == PASTED_KEY
    assert loaded.key_of(targets["vllm:x"]) == NO_KEY
    assert PASTED_KEY not in repr(loaded)
    assert "key-of" not in repr(loaded)


def test_provider_elsewhere_names_its_own_key(load: Load) -> None:
    """A preset's key goes to another address only where the file says which key; the same host is no stranger."""
    loaded = load(
        '[providers.proxy]\npreset = "openai"\nbase_url = "http://127.0.0.1:4000/v1/"\nkey_env = ""\n'
        '[providers.groq]\nbase_url = "https://api.groq.com/other/v1"\n'
        '[models.chat]\ntargets = ["proxy:a", "groq:b"]',
        ALL_KEYS,
    )
    proxy, groq = loaded.catalogue.models["chat"].targets

    assert (proxy.base_url, proxy.key_env, proxy.preset) == ("http://127.0.0.1:4000/v1", "", "openai")
    assert (groq.base_url, groq.key_env) == ("https://api.groq.com/other/v1", "GROQ_API_KEY")
    assert loaded.warnings == ()


def test_key_over_plain_http_is_warned_of(load: Load) -> None:
    """Not on this machine, where nobody else listens."""

    def text(host: str) -> str:
        return f'[providers.p]\nbase_url = "http://{host}/v1"\nkey_env = "P_KEY"\n[models.m]\ntargets = ["p:x"]'

    assert load(text("127.0.0.1"), {"P_KEY": "x"}).warnings == ()
    assert load(text("localhost"), {"P_KEY": "x"}).warnings == ()
    (warning,) = load(text("gpu.example"), {"P_KEY": "x"}).warnings
    assert warning.endswith("[providers.p] sends the key of P_KEY unencrypted: its base_url is http")


def test_gateway_names_models_without_any_key() -> None:
    """It calls none of them, so it is given no keys and misses none."""
    loaded = load_catalogue(load_settings({}, config=EXAMPLE), {}, keys_needed=False)

    assert loaded.catalogue.known_models == ("chat", "llama", "thinker", "local")
    assert (loaded.warnings, loaded.keys) == ((), {})


# ---- What a file says


def test_nearest_table_wins(load: Load) -> None:
    """Target, then the model's deadlines, provider, known model, preset, settings.

    Of the first token's deadline the setting, where it is set, comes before what is known of models and presets.
    """
    loaded = load(
        '[models.m]\ntargets = ["vllm:a", "vllm:b", "openai:o3", "ollama:x"]\nfirst_token_s = 7\n'
        '[models.n]\ntargets = ["vllm:a", "openai:o3", "ollama:x", "ollama:llama3.3"]\n'
        "[providers.vllm]\nrequests_per_minute = 600\nfirst_token_s = 9\ncontext_tokens = 4096\nabilities = []\n"
        '[targets."vllm:a"]\nrequests_per_minute = 5\nfirst_token_s = 3\nabilities = ["prefix"]\n'
        'max_tokens_field = "max_completion_tokens"',
        ALL_KEYS,
        first_token_s=11.0,
        context_tokens=99_000,
    )
    m, n = (loaded.catalogue.models[name].targets for name in ("m", "n"))

    assert [target.first_token_s for target in m] == [3, 7, 7, 7]
    assert [target.first_token_s for target in n] == [3, 11, 11, 11]
    assert [target.requests_per_minute for target in m] == [5, 600, None, None]
    assert [target.context_tokens for target in m] == [4_096, 4_096, 200_000, 4_096]
    assert [bool(target.prefix_fields) for target in m] == [True, False, False, False]
    assert [target.max_tokens_field for target in m] == ["max_completion_tokens", None, None, None]
    assert m[0].abilities == {"prefix"}
    assert m[1].abilities == frozenset()


def test_equals_share_a_rank(load: Load) -> None:
    """A list inside the list is one rank."""
    loaded = load('[models.chat]\ntargets = ["vllm:a", ["ollama:b", "vllm:c"], ["ollama:d"]]')

    assert [target.rank for target in loaded.catalogue.models["chat"].targets] == [0, 1, 1, 2]


def test_model_names_may_hold_colons(load: Load) -> None:
    """Only the first colon parts provider and model."""
    (target,) = load('[models.chat]\ntargets = ["ollama:llama3.2:3b"]').catalogue.models["chat"].targets

    assert (target.provider, target.model, target.price_ref) == ("ollama", "llama3.2:3b", "")


def test_without_substitutes_only_the_same_weights_are_used(load: Load) -> None:
    """Others in the list are left out with a warning, and their keys do not make the model usable."""
    loaded = load(CHAIN + "substitute = false", ALL_KEYS)

    assert names(loaded) == ["groq:llama-3.3-70b-versatile", "together:meta-llama/Llama-3.3-70B-Instruct-Turbo"]
    assert loaded.warnings[0].endswith(
        "[models.chat] never uses openai:gpt-4.1-mini: substitute = false, and it is another model than llama-3.3-70b"
    )
    assert faults_of(load, CHAIN + "substitute = false", {"OPENAI_API_KEY": "x"}) == [
        "[models.chat] has no target that can be used; set one of GROQ_API_KEY, TOGETHER_API_KEY and start again"
    ]


def test_weights_can_be_stated(load: Load) -> None:
    """Two providers' names for one model."""
    text = '[models.chat]\ntargets = ["vllm:Mine", "ollama:mine:7b"]\nsubstitute = false\n'

    assert names(load(text)) == ["vllm:Mine"]
    assert names(load(text + '[targets."ollama:mine:7b"]\nweights = "mine"')) == ["vllm:Mine", "ollama:mine:7b"]


def test_default_model_is_the_first_or_the_one_named(load: Load) -> None:
    """And it comes first among the known."""
    two = '[models.b]\ntargets = ["vllm:x"]\n[models.a]\ntargets = ["vllm:x"]\n'

    assert load(two).catalogue.known_models == ("b", "a")
    assert load('default_model = "a"\n' + two).catalogue.known_models == ("a", "b")


def test_price_can_be_another_s(load: Load) -> None:
    """A server of one's own may be priced like a service, and a service's model like another."""
    (target,) = (
        load('[models.m]\ntargets = ["vllm:x"]\n[targets."vllm:x"]\nprice_ref = "groq:llama-3.3-70b-versatile"')
        .catalogue.models["m"]
        .targets
    )

    assert target.price_ref == "groq:llama-3.3-70b-versatile"


def test_simulated_provider_is_where_the_settings_say(load: Load) -> None:
    """So that a file can be tried without any key."""
    (target,) = load(SOUND, provider_port=1234).catalogue.models["good"].targets

    assert target.base_url == "http://127.0.0.1:1234/v1"


def test_what_nobody_uses_is_warned_of(load: Load) -> None:
    """Tables of no model, and settings that a file makes void."""
    loaded = load(
        SOUND + '[providers.p]\npreset = "vllm"\n[targets."openai:x"]\nconcurrent_max = 3',
        provider_url="http://127.0.0.1:1/v1",
        model="x",
    )

    assert [warning.split("tokenwire.toml: ")[1] for warning in loaded.warnings] == [
        "[providers.p] is used by no model",
        '[targets."openai:x"] is used by no model',
        "the file says which models there are: TOKENWIRE_PROVIDER_URL, TOKENWIRE_MODEL is passed over",
    ]


# ---- Which file


def test_file_in_the_current_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`tokenwire.toml` counts where it is there; TOKENWIRE_CONFIG names another; an empty one names none."""
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "other.toml"
    other.write_text(SOUND)

    assert load_catalogue(load_settings({}), {}).source is None
    (tmp_path / "tokenwire.toml").write_text('[models.here]\ntargets = ["vllm:x"]')
    assert load_catalogue(load_settings({"TOKENWIRE_CONFIG": ""}), {}).catalogue.default == "here"
    found = load_catalogue(load_settings({"TOKENWIRE_CONFIG": "other.toml"}), {})
    assert found.catalogue.default == "good"
    assert found.source == other


@pytest.mark.parametrize("environment", [ALL_KEYS, {"OPENAI_API_KEY": "x"} | {"GROQ_API_KEY": "y"}])
def test_example_loads(environment: dict[str, str]) -> None:
    """The file that is shipped is in order, with all keys set and with some."""
    loaded = load_catalogue(load_settings(environment, config=EXAMPLE), environment)

    assert loaded.catalogue.known_models == ("chat", "llama", "thinker", "local")
    assert all("goes without" in warning for warning in loaded.warnings)
    assert bool(loaded.warnings) == (environment is not ALL_KEYS)
