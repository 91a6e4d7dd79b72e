"""Text that people and programs send is shown as text: no element, attribute or script ever comes from it."""

from __future__ import annotations

from urllib.parse import quote

from playwright.sync_api import expect

from tests.browser.conftest import Visitor, settled
from tests.browser.shop import order, state_of, submit, until
from tests.program import Program

HOSTILE = (
    "<script>window.harmed=1</script>",
    "<img src=x onerror=window.harmed=1>",
    "<svg onload=window.harmed=1>",
    "<svg><animate onbegin=window.harmed=1 attributeName=x dur=1s>",
    "<iframe src=javascript:window.harmed=1></iframe>",
    "<a href=javascript:window.harmed=1 id=harm>x</a>",
    '"><script>window.harmed=1</script>',
    "'><img src=x onerror=window.harmed=1>",
    "</pre></td><script>window.harmed=1</script>",
    "</textarea><img src=x onerror=window.harmed=1>",
    "</title><script>window.harmed=1</script>",
    "<math><mtext><table><mglyph><style><img src=x onerror=window.harmed=1>",
    "<details open ontoggle=window.harmed=1>",
    "<input autofocus onfocus=window.harmed=1>",
    "<base href=//evil.invalid/>",
    "<meta http-equiv=refresh content=0;url=//evil.invalid/>",
    "<style>*{display:none}</style><link rel=stylesheet href=//evil.invalid/x.css>",
    "javascript:window.harmed=1//",
    "{{constructor.constructor('window.harmed=1')()}}${window.harmed=1}",
    "<b data-act=live data-key=x onclick=window.harmed=1>&lt;b&gt;",
)


def test_no_element_comes_from_what_was_sent(fresh: Program, visit: Visitor) -> None:
    ids = [
        submit(
            fresh,
            task="fail",
            payload=text,
            tags=[text[:60].replace(",", " ")],
            meta={"note": text},
            unique={"key": text},
            batch_id=f"b{n}",
        )
        for n, text in enumerate(HOSTILE)
    ]
    nap = submit(fresh, task="nap", payload={"note": "".join(HOSTILE[:3])})
    unknown = submit(fresh, task="echo", payload={text: text for text in HOSTILE})
    order(fresh, "POST", "/queues/default/pause", {"reason": HOSTILE[1]})
    for one in ids:
        until(lambda one=one: state_of(fresh, one), lambda seen: seen == "dead")  # type: ignore[misc]
    page = visit.open(fresh)

    for path in (
        "",
        "failures",
        "tasks",
        "queues",
        "workers",
        "settings",
        f"tasks?q={quote(HOSTILE[0])}",
        *(f"tasks/{one}" for one in (*ids, nap, unknown)),
    ):
        page.goto(f"{fresh.api}/ui/{path}")
        settled(page)
        harm = page.evaluate("""() => [
          window.harmed, document.querySelectorAll("script").length !== 2, document.querySelectorAll("base, style, link").length !== 3,
          document.querySelector("main :is(script, iframe, img, math, base, meta, style, link, animate, details[ontoggle]), #harm"),
          [...document.querySelectorAll("a[href]")].some((one) => !/^https?:$/.test(one.protocol)),
          [...document.querySelectorAll("body *")].some((one) => [...one.attributes].some(({ name }) => name.startsWith("on"))),
        ].filter(Boolean).length""")
        assert harm == 0, path

    page.goto(f"{fresh.api}/ui/tasks/{ids[1]}")
    expect(page.locator("#main")).to_contain_text(HOSTILE[1])
    page.goto(f"{fresh.api}/ui/submit?from={ids[9]}")
    expect(page.get_by_label("Payload")).to_have_value(HOSTILE[9])
    assert page.evaluate("window.harmed") is None
