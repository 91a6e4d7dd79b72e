"""``/operations``: one action on many tasks."""

from __future__ import annotations

import secrets
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated

import msgspec
from quart import Response, g

from _taskqueue.domain.errors import StoreError
from _taskqueue.filters import Filter, read_filter
from _taskqueue.producer import Producer
from _taskqueue.store.browse import Browse
from _taskqueue.store.operations import Operation, Operations
from _taskqueue.terms import TermsError
from _taskqueue.upkeep.operator import SOURCES, act
from _taskqueue.web.bodies import OperationBody
from _taskqueue.web.problems import ANSWER_S, Problem, from_terms, in_time, json_response
from _taskqueue.web.routing import Scope, route
from _taskqueue.web.shapes import Seconds, Time, show_time

COUNT_S = 2.0
"""Counting what a filter means may take so long; beyond that the count is a lower bound."""
PAGE = 500
TOLERANCE = 0.1


class OperationView(msgspec.Struct):
    """One action on many tasks, and how far it is."""

    operation_id: str | None
    action: str
    state: str
    matched: int
    counted: Annotated[bool, msgspec.Meta(description="false: matched is a lower bound")]
    done: int
    failed: int
    skipped: Annotated[int, msgspec.Meta(description="tasks it did not fit, such as running ones")]
    eta_seconds: Seconds | None
    caller: str
    created_at: Time | None
    finished_at: Time | None


class OperationPage(msgspec.Struct):
    """The operations that are kept, the latest first."""

    items: list[OperationView]


