"""Whether every client of this gateway got what it should have, once. Times and rates are not judged here."""

from __future__ import annotations

from benchmarks.gateway.everyone import Everyone
from benchmarks.gateway.idle import Idle
from benchmarks.gateway.plain import Plain
from benchmarks.gateway.slow import Slow
from benchmarks.gateway.slow_readers import Outcome
from benchmarks.gateway.steady import Steady
from benchmarks.gateway.storm import Storm
from benchmarks.gateway.wave import Wave

__all__ = ["is_sound"]


def is_sound(seen: Steady | Everyone | Slow | Storm | Plain | Idle) -> bool:
    """The plain design is not asked; nor are trials of more than a gateway can do."""
    waves: list[Wave | None] = []
    outcomes: list[Outcome] = []
    match seen:
        case Steady():
            waves = [seen.wave]
        case Everyone():
            waves = [seen.highest or seen.trials[-1]]
        case Slow():
            waves = [*seen.without, *seen.beside]
            outcomes = [seen.still, seen.slow, seen.held_still, seen.held_slow]
        case Storm():
            waves = [seen.wave]
        case Idle():
            return seen.is_sound
        case Plain():
            own = [side for side in seen.sides if side.design == "tokenwire"]
            waves = [wave for side in own for wave in (side.wave, side.beside)]
            outcomes = [outcome for side in own for outcome in (side.still, side.cut)]
    return all(wave is None or wave.is_whole for wave in waves) and all(each.whole == each.clients for each in outcomes)
