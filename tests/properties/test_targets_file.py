"""Any faults are reported together and no key is shown; any sound file comes back as it was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.settings import load_settings
from infra.targets.file_keys import DEADLINE_KEYS
from infra.targets.targets_file import CatalogueError, load_catalogue
from tests.unit.infra.targets.faulty_pieces import PASTED_KEY, PIECES, Piece, file_of

LIMITS = ("requests_per_minute", "tokens_per_minute", "concurrent_max")
FOLDER_IS_REUSED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def has_no_twice(listed: list[str]) -> bool:
    return len(set(listed)) == len(listed)


names = st.text("abc.-/ é\"'\\:_", min_size=1, max_size=12).filter(lambda name: name == name.strip())
target_names = st.builds("{}:{}".format, st.sampled_from(["vllm", "ollama", "simulated"]), names)
target_lists = st.lists(st.lists(target_names, min_size=1, max_size=3), min_size=1, max_size=4).filter(
    lambda entries: has_no_twice([name for equals in entries for name in equals])
)
limits = st.dictionaries(st.sampled_from(LIMITS), st.integers(1, 10**9))
deadlines = st.dictionaries(st.sampled_from(DEADLINE_KEYS), st.floats(0.001, 86_400))


@FOLDER_IS_REUSED
@given(pieces=st.lists(st.sampled_from(PIECES), min_size=1, unique=True))
def test_every_fault_is_reported(tmp_path: Path, pieces: list[Piece]) -> None:
    """Whatever is wrong together is said together, a sentence each, with no key in any."""
    path = tmp_path / "tokenwire.toml"
    path.write_text(file_of(tuple(pieces)))

    with pytest.raises(CatalogueError) as refused:
        load_catalogue(load_settings({}, config=path), {})
    assert sorted(refused.value.faults) == sorted(f"{path}: {piece.fault}" for piece in pieces)
    assert PASTED_KEY not in str(refused.value)


@FOLDER_IS_REUSED
@given(
    models=st.dictionaries(names, st.tuples(target_lists, deadlines), min_size=1, max_size=4),
    stated=st.dictionaries(target_names, limits, max_size=4),
    own=limits,
)
def test_sound_file_comes_back_as_written(
    tmp_path: Path,
    models: dict[str, tuple[list[list[str]], dict[str, float]]],
    stated: dict[str, dict[str, int]],
    own: dict[str, int],
) -> None:
    """Models, order, ranks, limits and deadlines are the file's, whatever the names look like."""
    lines = ["[providers.vllm]", *assignments(own)]
    for name, (entries, said) in models.items():
        lines += [f"[models.{json.dumps(name)}]", f"targets = {json.dumps(entries)}", *assignments(said)]
    for name, said_of_target in stated.items():
        lines += [f"[targets.{json.dumps(name)}]", *assignments(said_of_target)]
    path = tmp_path / "tokenwire.toml"
    path.write_text("\n".join(lines))
    catalogue = load_catalogue(load_settings({}, config=path), {}).catalogue

    assert list(catalogue.models) == list(models)
    for name, (entries, said) in models.items():
        targets = catalogue.models[name].targets
        assert [(target.rank, target.name) for target in targets] == [
            (rank, target) for rank, equals in enumerate(entries) for target in equals
        ]
        for target in targets:
            expected = (own if target.provider == "vllm" else {}) | stated.get(target.name, {})
            assert {key: getattr(target, key) for key in LIMITS} == {key: expected.get(key) for key in LIMITS}
            assert all(getattr(target, key) == value for key, value in said.items())


def assignments(values: dict[str, Any]) -> list[str]:
    return [f"{key} = {value!r}" for key, value in values.items()]
