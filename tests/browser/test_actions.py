"""Every button does what it says: seen in the browser, checked through the API."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.conftest import Visitor
from tests.browser.shop import listed, order, state_of, submit, submit_many, until
from tests.program import Program, running


def row(page: Page, task_id: str) -> object:
    """The row of a task, by its id."""
    return page.locator(f'tr[data-key="{task_id}"]')


def press(page: Page, task_id: str, name: str) -> None:
    """Press a button in the row of a task."""
    one = page.locator(f'tr[data-key="{task_id}"]')
    one.hover()
    one.get_by_role("button", name=name, exact=True).click()


def told(page: Page, text: str) -> None:
    """A toast says this."""
    expect(page.locator("#toasts")).to_contain_text(text)


def settles(program: Program, task_id: str, state: str) -> None:
    """The task comes to stand so."""
    assert until(lambda: state_of(program, task_id), lambda seen: seen == state) == state


def test_a_row_can_be_retried_run_and_cancelled(bench: Program, visit: Visitor) -> None:
    dead = submit(bench, task="fail", payload="broken", queue="rows")
    later = submit(bench, queue="rows", delay="1h")
    unwanted = submit(bench, queue="rows", delay="2h")
    settles(bench, dead, "dead")
    page = visit.open(bench, "tasks?q=queue%3Arows")

    press(page, dead, "Retry")
    told(page, "Retry")
    press(page, later, "Run now")
    told(page, "Run now")
    press(page, unwanted, "Cancel")
    told(page, "is cancelled")

    settles(bench, later, "succeeded")
    settles(bench, unwanted, "cancelled")
    assert until(
        lambda: bench.request(f"/tasks/{dead}/attempts")[1], lambda seen: len(seen["items"] if isinstance(seen, dict) else seen) == 2
    )
    expect(page.locator("#main input[type=search]")).to_have_value("queue:rows")


def test_the_page_of_a_task_offers_what_fits_its_state(bench: Program, visit: Visitor) -> None:
    later = submit(bench, queue="pages", delay="1h")
    page = visit.open(bench, f"tasks/{later}")
    buttons = {
        name: page.locator("#main .panel > header").first.get_by_role("button", name=name, exact=True)
        for name in ("Retry", "Run now", "Cancel", "Delete")
    }

    expect(buttons["Retry"]).to_be_disabled()
    expect(buttons["Retry"]).to_have_attribute("title", "not while it is scheduled")
    buttons["Run now"].click()
    settles(bench, later, "succeeded")
    expect(page.locator("#main .badge").first).to_have_text("succeeded")
    expect(buttons["Cancel"]).to_be_disabled()
    buttons["Delete"].click()
    page.locator("dialog").get_by_role("button", name="Keep them").click()
    assert state_of(bench, later) == "succeeded"
    visit.expected = ("404",)
    buttons["Delete"].click()
    page.locator("dialog").get_by_role("button", name="Delete 1 task").click()

    settles(bench, later, "gone")
    expect(page).to_have_url(f"{bench.api}/ui/tasks")


def test_a_running_task_is_cancelled_from_the_drawer(bench: Program, visit: Visitor) -> None:
    nap = submit(bench, task="nap", payload={"seconds": 600}, queue="drawers")
    settles(bench, nap, "running")
    page = visit.open(bench, "tasks?q=queue%3Adrawers")

    page.locator(f'tr[data-key="{nap}"] .badge').click()
    drawer = page.locator("#drawer")
    expect(drawer).to_contain_text("napping")
    drawer.get_by_role("button", name="Cancel", exact=True).click()

    settles(bench, nap, "cancelled")
    expect(drawer.locator(".badge").first).to_have_text("cancelled")
    drawer.get_by_role("button", name="Close").click()
    expect(drawer).to_be_hidden()
    expect(page).to_have_url(re.compile("queue%3Adrawers"))


def test_ticked_rows_are_acted_on_and_no_other(bench: Program, visit: Visitor) -> None:
    ids = submit_many(bench, [{"payload": n, "queue": "ticks", "delay": f"{n + 1}h"} for n in range(5)])
    page = visit.open(bench, "tasks?q=queue%3Aticks")
    bar = page.locator(".bulk")

    expect(bar.get_by_role("button", name="Cancel")).to_be_disabled()
    page.get_by_label(f"Tick {ids[0]}").check()
    page.get_by_label(f"Tick {ids[2]}").click(modifiers=["Shift"])
    expect(bar).to_contain_text("3 ticked")
    bar.get_by_role("button", name="Cancel 3").click()
    told(page, "3 done")
    expect(bar).to_contain_text("Nothing ticked")
    page.get_by_label(f"Tick {ids[0]}").check()
    bar.get_by_role("button", name="Delete 1").click()
    page.locator("dialog").get_by_role("button", name="Delete 1 task").click()
    told(page, "1 done")

    assert [state_of(bench, one) for one in ids] == ["gone", "cancelled", "cancelled", "scheduled", "scheduled"]
    expect(page).to_have_url(re.compile("queue%3Aticks"))


def test_everything_that_matches_needs_the_number_typed(bench: Program, visit: Visitor) -> None:
    submit_many(bench, [{"payload": n, "queue": "masses", "delay": "5h"} for n in range(1100)])
    page = visit.open(bench, "tasks?q=queue%3Amasses")
    visit.expected = ("404",)  # a row that was cancelled may be deleted by the time the page asks for it

    page.get_by_label("Tick all on this page").check()
    expect(page.locator(".bulk")).to_contain_text("50 ticked")
    page.get_by_role("button", name="Select all that match").click()
    page.locator(".bulk").get_by_role("button", name="Delete").click()
    dialog = page.locator("dialog")
    go = dialog.get_by_role("button", name="Delete 1,100 tasks")
    expect(go).to_be_disabled()
    dialog.get_by_label("Type 1100 to go on").fill("1,100")
    go.click()
    told(page, "1,100 tasks, in the background")

    until(lambda: len(listed(bench, "queue=masses")), lambda seen: seen == 0)
    expect(page.locator("#main")).to_contain_text("No task matches")


def test_a_group_of_failures_is_retried_dismissed_and_deleted(bench: Program, visit: Visitor) -> None:
    ids = submit_many(bench, [{"task": "fail", "payload": "grouped", "queue": "groups"}] * 3)
    for one in ids:
        settles(bench, one, "dead")
    page = visit.open(bench, "failures")
    group = page.locator("#main tr", has_text="grouped")

    group.get_by_role("button", name=re.compile("^Retry")).click()
    told(page, "in the background")
    until(
        lambda: [one["attempt"] for one in listed(bench, "queue=groups&state=dead")],
        lambda seen: len(seen) == 3 and all(n > 1 for n in seen),
    )
    expect(group.locator("[data-label=ever]")).to_have_text("6")  # what comes after would make it appear again
    group.get_by_role("button", name="Dismiss").click()
    expect(group).to_have_count(0)
    page.get_by_role("button", name="Dismissed").click()
    group.get_by_role("button", name="Restore").click()
    page.get_by_role("button", name="Active").click()
    group.get_by_role("button", name="Delete").click()
    page.locator("dialog").get_by_role("button", name=re.compile("^Delete")).click()

    until(lambda: len(listed(bench, "queue=groups")), lambda seen: seen == 0)
    expect(group).to_have_count(0)


def test_a_queue_is_paused_resumed_limited_and_purged(bench: Program, visit: Visitor) -> None:
    submit(bench, queue="lanes")
    page = visit.open(bench, "queues")
    lane = page.locator('tr[data-key="lanes"]')
    dialog = page.locator("dialog")

    lane.get_by_role("button", name="Pause").click()
    dialog.get_by_role("textbox").fill("stocktaking")
    dialog.get_by_role("button", name="OK").click()
    expect(lane).to_contain_text("paused: stocktaking")
    submit_many(bench, [{"payload": n, "queue": "lanes"} for n in range(4)])
    expect(lane.get_by_role("link", name="4")).to_be_visible()
    lane.get_by_role("button", name="Limit").click()
    dialog.get_by_role("textbox").fill("10")
    dialog.get_by_role("button", name="OK").click()
    expect(lane).to_contain_text("≤ 10")
    lane.get_by_role("button", name="Purge").click()
    dialog.get_by_role("button", name="Delete 4 pending tasks").click()
    until(lambda: len(listed(bench, "queue=lanes&state=pending")), lambda seen: seen == 0)
    lane.get_by_role("button", name="Resume").click()

    expect(lane).not_to_contain_text("paused")
    assert bench.request("/queues/lanes")[1]["max_length"] == 10


def test_a_limit_that_is_no_number_is_refused_in_words(bench: Program, visit: Visitor) -> None:
    submit(bench, queue="words")
    visit.expected = ("422", "400")
    page = visit.open(bench, "queues")

    page.locator('tr[data-key="words"]').get_by_role("button", name="Limit").click()
    page.locator("dialog").get_by_role("textbox").fill("many")
    page.locator("dialog").get_by_role("button", name="OK").click()

    expect(page.locator("#toasts [role=alert]")).to_be_visible()
    assert bench.request("/queues/words")[1]["max_length"] is None


def test_a_task_is_submitted_by_form(bench: Program, visit: Visitor) -> None:
    page = visit.open(bench, "submit")
    sent = page.locator("#main table")

    page.locator("#main select").first.select_option("order")
    page.get_by_label("item").fill("tea")
    page.get_by_label("amount").fill("3")
    page.get_by_label("size").select_option("large")
    expect(page.locator("#main pre")).to_contain_text('"amount":3')
    page.locator("#main").get_by_role("button", name="Submit").click()
    expect(sent).to_contain_text('{"item":"tea","amount":3,"urgent":false,"size":"large"}')


def test_a_task_is_submitted_by_text(bench: Program, visit: Visitor) -> None:
    page = visit.open(bench, "submit")
    page.locator("#main select").first.select_option("echo")
    page.get_by_label("Payload").fill("plain words")
    page.locator("#main").get_by_role("button", name="Submit").click()

    expect(page.locator("#main table")).to_contain_text('"plain words"')


def test_what_was_sent_is_followed_though_its_events_are_left_out(bench: Program, visit: Visitor) -> None:
    page = visit.open(bench, "submit")
    page.keyboard.press("p")
    expect(page.locator(".live")).to_have_attribute("data-state", "paused")

    page.locator("#main select").first.select_option("nap")
    page.get_by_label("seconds").fill("1.2")
    page.locator("#main").get_by_role("button", name="Submit").click()

    expect(page.locator("#main table")).to_contain_text("running")
    expect(page.locator("#main table")).to_contain_text('"awake"')


def test_a_payload_that_does_not_fit_is_refused_where_it_was_typed(bench: Program, visit: Visitor) -> None:
    visit.expected = ("422",)
    page = visit.open(bench, "submit")

    page.locator("#main select").first.select_option("order")
    page.locator("#main").get_by_role("button", name="Submit").click()

    expect(page.locator("#main .error-note")).to_contain_text("item")


def test_run_again_makes_a_new_task_like_the_old(bench: Program, visit: Visitor) -> None:
    old = submit(bench, payload="once more", queue="encore", tags=["acct_9"])
    settles(bench, old, "succeeded")
    page = visit.open(bench, f"tasks/{old}")

    page.get_by_role("button", name="Run again").click()
    expect(page.get_by_label("Payload")).to_have_value("once more")
    page.locator("#main").get_by_role("button", name="Submit").click()
    expect(page.locator("#main table")).to_contain_text('"once more"')

    again = [one for one in listed(bench, "queue=encore") if one["task_id"] != old]
    assert [one["tags"] for one in again] == [["acct_9"]]


def test_the_first_task_is_sent_from_the_empty_page(fresh: Program, visit: Visitor) -> None:
    page = visit.open(fresh)

    page.get_by_role("button", name="Send it for me").click()

    expect(page.locator("#main")).to_contain_text("Latest tasks")
    expect(page.locator("#main")).to_contain_text("my_first_task")


def test_a_worker_is_quieted_resumed_and_stopped(tmp_path: Path, visit: Visitor) -> None:
    with running(tmp_path, "--lease", "3s") as program:
        submit(program)
        worker_is_ordered_about(visit.open(program, "workers"), program, visit)


def worker_is_ordered_about(page: Page, program: Program, visit: Visitor) -> None:
    """Quiet, resume, stop: each is obeyed with the worker's next beat, a third of a lease later."""
    worker = page.locator("#main tbody tr").first

    worker.get_by_role("button", name="Quiet").click()
    expect(worker).to_contain_text("quiet", timeout=20_000)
    worker.get_by_role("button", name="Resume").click()
    expect(worker).to_contain_text("active", timeout=20_000)
    worker.get_by_role("button", name="Stop").click()
    page.locator("dialog").get_by_role("button", name="Stop 1 worker").click()
    told(page, "finishes what it runs, then ends")
    visit.expected = ("ERR_", "Failed to fetch", "Failed to load")

    assert program.process.wait(40) == 0


