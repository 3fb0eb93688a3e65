"""Variables that look like settings.

Covers: infra.settings.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.settings import Settings, unknown_variables

NAMES = sorted("TOKENWIRE_" + name.upper() for name in Settings.model_fields)


@given(st.dictionaries(st.sampled_from(NAMES), st.just("x")))
def test_settings_are_known(environment: dict[str, str]) -> None:
    """Whatever their values, and whatever else is in the environment."""
    assert unknown_variables({**environment, "PATH": "/bin", "TOKENWIRE_TEST_CACHE": "/x"}) == []


@pytest.mark.parametrize("name", NAMES)
def test_slip_of_the_hand(name: str) -> None:
    """Two letters in the wrong order, or one that is missing: the setting is named."""
    last = len(name) - 3
    swapped = name[:last] + name[last + 1] + name[last] + name[last + 2 :]
    for slip in {swapped, name[:-1]} - set(NAMES):
        (told,) = unknown_variables({slip: "1"})
        assert told.startswith(f"{slip} is no setting; did you mean TOKENWIRE_")


def test_name_like_no_other() -> None:
    """It is told as well, with where the settings are listed."""
    (told,) = unknown_variables({"TOKENWIRE_ZZZZZZ": "1"})
    assert "docs/reference/settings.md" in told
