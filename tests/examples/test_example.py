"""The example regression: every seed ends as it should, and the right messages lie in the spool folder afterwards.

No daemon here: what is published is read from a plain folder. The simulations run ten times faster than in the
demonstration; only a hanging one costs its time limit.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

FIFO = Path(__file__).resolve().parents[2] / "examples" / "fifo"
sys.path.insert(0, str(FIFO))
sim, standin, verdicts = map(importlib.import_module, ("sim", "standin", "verdicts"))

ALL_SEEDS = {"pass": 167, "overflow": 15, "mismatch": 9, "crash": 5, "hang": 4}  # of 200, as README.md says
FAST = ("--pace", "50000", "--time-limit", "4", "--grace", "0.5", "--jobs", "4")


def command(tmp_path: Path, *options: str) -> list[str]:
    """`regress.py` with a spool folder below tmp_path."""
    spool = tmp_path / "spool"
    spool.mkdir(exist_ok=True)
    where = ("--spool", str(spool), "--outdir", str(tmp_path / "out"))
    return [sys.executable, str(FIFO / "regress.py"), *where, *options]


def environment(tmp_path: Path) -> dict[str, str]:
    """Ours, without what may be set for a real daemon."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SIMSCOPE_")}
    return {**kept, "SIMSCOPE_BACKLOG": str(tmp_path / "backlog")}


