"""Which ports may be chosen, whatever range the kernel gives to outgoing connections."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from infra.decisions.port_choice import (
    OUTGOING_ASSUMED,
    ROOM_MIN,
    may_be_kept,
    outgoing_ports,
    proposed_ports,
)
from infra.settings import Settings

LINUX = range(32_768, 61_000)
BROWSERS_REFUSE = {6000, 6566, 6665, 6666, 6667, 6668, 6669, 10080}

ranges = st.tuples(st.integers(0, 65_535), st.integers(0, 65_535)).map(lambda ends: range(min(ends), max(ends) + 1))


@given(ranges)
@example(LINUX)
@example(OUTGOING_ASSUMED)
@example(range(10_000, 65_536))
@example(range(15_000, 65_001))
@example(range(1_024, 65_536))
@example(range(1, 60_000))
def test_any_range(outgoing: range) -> None:
    """Nothing within it, nothing privileged, none that a browser refuses or a part of ours has by default."""
    proposed = proposed_ports(outgoing)
    defaults = {field.default for name, field in Settings.model_fields.items() if name.endswith("_port")}

    assert not proposed or len(set(proposed)) == len(proposed) >= ROOM_MIN
    assert not any(port in outgoing for port in proposed)
    assert all(1_024 <= port <= 65_535 for port in proposed)
    assert not set(proposed) & (BROWSERS_REFUSE | defaults)
    assert {8080, 9092} <= defaults


@given(ranges, st.integers(1_024, 65_535))
def test_kept_port(outgoing: range, port: int) -> None:
    """One in the range is not kept while there is room for another; one that would be proposed always is."""
    assert may_be_kept(port, outgoing) == (port not in outgoing or not proposed_ports(outgoing))
    assert all(may_be_kept(each, outgoing) for each in proposed_ports(outgoing)[:1])


def test_usual_range_leaves_the_quiet_stretch() -> None:
    """Twenty thousand and up, below the node ports of Kubernetes."""
    assert proposed_ports(LINUX) == proposed_ports(OUTGOING_ASSUMED) == tuple(range(20_000, 30_000))


def test_room_above_and_below_is_used() -> None:
    """Where the range covers the quiet stretch, anything else will do; where it covers all, nothing is proposed."""
    below_and_above = proposed_ports(range(15_000, 62_001))

    assert {below_and_above[0], below_and_above[-1]} == {1_024, 65_535}
    assert proposed_ports(range(1_024, 65_536)) == ()
    assert may_be_kept(40_000, range(1_024, 65_536))


@given(ranges)
def test_what_the_kernel_says(outgoing: range) -> None:
    """Two ports in order are a range, both its own."""
    assert outgoing_ports(f"{outgoing.start}\t{outgoing.stop - 1}\n") == outgoing


@given(st.text(max_size=20))
@example("")
@example("60999 32768")
@example("0 99999")
@example("-1 60999")
@example("² 60999")
@example("1 2 3")
def test_words_that_are_no_range(told: str) -> None:
    """They are as good as none, and never more than there are ports."""
    outgoing = outgoing_ports(told)

    assert outgoing == OUTGOING_ASSUMED or len(told.split()) == 2
    assert 0 <= outgoing.start < outgoing.stop <= 65_536
