from __future__ import annotations

from pathlib import Path

from infra.settings import load_settings
from infra.targets.targets_file import LoadedCatalogue, load_catalogue
from schemas.tiers import OPEN, SHIPPED_TIERS, Standing, Tier
from tests.unit.infra.targets.faulty_pieces import SOUND

__all__: list[str] = []

WHOLE = """
[tiers.team]
requests_per_minute = 60
input_tokens_per_minute = 1_000
output_tokens_per_minute = 2_000
bucket_tokens = 9_000
bucket_tokens_per_s = 20
tokens_per_day = 1_000_000
tokens_per_turn = 30_000
tokens_per_stream = 20_000
tokens_per_session = 200_000
concurrent_turns = 4
tokens_per_second = 50
queue_prompts = 3
prompt_bytes = 4_096
usd_per_month = 19.99
unpriced = "allow"
models = ["good"]
shadow = ["tokens_per_day", "usd_per_month"]
"""


def load(folder: Path, text: str) -> LoadedCatalogue:
    path = folder / "tokenwire.toml"
    path.write_text(text)
    return load_catalogue(load_settings({}, config=path), {})


def test_tier_comes_back_as_written(tmp_path: Path) -> None:
    """Every key has its place; money is counted in billionths of a dollar, exactly."""
    tiers = load(tmp_path, SOUND + WHOLE).tiers

    assert tiers.tiers["team"] == Tier(
        name="team",
        limits={
            "requests_per_minute": 60,
            "input_tokens_per_minute": 1_000,
            "output_tokens_per_minute": 2_000,
            "bucket_tokens": 9_000,
            "tokens_per_day": 1_000_000,
            "tokens_per_turn": 30_000,
            "tokens_per_stream": 20_000,
            "tokens_per_session": 200_000,
            "concurrent_turns": 4,
            "nano_usd_per_month": 19_990_000_000,
            "tokens_per_second": 50,
            "queue_prompts": 3,
            "prompt_bytes": 4_096,
        },
        bucket_tokens_per_s=20,
        shadow=frozenset({"tokens_per_day", "nano_usd_per_month"}),
        models=("good",),
        unpriced="allow",
    )


def test_file_without_tiers_limits_nobody(tmp_path: Path) -> None:
    """Also where there is no file at all: everybody is `open`."""
    for tiers in (load(tmp_path, SOUND).tiers, load_catalogue(load_settings({}), {}).tiers):
        assert tiers.standing_of("anybody") == Standing("open")
        assert tiers.tiers["open"] == OPEN


def test_shipped_tiers_are_there(tmp_path: Path) -> None:
    """Whatever else the file lists; a table of the same name takes the place of one."""
    tiers = load(tmp_path, 'default_tier = "premium"\n' + SOUND + "[tiers.free]\nrequests_per_minute = 3\n").tiers

    assert tiers.tiers["premium"] == SHIPPED_TIERS["premium"]
    assert tiers.tiers["free"] == Tier(name="free", limits={"requests_per_minute": 3})
    assert tiers.standing_of("anybody") == Standing("premium")


def test_file_with_tiers_and_no_default_has_strangers(tmp_path: Path) -> None:
    """Whom neither a token nor the users file knows is nobody's; the operator is told."""
    loaded = load(tmp_path, SOUND + "[tiers.mine]\ntokens_per_day = 5\n")

    assert loaded.tiers.standing_of("anybody") is None
    assert loaded.tiers.standing_of("alice", Standing("mine", "acme")) == Standing("mine", "acme")
    assert any("neither default_tier nor users" in warning for warning in loaded.warnings)