def test_all_failing_tasks_are_retried_from_the_overview(fresh: Program, visit: Visitor) -> None:
    ids = submit_many(fresh, [{"task": "fail", "payload": "oh"}] * 4)
    for one in ids:
        settles(fresh, one, "dead")
    page = visit.open(fresh)

    page.get_by_role("button", name="Retry all 4").click()
    told(page, "4 tasks, in the background")

    until(lambda: [one["attempt"] for one in listed(fresh, "state=dead")], lambda seen: seen == [2, 2, 2, 2])


def test_choices_are_kept_by_this_browser(bench: Program, visit: Visitor) -> None:
    page = visit.open(bench, "settings")

    page.get_by_role("button", name="Dark").click()
    page.get_by_role("button", name="Compact").click()
    page.get_by_role("button", name="UTC").click()
    page.get_by_label("Single-key shortcuts").uncheck()
    page.reload()

    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page.locator("html")).to_have_attribute("data-density", "compact")
    expect(page.locator("#bar .clock")).to_contain_text("UTC")
    expect(page.get_by_label("Single-key shortcuts")).not_to_be_checked()
    page.keyboard.press("?")
    expect(page.locator("dialog")).to_be_hidden()


def test_an_operation_is_stopped_from_its_toast_on_any_page(bench: Program, visit: Visitor) -> None:
    submit_many(bench, [{"payload": n, "queue": "floods", "delay": "5h"} for n in range(1500)])
    order(bench, "POST", "/queues/floods/pause", {"reason": "test"})
    visit.expected = ("409",)
    page = visit.open(bench, "tasks?q=queue%3Afloods")

    page.get_by_label("Tick all on this page").check()
    page.get_by_role("button", name="Select all that match").click()
    page.locator(".bulk").get_by_role("button", name="Cancel").click()
    page.locator("dialog").get_by_label("Type 1500").fill("1500")
    page.locator("dialog").get_by_role("button", name="Cancel 1,500 tasks").click()
    told(page, "1,500 tasks, in the background")
    page.keyboard.press("g")
    page.keyboard.press("m")
    page.locator("#toasts").get_by_role("button", name="Stop").click()

    expect(page.locator("#toasts")).to_contain_text(re.compile("Stopping|already"))
