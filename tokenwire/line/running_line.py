"""What `tokenwire up` runs, told to the commands that talk to it: ports and layout, in a file of TOKENWIRE_HOME.

So `tokenwire send` in another terminal finds a line that runs on free ports, without any setting. The file counts
while the one who wrote it holds the lock beside it; the kernel frees the lock when that process ends, however it ends.
The environment wins over the file, variable by variable.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import msgspec

from infra.settings import Settings, load_settings

__all__ = ["AlreadyRunning", "RunningLine", "client_settings", "hold_home", "running_line"]

LOCK_NAME: Final = "run.lock"
FILE_NAME: Final = "run.json"
KAFKA_VARIABLES: Final = ("TOKENWIRE_KAFKA", "TOKENWIRE_KAFKA_PORT")


class AlreadyRunning(Exception):
    """Another `tokenwire up` runs in this folder."""


class RunningLine(msgspec.Struct, frozen=True, kw_only=True):
    """Where the parts of a running line are. `environment`: what its children were given to find each other."""

    pid: int
    page: str
    kafka: str
    analytics: str
    provider: str
    model: str
    logs: str
    environment: dict[str, str]
    control: str = ""
    """Path of the socket that `tokenwire restart` asks at."""


class HeldHome:
    """The folder, held by this process."""

    def __init__(self, home: Path, lock: IO[str]) -> None:
        self._file = home / FILE_NAME
        self._lock = lock

    def announce(self, line: RunningLine) -> None:
        """Tell the other commands."""
        unfinished = self._file.with_suffix(".new")
        unfinished.write_bytes(msgspec.json.encode(line))
        unfinished.chmod(0o600)
        unfinished.replace(self._file)

    def withdraw(self) -> None:
        """The line is stopping."""
        self._file.unlink(missing_ok=True)


@contextmanager
def hold_home(home: Path) -> Iterator[HeldHome]:
    """Hold the folder for one `tokenwire up`. Raises AlreadyRunning."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / LOCK_NAME).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(
                f"`tokenwire up` runs in {home} already; stop it first, or set TOKENWIRE_HOME to another folder"
            ) from None
        held = HeldHome(home, lock)
        held.withdraw()  # left by a line that was killed
        try:
            yield held
        finally:
            held.withdraw()


def running_line(home: Path) -> RunningLine | None:
    """The line that runs in the folder now, if one does and is ready."""
    try:
        with (home / LOCK_NAME).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None  # nobody holds it
    except BlockingIOError:
        pass
    except OSError:
        return None
    try:
        return msgspec.json.decode((home / FILE_NAME).read_bytes(), type=RunningLine)
    except (OSError, msgspec.MsgspecError):
        return None


def client_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Settings of a command that talks to a line: the environment's, else those of the line that runs here.

    Whoever names a Kafka names another line, perhaps; then the file says nothing. Raises SettingsError.
    """
    given = dict(os.environ if environment is None else environment)
    settings = load_settings(given)
    if any(given.get(name) for name in KAFKA_VARIABLES):
        return settings
    line = running_line(settings.home)
    return settings if line is None else load_settings({**line.environment, **given})
