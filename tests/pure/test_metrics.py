"""Metrics: plain numbers become an exposition that parses, with bounded labels."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from _taskqueue.metrics import OTHER_QUEUE, QUEUE_LABELS_MAX, RUN_BUCKETS_S, UNKNOWN_TASK, Metrics, Tally


def scrape(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample of the exposition text: name and labels → value."""
    text = generate_latest(metrics.registry).decode()
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found, f"{key} twice"
            found[key] = sample.value
    return found


def labels(**values: str) -> frozenset[tuple[str, str]]:
    return frozenset(values.items())


@given(st.lists(st.floats(0, 10_000), max_size=60))
def test_buckets_are_cumulative(values: list[float]) -> None:
    tally = Tally(RUN_BUCKETS_S)

    for value in values:
        tally.observe(value)

    counts = [count for _, count in tally.buckets()]
    assert counts == [float(sum(value <= bound for value in values)) for bound in (*RUN_BUCKETS_S, float("inf"))]
    assert tally.sum == pytest.approx(sum(values))


def test_the_last_bucket_is_infinite() -> None:
    assert [bound for bound, _ in Tally((1.0, 2.0)).buckets()] == ["1.0", "2.0", "+Inf"]


def test_what_was_counted_is_in_the_exposition() -> None:
    metrics = Metrics("1.2", ["worker", "api"])
    metrics.know_tasks(["greet"])
    meters = metrics.meters("mails", "greet")

    meters.succeeded(0.02)
    meters.ended("error", 2.0)
    meters.finished_as("dead")
    meters.retried += 1
    metrics.wait("mails").observe(0.5)
    metrics.submissions("mails", "greet").observe(100)

    found = scrape(metrics)
    mine = {"queue": "mails", "task": "greet"}
    assert found["taskqueue_task_attempts_total", labels(**mine, outcome="ok")] == 1
    assert found["taskqueue_task_attempts_total", labels(**mine, outcome="error")] == 1
    assert found["taskqueue_tasks_finished_total", labels(**mine, state="succeeded")] == 1
    assert found["taskqueue_tasks_finished_total", labels(**mine, state="dead")] == 1
    assert found["taskqueue_tasks_retried_total", labels(**mine)] == 1
    assert found["taskqueue_task_run_seconds_count", labels(**mine)] == 2
    assert found["taskqueue_task_run_seconds_sum", labels(**mine)] == pytest.approx(2.02)
    assert found["taskqueue_task_run_seconds_bucket", labels(**mine, le="0.025")] == 1
    assert found["taskqueue_task_wait_seconds_bucket", labels(queue="mails", le="0.5")] == 1
    assert found["taskqueue_tasks_submitted_total", labels(**mine)] == 1
    assert found["taskqueue_payload_bytes_sum", labels(**mine)] == 100
    build = next(dict(of) for name, of in found if name == "taskqueue_build_info")
    assert (build["version"], build["role"]) == ("1.2", "api+worker")


def test_every_name_has_the_products_prefix_or_is_pythons_own() -> None:
    names = {name for name, _ in scrape(Metrics())}

    assert {name.split("_")[0] for name in names} <= {"taskqueue", "process", "python"}
    assert not any(name.endswith("_created") for name in names)


def test_tasks_without_a_handler_share_one_label() -> None:
    metrics = Metrics()
    metrics.know_tasks(["greet"])

    for number in range(500):
        metrics.meters("default", f"made-up-{number}").succeeded(0.1)
        metrics.submissions("default", f"made-up-{number}").observe(1)
    metrics.meters("default", "greet").succeeded(0.1)

    found = scrape(metrics)
    assert {dict(of)["task"] for name, of in found if name == "taskqueue_task_attempts_total"} == {"greet", UNKNOWN_TASK}
    assert found["taskqueue_task_attempts_total", labels(queue="default", task=UNKNOWN_TASK, outcome="ok")] == 500
    assert found["taskqueue_tasks_submitted_total", labels(queue="default", task=UNKNOWN_TASK)] == 500


def test_queues_beyond_the_bound_share_one_label() -> None:
    metrics = Metrics()

    for number in range(QUEUE_LABELS_MAX + 50):
        metrics.meters(f"q{number}", "x").succeeded(0.1)
        metrics.wait(f"q{number}").observe(1)

    found = scrape(metrics)
    queues = {dict(of)["queue"] for name, of in found if name == "taskqueue_task_attempts_total"}
    assert len(queues) == QUEUE_LABELS_MAX + 1
    assert OTHER_QUEUE in queues
    assert found["taskqueue_task_attempts_total", labels(queue=OTHER_QUEUE, task=UNKNOWN_TASK, outcome="ok")] == 50
    assert found["taskqueue_task_wait_seconds_count", labels(queue=OTHER_QUEUE)] == 50
    assert metrics.queue_label("q0") == "q0"
