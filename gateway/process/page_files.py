"""The chat page's files, read once at the start and kept: small, immutable while the process lives."""

from __future__ import annotations

import mimetypes
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["CONTENT_TYPES", "WEB_FOLDER", "PageFile", "load_page_files"]

WEB_FOLDER: Final = Path(__file__).parents[1] / "web"
ENTRY: Final = "index.html"
FILE_BYTES_MAX: Final = 2_097_152
FILES_MAX: Final = 256
NOT_OF_THE_PAGE: Final = ("package.json", "vendor.json", ".d.ts", ".tgz", ".md", "LICENSE")
"""What only the client's package is made of, and what says where the vendored files are from."""
CONTENT_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file as it is answered."""

    body: bytes
    content_type: str


def load_page_files(folder: Path = WEB_FOLDER) -> dict[str, PageFile]:
    """URL path → file: `/` is the entry, the rest is below `/web/`. Nothing outside the folder, hidden or large."""
    files: dict[str, PageFile] = {}
    if not folder.is_dir():
        return files
    for path in sorted(folder.rglob("*"))[:FILES_MAX]:
        relative = path.relative_to(folder)
        if not servable(path, relative):
            continue
        guessed = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        url_path = "/" if relative.as_posix() == ENTRY else f"/web/{relative.as_posix()}"
        files[url_path] = PageFile(path.read_bytes(), CONTENT_TYPES.get(path.suffix, guessed))
    return files


def servable(path: Path, relative: Path) -> bool:
    hidden = any(part.startswith((".", "_")) for part in relative.parts) or relative.name.endswith(NOT_OF_THE_PAGE)
    return path.is_file() and not path.is_symlink() and not hidden and path.stat().st_size <= FILE_BYTES_MAX
