"""The store does what the model says, whatever comes in whatever order: random calls, late and repeated ones among them.

A failure prints the shortest sequence of steps that shows it, a blob for ``reproduce_failure``, and the seed of the run.
The same run again: ``MODEL_SEED=… make test ARGS=tests/model``, or pytest's ``--hypothesis-seed=…``. The same failure
again: the blob as ``MODEL_BLOB``. A longer run: ``MODEL_STEPS=1000000``.
"""

from __future__ import annotations

import os
import secrets

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from _taskqueue.metrics import Metrics
from tests.model.bench import Bench
from tests.model.machine import QueueMachine

STEPS = int(os.environ.get("MODEL_STEPS", "20000"))
STEPS_A_RUN = 50
SETTINGS = settings(
    max_examples=STEPS // STEPS_A_RUN,
    stateful_step_count=STEPS_A_RUN,
    deadline=None,
    derandomize=False,
    print_blob=True,
    report_multiple_bugs=False,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.timeout(1_800)  # shrinking a failure takes minutes
def test_the_store_does_what_the_model_says(bundled_url: str, metrics: Metrics, request: pytest.FixtureRequest) -> None:
    bench = Bench(bundled_url, metrics)
    seed = int(os.environ.get("MODEL_SEED") or request.config.getoption("--hypothesis-seed") or secrets.randbits(32))

    @hypothesis.seed(seed)
    def machine() -> QueueMachine:
        return QueueMachine(bench)

    if blob := os.environ.get("MODEL_BLOB"):
        hypothesis.reproduce_failure(hypothesis.__version__, blob.encode())(machine)
    try:
        run_state_machine_as_test(machine, settings=SETTINGS)  # type: ignore[arg-type] # takes any factory
    except BaseException as failure:
        failure.add_note(f"the run again: MODEL_SEED={seed} make test ARGS=tests/model")
        raise
    finally:
        bench.close()
