"""The whole surface of the API, each call once."""

from __future__ import annotations

from _taskqueue.remote.system_calls import SystemCalls
from _taskqueue.remote.task_calls import TaskCalls


class Calls(TaskCalls, SystemCalls):
    """Every call of the API as a flow; the clients have a method of the same name for each."""
