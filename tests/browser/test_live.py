"""What happens elsewhere appears by itself, without moving what one is looking at."""

from __future__ import annotations

import threading
from pathlib import Path

from playwright.sync_api import Route, expect

from tests.browser.conftest import Visitor
from tests.browser.shop import state_of, submit, submit_many, until
from tests.program import Program, running

LONG_TASK_MS = 50
EVENTS = 3000


def test_a_row_is_patched_where_it_stands(bench: Program, visit: Visitor) -> None:
    task_id = submit(bench, task="nap", payload={"seconds": 2}, queue="patches")
    page = visit.open(bench, "tasks?q=queue%3Apatches")
    row = page.locator(f'tr[data-key="{task_id}"]')
    expect(row).to_contain_text("running")
    row.evaluate("(one) => { one.mark = 'the same'; }")

    expect(row).to_contain_text("succeeded")

    assert row.evaluate("(one) => one.mark") == "the same"


def test_what_came_before_the_page_was_listening_is_not_missed(fresh: Program, visit: Visitor) -> None:
    submit(fresh, queue="gaps", delay="1h")
    held: list[Route] = []
    page = visit.open(fresh, "tasks", hold=("**/events", held))
    rows = page.locator("#main tbody tr")
    expect(rows).to_have_count(1)

    submit(fresh, queue="gaps", delay="2h")
    held[0].continue_()

    expect(rows).to_have_count(2)


def test_an_older_answer_never_takes_the_place_of_a_newer_one(bench: Program, visit: Visitor) -> None:
    submit(bench, queue="races", delay="1h")
    page = visit.open(bench, "tasks")
    rows = page.locator("#main tbody tr")
    expect(rows).not_to_have_count(0)
    held: list[Route] = []
    page.route(lambda url: "/tasks?" in url and "q=" not in url, lambda route: held.append(route))  # noqa: PLW0108 - as in Visitor
    page.get_by_role("button", name="Oldest first").or_(page.get_by_role("button", name="Newest first")).click()
    page.wait_for_timeout(200)

    page.locator("#main input[type=search]").fill("queue:races")
    page.keyboard.press("Enter")
    expect(rows).to_have_count(1)
    assert held
    for route in held:
        route.continue_()
    page.wait_for_timeout(500)

    expect(rows).to_have_count(1)


def test_new_tasks_come_by_themselves_or_wait_behind_a_pill(bench: Program, visit: Visitor) -> None:
    first = submit(bench, queue="arrivals", delay="1h")
    page = visit.open(bench, "tasks?q=queue%3Aarrivals")
    rows = page.locator("#main tbody tr")
    expect(page.locator(".live")).to_have_attribute("data-state", "live")

    submit(bench, queue="arrivals", delay="2h")
    expect(rows).to_have_count(2)
    page.get_by_label(f"Tick {first}").check()
    submit(bench, queue="arrivals", delay="3h")
    pill = page.locator(".pill")
    expect(pill).to_contain_text("new")
    expect(rows).to_have_count(2)
    expect(page.get_by_label(f"Tick {first}")).to_be_checked()
    pill.click()

    expect(rows).to_have_count(3)
    expect(page.get_by_label(f"Tick {first}")).to_be_checked()


def test_a_page_left_in_the_middle_of_a_word_keeps_it(bench: Program, visit: Visitor) -> None:
    page = visit.open(bench, "submit")

    page.get_by_label("Payload").fill("half a sen")
    page.get_by_text("Options").click()
    page.get_by_label("Queue", exact=True).fill("typed")
    submit_many(bench, [{"payload": n, "queue": "noise"} for n in range(50)])
    page.wait_for_timeout(1500)

    expect(page.get_by_label("Payload")).to_have_value("half a sen")
    expect(page.get_by_label("Queue", exact=True)).to_have_value("typed")
    expect(page.get_by_label("Queue", exact=True)).to_be_focused()


