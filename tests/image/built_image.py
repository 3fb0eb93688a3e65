"""Runs the Dockerfile's own steps, each stage in a copy of a bare Debian. No container engine takes part.

`differences` says what a container has otherwise; where a step needs something of a container's that is not there, the
step fails, as it should.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Final, assert_never

from tests.architecture.source_tree import ROOT, tracked_files
from tests.fresh_machine.__main__ import CERTIFICATES, COPIED, BareDebian, possible
from tests.image.dockerfile import Copy, Environment, Run, Stage, Step, User, WorkFolder, read_stages

__all__ = ["BuiltImage", "build_image", "differences", "folder_mb", "python_of"]

BASE: Final = re.compile(r"python:(\d+\.\d+)-slim-([a-z]+)")
BASE_PACKAGES: Final = ("python3", "python3-venv", "python3-dev", "python-is-python3", "ca-certificates")
"""What the image's base brings: a Python called `python`, able to make environments and to have C built for it."""
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BUILD_ONLY: Final = {
    "PIP_CERT": str(CERTIFICATES),
    "SSL_CERT_FILE": str(CERTIFICATES),
    "PIP_DEFAULT_TIMEOUT": "180",
    "DEBIAN_FRONTEND": "noninteractive",
}
"""How a step gets through this machine's network; the image's processes have none of it."""
STEP_S: Final = 1_500.0
ENTER: Final = 'root=$1; shift; mount -t proc proc "$root/proc" && mount --rbind /dev "$root/dev" && exec chroot "$@"'
"""In a mount namespace of its own: what is mounted is gone with the process, however it ends."""


@dataclass(slots=True)
class BuiltImage:
    """A stage's folder and what its steps have set; of the last one, the image."""

    root: Path
    stage: Stage
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": PATH})
    user: str = "root"
    work_folder: str = "/"

    def argv(self, arguments: Sequence[str], settings: Mapping[str, str]) -> list[str]:
        """The command of a process of the image: its entry point, with these arguments, as its user."""
        return self.command((*self.stage.entry_point, *arguments), settings)

    def command(self, argv: Sequence[str], settings: Mapping[str, str]) -> list[str]:
        """The command of any program in it, as its user."""
        ids, home = self.account()
        environment = {"HOME": home, **self.environment, **settings}
        return inside(self.root, argv, environment=environment, ids=ids, work_folder=self.work_folder)

    def account(self) -> tuple[str, str]:
        """The user's and group's numbers and the home folder, as the image's own accounts say."""
        lines = [line.split(":") for line in (self.root / "etc/passwd").read_text().splitlines()]
        entry = next(line for line in lines if line[0] == self.user)
        return f"{entry[2]}:{entry[3]}", entry[5]


