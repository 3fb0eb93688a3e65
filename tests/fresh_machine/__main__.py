"""A bare Debian in a folder, and in it a newcomer who runs the README's two commands: `make test-fresh`.

    python3 -m tests.fresh_machine                              # Debian 13: set up, run everything, all tests
    python3 -m tests.fresh_machine --suite sid --packages nodejs,chromium,firefox-esr
    python3 -m tests.fresh_machine --steps setup,up,test-unit   # what is neither `setup` nor `up` is a target of make

The newcomer is a plain user in the C locale and in another time zone; the code, as it was committed, lies in a folder
with a space in its name. Where a bare Debian cannot be made, it says why and ends with 0. Standard library only.

Everything runs in namespaces of its own for mounts and processes: however a run ends, killed hard included, the kernel
takes its mounts away and ends its processes. The Debian is kept for the next run, the newcomer's home is not.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn, TextIO
from urllib.parse import urlsplit

__all__ = ["BareDebian", "Failed", "Skipped", "main", "mirror_among"]

BARE_PACKAGES: Final = ("ca-certificates", "git", "make", "python3", "python3-venv", "tzdata")
"""What the README asks for; certificates and time zones, which every installed Debian has."""
TOOLS: Final = ("apt-get", "chroot", "debootstrap", "git", "setpriv", "unshare")
NAMESPACES: Final = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private")
ROOT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MIRROR_S: Final = 20.0
CERTIFICATES: Final = Path("/etc/ssl/certs/ca-certificates.crt")
COPIED: Final = (Path("/etc/resolv.conf"), Path("/etc/hosts"), Path("/etc/pip.conf"), CERTIFICATES)
"""How this machine reaches the network, which the Debian inside does by the same way."""
KEPT_VARIABLES: Final = (
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "PIP_INDEX_URL",
)
MOUNTS: Final = (
    'mount -t proc proc "$1/proc"; mount --rbind /dev "$1/dev"; mount -t tmpfs -o mode=1777 tmpfs "$1/dev/shm"'
)
INSTALL: Final = (
    "apt-get update -qq -o Acquire::Check-Valid-Until=false"
    " && apt-get install -y -qq --no-install-recommends {packages} && useradd --create-home me"
)
"""A mirror may stand still for some weeks, which apt takes for a replay; its signature is checked all the same."""
ROOT: Final = Path(__file__).resolve().parents[2]


class Skipped(Exception):
    """A bare Debian cannot be made here; the sentence says why."""


class Failed(Exception):
    """It went wrong; the sentence says what."""


class BareDebian:
    """A folder with a Debian in it, and a file beside it that says what it was made of."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.note = folder.with_name(f"{folder.name}.json")

    @contextmanager
    def taken(self) -> Iterator[None]:
        """For this run alone. Raises Failed if another one has it, or if the folder is something else."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        if self.folder.exists() and not self.note.exists():
            raise Failed(f"{self.folder} is there and none of mine: name another one with --folder.")
        with self.note.open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Failed(f"Another run has {self.folder}: wait for it, or use --folder.") from None
            yield

    def make(self, suite: str, packages: Sequence[str], mirror: str) -> None:
        """Unless it is there, made of the same."""
        made_of = json.dumps({"suite": suite, "packages": sorted(packages)})
        if self.note.read_text() == made_of:
            return
        self.remove()
        say(f"Making a bare Debian {suite} in {self.folder} …")
        log = self.folder.with_name(f"{self.folder.name}.log")
        with log.open("w") as output:
            bare = ["debootstrap", "--variant=minbase", suite, str(self.folder), mirror]
            install = ["sh", "-c", INSTALL.format(packages=" ".join(packages))]
            environment = kept_variables() | {
                "PATH": ROOT_PATH,
                "DEBIAN_FRONTEND": "noninteractive",
                "LC_ALL": "C.UTF-8",
            }
            if isolated('"$@"', bare, output) != 0:
                raise Failed(f"debootstrap failed:\n{tail(log)}")
            self.bring(COPIED[:2])
            if self.inside(install, environment, output) != 0:
                raise Failed(f"{', '.join(packages)} could not be installed:\n{tail(log)}")
        self.note.write_text(made_of)

    def bring(self, files: Sequence[Path]) -> None:
        """Copies of this machine's files, at the same places."""
        for file in files:
            if file.exists():
                copy = self.folder / file.relative_to("/")
                copy.unlink(missing_ok=True)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(file.read_bytes())

    def inside(
        self, command: Sequence[str], environment: dict[str, str], output: TextIO | None = None, user: str = "root"
    ) -> int:
        """Run a command in it with nothing but this environment; the exit code."""
        variables = [f"{name}={value}" for name, value in environment.items()]
        chroot = ["chroot", f"--userspec={user}", str(self.folder), "env", "-i", *variables, *command]
        return isolated(f'{MOUNTS}; shift; "$@"', [str(self.folder), *chroot], output)

    def remove(self) -> None:
        """The folder and all that is in it; its note says that there is nothing."""
        self.note.write_text("")
        if self.folder.exists():
            shutil.rmtree(self.folder)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the options, make the Debian, let the newcomer try; an exit code."""
    options = parsed(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    try:
        debian = BareDebian(options.folder or Path(tempfile.gettempdir()) / f"tokenwire-fresh-{options.suite}")
        if options.remove:
            with debian.taken():
                debian.remove()
                debian.note.unlink()
            return 0
        mirror = possible(options.suite)
        with debian.taken():
            debian.make(options.suite, (*BARE_PACKAGES, *options.packages), mirror)
            return newcomer(debian, options.steps)
    except Skipped as reason:
        say(f"skipped: {reason}")
        return 0
    except Failed as failure:
        say(str(failure))
        return 1
    except KeyboardInterrupt:
        return 130


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    def names(text: str) -> list[str]:
        return [name for name in text.split(",") if name]

    parser = argparse.ArgumentParser(
        prog="python3 -m tests.fresh_machine", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--suite", default="trixie", help="Debian's name of it: trixie (Python 3.13), sid (the newest)")
    parser.add_argument(
        "--steps", type=names, default="setup,up,test", help="setup, up and targets of make, with commas"
    )
    parser.add_argument("--packages", type=names, default="", help="Debian packages more, with commas: nodejs,chromium")
    parser.add_argument("--folder", type=Path, help="where the Debian is kept: among the temporary files, by its suite")
    parser.add_argument("--remove", action="store_true", help="remove the kept Debian, and nothing else")
    return parser.parse_args(arguments)


# ---- Whether it is possible


def possible(suite: str) -> str:
    """The mirror to take Debian from. Raises Skipped, and Failed for a suite that the mirror has not."""
    if not sys.platform.startswith("linux"):
        raise Skipped("a Debian in a folder needs Linux.")
    if os.geteuid() != 0:
        raise Skipped("only root may mount and change the root folder.")
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        raise Skipped(f"{', '.join(missing)} is missing; on Debian: apt-get install debootstrap util-linux git")
    if subprocess.run([*NAMESPACES, "true"], capture_output=True, check=False).returncode != 0:
        raise Skipped("this machine allows no namespaces for mounts and processes.")
    listed = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Component: main"]
    mirror = mirror_among(subprocess.run(listed, capture_output=True, text=True, check=False).stdout.split())
    try:
        with urllib.request.urlopen(f"{mirror}/dists/{suite}/Release", timeout=MIRROR_S):
            return mirror
    except urllib.error.HTTPError:
        raise Failed(f"The Debian mirror of this machine has no suite {suite}.") from None
    except OSError:
        raise Skipped("the Debian mirror of this machine cannot be reached.") from None


def mirror_among(sources: Sequence[str]) -> str:
    """The archive itself among apt's sources: not its updates for security, nor somebody else's. Raises Skipped."""
    for source in sources:
        address = urlsplit(source.rstrip("/"))
        if address.scheme in ("http", "https") and address.path.rsplit("/", 1)[-1] == "debian":
            return address.geturl()
    raise Skipped("apt knows no mirror of Debian on this machine.")


# ---- The newcomer


def newcomer(debian: BareDebian, steps: Sequence[str]) -> int:
    """A new home, the code as a bundle in it, and the steps; an exit code."""
    debian.bring(COPIED)
    home = debian.folder / "home" / "me"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    bundle = ["git", "-C", str(ROOT), "bundle", "create", "--quiet", str(home / "tokenwire.bundle"), "HEAD"]
    if subprocess.run(bundle, check=False).returncode != 0:
        raise Failed(f"{ROOT} is no git checkout: what is committed is what is tried.")
    shutil.copy(Path(__file__).with_name("newcomer.py"), home)
    environment = kept_variables() | {
        "HOME": "/home/me",
        "USER": "me",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LC_ALL": "C",
        "TZ": "Asia/Kolkata",
        "SSL_CERT_FILE": str(CERTIFICATES),
        "REQUESTS_CA_BUNDLE": str(CERTIFICATES),
        "PIP_CERT": str(CERTIFICATES),
    }
    own = ["chown", "-R", "me:me", "/home/me"]
    if debian.inside(own, {"PATH": ROOT_PATH}) != 0:
        raise Failed("The newcomer's home could not be given to the newcomer.")
    return debian.inside(["python3", "/home/me/newcomer.py", *steps], environment, user="me:me")


# ---- Processes


def isolated(script: str, arguments: Sequence[str], output: TextIO | None = None) -> int:
    """Run a shell script in namespaces of its own, which end with this process, however that ends; the exit code."""
    command = ["setpriv", "--pdeathsig", "KILL", *NAMESPACES, "sh", "-euc", script, "sh", *arguments]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    try:
        return process.wait()
    finally:
        process.kill()
        process.wait()


def kept_variables() -> dict[str, str]:
    return {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}


def tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def leave(number: int, frame: FrameType | None) -> NoReturn:
    """Asked to end: what is under way is ended on the way out."""
    raise SystemExit(128 + number)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
