"""Every view: it renders with tasks and without, passes axe in both themes, fits a telephone and 200 % zoom."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visitor, settled
from tests.browser.shop import listed
from tests.program import ROOT, Program

VIEWS = {
    "": "Queues", "failures": "13 dead", "tasks": "Payload or error", "queues": "Oldest waiting", "schedules": "No schedules",
    "workers": "Running now", "metrics": "By queue, in this window", "submit": "New task", "settings": "This process",
}  # fmt: skip
THEMES = ("light", "dark")
PHONE = {"width": 390, "height": 844}
HALF = {"width": 680, "height": 450}
"""What a window of 1360 by 900 is at 200 % zoom, in CSS pixels."""
SHOTS = Path(os.environ.get("TASKQUEUE_SCREENSHOTS", ROOT / "build" / "screenshots"))
AXE = (resources.files("axe_playwright_python") / "axe.min.js").read_text()


def to(page: Page, program: Program, path: str) -> None:
    """Go to a view and wait for it."""
    page.goto(f"{program.api}/ui/{path}")
    settled(page)


def one_task(program: Program, state: str) -> str:
    """The path of a task in this state."""
    return f"tasks/{listed(program, f'state={state}')[0]['task_id']}"


def paths(program: Program) -> list[str]:
    """Every view, with tasks of each kind."""
    return [*VIEWS, *(one_task(program, state) for state in ("dead", "running", "scheduled", "succeeded", "retrying"))]


def violations(page: Page, rules: str = "all") -> list[str]:
    """What axe finds on this page: by all its rules, by "contrast" alone, or by all "but contrast", which takes longest."""
    page.evaluate(AXE)
    which = {"all": "", "contrast": ", runOnly: ['color-contrast']", "but contrast": ", rules: {'color-contrast': {enabled: false}}"}[rules]
    found = page.evaluate(f"axe.run(document, {{resultTypes: ['violations']{which}}})")["violations"]
    return [f"{one['id']}: {node['html'][:160]} {node.get('failureSummary', '')[:200]}" for one in found for node in one["nodes"]]


def too_wide(page: Page) -> list[str]:
    """What makes the page scroll sideways, and text that is cut off without an ellipsis."""
    return list(
        page.evaluate("""() => {
      const wrong = [];
      const room = document.documentElement.clientWidth;
      if (document.documentElement.scrollWidth > room) wrong.push(`page ${document.documentElement.scrollWidth} > ${room}`);
      const over = ".chart, .skip, .sr, .segments, .cut > *, .line > *, .scroll[tabindex], thead, svg, pre";
      for (const one of document.querySelectorAll("#main *, #bar *, #rail *, #drawer *")) {
        const box = one.getBoundingClientRect();
        const { overflowX, textOverflow } = getComputedStyle(one);
        if (!box.width || one.closest(over) || (innerWidth > 640 && one.closest(".scroll"))) continue;
        if (box.right > room + 1 || box.left < -1)
          wrong.push(`${one.nodeName}.${one.className} to ${box.right}`);
        else if (["A", "BUTTON", "H1", "H2", "TD", "DD"].includes(one.nodeName) && one.clientWidth
          && one.scrollWidth > one.clientWidth + 1 && overflowX !== "visible" && textOverflow !== "ellipsis")
          wrong.push(`cut: ${one.textContent}`);
      }
      return wrong;
    }""")
    )


@pytest.mark.parametrize(("path", "text"), VIEWS.items())
def test_every_view_shows_its_tasks(shop: Program, visit: Visitor, path: str, text: str) -> None:
    page = visit.open(shop, path)

    expect(page.locator("#main")).to_contain_text(
        text if text != "13 dead" else "13 tasks fail" if path != "failures" else "tasks fail with"
    )
    expect(page.locator("h1")).to_have_count(1)
    expect(page.locator("#rail [aria-current=page]")).to_have_count(1)


def test_every_view_says_when_it_is_empty(blank: Program, visit: Visitor) -> None:
    says = {
        "": "No task has been submitted yet", "failures": "Nothing fails", "tasks": "No tasks", "queues": "queue",
        "schedules": "No schedules",
        "workers": "Nothing runs at this moment", "metrics": "By queue", "submit": "New task", "settings": "Nothing was changed yet",
        "tasks?q=state%3Adead": "No task matches", "tasks/task01M89NSSSC001JPY6Y5P3JS2H1": "There is no such task",
        "elsewhere": "There is no page",
    }  # fmt: skip
    visit.expected = ("404",)
    page = visit.open(blank)

    for path, text in says.items():
        to(page, blank, path)
        expect(page.locator("#main")).to_contain_text(text)


def test_axe_finds_nothing_in_any_view(shop: Program, visit: Visitor) -> None:
    page, found = visit.open(shop), {}

    for path in paths(shop):
        to(page, shop, path)
        picture(page, path)
        if path == "tasks":
            to(page, shop, "tasks?q=queue%3Aimages")
        found[path] = violations(page, "all")
        page.emulate_media(color_scheme="dark")
        found[f"{path} in the dark"] = violations(page, "contrast")
        page.emulate_media(color_scheme="light")

    assert {path: wrong for path, wrong in found.items() if wrong} == {}
    assert len(list(SHOTS.glob(f"*-{page.viewport_size['width']}.png"))) >= 2 * len(VIEWS)  # type: ignore[index]


def picture(page: Page, path: str) -> None:
    """Write what is seen in both themes, for people to look at."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    name = page.locator("#main .badge").first.inner_text() if path.startswith("tasks/") else path or "overview"
    for theme in ("dark", "light"):
        page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        page.screenshot(path=SHOTS / f"{name}-{theme}-{page.viewport_size['width']}.png")  # type: ignore[index]


