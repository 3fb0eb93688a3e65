"""Which Apache Kafka the brokers of the tests are: the product's own, or the release that TOKENWIRE_TEST_BROKER names.

The product knows one list of jars. For every other release there is a list beside this module, made and checked as
the product's is; brokers that this process starts, and lines that it starts as processes of their own, run on those.
Everything else is the same: properties, Java runtime, the configuration of the log. `make test-brokers` runs what
matters on each release; any other test can be run so as well.

`python -m tests.integration.broker_release` makes the lists anew; with arguments it is `tokenwire` on the release.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Final

import pytest

from infra.embedded import broker_jars
from tokenwire.command_line import main as tokenwire

__all__ = ["RELEASE_LISTS", "RELEASE_VARIABLE", "chosen_release", "line_module", "use_chosen_release"]

RELEASE_VARIABLE: Final = "TOKENWIRE_TEST_BROKER"
PRODUCT: Final = "4.2.0"
FOLDER: Final = Path(__file__).with_name("broker_releases")
RELEASE_LISTS: Final = {
    PRODUCT: broker_jars.LOCK_LIST,
    **{file.stem.removeprefix("kafka-"): file for file in sorted(FOLDER.glob("kafka-*.lock"))},
}
LOG4J_1: Final = "org.apache.logging.log4j:log4j-1.2-api:2.25.5"
"""Releases before 4.0 ask log4j 1 for its loggers; this answers from log4j 2: one configuration does for all."""


def chosen_release() -> str:
    """The release that was asked for, else the product's own. Raises ValueError."""
    release = os.environ.get(RELEASE_VARIABLE) or PRODUCT
    if release not in RELEASE_LISTS:
        raise ValueError(f"{RELEASE_VARIABLE}={release}: there are lists of jars for {', '.join(RELEASE_LISTS)}")
    return release


def use_chosen_release() -> None:
    """From now on this process's brokers are of the release that was asked for."""
    pytest.MonkeyPatch().setattr(broker_jars, "LOCK_LIST", RELEASE_LISTS[chosen_release()])


def line_module() -> str:
    """What to run in place of the module `tokenwire`, so that its brokers are of that release."""
    return "tokenwire" if chosen_release() == PRODUCT else __name__


def write_lists() -> None:
    """Resolve every release but the product's anew; read the difference."""
    for release, file in RELEASE_LISTS.items():
        if file.parent == FOLDER:
            with tempfile.TemporaryDirectory() as folder:
                broker_jars.write_list(
                    Path(folder),
                    file,
                    roots=(f"org.apache.kafka:kafka_2.13:{release}",),
                    raw_roots=(*broker_jars.LOG_ROOTS, LOG4J_1),
                    maker=f"python -m {__spec__.name}",
                )


if __name__ == "__main__":
    if sys.argv[1:]:
        use_chosen_release()
        tokenwire()
    else:
        write_lists()