def regress(tmp_path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    done = subprocess.run(
        command(tmp_path, *options), env=environment(tmp_path), capture_output=True, text=True, timeout=60
    )
    assert "Traceback" not in done.stderr
    return done


def messages(tmp_path: Path) -> list[dict[str, Any]]:
    """All envelopes in the spool folder, in the order of their arrival."""
    files = sorted((tmp_path / "spool").glob("*.json"), key=lambda file: file.stat().st_mtime_ns)
    return [json.loads(file.read_text()) for file in files]


def jobs(envelopes: Iterable[dict[str, Any]], kind: str, *, repeated: bool = False) -> dict[str, dict[str, Any]]:
    """The bodies of job-live or job-finish by uniqueid; none may come twice, but to bring lines of the job's log, or,
    where it may be `repeated`, the same again."""
    found: dict[str, dict[str, Any]] = {}
    for body in [envelope["body"] for envelope in envelopes if envelope["type"] == kind]:
        first = found.setdefault(body["uniqueid"], body)
        again = repeated and body == first
        assert first is body or again or (kind == "job-live" and body == {**first, "log": body["log"]})
    return found


def check_streamed(envelopes: Iterable[dict[str, Any]], folder: Path, outcomes: dict[int, str]) -> None:
    """The lines that the messages of a job bring are those of its log file; they arrive while it runs."""
    lines: dict[str, list[str]] = {}
    for body in [envelope["body"] for envelope in envelopes if envelope["type"].startswith("job-")]:
        got = lines.setdefault(body["uniqueid"], [])
        if "log" in body:
            assert body["log"]["offset"] == len(got)
            got += body["log"]["lines"]
    for seed, how in outcomes.items():
        said = (folder / f"seed-{seed}.log").read_text().splitlines()
        assert lines[f"seed-{seed}"] == said if how != "hang" else said[: len(lines[f"seed-{seed}"])]
    assert any(lines[f"seed-{seed}"] for seed, how in outcomes.items() if how == "hang")


outcome = functools.cache(standin.outcome)


def expected(seeds: Iterable[int]) -> dict[int, str]:
    """The outcome of each seed, by the model."""
    return {seed: outcome(seed) for seed in seeds}


def check_messages(envelopes: list[dict[str, Any]], regression: str, outcomes: dict[int, str]) -> None:
    """One start, one finish, a live per job, a finish for all but the hung ones, verdicts as expected."""
    assert {envelope["regression"] for envelope in envelopes} == {regression}
    kinds = Counter(envelope["type"] for envelope in envelopes)
    assert kinds["regr-start"] == kinds["regr-finish"] == 1
    assert envelopes[0]["type"] == "regr-start" and envelopes[-1]["type"] == "regr-finish"
    assert envelopes[0]["body"]["submitted"] == len(outcomes) + 1
    assert all(envelope["body"]["running"] <= 4 for envelope in envelopes if envelope["type"] == "regr-update")
    live, finished = jobs(envelopes, "job-live"), jobs(envelopes, "job-finish")
    assert set(live) == {"compile"} | {f"seed-{seed}" for seed in outcomes}
    assert set(finished) == {"compile"} | {f"seed-{seed}" for seed, how in outcomes.items() if how != "hang"}
    for seed, how in outcomes.items():
        assert live[f"seed-{seed}"]["time_limit_ms"] == 4000
        if how != "hang":
            check_finish(finished[f"seed-{seed}"], how)


def check_finish(body: dict[str, Any], how: str) -> None:
    """The finish tells how the simulation ended."""
    words = {"overflow": "ERROR: tb_fifo.v:", "mismatch": "UVM_ERROR @", "crash": "Segmentation fault", "pass": ""}
    assert body["result"] == ("pass" if how == "pass" else "fail")
    assert words[how] in body["fail_message"]
    assert body["exit_code"] == (139 if how == "crash" else 0)  # the verdict of most is in the log only
    assert how == "crash" or body["cycles"] > 0


def check_logs(folder: Path, outcomes: dict[int, str]) -> None:
    """The log files say the same as the model, and so will the daemon."""
    found = verdicts.read(folder)
    assert {seed: verdict.outcome for seed, verdict in found.items()} == outcomes
    counts = verdicts.counts_by_result(found)
    assert counts["pass"] == 1 + Counter(outcomes.values())["pass"]
    assert counts["pass"] + counts["fail"] == 1 + len(outcomes)


def log_of_model(seed: int) -> list[str]:
    """The log that a seed must have, line by line."""
    bench: Any = standin.Bench(seed, pace=lambda: not bench.dut.lost)
    lines = [line for line in bench.run() if "standard input" not in line]
    return [sim.CRASH_MESSAGE.decode().rstrip() if line == standin.CRASH_LINE else line for line in lines]


def test_every_class_of_failure_occurs_and_seeds_are_repeatable() -> None:
    outcomes = expected(range(1, 201))
    assert dict(Counter(outcomes.values())) == ALL_SEEDS
    assert {outcomes[seed] for seed in range(1, 17)} == set(ALL_SEEDS)
    assert all(standin.outcome(seed) == how for seed, how in outcomes.items() if how != "pass")


def test_standin_prints_the_same_log_twice() -> None:
    runs = [subprocess.check_output([sys.executable, str(FIFO / "standin.py"), "+seed=9"]) for _ in range(2)]
    assert runs[0] == runs[1]
    assert runs[0].decode().splitlines() == [standin.GREETING, *log_of_model(9)]


def test_regression_with_the_standin(tmp_path: Path) -> None:
    options = ("--simulator", "standin", "--first-seed", "9", "--seeds", "12", "--regression", "demo/1")
    done = regress(tmp_path, *options, *FAST)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("simulator: standin.py")
    outcomes = expected(range(9, 21))
    assert set(outcomes.values()) == set(ALL_SEEDS)
    check_messages(messages(tmp_path), "demo/1", outcomes)
    check_logs(tmp_path / "out/demo/1", outcomes)
    check_streamed(messages(tmp_path), tmp_path / "out/demo/1", outcomes)
    again = regress(tmp_path, *options)
    assert again.returncode == 2 and "logs of an earlier run" in again.stderr


@pytest.mark.icarus
@pytest.mark.skipif(not shutil.which("iverilog"), reason="Icarus Verilog (iverilog) is not installed")
def test_regression_with_icarus(tmp_path: Path) -> None:
    done = regress(tmp_path, "--simulator", "icarus", "--first-seed", "9", "--seeds", "16", *FAST)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("simulator: Icarus Verilog")
    outcomes = expected(range(9, 25))
    assert set(outcomes.values()) == set(ALL_SEEDS)
    check_messages(messages(tmp_path), "fifo/1", outcomes)
    folder = tmp_path / "out/fifo/1"
    check_logs(folder, outcomes)
    check_streamed(messages(tmp_path), folder, outcomes)
    for seed in outcomes:  # the model is exact
        assert (folder / f"seed-{seed}.log").read_text().splitlines() == log_of_model(seed)


@pytest.mark.parametrize("ignored", [False, True])
def test_interrupted_regression_is_finished(tmp_path: Path, ignored: bool) -> None:
    """SIGINT is ignored from the start where a script runs it in the background."""
    how = signal.SIG_IGN if ignored else signal.default_int_handler
    process = subprocess.Popen(
        command(tmp_path, "--simulator", "standin", "--seeds", "50", "--jobs", "2"),
        env=environment(tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, how),
    )
    try:
        wait_until(lambda: any((tmp_path / "out").glob("fifo/1/seed-*.log")))
        process.send_signal(signal.SIGINT)
        assert b"interrupted" in process.communicate(timeout=20)[1]
    finally:
        process.terminate()  # where it is over already, nothing happens; else it ends its jobs
        process.communicate(timeout=20)
    assert process.returncode == 130
    envelopes = messages(tmp_path)
    assert envelopes[-1]["type"] == "regr-finish"
    # All that ran were told to stop. A job that is told to keeps its finish before it sends it; another job of the same
    # backlog may find and send it meanwhile.
    assert set(jobs(envelopes, "job-finish", repeated=True)) == set(jobs(envelopes, "job-live"))


def wait_until(true: Callable[[], bool], seconds: float = 20) -> None:
    """Poll; a test must not wait for ever."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--seeds", "0"), "--seeds 0: accepted: a whole number from 1"),
        (("--pace", "0"), "--pace 0.0: accepted: 1 to 1000000"),
        (("--regression", "../x"), "--regression '../x': accepted:"),
        (("--spool", "nowhere"), "--spool nowhere: no such folder"),
    ],
)
def test_wrong_usage(tmp_path: Path, options: tuple[str, ...], words: str) -> None:
    done = regress(tmp_path, "--simulator", "standin", *options)
    assert done.returncode == 2
    assert words in done.stderr


def test_a_destination_is_needed(tmp_path: Path) -> None:
    runner = [sys.executable, str(FIFO / "regress.py"), "--outdir", str(tmp_path / "out")]
    done = subprocess.run(runner, env=environment(tmp_path), capture_output=True, text=True)
    assert done.returncode == 2
    assert "where to publish? accepted: --spool DIR" in done.stderr


def test_verdicts_command(tmp_path: Path) -> None:
    (tmp_path / "seed-7.log").write_text("tb_fifo: seed 7\nTEST PASSED at cycle 10, 3 words checked\n")
    (tmp_path / "seed-8.log").write_text("tb_fifo: seed 8\n")
    runner = [sys.executable, str(FIFO / "verdicts.py")]
    found = json.loads(subprocess.check_output([*runner, str(tmp_path), "--json"]))
    assert found["results"] == {"pass": 2, "fail": 1, "skip": 0, "live": 0, "migrated": 0}
    assert found["seeds"]["8"] == {"outcome": "hang", "line": "tb_fifo: seed 8"}
    assert subprocess.run([*runner, str(tmp_path / "none")], stderr=subprocess.DEVNULL).returncode == 2
