"""The time of a whole stop over any children and needs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from infra.embedded.decisions.stop_times import whole_stop_s


@st.composite
def lines(draw: st.DrawFn) -> tuple[dict[str, float], dict[str, list[str]]]:
    """Children in the order of their needs."""
    count = draw(st.integers(1, 12))
    stop_s = {str(place): draw(st.floats(0, 600)) for place in range(count)}
    needs = {
        str(place): sorted(draw(st.sets(st.sampled_from([str(before) for before in range(place)]))))
        for place in range(1, count)
    }
    return stop_s, needs


@given(lines())
def test_between_the_slowest_and_all_of_them(line: tuple[dict[str, float], dict[str, list[str]]]) -> None:
    """Nobody's own time is cut, and no time is counted twice."""
    stop_s, needs = line
    whole_s = whole_stop_s(stop_s, needs)

    assert max(stop_s.values()) <= whole_s <= sum(stop_s.values()) * (1 + 1e-9)


@given(lines(), st.floats(0, 600))
def test_more_time_for_one_shortens_nothing(line: tuple[dict[str, float], dict[str, list[str]]], more_s: float) -> None:
    """Whichever child it is, and it adds no more than it was given."""
    stop_s, needs = line
    whole_s = whole_stop_s(stop_s, needs)
    for name in stop_s:
        longer_s = whole_stop_s(stop_s | {name: stop_s[name] + more_s}, needs)
        assert whole_s <= longer_s <= whole_s + more_s + 1e-6
