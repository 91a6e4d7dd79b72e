"""The face of the task queue: the names that handlers import, and the program.

    from taskqueue import task, Context

    @task
    async def hello(ctx: Context, name: str) -> str:
        return f"hello {name}"

Other programs talk to it through ``taskqueue.Client`` or ``taskqueue.AsyncClient``.

Run it with ``python taskqueue.py --role all``. This module holds no state, so that importing it twice (as the program
and from a handler) does no harm.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from _taskqueue import __version__
from _taskqueue.cli import EXIT_OK, complain, leave, read_command_line
from _taskqueue.domain.backoff import Backoff
from _taskqueue.domain.errors import Cancel, Discard, Retry, TaskqueueError, UsageError
from _taskqueue.forks import open_standard_streams
from _taskqueue.init import step_aside
from _taskqueue.life import EXIT_HURRIED, EXIT_LEFT_BEHIND, Life, running, spare_the_collector
from _taskqueue.logs import last_words, secure_loggers, set_up_logs
from _taskqueue.loop import EXIT_FAILED, run
from _taskqueue.metrics import Metrics
from _taskqueue.settings import Loaded
from _taskqueue.tasks.context import Context, current
from _taskqueue.tasks.discovery import Registry, discover
from _taskqueue.tasks.folders import handler_modules
from _taskqueue.tasks.spec import lifespan, middleware, on_failure, task
from _taskqueue.watchdog import Watchdog

if TYPE_CHECKING:
    from _taskqueue.remote import *  # noqa: F403 - every name of the client, for type checkers
else:

    def __getattr__(name: str) -> object:
        """The names of the client are loaded when they are first asked for: a worker needs no HTTP client."""
        from _taskqueue import remote

        if name not in remote.__all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(remote, name)


__all__ = [
    "Backoff",
    "Cancel",
    "Context",
    "Discard",
    "Retry",
    "TaskqueueError",
    "__version__",
    "current",
    "lifespan",
    "main",
    "middleware",
    "on_failure",
    "serve",
    "task",
]

log = logging.getLogger("taskqueue")


async def serve(loaded: Loaded, modules: Sequence[str], life: Life) -> int:
    """Start the chosen roles in one task group; returns the exit status when all have stopped.

    Args:
        modules: dotted names of the user's handler modules.

    Raises:
        UsageError: something that must be mended before the process can run.
    """
    from _taskqueue.opening import open_store
    from _taskqueue.producer import Producer
    from _taskqueue.upkeep.operator import Operator
    from _taskqueue.upkeep.sampler import Sampler
    from _taskqueue.upkeep.scheduler import Scheduler
    from _taskqueue.web.health import Health
    from _taskqueue.web.scrape import scrape_app
    from _taskqueue.web.server import listen, run_server, serving, url_of
    from _taskqueue.web.site import open_site
    from _taskqueue.work.worker import Worker

    settings, part, worker = loaded.settings, life.part, None
    roles = settings.roles
    metrics, health = Metrics(__version__, roles), Health(life)
    api_socket = listen(settings.host, settings.port, "--port") if "api" in roles else None
    metrics_socket = listen(settings.metrics_host, settings.metrics_port, "--metrics-port")
    urls = [url_of(one) for one in (api_socket, metrics_socket) if one]
    secure_loggers()
    life.open()

    async with (
        running(part("the watch over signals", life.keep_signals)),
        serving(scrape_app(metrics.registry, health), metrics_socket, life),
        open_store(settings, metrics) as store,
    ):
        registry = _load(modules, settings.default_task, life)
        producer = Producer(store, metrics, registry, settings.payload_bytes_max, settings.durability)
        producer.default_task = registry.default if "worker" in roles else settings.default_task
        health.use(store)
        spare_the_collector()
        async with running(part("the producer", producer.run)), anyio.create_task_group() as parts:
            parts.start_soon(life.stop_when_cancelled)
            with life.starting():
                if roles & {"api", "scheduler"}:
                    await parts.start(part("the sampler", Sampler(store, metrics, settings.durability, life.stopping).run))
                if "scheduler" in roles:
                    await parts.start(part("the scheduler", Scheduler(store, metrics, settings, life.stopping).run))
                    await parts.start(part("the operator", Operator(store, life.stopping).run))
                if "worker" in roles:
                    life.drain_s = settings.drain_timeout_s
                    worker = Worker(store, producer, registry, settings, metrics, life)
                    await parts.start(part("the worker", worker.run))
                if api_socket is not None:
                    site = await open_site(producer, metrics, health, life, loaded, urls)
                    await parts.start(part("what the API needs", site.run))
                    await parts.start(part("the API's server", run_server), site.app, api_socket, life.stopping.wait)
            if life.ready:
                spare_the_collector(at_work=True)
                log.info("ready: %s", " and ".join([*urls[:-1], f"{urls[-1]}/metrics"]), extra={"event": "process.ready"})
    log.info("stopped", extra={"event": "process.stopped"})
    return EXIT_OK if worker is None or worker.clean else EXIT_LEFT_BEHIND


def _load(modules: Sequence[str], default_task: str, life: Life) -> Registry:
    """The user's handlers; what their modules did to the signals is undone. Raises UsageError."""
    registry = discover(modules, default_task)
    life.take_signals()
    for warning in registry.warnings:
        log.warning(warning)
    return registry


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    open_standard_streams()
    status = step_aside()
    return status if status is not None else _run(arguments)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        watchdog = Watchdog()
        loaded = read_command_line(arguments)
        settings = loaded.settings
        set_up_logs(settings.log_level, settings.log_format)
        watchdog.last_words = last_words
        for warning in loaded.warnings:
            log.warning(warning)
        for note in loaded.notes:
            log.debug(note)
        modules = handler_modules(settings.handlers, loaded.sources["handlers"], Path(__file__).parent, needed="worker" in settings.roles)
        return run(partial(serve, loaded, modules), watchdog)
    except KeyboardInterrupt:
        return EXIT_HURRIED
    except UsageError as error:
        return complain(error)
    except BaseExceptionGroup as group:
        usage, rest = group.split(UsageError)
        return complain(usage) if usage is not None and rest is None else _crashed(group)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is one record of the log
        return _crashed(error)


def _crashed(error: BaseException) -> int:
    log.critical("crashed: %s", error, exc_info=error, extra={"event": "process.crashed"})
    return EXIT_FAILED


if __name__ == "__main__":
    leave(main())
