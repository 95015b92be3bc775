"""A real browser for tests that look at pages as their readers do."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, Route, sync_playwright

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window. Where there is none the test is skipped, but on CI it fails."""
    if BROWSER is None:
        reason = "needs Chromium or Chrome on the PATH (Debian: apt-get install chromium)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=OPTIONS)
        yield browser
        browser.close()


def watch(page: Page, allowed: str) -> list[str]:
    """Refuse every request whose address does not begin with ``allowed``; note those, and what the console says."""
    trouble: list[str] = []

    def answer(route: Route) -> None:
        if route.request.url.startswith(allowed):
            route.continue_()
        else:
            trouble.append(route.request.url)
            route.abort()

    page.route(re.compile("^(?!data:)"), answer)
    page.on("console", lambda message: trouble.append(message.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    return trouble
