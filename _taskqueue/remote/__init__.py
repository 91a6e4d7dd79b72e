"""The Python client: the API's whole surface for other programs, blocking and awaiting.

    client | async_client     carry calls out, on httpx
    buffer | gathering        collect submissions, blocking | awaiting
    transport                 our requests as httpx has them
    calls                     task_calls + system_calls: what each call sends, waits for and gives
    tail                      live events, and which tasks to look at by them
    asking | submission       how calls | new tasks are put together
    flows                     send, try again, read
    answers | errors          what comes back

Everything below the first two rows is free of input and output, and the same for both clients.
"""

from __future__ import annotations

from _taskqueue.remote.answers import Batch, Event, Operation, Queue, Task, Worker
from _taskqueue.remote.async_client import AsyncClient
from _taskqueue.remote.client import Client
from _taskqueue.remote.errors import (
    ApiError,
    BadAnswer,
    ClientError,
    Conflict,
    CountChanged,
    Duplicate,
    Forbidden,
    Invalid,
    InvalidState,
    Limited,
    NotAllAccepted,
    NotFound,
    PayloadTooLarge,
    QueueFull,
    RateLimited,
    ResultNotReady,
    TaskFailed,
    Unauthorized,
    Unavailable,
    Unreachable,
)
from _taskqueue.remote.submission import NewTask

__all__ = [
    "ApiError",
    "AsyncClient",
    "BadAnswer",
    "Batch",
    "Client",
    "ClientError",
    "Conflict",
    "CountChanged",
    "Duplicate",
    "Event",
    "Forbidden",
    "Invalid",
    "InvalidState",
    "Limited",
    "NewTask",
    "NotAllAccepted",
    "NotFound",
    "Operation",
    "PayloadTooLarge",
    "Queue",
    "QueueFull",
    "RateLimited",
    "ResultNotReady",
    "Task",
    "TaskFailed",
    "Unauthorized",
    "Unavailable",
    "Unreachable",
    "Worker",
]
