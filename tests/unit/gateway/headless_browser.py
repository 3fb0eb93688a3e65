"""Headless browsers for the tests of the page: each that is there, or a reason to skip; pages from the source folder.

Playwright drives both as they come: Chromium over its own protocol, Firefox over WebDriver BiDi, no driver beside.
"""

from __future__ import annotations

import mimetypes
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Playwright, Route, async_playwright, expect

from gateway.process.page_files import CONTENT_TYPES

__all__ = ["ORIGIN", "SEEN_MS", "WEB_FOLDER", "Browser", "browser", "launch", "new_page", "require_browser"]

ORIGIN: Final = "http://tokenwire.localhost"
"""Never resolved: every request is answered from the folders. A localhost name counts as a secure context."""
WEB_FOLDER: Final = Path(__file__).parents[3] / "gateway" / "web"
SEEN_MS: Final = 20_000
"""How long a page on a busy machine may take to show what is expected of it."""
SUITE_FOLDER: Final = Path(__file__).parent / "web"
PROGRAMS: Final = {
    "chromium": ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
    "firefox": ("firefox-esr", "firefox"),
}
CHROMIUM_FLAGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
FIREFOX_SETTINGS: Final = {"layout.css.prefers-color-scheme.content-override": 0}
"""Its system wishes dark pages. For Chromium a page says so (`color_scheme`); for Firefox that has no effect."""


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=PROGRAMS)
async def browser(request: pytest.FixtureRequest) -> AsyncIterator[Browser]:
    """One for a module's tests, each of which opens pages of its own; every test runs in each browser."""
    name: str = request.param
    path = require_browser(name)
    expect.set_options(timeout=SEEN_MS)
    async with async_playwright() as playwright:
        launched = await launch(playwright, name, path)
        try:
            yield launched
        finally:
            await launched.close()


def require_browser(name: str) -> str:
    """The browser's path; skips the test where there is none, saying what to install."""
    for program in PROGRAMS[name]:
        path = shutil.which(program)
        if path is not None:
            return path
    package = PROGRAMS[name][0]
    pytest.skip(f"no {name.title()} on the PATH: install one (Debian: apt-get install {package})")


async def launch(playwright: Playwright, name: str, path: str) -> Browser:
    if name == "firefox":  # this channel is the stock Firefox; without it Playwright expects a build of its own
        return await playwright.firefox.launch(
            executable_path=path, channel="moz-firefox", headless=True, firefox_user_prefs=dict(FIREFOX_SETTINGS)
        )
    return await playwright.chromium.launch(executable_path=path, headless=True, args=list(CHROMIUM_FLAGS))


@asynccontextmanager
async def new_page(browser: Browser, **context_options: object) -> AsyncIterator[Page]:
    """A page with cookies and storage of its own, whose origin serves the chat page and the suites."""
    context = await browser.new_context(**context_options)  # type: ignore[arg-type]  # as given
    try:
        context.set_default_timeout(SEEN_MS)
        await context.route(f"{ORIGIN}/**", serve)
        yield await context.new_page()
    finally:
        await context.close()


async def serve(route: Route) -> None:
    path = route.request.url.removeprefix(ORIGIN).split("?")[0].split("#")[0]
    file = file_of(path)
    if path == "/blank":
        await route.fulfill(body="<!doctype html><title>blank</title>", content_type="text/html")
    elif file is None or not file.is_file():
        await route.fulfill(status=404, body="")
    else:
        content_type = CONTENT_TYPES.get(file.suffix) or mimetypes.guess_type(file.name)[0]
        await route.fulfill(body=file.read_bytes(), content_type=content_type)


def file_of(path: str) -> Path | None:
    if path == "/":
        return WEB_FOLDER / "index.html"
    folders = {"web": WEB_FOLDER, "suites": SUITE_FOLDER}
    folder, _, name = path.lstrip("/").partition("/")
    return folders[folder] / name if folder in folders else None