def inside(
    root: Path, argv: Sequence[str], *, environment: Mapping[str, str], ids: str = "0:0", work_folder: str = "/"
) -> list[str]:
    """The command that runs a program in the folder, with this environment alone, as this user and group.

    It keeps its process id through all of it: signals reach the program itself.
    """
    folder = str(root.absolute())
    variables = [f"{name}={value}" for name, value in environment.items()]
    enter = ["unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER, "sh", folder]
    chroot = [f"--userspec={ids}", "--groups=", folder]
    return [*enter, *chroot, "/usr/bin/env", "-i", f"--chdir={work_folder}", *variables, *argv]


def build_image(dockerfile: Path, work: Path, say: Callable[[str], None]) -> BuiltImage:
    """Build every stage below `work`; the last one. The bare Debian there is kept for the next time. Raises Skipped."""
    built: dict[str | None, BuiltImage] = {}
    image = None
    for number, stage in enumerate(read_stages(dockerfile)):
        image = BuiltImage(work / f"stage-{number}", stage)
        begin_stage(image, work, say)
        for step in stage.steps:
            started_s = time.monotonic()
            take_step(image, step, built)
            say(f"{time.monotonic() - started_s:6.1f} s  {step}")
        built[stage.name] = image
    assert image is not None
    return image


def begin_stage(image: BuiltImage, work: Path, say: Callable[[str], None]) -> None:
    base = BASE.fullmatch(image.stage.base)
    assert base is not None, f"the base of a stage must be python:N.N-slim-SUITE, not {image.stage.base}"
    debian = BareDebian(work / f"debian-{base[2]}")
    started_s = time.monotonic()
    mirror = possible(base[2])
    with debian.taken():
        debian.make(base[2], BASE_PACKAGES, mirror)
        shutil.rmtree(image.root, ignore_errors=True)
        copying = ["cp", "--archive", "--reflink=auto", f"{debian.folder}/.", str(image.root)]
        subprocess.run(copying, check=True, timeout=STEP_S)
    BareDebian(image.root).bring(COPIED)
    say(f"{time.monotonic() - started_s:6.1f} s  FROM {image.stage.base}: a bare Debian {base[2]}")
    python = python_of(image)
    assert python.startswith(f"{base[1]}."), f"Debian {base[2]} brings Python {python}, the image's is {base[1]}"


def take_step(image: BuiltImage, step: Step, built: Mapping[str | None, BuiltImage]) -> None:
    match step:
        case Run(line):
            run(image, line)
        case Copy(sources, target, stage):
            into = image.root / target.lstrip("/")
            if stage is None:
                copy_context(sources, into, as_folder=target.endswith("/"))
            else:
                copy_stage(built[stage].root, sources, into)
        case Environment(values):
            for name, value in values:
                image.environment[name] = Template(value).substitute(image.environment)
        case User(name):
            image.user = name
        case WorkFolder(path):
            image.work_folder = path
            (image.root / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
        case unreachable:
            assert_never(unreachable)


def run(image: BuiltImage, line: str) -> None:
    done = subprocess.run(
        image.command(("/bin/sh", "-c", line), BUILD_ONLY),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=STEP_S,
    )
    assert done.returncode == 0, f"RUN {line}\n{done.stdout[-4_000:]}"


def copy_context(sources: Sequence[str], into: Path, *, as_folder: bool) -> None:
    """Tracked files alone, as they stand in the checkout: what is built must not depend on what else lies there."""
    for source in sources:
        files = [file for file in tracked_files() if file == Path(source) or Path(source) in file.parents]
        assert files, f"COPY {source}: no tracked file"
        for file in files:
            beside = file.relative_to(source) if file != Path(source) else Path(file.name if as_folder else "")
            target = into / beside
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, target)


def copy_stage(root: Path, sources: Sequence[str], into: Path) -> None:
    for source in sources:
        origin = root / source.lstrip("/")
        assert origin.is_dir(), f"COPY --from: {source} is no folder"
        into.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "--archive", f"{origin}/.", into], check=True, timeout=STEP_S)


def python_of(image: BuiltImage) -> str:
    """The version of the Python called `python`."""
    script = "import platform; print(platform.python_version(), platform.machine())"
    argv = inside(image.root, ("python", "-c", script), environment={"PATH": PATH})
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def folder_mb(folder: Path) -> float:
    """What its files take on the disk, in millions of bytes."""
    told = subprocess.run(
        ["du", "--summarize", "--block-size=1", folder], capture_output=True, text=True, check=True, timeout=120
    )
    return int(told.stdout.split()[0]) / 1e6


def differences(image: BuiltImage) -> str:
    """What a container made by an engine has otherwise than what was run here."""
    return (
        f"Not a container: the base is a bare Debian with its own Python ({python_of(image)}), not {image.stage.base}; "
        "processes see this machine's network, process ids and limits; its addresses of package registries, its "
        "certificates and DNS were put into the folder; only tracked files were copied; no layers, no registry, "
        "no compose file, and no other architecture than this machine's."
    )
