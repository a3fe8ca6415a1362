"""How long jobs of a test take, and what became of them earlier."""

from __future__ import annotations

import time

import pytest
from support.daemons import Daemon, done, live, wait_until
from support.telling import failed, publish

from simscope_server.reading import answers


def test_a_live_job_tells_what_its_test_usually_takes_and_whether_it_is_slow(shared: Daemon, run: str) -> None:
    passes = [done(f"p{n}", name=f"{run} fast", runtime_ms=n) for n in range(1, 10)]
    slow_fail = failed("f", "x", name=f"{run} fast", runtime_ms=100_000)
    publish(
        shared, f"{run}/1", *passes, slow_fail, *(done(f"q{n}", name=f"{run} rare", runtime_ms=1) for n in range(4))
    )
    fast, rare, waiting, _ = publish(
        shared,
        f"{run}/2",
        live("a", name=f"{run} fast"),
        live("b", name=f"{run} rare"),
        live("c", name=f"{run} fast", phase="QUEUED"),
        live("d"),
    )

    jobs = {job["id"]: job for job in shared.get(f"/regressions/{run}%2F2/jobs?result=live")["items"]}

    assert (jobs[fast]["test"], jobs[fast]["usual_ms"], jobs[fast]["slow_after_ms"]) == (f"{run} fast", 5, 9)
    assert jobs[fast]["slow"] is (jobs[fast]["elapsed_ms"] > 9)
    assert (jobs[rare]["usual_ms"], jobs[rare]["slow_after_ms"], jobs[rare]["slow"]) == (None, None, False)
    assert (jobs[waiting]["usual_ms"], jobs[waiting]["slow"]) == (5, False)
    told = shared.get(f"/jobs/{fast}")
    assert (told["usual_ms"], told["slow_after_ms"]) == (5, 9)
    publish(shared, f"{run}/2", done("a", name=f"{run} fast"))
    assert (shared.get(f"/jobs/{fast}")["usual_ms"], shared.get(f"/jobs/{fast}")["slow"]) == (None, False)


def test_a_live_regression_tells_how_many_of_its_jobs_are_slow(shared: Daemon, run: str) -> None:
    publish(shared, f"{run}/1", *(done(f"p{n}", name=f"{run} fast", runtime_ms=1) for n in range(5)))
    of_tests = {"a": "fast", "b": "fast", "c": "unknown"}
    jobs = [live(key, name=f"{run} {test}") for key, test in of_tests.items()]
    publish(shared, f"{run}/2", *jobs, live("d", name=f"{run} fast", phase="queued"))
    time.sleep(0.002)  # they take longer than a millisecond now

    wait_until(lambda: shared.get(f"/regressions/{run}%2F2")["slow"] == 2)
    listed = [item["slow"] for item in shared.get(f"/regressions?series={run}")["items"]]
    shared.post(f"/regressions/{run}%2F2/finish")

    assert listed == [2, 0]
    assert shared.get(f"/regressions/{run}%2F2")["slow"] == 0


@pytest.mark.parametrize(
    ("passes", "usual"),
    [
        ([], None),
        ([1, 2, 3, 4], None),
        ([5, 4, 3, 2, 1], (3, 5)),
        (list(range(1, 101)), (51, 99)),
        ([7] * 50, (7, 7)),
    ],
)
def test_what_is_usual(passes: list[int], usual: tuple[int, int] | None) -> None:
    assert answers.usual_of(passes) == usual


