"""What the dashboard may cost."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.conftest import Visitor
from tests.program import ROOT, Program

UI = ROOT / "_taskqueue" / "web" / "static" / "ui"
BYTES_MAX = 120 * 1024
PAINT_MS_MAX, READY_MS_MAX = 1500, 3000
"""Far more than a person's machine needs; a test machine may be busy."""


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
