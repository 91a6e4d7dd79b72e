"""Labels: tags, meta and batches lead to their tasks, and to no others."""

from __future__ import annotations

from typing import Any

import pytest

from _taskqueue.domain.states import State
from _taskqueue.filters import Filter
from _taskqueue.store.browse import Browse
from tests.store.desk import QUEUE, STATES, Desk

pytestmark = pytest.mark.anyio


async def found(desk: Desk, **wanted: Any) -> list[str]:
    """The tasks that a filter means, in the order of their creation."""
    page = await Browse(desk.store).page(Filter(**wanted), descending=False, limit=100, after=None)
    assert (page.next, page.complete) == (None, True)
    return [sight.id for sight in page.sights]


@pytest.mark.parametrize("state", STATES)
async def test_a_task_is_found_by_its_labels_in_every_state(desk: Desk, state: State) -> None:
    task_id = await desk.in_state(state, tags=("a",), meta={"who": "me"}, batch="b")

    assert await found(desk, tags=("a",)) == [task_id]
    assert await found(desk, meta=(("who", ("me",)),)) == [task_id]
    assert await found(desk, batches=("b",)) == [task_id]
    assert await found(desk, tags=("a",), states=(state,)) == [task_id]
    assert await found(desk, tags=("a",), states=tuple(one for one in State if one is not state)) == []


@pytest.mark.parametrize(
    "wanted",
    [
        {"tags": ("a",)},
        {"tags": ("aaa",)},
        {"batches": ("a",)},
        {"meta": (("k", ("v2",)),)},
        {"meta": (("k2", ("v",)),)},
        {"meta": (("t", ("aa",)),)},
    ],
)
async def test_a_label_is_not_found_by_a_part_of_it_or_another_kind(desk: Desk, wanted: dict[str, Any]) -> None:
    await desk.submit(tags=("aa",), meta={"k": "v"}, batch="bb")

    assert await found(desk, **wanted) == []


async def test_one_of_several_values_is_enough_and_a_task_comes_once(desk: Desk) -> None:
    (one,) = await desk.submit(tags=("a", "b"))
    (two,) = await desk.submit(tags=("b",))
    (three,) = await desk.submit(tags=("c",))
    await desk.submit()

    assert await found(desk, tags=("a", "b")) == [one, two]
    assert await found(desk, tags=("c", "a", "b")) == [one, two, three]


async def test_different_filters_must_all_hold(desk: Desk) -> None:
    (both,) = await desk.submit(tags=("a",), meta={"x": "1", "y": "2"}, batch="b")
    await desk.submit(tags=("a",), meta={"x": "1"}, batch="c")
    await desk.submit(tags=("d",), meta={"x": "1", "y": "2"}, batch="b")

    assert await found(desk, tags=("a",), meta=(("x", ("1",)), ("y", ("2", "3"))), batches=("b",)) == [both]


@pytest.mark.parametrize("text", ["ü", "日本語", "a b", "=", "a=b", "\U0001f600", "[(", "*?", "t:", "\u00ff", "\U0010ffff"])
async def test_any_text_that_may_be_a_label_is_found(desk: Desk, text: str) -> None:
    (task_id,) = await desk.submit(tags=(text,), meta={"k": text})
    await desk.submit(tags=(text + "!",), meta={"k": text + "!"})

    assert await found(desk, tags=(text,)) == [task_id]
    assert await found(desk, meta=(("k", (text,)),)) == [task_id]


@pytest.mark.parametrize("descending", [False, True])
async def test_pages_of_a_label_show_every_task_once(desk: Desk, descending: bool) -> None:
    tasks = await desk.submit(20, tags=("a", "b"))
    others = await desk.submit(20, tags=("b",))
    browse, wanted, seen, after = Browse(desk.store), Filter(tags=("a", "b")), [], None

    while True:
        page = await browse.page(wanted, descending=descending, limit=7, after=after)
        seen += [sight.id for sight in page.sights]
        after = page.next
        if after is None:
            break

    assert seen == sorted([*tasks, *others], reverse=descending)


async def test_labels_of_several_queues_are_merged(desk: Desk) -> None:
    route = await desk.store.route("other")
    (here,) = await desk.submit(tags=("a",))
    there = await desk.submit_to("other", route, tags=("a",))

    assert await found(desk, tags=("a",)) == sorted([here, there])
    assert await found(desk, tags=("a",), queues=("other",)) == [there]
    assert await found(desk, tags=("a",), queues=(QUEUE,)) == [here]
