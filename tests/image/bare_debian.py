"""A bare Debian in a folder, and programs in it, on a Debian machine with root's rights.

Each program gets a mount namespace of its own: what it needs mounted is gone with it, however it ends, and nothing is
left for anybody to unmount. The network, process ids and limits are the machine's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

__all__ = ["CERTIFICATES", "inside", "make_bare_debian", "reason_against", "take_machine_files"]

CERTIFICATES: Final = "/etc/ssl/certs/ca-certificates.crt"
MACHINE_FILES: Final = (CERTIFICATES, "/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf")
"""How this machine reaches the network, its package registries included."""
MAKE_S: Final = 1_800.0
ENTER: Final = 'root=$1; shift; mount -t proc proc "$root/proc" && mount --rbind /dev "$root/dev" && exec chroot "$@"'


def reason_against() -> str | None:
    """Why no bare Debian can be made here; None = it can."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "a bare Debian in a folder needs Linux and root's rights"
    missing = [tool for tool in ("debootstrap", "unshare", "chroot", "apt-get") if shutil.which(tool) is None]
    if missing:
        return f"a bare Debian in a folder needs {', '.join(missing)}; on Debian: apt-get install debootstrap"
    return None if mirror() else "apt's configuration names no Debian mirror"


def mirror() -> str | None:
    """Where this machine gets Debian's packages from, as its own apt is configured."""
    told = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    found = [line for line in told.stdout.splitlines() if line.rstrip("/").endswith("/debian")]
    return found[0] if found else None


def make_bare_debian(folder: Path, suite: str, packages: Sequence[str]) -> None:
    """Make it, unless it is there. Half a one, of an interrupted run, is made anew."""
    if folder.exists():
        return
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    address = mirror()
    assert address is not None, "ask reason_against first"
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(packages)}", suite, str(unfinished), address]
    made = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=MAKE_S
    )
    assert made.returncode == 0, made.stdout[-2_000:]
    unfinished.rename(folder)


def take_machine_files(root: Path) -> None:
    """What a container's engine would provide: names, certificates, where packages come from."""
    for file in MACHINE_FILES:
        if Path(file).exists():
            target = root / file.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)


def inside(
    root: Path, argv: Sequence[str], *, environment: Mapping[str, str], ids: str = "0:0", work_folder: str = "/"
) -> list[str]:
    """The command that runs a program in the folder, with this environment alone, as this user and group.

    It keeps its process id through all of it: signals reach the program itself.
    """
    variables = [f"{name}={value}" for name, value in environment.items()]
    enter = ["unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER, "sh", str(root.absolute())]
    chroot = [f"--userspec={ids}", "--groups=", str(root.absolute())]
    return [*enter, *chroot, "/usr/bin/env", "-i", f"--chdir={work_folder}", *variables, *argv]