class OperationsApi:
    """Acting on many tasks at once."""

    def __init__(self, producer: Producer, browse: Browse) -> None:
        self._producer, self._browse, self._operations = producer, browse, Operations(producer.store)

    @route(
        "POST", "/operations", scope=Scope.OPERATE, body=OperationBody, answers={200: OperationView, 202: OperationView},
        problems=(400, 403, 409, 422),
    )  # fmt: skip
    async def create(self, body: OperationBody) -> Response:
        """Retry, run, cancel or delete all tasks that a filter means, or up to 1,000 by their ids; ?dry_run counts them."""
        if body.action == "delete" and Scope.ADMIN not in g.caller.scopes:
            raise Problem(403, "forbidden", "deleting needs the scope admin", scope="admin")
        if (body.filter is msgspec.UNSET) == (body.ids is msgspec.UNSET):
            raise Problem(422, "invalid_field", "filter: give either a filter or ids")
        if body.ids is not msgspec.UNSET:
            return await self._act_on(body, body.ids)
        wanted = self._frozen(body)
        matched, counted = await self._count(wanted)
        if body.expected is not None and not counted:
            raise Problem(422, "filter_too_broad", f"more than {matched} tasks are meant, too many to be counted; leave expected out")
        if body.expected is not None and abs(matched - body.expected) > TOLERANCE * max(1, body.expected):
            raise Problem(409, "count_changed", f"the filter means {matched} tasks now, not {body.expected}; look again", matched=matched)
        operation = Operation(
            f"op_{secrets.token_hex(10)}", body.action, wanted, "running", matched, int(time.time() * 1000), g.caller.name,
            body.rate, body.reset_attempts, counted=counted,
        )  # fmt: skip
        if body.dry_run:
            return json_response(show_operation(operation, dry=True))
        with in_time():
            await self._operations.create(operation)
        return json_response(show_operation(operation), 202, {"Location": f"/operations/{operation.id}"})

    @route("GET", "/operations", scope=Scope.READ, answers={200: OperationPage})
    async def list_operations(self) -> Response:
        """The operations that are kept, the latest first."""
        with in_time():
            return json_response(OperationPage([show_operation(one) for one in await self._operations.all()]))

    @route("GET", "/operations/<operation_id>", scope=Scope.READ, answers={200: OperationView}, problems=(404,))
    async def read(self, operation_id: str) -> Response:
        """How far an operation is."""
        return json_response(show_operation(await self._find(operation_id)))

    @route("POST", "/operations/<operation_id>/stop", scope=Scope.OPERATE, answers={202: OperationView}, problems=(404, 409))
    async def stop(self, operation_id: str) -> Response:
        """Stop an operation; what is done stays done."""
        operation = await self._find(operation_id)
        if operation.ended:
            raise Problem(409, "invalid_state", f"the operation is {operation.state} already", state=operation.state, allowed=["running"])
        with in_time():
            await self._operations.stop(operation_id)
        operation.state = "stopping"
        return json_response(show_operation(operation), 202)

    # -- steps ------------------------------------------------------------------------------------------------------

    async def _find(self, operation_id: str) -> Operation:
        with in_time():
            found = await self._operations.read(operation_id)
        if found is None:
            raise Problem(404, "not_found", f"there is no operation {operation_id[:64]!r}")
        return found

    def _frozen(self, body: OperationBody) -> Filter:
        """The filter as of now, and only for states that the action fits: later tasks are not meant."""
        given = {} if body.filter is msgspec.UNSET else body.filter
        if empty := [name for name, text in given.items() if not text.strip()]:
            raise Problem(422, "invalid_field", f"filter.{empty[0]}: is empty; leave it out to mean any")
        try:
            wanted = read_filter(list(given.items()))
        except TermsError as error:
            raise from_terms(error) from None
        fitting = SOURCES[body.action]
        states = tuple(sorted((state for state in wanted.states if state in fitting) if wanted.states else fitting))
        if not states:
            names = ", ".join(sorted(fitting))
            raise Problem(409, "invalid_state", f"{body.action} fits no task in these states; it fits {names}", allowed=sorted(fitting))
        before = min(self._producer.now_ms() + 1, wanted.created_before_ms or 2**53)
        return msgspec.structs.replace(wanted, states=states, created_before_ms=before)

    async def _count(self, wanted: Filter) -> tuple[int, bool]:
        """How many tasks are meant, and whether that is all of them."""
        store = self._producer.store
        with in_time(COUNT_S + ANSWER_S):
            if wanted == Filter(states=wanted.states, queues=wanted.queues, created_before_ms=wanted.created_before_ms):
                queues = [queue for queue in await store.queues() if queue in (wanted.queues or (queue,))]
                counts = [(await store.count(queue)).states for queue in queues]
                return sum(states[state.value] for states in counts for state in wanted.states), True
            count, at, give_up = 0, None, time.monotonic() + COUNT_S
            while time.monotonic() < give_up:
                page = await self._browse.page(wanted, descending=False, limit=PAGE, after=at)
                count, at = count + len(page.sights), page.next
                if at is None:
                    return count, True
        return count, False

    async def _act_on(self, body: OperationBody, ids: Sequence[str]) -> Response:
        by_queue: dict[str, list[str]] = defaultdict(list)
        unknown = 0
        for task_id in dict.fromkeys(ids):
            queue = await self._producer.store.queue_of(task_id)
            if queue is None:
                unknown += 1
            else:
                by_queue[queue].append(task_id)
        operation = Operation("", body.action, Filter(), "finished", len(set(ids)), int(time.time() * 1000), g.caller.name, skipped=unknown)
        for queue, known in by_queue.items():
            await self._act_on_queue(body, queue, known, operation)
        return json_response(show_operation(operation, dry=body.dry_run))

    async def _act_on_queue(self, body: OperationBody, queue: str, ids: list[str], operation: Operation) -> None:
        with in_time():
            sights = await self._browse.look(queue, ids)
        tasks = [(sight.id, sight.record.priority) for sight in sights if sight is not None]
        operation.skipped += len(ids) - len(tasks)
        if body.dry_run or not tasks:
            return
        try:
            with in_time():
                done, skipped = await act(self._producer.store, body.action, queue, tasks, reset=body.reset_attempts)
        except (StoreError, Problem):
            operation.failed += len(tasks)
        else:
            operation.done += done
            operation.skipped += skipped
            self._producer.on_news(queue)


def show_operation(operation: Operation, *, dry: bool = False) -> OperationView:
    """An operation, and when it should be done."""
    worked_s = max(0.001, time.time() - operation.created_ms / 1000)
    looked_at = operation.done + operation.skipped + operation.failed
    left = max(0, operation.matched - looked_at)
    eta_s = None if operation.ended or not looked_at or not operation.counted else round(left * worked_s / looked_at, 1)
    return OperationView(
        None if dry else operation.id or None, operation.action, "dry_run" if dry else operation.state,
        operation.matched, operation.counted,
        operation.done, operation.failed,
        operation.skipped, eta_s, operation.caller, show_time(operation.created_ms), show_time(operation.finished_ms),
    )  # fmt: skip
