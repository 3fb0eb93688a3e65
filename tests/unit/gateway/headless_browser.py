"""A headless Chromium for the tests of the page: found, or a reason to skip; pages served from the source folder."""

from __future__ import annotations

import mimetypes
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
from playwright.async_api import BrowserContext, Page, Route, async_playwright

__all__ = ["ORIGIN", "WEB_FOLDER", "new_page", "require_browser"]

ORIGIN: Final = "http://tokenwire.localhost"
"""Never resolved: every request is answered from the folders. A localhost name counts as a secure context."""
WEB_FOLDER: Final = Path(__file__).parents[3] / "gateway" / "web"
SUITE_FOLDER: Final = Path(__file__).parent / "web"
NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def require_browser() -> str:
    """The browser's path; skips the test where there is none, saying what to install."""
    for name in NAMES:
        path = shutil.which(name)
        if path is not None:
            return path
    pytest.skip("no Chromium on the PATH: install one (Debian, Ubuntu: apt-get install chromium)")


@asynccontextmanager
async def new_page(**context_options: object) -> AsyncIterator[Page]:
    """A page of a browser of its own, whose origin serves the chat page and the suites."""
    path = require_browser()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, headless=True, args=list(FLAGS))
        try:
            context: BrowserContext = await browser.new_context(**context_options)  # type: ignore[arg-type]  # as given
            context.set_default_timeout(10_000)
            await context.route(f"{ORIGIN}/**", serve)
            yield await context.new_page()
        finally:
            await browser.close()


async def serve(route: Route) -> None:
    path = route.request.url.removeprefix(ORIGIN).split("?")[0].split("#")[0]
    file = file_of(path)
    if path == "/blank":
        await route.fulfill(body="<!doctype html><title>blank</title>", content_type="text/html")
    elif file is None or not file.is_file():
        await route.fulfill(status=404, body="")
    else:
        content_type = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        await route.fulfill(body=file.read_bytes(), content_type=content_type)


def file_of(path: str) -> Path | None:
    if path == "/":
        return WEB_FOLDER / "index.html"
    folders = {"web": WEB_FOLDER, "suites": SUITE_FOLDER}
    folder, _, name = path.lstrip("/").partition("/")
    return folders[folder] / name if folder in folders else None
