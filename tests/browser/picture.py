"""Takes the README's pictures: python -m tests.browser.picture. A shop is busy for five minutes, and both themes look on."""

from __future__ import annotations

import io
import math
import shutil
import tempfile
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from tests.browser.conftest import NAMES, QUIET
from tests.browser.shop import submit_many
from tests.program import Program, running

TARGET = Path(__file__).parent / "screenshots"
BUSY_S = 305
WIDTH, HEIGHT = 1360, 850
HANDLERS = """
import random
import anyio
from taskqueue import Context, task

@task(backoff={"base": 20, "max": 60})
async def send_receipt(order: int) -> str:
    await anyio.sleep(random.uniform(0.05, 0.3))
    if random.random() < 0.05:
        raise TimeoutError("smtp.example.com did not answer within 10 s")
    return "sent"

@task(max_attempts=1)
async def charge_card(order: int) -> str:
    await anyio.sleep(random.uniform(0.1, 0.4))
    if random.random() < 0.03:
        raise ValueError(f"card of order {order} was declined")
    return "charged"

@task(max_attempts=2, backoff={"base": 10, "max": 10})
async def resize_image(order: int) -> str:
    await anyio.sleep(random.uniform(0.3, 1.2))
    if random.random() < 0.04:
        raise OSError("cannot identify image file")
    return "done"

@task(timeout="30m")
async def import_catalog(ctx: Context, order: int) -> str:
    for page in range(600):
        await ctx.progress(page, 600, f"page {page}")
        await anyio.sleep(1)
    return "imported"
"""
KINDS = (("send_receipt", "emails", 5), ("charge_card", "payments", 3), ("resize_image", "images", 2))


def be_busy(program: Program) -> None:
    """Submit for five minutes, as a day would: more and less."""
    submit_many(program, [{"task": "import_catalog", "payload": {"order": n}, "queue": "imports"} for n in range(2)])
    submit_many(program, [{"task": "send_receipt", "payload": {"order": n}, "queue": "emails", "delay": f"{n + 1}h"} for n in range(12)])
    begun, number = time.monotonic(), 15_000
    while (passed := time.monotonic() - begun) < BUSY_S:
        rate = 14 + 8 * math.sin(passed / 45) + 5 * math.sin(passed * 7.3)
        for task, queue, weight in KINDS:
            count = max(0, round(rate * weight / 10))
            submit_many(program, [{"task": task, "payload": {"order": number + n}, "queue": queue} for n in range(count)])
            number += count
        time.sleep(1)


def main() -> None:
    """Write both pictures."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        (Path(folder) / "deeds").mkdir()
        (Path(folder) / "deeds" / "shop.py").write_text(HANDLERS)
        with running(Path(folder), "--handlers", f"{folder}/deeds", "--concurrency", "40") as program:
            browser = playwright.chromium.launch(executable_path=next(filter(None, map(shutil.which, NAMES))), args=list(QUIET))
            pages = {theme: browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}) for theme in ("light", "dark")}
            for theme, page in pages.items():
                page.emulate_media(color_scheme="light" if theme == "light" else "dark")
                page.goto(f"{program.api}/ui/")
            be_busy(program)
            for theme, page in pages.items():
                seen = io.BytesIO(page.screenshot())
                Image.open(seen).quantize(256).save(TARGET / f"overview-{theme}.png", optimize=True)
            browser.close()


if __name__ == "__main__":
    main()
