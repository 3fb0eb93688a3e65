"""How long may it take to stop children that need each other?

Theory. A child is asked to stop once all those that depend on it have ended, and then has a time of its own. So the
whole takes no longer than the longest chain from a child down to one that needs nobody, each with its own time. There
is no lower bound for everybody: it would cut the last ones of the chain short because the first ones used what they
were given, such as a gateway whose clients are sent elsewhere over half a minute.

Invariants: never less than any child's own time; never more than all of them together; a child more, or more time for
one, makes it no shorter. Cost: each child and each need is looked at once; children come after those they need.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

__all__ = ["whole_stop_s"]


def whole_stop_s(stop_s: Mapping[str, float], needs: Mapping[str, Iterable[str]]) -> float:
    """The longest chain, in seconds; `stop_s` has each child's own time, in the order of their needs."""
    chains_s: dict[str, float] = {}
    for name, own_s in stop_s.items():
        chains_s[name] = own_s + max((chains_s[needed] for needed in needs.get(name, ())), default=0.0)
    return max(chains_s.values(), default=0.0)