@pytest.mark.parametrize("theme", THEMES)
def test_axe_finds_nothing_in_what_opens_over_the_page(shop: Program, visit: Visitor, theme: str) -> None:
    page, found = visit.open(shop, "tasks?q=queue%3Aimages", color_scheme=theme), {}

    page.keyboard.press("?")
    expect(page.locator("dialog")).to_contain_text("Keyboard")
    found["help"] = violations(page)
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    page.locator("dialog input").fill("que")
    found["palette"] = violations(page)
    page.keyboard.press("Escape")
    page.locator("#main tbody tr").first.click()
    expect(page.locator("#drawer")).to_contain_text("Timeline")
    found["drawer"] = violations(page)
    page.keyboard.press("Escape")
    page.get_by_label("Tick all on this page").check()
    page.locator(".bulk").get_by_role("button", name="Delete").click()
    expect(page.locator("dialog")).to_contain_text("cannot be undone")
    found["confirmation"] = violations(page)
    page.keyboard.press("Escape")

    assert {path: wrong for path, wrong in found.items() if wrong} == {}


def test_axe_finds_nothing_on_a_telephone_and_on_empty_views(shop: Program, blank: Program, visit: Visitor) -> None:
    page, found = visit.open(shop, viewport=PHONE), {}
    empty = visit.open(blank, color_scheme="dark")

    for path in paths(shop)[:11]:
        to(page, shop, path)
        picture(page, path)
        found[path] = violations(page, "but contrast")
    for path in ("", "failures", "tasks", "workers"):
        to(empty, blank, path)
        found[f"empty {path}"] = violations(empty)

    assert {path: wrong for path, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize("theme", THEMES)
def test_axe_finds_nothing_on_the_page_of_the_api(shop: Program, visit: Visitor, theme: str) -> None:
    page = visit.open(shop, color_scheme=theme)

    page.goto(f"{shop.api}/docs")
    page.locator("summary", has_text="/tasks/batch").first.click()
    expect(page.locator("details[open]")).to_contain_text("Try it")

    assert violations(page) == []


@pytest.mark.parametrize("size", [PHONE, HALF], ids=["390 px", "200 % zoom"])
def test_nothing_is_wider_than_the_window(shop: Program, visit: Visitor, size: dict[str, int]) -> None:
    page, found = visit.open(shop, viewport=size), {}

    for path in [*paths(shop), "tasks?q=batch_id%3Anight-1"]:
        to(page, shop, path)
        found[path] = too_wide(page)
    page.locator("#main tbody tr").first.click(position={"x": 60, "y": 8})
    expect(page.locator("#drawer")).to_contain_text("Timeline")
    found["drawer"] = too_wide(page)

    assert {path: wrong for path, wrong in found.items() if wrong} == {}


def test_nothing_moves_for_those_who_asked_for_it(shop: Program, visit: Visitor) -> None:
    page = visit.open(shop, one_task(shop, "running"), reduced_motion="reduce")

    expect(page.locator(".timeline .now")).to_be_visible()

    assert page.evaluate("document.getAnimations().length") == 0


def test_one_task_shows_where_its_time_went_and_what_failed(shop: Program, visit: Visitor) -> None:
    page = visit.open(shop, one_task(shop, "dead"))

    expect(page.locator("#main")).to_contain_text("ValueError")
    expect(page.locator("details.attempt pre")).to_contain_text("Traceback")
    for tab, text in {"Result": "has no result", "Options": "Timeout", "Log": "logged nothing", "Raw": "payload_preview"}.items():
        page.get_by_role("button", name=tab, exact=True).click()
        expect(page.locator("#main")).to_contain_text(text)


def test_numbers_too_large_for_a_double_are_shown_as_they_came(shop: Program, visit: Visitor) -> None:
    page = visit.open(shop, f"tasks/{listed(shop, 'task=nobody_knows_this')[0]['task_id']}")

    expect(page.locator("#main pre").last).to_contain_text("12345678901234567890")
    expect(page.locator("#main")).to_contain_text("No live worker")
