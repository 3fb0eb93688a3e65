from __future__ import annotations

from pathlib import Path

import pytest

from infra.settings import load_settings
from infra.targets.catalogue_watch import CatalogueHolder, Refused, Reloaded
from infra.targets.targets_file import CatalogueError
from schemas.tiers import Standing
from tests.unit.infra.targets.faulty_pieces import PIECES, SOUND, file_of

__all__: list[str] = []

TWO = SOUND + '[models.second]\ntargets = ["vllm:x"]\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tokenwire.toml"
    path.write_text(TWO)
    return path


def holder_of(file: Path) -> CatalogueHolder:
    return CatalogueHolder(load_settings({}, config=file), {})


def test_good_file_replaces_the_catalogue(file: Path) -> None:
    """Each difference is told; who held the old catalogue still has it."""
    holder = holder_of(file)
    before = holder.current
    file.write_text(
        'default_model = "third"\n[models.good]\ntargets = ["vllm:y"]\n[models.third]\ntargets = ["vllm:x"]'
    )

    assert holder.reload() == Reloaded(
        (
            "model third is new",
            "model second is gone",
            "model good is changed",
            "the default model is third",
        ),
        (),
    )
    assert holder.current.known_models == ("third", "good")
    assert before.known_models == ("good", "second")


def test_same_file_changes_nothing(file: Path) -> None:
    """A needless signal is told from a change."""
    assert holder_of(file).reload() == Reloaded((), ())


def test_limit_that_is_changed_is_a_change(file: Path) -> None:
    """Down to the last number."""
    holder = holder_of(file)
    file.write_text(TWO + '[targets."vllm:x"]\nconcurrent_max = 3')

    assert holder.reload() == Reloaded(("model second is changed",), ())


def test_bad_file_is_refused_whole(file: Path) -> None:
    """Every fault is named and what was in force stays, its good models included."""
    holder = holder_of(file)
    before = holder.loaded
    file.write_text(file_of(PIECES))
    refused = holder.reload()

    assert isinstance(refused, Refused)
    assert len(refused.faults) == len(PIECES)
    assert holder.loaded is before
    file.write_text(TWO)
    assert holder.reload() == Reloaded((), ())


def test_file_that_has_gone_is_refused(file: Path) -> None:
    """Nobody who removes a file means that all users should get another provider."""
    holder = holder_of(file)
    file.unlink()
    refused = holder.reload()

    assert isinstance(refused, Refused)
    assert holder.current.known_models == ("good", "second")


def test_file_that_appears_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever began without a file can write one; from elsewhere it is still found."""
    monkeypatch.chdir(tmp_path)
    holder = CatalogueHolder(load_settings({}), {})
    (tmp_path / "tokenwire.toml").write_text(SOUND)

    assert holder.reload() == Reloaded(
        ("model good is new", "model simulated is gone", "the default model is good"), ()
    )
    monkeypatch.chdir(tmp_path.parent)
    assert holder.reload() == Reloaded((), ())


def test_gateway_reloads_without_keys(file: Path) -> None:
    """As it began."""
    file.write_text('[models.m]\nchain = "llama"')
    holder = CatalogueHolder(load_settings({}, config=file), {}, keys_needed=False)

    assert holder.reload() == Reloaded((), ())


def test_bad_file_at_the_start_is_an_error(file: Path) -> None:
    """There is nothing to stay in force yet."""
    file.write_text("")

    with pytest.raises(CatalogueError):
        holder_of(file)


def test_each_difference_between_tiers_is_told(file: Path) -> None:
    """Tiers, the default and the users file are taken up with the models; users are counted, not named."""
    holder = holder_of(file)
    (file.parent / "users.csv").write_text("user,tier\nalice,mine\n")
    file.write_text(
        'default_tier = "free"\nusers = "users.csv"\n'
        + TWO
        + "[tiers.mine]\ntokens_per_day = 5\n[tiers.free]\nrequests_per_minute = 3\n"
    )
    outcome = holder.reload()

    assert isinstance(outcome, Reloaded)
    assert outcome.changed == (
        "tier mine is new",
        "tier free is changed",
        "the default tier is free",
        "the users file is changed: it lists 1",
    )
    assert holder.tiers.standing_of("alice") == Standing("mine")
    file.write_text('users = "users.csv"\n' + TWO + "[tiers.mine]\ntokens_per_day = 5\n")
    outcome = holder.reload()
    assert isinstance(outcome, Reloaded)
    assert outcome.changed == ("tier free is changed", "there is no default tier")


def test_faulty_users_file_changes_nothing(file: Path) -> None:
    """It is refused with the file that names it."""
    holder = holder_of(file)
    (file.parent / "users.csv").write_text("user,tier\nalice,fre\n")
    file.write_text('users = "users.csv"\n' + TWO)
    outcome = holder.reload()

    assert isinstance(outcome, Refused)
    assert outcome.faults == (
        f"{file.parent / 'users.csv'}: line 2 names the tier 'fre', which is not there; did you mean free?",
    )
    assert holder.tiers.users == {}
