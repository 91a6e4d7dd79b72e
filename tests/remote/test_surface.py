"""The clients have what the API has, both the same, and cost a worker nothing."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

import taskqueue
from _taskqueue import remote
from _taskqueue.remote.async_client import AsyncClient
from _taskqueue.remote.calls import Calls
from _taskqueue.remote.client import Client
from _taskqueue.remote.flows import Patience, Request
from _taskqueue.remote.tail import Tail
from _taskqueue.remote.task_calls import log_request
from _taskqueue.remote.transport import TOKEN_VARIABLE, URL_VARIABLE
from _taskqueue.settings import CLIENT_VARIABLES, load_settings
from _taskqueue.web.acts import ActsApi
from _taskqueue.web.events import EventsApi
from _taskqueue.web.health import HealthApi
from _taskqueue.web.operations import OperationsApi
from _taskqueue.web.queues import QueuesApi
from _taskqueue.web.routing import Route
from _taskqueue.web.session import SessionApi
from _taskqueue.web.stats import StatsApi
from _taskqueue.web.submit import SubmitApi
from _taskqueue.web.tasks import TasksApi
from _taskqueue.web.workers import WorkersApi
from tests.program import ROOT

APIS = (ActsApi, EventsApi, HealthApi, OperationsApi, QueuesApi, SessionApi, StatsApi, SubmitApi, TasksApi, WorkersApi)
NOT_FOR_PROGRAMS = {("POST", "/session"), ("DELETE", "/session"), ("GET", "/livez"), ("GET", "/healthz")}
"""Signing in is for browsers, and probes are for machines; ``health`` asks /readyz."""
PATIENCE = Patience(0, lambda: 0.0, lambda: 0.0)
EXAMPLES: dict[str, tuple[Any, ...]] = {
    "page": ({},),
    "submit_batch": ([b"{}"],),
    "submit_many": ([1],),
    "operate": ("run",),
}


def public(kind: type) -> dict[str, Any]:
    """The public methods of a class."""
    found = inspect.getmembers(kind, callable)
    return {name: method for name, method in found if not name.startswith("_")}


def first_request(name: str, call: Callable[..., Any]) -> Request:
    """What a call sends first, when all it must be told is some text."""
    parameters = list(inspect.signature(call).parameters.values())
    needed = [one for one in parameters if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD]
    given = {"order": "desc", "limit": 1} if name == "page" else {}
    found = next(call(*EXAMPLES.get(name, ("x",) * len(needed)), **given))
    assert isinstance(found, Request)
    return found


def shape(path: str) -> str:
    """A path without the values in it."""
    return re.sub(r"<\w+>|(?<=/)x(?=/|$)", "*", path)


def test_every_route_has_a_call() -> None:
    routes: list[Route] = [view.__route__ for api in APIS for view in vars(api).values() if hasattr(view, "__route__")]
    served = {(one.method, shape(one.path)) for one in routes}

    sent = [first_request(name, call) for name, call in public_calls().items()]
    sent += [Tail(PATIENCE).request(), log_request("x", None)]

    assert {(one.method, shape(one.path)) for one in sent} == served - NOT_FOR_PROGRAMS


def public_calls() -> dict[str, Any]:
    calls = Calls(PATIENCE)
    return {name: getattr(calls, name) for name in public(Calls)}


def test_both_clients_have_the_same_methods_with_the_same_parameters() -> None:
    blocking, awaiting = public(Client), public(AsyncClient)
    del blocking["close"], blocking["buffer"], awaiting["aclose"]  # an awaiting client gathers by itself

    assert blocking.keys() == awaiting.keys()
    for name, method in blocking.items():
        assert inspect.signature(method).parameters == inspect.signature(awaiting[name]).parameters, name


def test_every_call_is_a_method() -> None:
    parts = {"page", "submit_batch"}
    """of which ``list`` and ``submit_many`` are made"""

    assert public(Calls).keys() - parts <= public(Client).keys()
    for name in public(Calls).keys() - parts:
        assert inspect.getdoc(getattr(Client, name)), name


def test_methods_show_what_they_give() -> None:
    assert inspect.signature(Client.get).return_annotation == "Task"
    assert inspect.signature(AsyncClient.queues).return_annotation == "list[Queue]"


def test_a_worker_does_not_load_the_http_client() -> None:
    code = "import sys, taskqueue; assert 'httpx' not in sys.modules; taskqueue.Client; assert 'httpx' in sys.modules"

    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=30)


def test_the_face_exports_all_of_the_client() -> None:
    for name in remote.__all__:
        assert getattr(taskqueue, name) is getattr(remote, name)
    for name in taskqueue.__all__:
        assert hasattr(taskqueue, name), name


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Cleint'"):
        _ = taskqueue.Cleint  # type: ignore[attr-defined]


def test_errors_show_their_public_name() -> None:
    assert remote.NotFound.__module__ == "taskqueue"


def test_the_variables_of_the_client_do_not_trouble_a_server() -> None:
    assert {URL_VARIABLE, TOKEN_VARIABLE} == CLIENT_VARIABLES
    assert load_settings({}, dict.fromkeys(CLIENT_VARIABLES, "http://x")).warnings == ()