def test_live_updates_pause_and_go_on(bench: Program, visit: Visitor) -> None:
    page = visit.open(bench, "tasks?q=queue%3Apauses")
    expect(page.locator(".live")).to_have_attribute("data-state", "live")

    page.keyboard.press("p")
    expect(page.locator(".live")).to_have_attribute("data-state", "paused")
    submit(bench, queue="pauses", delay="1h")
    page.keyboard.press("p")

    expect(page.locator("#main tbody tr")).to_have_count(1)
    expect(page.locator(".live")).to_have_attribute("data-state", "live")


def test_the_stream_comes_back_after_a_restart(tmp_path: Path, visit: Visitor) -> None:
    visit.expected = ("ERR_", "Failed to load", "Failed to fetch")
    with running(tmp_path) as program:
        submit(program, delay="1h")
        page = visit.open(program, "tasks")
        expect(page.locator(".live")).to_have_attribute("data-state", "live")
        port = program.api.rpartition(":")[2]
        assert program.stop() == 0
        expect(page.locator(".live")).not_to_have_attribute("data-state", "live")

    with running(tmp_path, "--port", port, "--metrics-port", "0") as again:
        expect(page.locator(".live")).to_have_attribute("data-state", "live", timeout=20_000)
        submit(again, payload="after the restart", delay="2h")

        expect(page.locator("#main tbody tr")).to_have_count(2, timeout=10_000)


def test_500_rows_stay_smooth_while_tasks_pour_in(bench: Program, visit: Visitor) -> None:
    submit_many(bench, [{"payload": n, "queue": "rows500", "delay": "9h"} for n in range(560)])
    page = visit.open(bench, "tasks?q=queue%3Arows500")
    for shown in range(100, 501, 50):
        page.get_by_role("button", name="Load more").click()
        expect(page.locator("#main tbody tr")).to_have_count(shown)
    page.evaluate("""() => {
      window.long = [];
      const note = (list) => list.getEntries().forEach((one) => window.long.push(Math.round(one.duration)));
      new PerformanceObserver(note).observe({ type: "longtask" });
    }""")

    pouring = threading.Thread(target=submit_many, args=(bench, [{"payload": n, "queue": "pour"} for n in range(EVENTS)]))
    pouring.start()
    page.wait_for_timeout(3000)
    pouring.join()

    found = page.evaluate("window.long")
    assert len([one for one in found if one > 2 * LONG_TASK_MS]) <= 1, found
    expect(page.locator("#main tbody tr")).to_have_count(500)
    page.get_by_role("button", name="Next page").click()
    expect(page.locator("#main tbody tr")).to_have_count(50)
    expect(page.locator("#main")).to_contain_text("Showing 501 to 550")
    page.get_by_role("button", name="From the start").click()
    expect(page.locator("#main")).to_contain_text("Showing 50,")


def test_each_failed_attempt_shows_what_it_logged(bench: Program, visit: Visitor) -> None:
    task_id = submit(bench, task="flaky", payload={"failures": 1}, queue="logs")
    until(lambda: state_of(bench, task_id), lambda seen: seen == "succeeded")
    page = visit.open(bench, f"tasks/{task_id}")

    attempt = page.locator("#main details.attempt")

    expect(attempt).to_have_count(1)
    expect(attempt).to_contain_text("attempt 1 failed on purpose")
    expect(attempt).to_contain_text("attempt 1 will fail")


def test_a_running_task_is_followed_to_its_end(bench: Program, visit: Visitor) -> None:
    task_id = submit(bench, task="nap", payload={"seconds": 2, "note": "snoring"}, queue="follows")
    until(lambda: state_of(bench, task_id), lambda seen: seen == "running")
    page = visit.open(bench, f"tasks/{task_id}")

    expect(page.locator("#main progress")).to_be_visible()
    expect(page.locator("#main")).to_contain_text("snoring")
    expect(page.locator("#main .badge").first).to_have_text("succeeded")
    page.get_by_role("button", name="Result").click()

    expect(page.locator("#main pre").last).to_contain_text("awake")
