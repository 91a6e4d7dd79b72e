"""Every exception the product raises on purpose.

TaskqueueError
├── UsageError            a setting, file or argument is wrong; the process ends with status 2
│   ├── HandlerError      a handler file does not import, or declares something impossible
│   └── StoreUnsuitable   the store answers but must not be used (too old, evicts keys, wrong password)
├── StoreError
│   ├── StoreUnavailable  the store is out of reach or not ready; try again
│   │   └── StoreRefused  it answers, and does not want this: a login, a permission, a key of another type
│   ├── StoreFull         the store refuses growth (maxmemory reached)
│   └── NotDurable        stored, but not as safely as was asked for
├── PayloadMismatch       the payload does not fit the handler's parameters; never retried
└── HandlerSignal         what a handler raises to steer its own task
    ├── Retry             run again later
    ├── Discard           give up now: dead
    └── Cancel            end as cancelled, which is no failure
"""

from __future__ import annotations

from datetime import timedelta

from _taskqueue.domain.durations import duration_s


class TaskqueueError(Exception):
    """Base of all errors below."""


class UsageError(TaskqueueError):
    """Something the operator wrote is wrong. The text is one line: what is wrong and what to do."""


class HandlerError(UsageError):
    """A handler file cannot be imported, or declares something impossible."""


class StoreUnsuitable(UsageError):
    """The store answers, but must not be used as it is."""


class StoreError(TaskqueueError):
    """The store could not do what was asked."""


class StoreUnavailable(StoreError):
    """The store is out of reach or not ready. The outcome of the call is unknown; scripts are safe to send again.

    Args:
        remedy: what its operator can do.
    """

    def __init__(self, text: str, remedy: str = "start it, or name another with --redis-url") -> None:
        super().__init__(text)
        self.remedy = remedy


class StoreRefused(StoreUnavailable):
    """The store answers, and does not want this call: time alone does not cure it, its operator may."""


class StoreFull(StoreError):
    """The store refuses to grow (``maxmemory`` reached). Nothing was written."""


class NotDurable(StoreError):
    """It may be stored, but is not known to be as safe as was asked for; sending the same ids again changes nothing."""


class Refusal(TaskqueueError):
    """The store is well, but this submission is not wanted as things are."""


class QueueFull(Refusal):
    """The queue holds as many waiting tasks as its limit allows.

    Args:
        retry_after_s: when there should be room, by the rate at which tasks end now.
    """

    def __init__(self, queue: str, retry_after_s: int = 1) -> None:
        super().__init__(f"the queue {queue} is full")
        self.queue = queue
        self.retry_after_s = retry_after_s


class KeyHeld(Refusal):
    """Another task holds the unique key.

    Args:
        state: of the holder, empty when it is forgotten.
        until: when the key is free whatever its holder does, in words; empty when that is with its end.
    """

    def __init__(self, holder: str, state: str = "pending", until: str = "", *, over: bool = False) -> None:
        self.holder, self.state, self.until = holder, state, until
        ends = f"; the key is held until {until}" if until else ""
        if over:
            known = f"is {state}" if state else "is forgotten"
            super().__init__(f"a task with this unique key ran, {holder}, and {known}{ends}; nothing new was stored")
        else:
            super().__init__(f"the task {holder} holds this unique key{ends}")


class PayloadMismatch(TaskqueueError):
    """The payload does not fit the handler's parameters. Retrying cannot help, so the task goes to dead."""


class HandlerSignal(TaskqueueError):
    """Base of what a handler may raise to steer its own task."""


class Retry(HandlerSignal):
    """Run this task again later.

    Args:
        message: why, for the people who read the attempts.
        after: seconds, a duration such as ``"5m"``, or a timedelta; None takes the task's own back-off.
        count: False makes it a snooze: no attempt is used and no error is recorded.

    Raises:
        TypeError, ValueError: ``after`` is no duration; the text has the message, which is not lost so.
    """

    after: float | None = None
    count: bool = True

    def __init__(self, message: str = "", after: float | str | timedelta | None = None, count: bool = True) -> None:
        super().__init__(message)
        self.count = count
        try:
            self.after = None if after is None else duration_s(after)
        except (TypeError, ValueError) as error:
            raise type(error)(f"Retry({str(message)!r}): after: {error}") from None


class Discard(HandlerSignal):
    """Give up on this task now: it is dead, whatever attempts are left."""


class Cancel(HandlerSignal):
    """End this task as cancelled, which counts as no failure."""


def signal_of(error: BaseException) -> BaseException:
    """What an error says about its task: a group of nothing but Discard and Cancel, as a task group makes it, is one of them.

    Returns:
        A Discard of the group, else its first Cancel; any other error as it is.
    """
    if not isinstance(error, BaseExceptionGroup):
        return error
    inner = [signal_of(one) for one in error.exceptions]
    if not all(isinstance(one, (Discard, Cancel)) for one in inner):
        return error
    return next((one for one in inner if isinstance(one, Discard)), inner[0])


for _public in (TaskqueueError, Retry, Discard, Cancel):  # tracebacks show the name that users import
    _public.__module__ = "taskqueue"
