"""What the dashboard may cost."""

from __future__ import annotations

import contextlib
import time
import urllib.request
from pathlib import Path
from typing import Any

import redis
from playwright.sync_api import expect

from tests.browser.conftest import Visitor
from tests.browser.shop import submit_many
from tests.program import ROOT, Program, running

UI = ROOT / "_taskqueue" / "web" / "static" / "ui"
BYTES_MAX = 120 * 1024
PAINT_MS_MAX, READY_MS_MAX = 1500, 3000
"""Far more than a person's machine needs; a test machine may be busy."""
TABS, WATCHED_S, PAGE = 50, 1.5, 200


def test_the_code_stays_small() -> None:
    sizes = {str(one.relative_to(UI)): one.stat().st_size for kind in ("js", "css") for one in UI.rglob(f"*.{kind}")}

    assert sum(sizes.values()) < BYTES_MAX, sizes


def test_the_first_paint_does_not_wait(shop: Program, visit: Visitor) -> None:
    page = visit.open(shop, "tasks")
    expect(page.locator("#main tbody tr").first).to_be_visible()

    painted = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    ready = page.evaluate("Math.max(...performance.getEntriesByType('resource').map((one) => one.responseEnd))")

    assert painted < PAINT_MS_MAX
    assert ready < READY_MS_MAX


def test_a_megabyte_of_payload_is_cut_until_one_asks(bench: Program, visit: Visitor) -> None:
    status, answer = bench.request("/tasks", {"payload": ["x" * 99] * 9000, "delay": "1h"})
    assert status == 202
    page = visit.open(bench, f"tasks/{answer['task_id']}")

    block = page.locator("#main pre").last
    assert len(block.text_content() or "") <= 16384
    page.get_by_role("button", name="Show all").click()

    page.wait_for_timeout(200)
    assert len(block.text_content() or "") > 900_000


def test_fifty_tabs_cost_the_store_no_more_than_one(tmp_path: Path, debian_url: str) -> None:
    with running(tmp_path, "--redis-url", debian_url) as program, redis.from_url(debian_url) as store, contextlib.ExitStack() as tabs:
        submit_many(program, [{"payload": n} for n in range(10)])

        def watched() -> tuple[int, int]:
            """How often the events were read meanwhile, and the connections there are."""
            before = reads(store)
            time.sleep(WATCHED_S)
            return reads(store) - before, store.info("clients")["connected_clients"]

        tabs.enter_context(urllib.request.urlopen(f"{program.api}/events", timeout=30))
        alone = watched()
        for _ in range(TABS - 1):
            tabs.enter_context(urllib.request.urlopen(f"{program.api}/events", timeout=30))
        together = watched()

    assert alone[0] > 0
    assert together[0] <= 1.5 * alone[0] + 2
    assert together[1] <= alone[1] + 2


def reads(store: Any) -> int:
    """How often a range of a stream was asked for."""
    return sum(int(one["calls"]) for name, one in store.info("commandstats").items() if name in {"cmdstat_xrange", "cmdstat_xread"})


def test_a_list_of_ten_thousand_costs_the_same_at_its_end(bench: Program) -> None:
    submit_many(bench, [{"payload": n, "queue": "depths", "delay": "9h"} for n in range(10_000)])
    first = f"/tasks?queue=depths&limit={PAGE}"
    path, seen = first, 0
    while True:
        page = bench.request(path)[1]
        seen += len(page["items"])
        if not page["next_cursor"]:
            break
        path = f"{first}&cursor={page['next_cursor']}"

    assert seen == 10_000
    assert quickest(bench, path) < 5 * quickest(bench, first) + 0.01


def quickest(program: Program, path: str) -> float:
    """The shortest of some answers' times: what the machine did besides is not in it."""
    found = []
    for _ in range(10):
        begun = time.perf_counter()
        program.request(path)
        found.append(time.perf_counter() - begun)
    return min(found)
