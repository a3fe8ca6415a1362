"""The example regression against the real daemon: what the daemon says is what the log files say.

The log files are read by verdicts.py, which knows nothing of the daemon. Seeds 9 to 24 end in every way that there is.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from support.daemons import ROOT, Daemon, wait_until

FIFO = ROOT / "examples" / "fifo"
sys.path.insert(0, str(FIFO))
verdicts = importlib.import_module("verdicts")

PATH = "/regressions/demo%2F1"
SEEDS = range(9, 25)
TIME_LIMIT_MS = 4000
# The grace is what a busy machine may lag behind: the daemon's verdict must be there before the runner kills the job.
OPTIONS = "--first-seed 9 --seeds 16 --pace 50000 --time-limit 4 --grace 3 --jobs 4 --regression demo/1".split()


def regress(tmp_path: Path, *options: str) -> str:
    """Run the example regression to its end. -> what it printed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SIMSCOPE_")}
    done = subprocess.run(
        [sys.executable, str(FIFO / "regress.py"), "--outdir", str(tmp_path / "logs"), *OPTIONS, *options],
        env=kept | {"SIMSCOPE_BACKLOG": str(tmp_path / "backlog")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
    return done.stdout


def regression_when_over(daemon: Daemon) -> dict[str, Any]:
    """The regression as soon as its regr-finish has been taken."""
    wait_until(lambda: daemon.get(PATH)["status"] != "live", 10, "the regression's finish")
    regression: dict[str, Any] = daemon.get(PATH)
    return regression


def jobs_by_name(daemon: Daemon) -> dict[str, dict[str, Any]]:
    """All jobs of the regression by uniqueid."""
    page = daemon.get(f"{PATH}/jobs?limit=500")
    assert page["next"] is None
    found = {job["uniqueid"]: job for job in page["items"]}
    assert len(found) == len(page["items"])
    return found


def status_by_the_rule(regression: dict[str, Any]) -> str:
    """What a regression's status must be once it has finished: aborted if results are missing, else complete."""
    counts = regression["counts"]
    reported = counts["pass"] + counts["fail"] + counts["skip"] - counts["migrated"]
    lacking = regression["submitted"] > 0 and reported < regression["submitted"]
    return "aborted" if lacking or counts["migrated"] or counts["live"] else "complete"


def grouped(keys: dict[int, Any]) -> set[frozenset[int]]:
    """Which seeds belong together, whatever they are called."""
    groups: dict[Any, set[int]] = defaultdict(set)
    for seed, key in keys.items():
        groups[key].add(seed)
    return {frozenset(group) for group in groups.values()}


def check_against_the_logs(daemon: Daemon, logs: Path) -> None:
    """Counts, status, verdicts, messages and signatures agree with the log files, and nothing was refused."""
    found = verdicts.read(logs)
    assert set(found) == set(SEEDS)
    assert {verdict.outcome for verdict in found.values()} == set(verdicts.OUTCOMES)
    regression, jobs = regression_when_over(daemon), jobs_by_name(daemon)
    check_regression(daemon, regression, verdicts.counts_by_result(found))
    assert set(jobs) == {"compile"} | {f"seed-{seed}" for seed in SEEDS}
    assert (jobs["compile"]["category"], jobs["compile"]["result"]) == ("compile", "pass")
    for seed, verdict in found.items():
        check_job(jobs[f"seed-{seed}"], seed, verdict)
        check_streamed_log(daemon, jobs[f"seed-{seed}"]["id"], (logs / f"seed-{seed}.log").read_text().splitlines())
    check_signatures(daemon, jobs, {seed: verdict for seed, verdict in found.items() if verdict.result == "fail"})
    assert daemon.get("/receipts?outcome=rejected")["items"] == []
    assert not [file for file in daemon.spool.rglob("*.json*") if file.is_file()], "something was left in the spool"


def check_streamed_log(daemon: Daemon, job: int, said: list[str]) -> None:
    """The log that the job streamed to the daemon is its log file; of a job that never ends, what was sent in time."""
    page = daemon.get(f"/jobs/{job}/logs?limit=10000")
    got = [line["message"] for line in page["lines"]]
    assert got and got == (said if len(got) == len(said) else said[: len(got)])
    assert len(got) == len(said) or daemon.get(f"/jobs/{job}")["reason"] == "time-limit"


def check_regression(daemon: Daemon, regression: dict[str, Any], counts: dict[str, int]) -> None:
    """The regression has ended, and counts what the logs count, over HTTP and in the database."""
    assert regression["counts"] == counts
    assert regression["submitted"] == regression["progress"]["done"] == len(SEEDS) + 1
    assert regression["running"] == 0
    assert (regression["status"], regression["reason"]) == ("complete", "finish")
    assert regression["status"] == status_by_the_rule(regression)
    assert regression["finished_at"] is not None
    stored = daemon.rows("SELECT result_name, COUNT(*) FROM jobs WHERE regression = 'demo/1' GROUP BY result_name")
    assert dict(stored) == {result: n for result, n in counts.items() if n}


def check_job(job: dict[str, Any], seed: int, verdict: Any) -> None:
    """A seed's job has the verdict of its log, and its message is the first line there that tells of a failure."""
    assert (job["category"], job["seed"], job["done"], job["migrated"]) == ("sim", str(seed), True, False)
    assert job["result"] == verdict.result, job
    if verdict.outcome == "hang":  # nobody sent a finish: the daemon itself passed the verdict
        assert (job["reason"], job["signature"]["title"]) == ("time-limit", "LIVE Job Timeout or Missing")
        assert (job["time_limit_ms"], job["exit_code"]) == (TIME_LIMIT_MS, None)
        return
    assert job["reason"] is None
    assert (job["fail_message"] or "").partition("\n")[0] == (verdict.line if verdict.result == "fail" else "")
    assert (job["signature"] is None) == (verdict.result == "pass")
    assert job["exit_code"] == (139 if verdict.outcome == "crash" else 0)


def check_signatures(daemon: Daemon, jobs: dict[str, dict[str, Any]], failed: dict[int, Any]) -> None:
    """Seeds share a signature exactly if they failed in the same way, and the list of signatures counts them."""
    signature_of = {seed: jobs[f"seed-{seed}"]["signature"]["id"] for seed in failed}
    by_outcome = grouped({seed: verdict.outcome for seed, verdict in failed.items()})
    assert grouped(signature_of) == by_outcome
    listed = daemon.get(f"{PATH}/signatures")["items"]
    assert {item["id"]: item["count"] for item in listed} == {
        number: list(signature_of.values()).count(number) for number in signature_of.values()
    }
    assert [item["count"] for item in listed] == sorted(map(len, by_outcome), reverse=True)
    for item in listed:
        seed = int(item["example"]["seed"])
        assert signature_of[seed] == item["id"]
        if failed[seed].outcome != "hang":
            assert item["example"]["fail_message"].partition("\n")[0] == failed[seed].line


@pytest.mark.icarus
def test_a_regression_with_icarus_through_the_spool_ends_in_the_daemon_as_in_its_logs(
    daemon: Daemon, tmp_path: Path
) -> None:
    said = regress(tmp_path, "--simulator", "icarus", "--spool", str(daemon.spool))
    assert said.startswith("simulator: Icarus Verilog")
    check_against_the_logs(daemon, tmp_path / "logs" / "demo" / "1")


def test_a_regression_over_http_ends_in_the_daemon_as_in_its_logs(daemon: Daemon, tmp_path: Path) -> None:
    said = regress(tmp_path, "--simulator", "standin", "--server", daemon.url)
    assert f"{daemon.url}/r/demo%2F1" in said
    check_against_the_logs(daemon, tmp_path / "logs" / "demo" / "1")
    assert not list((tmp_path / "backlog").rglob("*.json")), "the client kept something that it could not send"
