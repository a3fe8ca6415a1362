"""What a job counts for."""

from __future__ import annotations

from typing import Any

import pytest

from simscope_server.ledger.rows import Job, Tally, counted_runtime, tally
from simscope_server.ledger.rules import ALIVE, DONE, LIMITED, MIGRATED, TANKED
from simscope_server.messages.protocol import FAIL, LIVE, PASS, SKIP


def a_job(state: str = DONE, result: int = PASS, **columns: Any) -> Job:
    values: dict[str, Any] = dict.fromkeys(Job.__struct_fields__) | {"state": state, "result": result} | columns
    return Job(**values)


@pytest.mark.parametrize(
    ("columns", "runtime"),
    [
        ({}, None),
        ({"compute_ms": 3}, 3),
        ({"compute_ms": 3, "start_at": 10}, 3),
        ({"compute_ms": 3, "finish_at": 10}, 3),
        ({"compute_ms": 3, "start_at": 10, "finish_at": 15}, 5),
        ({"compute_ms": 3, "start_at": 10, "finish_at": 10}, 0),
        ({"compute_ms": 3, "start_at": 15, "finish_at": 10}, 3),
        ({"compute_ms": 3, "start_at": 10, "finish_at": 15, "runtime_ms": 7}, 7),
        ({"compute_ms": 3, "start_at": 10, "finish_at": 15, "runtime_ms": 0}, 0),
    ],
)
def test_which_runtime_counts(columns: dict[str, Any], runtime: int | None) -> None:
    assert counted_runtime(a_job(**columns)) == runtime


NUMBERS = {"compute_ms": 3, "runtime_ms": 7, "cycles": 1000}


@pytest.mark.parametrize(
    ("job", "adds"),
    [
        (a_job(ALIVE, LIVE, **NUMBERS), Tally(n_live=1)),
        (a_job(MIGRATED, FAIL, **NUMBERS), Tally(n_fail=1, n_migrated=1)),
        (a_job(TANKED, FAIL, **NUMBERS), Tally(n_fail=1, n_migrated=1)),
        (a_job(LIMITED, FAIL, **NUMBERS), Tally(n_fail=1)),
        (a_job(DONE, PASS, **NUMBERS), Tally(1, 0, 0, 0, 0, 3, 7, 1000, 3)),
        (a_job(DONE, FAIL, **NUMBERS), Tally(0, 1, 0, 0, 0, 3, 7, 1000, 3)),
        (a_job(DONE, SKIP), Tally(n_skip=1)),
        (a_job(compute_ms=3), Tally(1, 0, 0, 0, 0, 3, 3, 0, 0)),  # without cycles its time is no part of the rate
        (a_job(compute_ms=3, cycles=0), Tally(1, 0, 0, 0, 0, 3, 3, 0, 3)),
        (a_job(cycles=5), Tally(1, 0, 0, 0, 0, 0, 0, 5, 0)),
    ],
)
def test_what_a_job_adds_to_its_regression(job: Job, adds: Tally) -> None:
    assert tally(job) == adds
