"""What a supervisor is told of its children."""

from __future__ import annotations

import pytest

from infra.embedded.child_spec import ChildSpec, check_order


def spec(name: str, *depends_on: str) -> ChildSpec:
    return ChildSpec(name=name, argv=("true",), depends_on=depends_on)


def test_children_in_order() -> None:
    """Each after those it needs is accepted."""
    check_order((spec("broker"), spec("worker", "broker"), spec("gateway", "broker", "worker")))


def test_child_before_what_it_needs() -> None:
    """The sentence names both."""
    with pytest.raises(ValueError, match="worker depends on broker"):
        check_order((spec("worker", "broker"), spec("broker")))


def test_same_name_twice() -> None:
    """Names are log files and must differ."""
    with pytest.raises(ValueError, match="two children are called worker"):
        check_order((spec("worker"), spec("worker")))
