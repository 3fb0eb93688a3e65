"""What a process which streams tokens asks of the Python interpreter.

Collection: a worker holds some 120,000 objects that its libraries made and that never go away. A full collection walks
all of them, 70 ms in which every stream stands still (170–530 ms were seen on a busy machine). Frozen, they are not
walked any more.

Python looks at the young objects when 700 more were made than deleted. Where old ones go as new ones come (what ten
thousand connections wait with, from one pong to the next; the newest messages) that is hardly ever, and then 120,000
young ones are walked at once, for 60 to 90 ms. Looked at all the time there are never many.

Switching: the consumer of a worker and the publisher of a gateway are threads of their own. A thread that wants the
interpreter waits for whoever has it, by default 5 ms at a time, and a record passes through several such waits
(beside a busy thread, a wake-up waited 7.7 ms in the middle; with 0.5 ms it waited 1.4 ms).

Giving back: Python's own allocator gives memory back by the mebibyte, and among what thousands of connections leave
behind each one holds something that stays. The C library gives it back by the page, when asked. So a gateway is started
with `RETURNING_ALLOCATOR` in its environment (decision 37 has the figures).
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import resource
import sys
from typing import Final

__all__ = [
    "RETURNING_ALLOCATOR",
    "SWITCH_S",
    "collect_on_request",
    "collect_young",
    "give_back",
    "raise_file_limit",
    "settle_interpreter",
    "trim",
]

SWITCH_S: Final = 0.000_5
YOUNG_S: Final = 0.05
"""Between two looks at the young objects: with 10,000 connections and 2,500 records/s some 1,000 have been made."""
MIDDLE_GENERATION: Final = 1
NEVER: Final = 1_000_000_000
RETURNING_ALLOCATOR: Final = {"PYTHONMALLOC": "malloc"}
"""Environment of a process that shall take no more memory after a rush than before. Read when Python starts."""


def settle_interpreter() -> None:
    """Call once everything that stays has been made. Takes one full collection."""
    sys.setswitchinterval(SWITCH_S)
    gc.collect()
    gc.freeze()


def raise_file_limit() -> int | None:
    """Let the process open as many files, sockets among them, as it may; how many that is, None: any number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return soft if soft != resource.RLIM_INFINITY else None


def collect_on_request() -> None:
    """Walk all objects only when asked to (`gc.collect`); young ones are looked at as before."""
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, NEVER)


async def collect_young() -> None:
    """Walk the young objects again and again, until cancelled; those that are still there count as old from then on."""
    while True:
        gc.collect(MIDDLE_GENERATION)
        await asyncio.sleep(YOUNG_S)


def give_back(*, names: bool = False) -> None:
    """Collect, and give pages that hold nothing back to the system.

    `names`: let go of the names that were looked up, too. Python's cache of attributes holds 4,096 of them, and C code
    makes a new string for each look-up: one that was made for a connection lies where that did, and holds the page.
    """
    if names:
        forget_names()
    gc.collect()
    trim()


def forget_names() -> None:
    """Empty the cache of attributes; Python 3.13 has another call for it, and warns of the one before."""
    for name in ("_clear_internal_caches", "_clear_type_cache"):
        forget = getattr(sys, name, None)
        if forget is not None:
            forget()
            return


def trim() -> None:
    """Give pages that hold nothing back to the system, where the C library can (glibc)."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
