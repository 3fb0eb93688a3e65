"""Files of other people that are kept here: fetched from their packages, and checked to be what those hold.

`python -m tests.vendored_files` (`make vendor`) packs each package that a `vendor.json` names with the ordinary npm
client, checks the archive against the manifest's digest, and puts its files where the manifest says, byte for byte.
To take another version, change it in the manifest, empty its `integrity`, and run it with `--trust`: the digests are
written anew, for you to read in the diff.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Final

__all__ = ["MANIFESTS", "faults_of", "main"]

ROOT: Final = Path(__file__).parents[1]
MANIFESTS: Final = (
    ROOT / "gateway" / "web" / "vendor" / "vendor.json",
    ROOT / "tests" / "data" / "commonmark" / "vendor.json",
)
PACK_S: Final = 120
Package = dict[str, Any]


def faults_of(manifest: Path) -> list[str]:
    """What is not as the manifest says: changed, missing, unnamed, or without a licence. Needs no network."""
    packages = json.loads(manifest.read_text())
    named = {file["as"]: file["sha256"] for package in packages for file in package["files"]}
    there = {path.relative_to(manifest.parent).as_posix() for path in manifest.parent.rglob("*") if path.is_file()}
    faults = [f"{name} is in no package of {manifest.name}" for name in sorted(there - named.keys() - {manifest.name})]
    for name, digest in named.items():
        path = manifest.parent / name
        if not path.is_file():
            faults.append(f"{name} is missing: run make vendor")
        elif sha256(path.read_bytes()) != digest:
            faults.append(f"{name} is not what its package holds: run make vendor")
    return faults + [
        f"{package['name']} has no licence"
        for package in packages
        if not any("LICENSE" in file["as"] for file in package["files"])
    ]


def refresh(manifest: Path, *, trust: bool) -> None:
    packages: list[Package] = json.loads(manifest.read_text())
    for package in packages:
        with tempfile.TemporaryDirectory() as folder:
            archive = packed(package, Path(folder))
            take_out(package, archive, manifest.parent, trust=trust)
    manifest.write_text(json.dumps(packages, indent=2) + "\n")


def packed(package: Package, folder: Path) -> Path:
    wanted = f"{package['name']}@{package['version']}"
    command = ["npm", "pack", "--silent", "--pack-destination", str(folder), wanted]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, timeout=PACK_S)
    (archive,) = folder.glob("*.tgz")
    return archive


def take_out(package: Package, archive: Path, folder: Path, *, trust: bool) -> None:
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if trust:
        package["integrity"] = integrity
    elif package["integrity"] != integrity:
        raise SystemExit(f"{package['name']} {package['version']} is not the archive that vendor.json names")
    with tarfile.open(archive) as members:
        for file in package["files"]:
            member = members.extractfile(f"package/{file['from']}")
            if member is None:
                raise SystemExit(f"{package['name']} has no {file['from']}")
            body = member.read()
            if trust:
                file["sha256"] = sha256(body)
            elif file["sha256"] != sha256(body):
                raise SystemExit(f"{package['name']}: {file['from']} is not what vendor.json says")
            path = folder / file["as"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def main(arguments: list[str]) -> None:
    for manifest in MANIFESTS:
        refresh(manifest, trust=arguments == ["--trust"])


if __name__ == "__main__":
    main(sys.argv[1:])