def test_the_earlier_runs_of_a_test_are_those_of_its_series(shared: Daemon, run: str) -> None:
    name = f"{run} test"
    publish(shared, f"{run}-other/1", done("a", name=name, runtime_ms=1))
    publish(
        shared, f"{run}/1", done("a", name=name, seed="7", runtime_ms=10), done("b", name=name, seed="8", runtime_ms=30)
    )
    failing, _ = publish(
        shared,
        f"{run}/2",
        failed("a", "x", name=name, seed="8", runtime_ms=90, host="n3"),
        done("b", name=name, seed="7", runtime_ms=10),
    )
    publish(shared, f"{run}/3", done("z", name="another"))
    publish(shared, f"{run}/4", done("a", "skip", name=name), live("b", name=name))
    publish(shared, f"{run}/6", done("a", name=name))
    (job,) = publish(shared, f"{run}/5", done("a", name=name, seed="8"))

    told = shared.get(f"/jobs/{job}/earlier")

    assert told["test"] == name
    assert [item["number"] for item in told["items"]] == [4, 2, 1]
    skipped, second, first = told["items"]
    assert (skipped["result"], skipped["jobs"], skipped["skip"]) == ("skip", 1, 1)
    assert (second["result"], second["pass"], second["fail"], second["runtime_ms"]) == ("fail", 1, 1, 90)
    assert (second["job"], second["host"], second["seed"], second["same_seed"]) == (failing, "n3", "8", True)
    assert (first["result"], first["runtime_ms"], first["seed"]) == ("pass", 30, "8")
    assert first["regression"] == f"{run}/1"
    assert len(shared.get(f"/jobs/{job}/earlier?limit=2")["items"]) == 2
    assert shared.get(f"/jobs/{job}")["_links"]["earlier"]["href"].endswith(f"/jobs/{job}/earlier")


def test_the_job_of_the_same_seed_stands_for_an_earlier_run(shared: Daemon, run: str) -> None:
    same, *_ = publish(
        shared,
        f"{run}/1",
        done("a", name=run, seed="7", runtime_ms=10, host="n1", finish_time="2025-01-05T10:00:00Z"),
        done("b", name=run, seed="8", runtime_ms=30, finish_time="2025-01-05T11:00:00Z"),
        failed("c", "x", name=run, seed="9", runtime_ms=90),
    )
    _, other = publish(shared, f"{run}/2", done("a", name=run, seed="8"), failed("b", "x", name=run, seed="9"))
    job, seedless = publish(shared, f"{run}/3", done("a", name=run, seed="7"), done("b", name=run))

    second, first = shared.get(f"/jobs/{job}/earlier")["items"]

    assert (first["job"], first["seed"], first["host"], first["same_seed"]) == (same, "7", "n1", True)
    assert (first["result"], first["runtime_ms"], first["mean_runtime_ms"]) == ("pass", 10, 20)
    assert (first["jobs"], first["pass"], first["fail"]) == (3, 2, 1)
    assert first["finished_at"] == "2025-01-05T10:00:00.000Z"
    assert (second["job"], second["seed"], second["same_seed"]) == (other, "9", False)
    assert [item["same_seed"] for item in shared.get(f"/jobs/{seedless}/earlier")["items"]] == [False, False]


def test_an_earlier_run_finished_when_its_publisher_says_so(shared: Daemon, run: str) -> None:
    (told,) = publish(shared, f"{run}/1", done("a", name=run, finish_time="2025-01-05T10:00:00Z"))
    (untold,) = publish(shared, f"{run}/2", done("a", name=run))
    (job,) = publish(shared, f"{run}/3", done("a", name=run))

    second, first = shared.get(f"/jobs/{job}/earlier")["items"]

    assert first["finished_at"] == shared.get(f"/jobs/{told}")["finish_time"]
    assert second["finished_at"] == shared.get(f"/jobs/{untold}")["finished_at"]


def test_a_job_outside_of_any_series_looks_at_all_earlier_regressions(shared: Daemon, run: str) -> None:
    publish(shared, f"{run}/1", done("a", name=run))
    publish(shared, f"{run}-x", done("a", name=run))
    job, untold = publish(shared, f"{run}-y", done("a", name=run), done("b"))
    publish(shared, f"{run}-z", done("a", name=run))

    assert [item["regression"] for item in shared.get(f"/jobs/{job}/earlier")["items"]] == [f"{run}-x", f"{run}/1"]
    assert shared.get(f"/jobs/{untold}/earlier") == {
        "test": None,
        "usual_ms": None,
        "slow_after_ms": None,
        "items": [],
        "next": None,
    }
