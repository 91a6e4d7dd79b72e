"""All of it without a mouse, and addresses that can be shared, reloaded and gone back to."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.browser.conftest import Visitor, settled
from tests.browser.shop import listed, state_of, submit, submit_many, until
from tests.program import Program


def path_of(page: Page, program: Program) -> str:
    """Where the page is, within the dashboard."""
    return page.url.removeprefix(f"{program.api}/ui/")


def test_two_keys_go_to_every_view(shop: Program, visit: Visitor) -> None:
    page = visit.open(shop)

    for key, title in {
        "f": "Failures",
        "t": "Tasks",
        "q": "Queues",
        "s": "Schedules",
        "w": "Workers",
        "m": "Metrics",
        "n": "Submit a task",
        "o": "Overview",
    }.items():
        page.keyboard.press("g")
        page.keyboard.press(key)
        expect(page.locator("h1")).to_have_text(title)
        settled(page)


def test_rows_are_walked_opened_ticked_and_copied(bench: Program, visit: Visitor) -> None:
    ids = submit_many(bench, [{"payload": n, "queue": "walks", "delay": f"{5 - n}h"} for n in range(3)])
    page = visit.open(bench, "tasks?q=queue%3Awalks", permissions=["clipboard-read", "clipboard-write"])

    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(page.locator("tr.cursor")).to_have_attribute("data-key", ids[1])
    page.keyboard.press("k")
    expect(page.locator("tr.cursor")).to_have_attribute("data-key", ids[0])
    page.keyboard.press("x")
    expect(page.locator(".bulk")).to_contain_text("1 ticked")
    page.keyboard.press("y")
    expect(page.locator("#toasts")).to_contain_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == ids[0]
    page.keyboard.press("Enter")
    expect(page.locator("#drawer")).to_contain_text(ids[0])
    page.keyboard.press("Escape")
    expect(page.locator("#drawer")).to_be_hidden()
    page.keyboard.press("c")
    expect(page.locator("#toasts")).to_contain_text("is cancelled")
    page.keyboard.press("r")
    assert until(lambda: state_of(bench, ids[0]), lambda seen: seen == "succeeded")
    page.keyboard.press("o")
    expect(page).to_have_url(f"{bench.api}/ui/tasks/{ids[0]}")


def test_keys_do_nothing_while_one_types(shop: Program, visit: Visitor) -> None:
    page = visit.open(shop, "tasks")

    page.keyboard.press("/")
    page.keyboard.type("gt? xa")
    expect(page.locator("#main input[type=search]")).to_have_value("gt? xa")
    page.keyboard.press("Escape")

    expect(page.locator("#main input[type=search]")).not_to_be_focused()
    expect(page.locator("dialog")).to_be_hidden()
    expect(page.locator("h1")).to_have_text("Tasks")


def test_the_filter_completes_what_is_typed(shop: Program, visit: Visitor) -> None:
    page = visit.open(shop, "tasks")

    page.keyboard.press("/")
    page.keyboard.type("sta")
    expect(page.locator(".suggest")).to_contain_text("state:")
    page.keyboard.press("Enter")
    page.keyboard.type("de")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")

    expect(page).to_have_url(re.compile(r"q=state%3Adead$"))
    expect(page.locator("#main tbody tr")).to_have_count(13)


def test_the_palette_jumps_to_pages_queues_and_tasks(shop: Program, visit: Visitor) -> None:
    page, task_id = visit.open(shop), listed(shop, "state=dead")[0]["task_id"]

    page.keyboard.press("Control+k")
    page.keyboard.type("work")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Workers")
    page.keyboard.press("Control+k")
    page.keyboard.type("emails")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("queue%3Aemails"))
    page.keyboard.press("Control+k")
    page.keyboard.type(task_id)
    page.keyboard.press("Enter")

    expect(page).to_have_url(f"{shop.api}/ui/tasks/{task_id}")


def test_help_opens_and_gives_the_focus_back(shop: Program, visit: Visitor) -> None:
    page = visit.open(shop)

    page.get_by_label("Keyboard shortcuts").focus()
    page.keyboard.press("Enter")
    expect(page.locator("dialog")).to_contain_text("Next, previous row")
    page.keyboard.press("Escape")

    expect(page.get_by_label("Keyboard shortcuts")).to_be_focused()


def test_a_filter_survives_an_action_and_a_reload(bench: Program, visit: Visitor) -> None:
    task_id = submit(bench, queue="filters", delay="1h", tags=["keep"])
    page = visit.open(bench, "tasks")

    page.locator("#main input[type=search]").fill("queue:filters tag:keep")
    page.keyboard.press("Enter")
    expect(page.locator("#main tbody tr")).to_have_count(1)
    row = page.locator(f'tr[data-key="{task_id}"]')
    row.hover()
    row.get_by_role("button", name="Cancel").click()
    expect(row).to_contain_text("cancelled")
    before = page.url
    page.reload()
    settled(page)

    assert page.url == before
    expect(page.locator("#main input[type=search]")).to_have_value("queue:filters tag:keep")
    expect(page.locator("#main tbody tr")).to_have_count(1)


def test_back_and_forward_go_where_one_was(shop: Program, visit: Visitor) -> None:
    page = visit.open(shop, "tasks")

    page.locator(".segments").get_by_role("link", name="dead").click()
    expect(page.locator("#main tbody tr")).to_have_count(13)
    page.locator("#main tbody tr a").first.click()
    expect(page.locator("#main")).to_contain_text("Timeline")
    page.go_back()
    expect(page.locator("#main input[type=search]")).to_have_value("state:dead")
    expect(page.locator("#main tbody tr")).to_have_count(13)
    page.go_back()
    expect(page.locator("#main input[type=search]")).to_have_value("")
    page.go_forward()

    expect(page.locator("#main input[type=search]")).to_have_value("state:dead")


def test_the_skip_link_and_the_focus_ring(shop: Program, visit: Visitor) -> None:
    page = visit.open(shop)

    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.keyboard.press("Tab")

    assert page.evaluate("getComputedStyle(document.activeElement).outlineWidth") == "2px"
