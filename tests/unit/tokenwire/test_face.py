"""What users import."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import pytest

import producers.errors
import schemas.gateway_messages
import tokenwire
from gateway.client import errors
from schemas.errors import InvalidField
from tokenwire import AnswerFailed, Delta, LineClosed, Usage, connect


def test_every_name_is_there_once() -> None:
    """Each leads to what its own module has."""
    assert set(tokenwire.__all__) == {*tokenwire.HOMES, "connect", "__version__"}
    for name, home in tokenwire.HOMES.items():
        assert getattr(tokenwire, name) is getattr(importlib.import_module(home), name)
    assert sorted(tokenwire.__all__) == dir(tokenwire)


def test_all_that_users_can_meet_is_among_them() -> None:
    """Errors of producers and clients, and whatever a line may tell."""
    told = {kind.__name__ for kind in schemas.gateway_messages.ServerMessage.__args__}

    assert {*producers.errors.__all__, *errors.__all__, *told, "InvalidField"} <= set(tokenwire.__all__)
    assert (AnswerFailed, tokenwire.InvalidField) == (errors.AnswerFailed, InvalidField)
    assert {Delta.__name__, Usage.__name__, LineClosed.__name__, connect.__name__}


def test_version_is_the_distributions() -> None:
    """As `pip` knows it."""
    assert tokenwire.__version__ == importlib.metadata.version("tokenwire")


def test_name_that_is_not_there() -> None:
    """As with any module."""
    with pytest.raises(AttributeError, match="nothing_of_ours"):
        tokenwire.nothing_of_ours  # noqa: B018  # the access is what is tried


def test_star_import_works() -> None:
    """In a process of its own: it loads all of them."""
    script = "from tokenwire import *; print(connect.__name__, LineClosed.__name__, Producer.__name__)"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)

    assert shown.stdout.split() == ["open_line", "LineClosed", "Producer"]
