"""Tokens: signing in and out, and buttons that one may not press."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visitor, handlers_of, settled
from tests.program import Program, running

READER, OWNER = "reader-" + "0" * 32, "owner-" + "1" * 32
REFUSED = ("401", "403")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A program that needs tokens, with one task that failed and one that waits."""
    folder = tmp_path_factory.mktemp("guarded")
    with running(folder, *handlers_of(folder), "--tokens", f"ann:read:{READER},bob:admin:{OWNER}") as program:
        for body in (b'{"task": "fail", "payload": "no"}', b'{"payload": "x", "delay": "1h"}'):
            sent = urllib.request.Request(f"{program.api}/tasks", body, {"Authorization": f"Bearer {OWNER}"})
            urllib.request.urlopen(sent, timeout=10).close()
        yield program


def test_one_signs_in_with_a_token_and_out_again(guarded: Program, visit: Visitor) -> None:
    visit.expected = REFUSED
    page = visit.open(guarded, "tasks", wait=False)
    dialog = page.locator("dialog")

    dialog.get_by_label("Token").fill("wrong")
    dialog.get_by_role("button", name="Sign in").click()
    expect(dialog.get_by_role("alert")).not_to_be_empty()
    dialog.get_by_label("Token").fill(OWNER)
    dialog.get_by_role("button", name="Sign in").click()
    expect(dialog).to_be_hidden()
    expect(page.locator("#main tbody tr")).to_have_count(2)
    page.goto(f"{guarded.api}/ui/settings")
    expect(page.locator("#main")).to_contain_text("Signed in as bob")
    page.get_by_role("button", name="Sign out").click()

    expect(dialog).to_contain_text("Sign in")
    assert page.evaluate("localStorage.length === 0 || !JSON.stringify(localStorage).includes('owner')")


def test_a_link_with_a_token_signs_in_and_forgets_it(guarded: Program, visit: Visitor) -> None:
    page = visit.open(guarded, f"#token={OWNER}")

    expect(page.locator("#main")).to_contain_text("Latest tasks")

    assert OWNER not in page.url


def test_a_reader_sees_all_and_can_press_nothing(guarded: Program, visit: Visitor) -> None:
    visit.expected = REFUSED
    page = visit.open(guarded, f"#token={READER}")

    for path in ("", "failures", "tasks", "queues", "workers", "submit"):
        page.goto(f"{guarded.api}/ui/{path}")
        settled(page)
        for name in ("Retry", "Cancel", "Delete", "Pause", "Purge", "Limit", "Quiet", "Stop", "Submit", "Run now"):
            for one in page.locator("#main").get_by_role("button", name=name).all():
                expect(one).to_be_disabled()
    page.goto(f"{guarded.api}/ui/tasks")
    page.locator("#main tbody tr").first.click()

    expect(page.locator("#drawer").get_by_role("button", name="Run again")).to_be_disabled()
    expect(page.locator("#drawer").get_by_role("button", name="Delete")).to_have_attribute("title", "needs the scope admin")
