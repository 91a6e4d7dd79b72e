"""A real browser on the real program: what a person sees and does, checked from outside.

Every page that a test opens is watched: an error on its console, an exception in its code or a request to another
origin fails the test. Without a Chromium the folder is skipped, and says so.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, sync_playwright

from tests.browser.shop import FOLDER_HANDLERS, HANDLERS, fill
from tests.program import ROOT, Program, running

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
)  # fmt: skip
ANSWER_MS = 8_000


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """One browser for this folder; it stops before tests that bring an event loop of their own."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(QUIET))
        yield browser
        browser.close()


class Visitor:
    """Opens pages and collects what goes wrong on them."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self.wrong: list[str] = []
        self.expected: tuple[str, ...] = ()

    def open(
        self, program: Program, path: str = "", *, wait: bool = True, hold: tuple[str, list[Route]] | None = None, **options: Any
    ) -> Page:
        """A page of this program's dashboard in a browser profile of its own; requests to hold are kept in the list."""
        context = self._browser.new_context(**{"viewport": {"width": 1360, "height": 900}, **options})
        context.set_default_timeout(ANSWER_MS)
        self._contexts.append(context)
        page = context.new_page()
        page.on(
            "console",
            lambda said: self._note(f"console: {said.text} {said.location.get('url', '')}") if said.type in {"error", "warning"} else None,
        )
        page.on("pageerror", lambda error: self._note(f"exception: {error}"))
        page.on(
            "request", lambda sent: None if sent.url.startswith((program.api, "data:")) else self._note(f"request elsewhere: {sent.url}")
        )
        if hold is not None:
            pattern, held = hold
            page.route(pattern, lambda route: held.append(route))  # noqa: PLW0108 - Playwright marks the handler, which a builtin refuses
        page.goto(f"{program.api}/ui/{path}")
        if wait:
            settled(page)
        return page

    def _note(self, text: str) -> None:
        self.wrong.append(text)

    def close(self) -> None:
        """End all pages, and fail when one had an error that the test did not name."""
        for context in self._contexts:
            context.close()
        assert [text for text in self.wrong if not any(part in text for part in self.expected)] == []


def settled(page: Page) -> None:
    """Wait until the view has drawn what it loaded."""
    page.locator("main:not([aria-busy]) > *").first.wait_for()


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Visitor]:
    """Opens pages; checks at the end that all was well on them."""
    visitor = Visitor(chromium)
    yield visitor
    visitor.close()


def handlers_of(folder: Path) -> tuple[str, ...]:
    """The arguments that give a program the example tasks and those of the tests."""
    (folder / FOLDER_HANDLERS).mkdir()
    (folder / FOLDER_HANDLERS / "deeds.py").write_text(HANDLERS)
    return ("--handlers", str(ROOT / "handlers"), "--handlers", str(folder / FOLDER_HANDLERS))


@pytest.fixture(scope="package")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A program with tasks in every state. Tests only look at it."""
    folder = tmp_path_factory.mktemp("shop")
    with running(folder, *handlers_of(folder)) as program:
        fill(program)
        yield program


@pytest.fixture(scope="package")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A program to act on; each test works on a queue of its own."""
    folder = tmp_path_factory.mktemp("bench")
    with running(folder, *handlers_of(folder)) as program:
        program.request("/tasks", {"payload": "first"})
        yield program


@pytest.fixture(scope="package")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A program that has never seen a task. Tests only look at it."""
    with running(tmp_path_factory.mktemp("blank")) as program:
        yield program


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Program]:
    """A program of one's own."""
    with running(tmp_path, *handlers_of(tmp_path)) as program:
        yield program
