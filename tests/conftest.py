"""What holds for every test: generated examples are bounded by their number, not by the speed of a busy machine.

And ctrl-C means what it means at a keyboard: a shell that runs the tests in the background has them ignore SIGINT,
which every process that they start would inherit, so that none could be stopped with it.

What earlier tests left in memory is kept out of the garbage collector's way, as a gateway does with what it loaded: a
full collection of some hundred megabytes holds up whatever runs in this process for a quarter of a second.
"""

from __future__ import annotations

import gc
import signal

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("tokenwire", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tokenwire")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="module")
def settled_interpreter() -> None:
    """Each file of tests begins so."""
    gc.collect()
    gc.freeze()
