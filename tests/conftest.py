"""What holds for every test: generated examples are bounded by their number, not by the speed of a busy machine.

And ctrl-C means what it means at a keyboard: a shell that runs the tests in the background has them ignore SIGINT,
which every process that they start would inherit, so that none could be stopped with it.
"""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

settings.register_profile("tokenwire", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tokenwire")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
