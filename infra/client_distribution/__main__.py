"""Build the wheel of the light client.

    python -m infra.client_distribution --out dist              # make client
    python -m infra.client_distribution --sources build/client  # what it is built from, to look at
    python -m infra.client_distribution --wheelhouse .tokenwire/cache/wheelhouse

The last one downloads what the client asks for without its extra, at the versions of the lock, each file checked by
its hash: an environment can then be made without a network (`pip install --no-index --find-links …`).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from infra.client_distribution.decisions.import_closure import UnreadableImport
from infra.client_distribution.source_tree import UndeclaredImport, write_tree
from infra.client_distribution.wheelhouse import fill_wheelhouse

__all__ = ["main"]

BUILD_S_MAX = 120


def main() -> int:
    """Do what was asked; an exit code."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--out", type=Path, help="folder of the wheel")
    options.add_argument("--sources", type=Path, help="folder of the source tree alone")
    options.add_argument("--wheelhouse", type=Path, help="folder of what the client asks for")
    chosen = options.parse_args()
    if not (chosen.out or chosen.sources or chosen.wheelhouse):
        options.error("name --out, --sources or --wheelhouse")
    try:
        if chosen.sources:
            write_tree(chosen.sources)
        if chosen.out:
            build(chosen.out)
        if chosen.wheelhouse:
            fill_wheelhouse(chosen.wheelhouse)
    except (UndeclaredImport, UnreadableImport) as fault:
        sys.stderr.write(f"{fault}\n")
        return 1
    except subprocess.CalledProcessError as failed:
        sys.stderr.write(f"{failed.stdout}{failed.stderr}")
        return 1
    return 0


def build(out: Path) -> None:
    """Build in a temporary folder, with the backend that is installed. Raises CalledProcessError."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_tree(folder)
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(folder)]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=BUILD_S_MAX)


if __name__ == "__main__":
    sys.exit(main())
