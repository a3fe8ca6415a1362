"""`run`: the output as the log of the job, as parcels, and at a real daemon."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
from support.commands import environment, objects, run, start
from support.daemons import ROOT, Daemon, wait_until

import simscope

# ----------------------------------------------------------------------------------------------------------------------
# parcels of lines
# ----------------------------------------------------------------------------------------------------------------------


def test_a_parcel_stays_the_same_until_it_has_arrived() -> None:
    lines = simscope.LogLines()
    lines.take(1, b"a\nb")
    first = lines.parcel()
    lines.take(2, b"err\n")
    lines.take(1, b"c\r\n50%\r100%\n")

    assert first == lines.parcel() == {"offset": 0, "lines": ["a"]}
    lines.arrived()
    assert lines.parcel() == {"offset": 1, "lines": ["err", "bc", "100%"]}
    lines.take(1, b"last\xff")
    assert lines.last() == {"offset": 1, "lines": ["err", "bc", "100%", "last\ufffd"]}
    assert lines.parcel() == {"offset": 1, "lines": ["err", "bc", "100%"]}
    lines.arrived()
    assert lines.parcel() is None


def test_nothing_to_say_is_no_parcel_and_empty_lines_are_lines() -> None:
    lines = simscope.LogLines()
    assert lines.parcel() is None
    lines.take(1, b"half")
    assert lines.parcel() is None
    assert simscope.LogLines().last() is None
    lines.take(1, b"\n\n\n")
    assert lines.parcel() == {"offset": 0, "lines": ["half", "", ""]}


def test_a_flood_takes_bounded_memory_and_is_told() -> None:
    lines = simscope.LogLines()
    for number in range(200_000):
        lines.take(1, b"line %d\n" % number)
    assert sum(len(data) for _, data in lines._chunks) <= simscope.LOG_WAITING

    pauses = []
    got: list[str] = []
    for _ in range(4):
        parcel = lines.parcel()
        assert parcel is not None and parcel["offset"] == len(got) and len(json.dumps(parcel)) < 2 * simscope.LOG_PARCEL
        got += parcel["lines"]
        pauses.append(lines.pause)
        lines.arrived()
        for number in range(5000):
            lines.take(1, b"more %d\n" % number)

    left_out = [int(match[1]) for line in got if (match := re.fullmatch(r"\[simscope: (\d+) lines left out\]", line))]
    assert got[-1] == "more 4999" and len(got) - len(left_out) + sum(left_out) == 200_000 + 3 * 5000
    assert pauses == [4.0, 8.0, 10.0, 10.0]


def test_what_a_flood_has_torn_is_not_put_together() -> None:
    lines = simscope.LogLines()
    lines.take(1, b"the beginning of a line")
    assert lines.parcel() is None
    for _ in range(20):
        lines.take(1, b"x" * 60_000 + b"\n")

    parcel = lines.parcel()

    assert parcel is not None and all(line.startswith(("x", "[simscope: ")) for line in parcel["lines"])


def test_long_lines_are_cut_and_orders_to_a_terminal_left_out() -> None:
    lines = simscope.LogLines()
    lines.take(1, b"x" * 5000 + b"\n\x1b[31mred\x1b[0m\x00\x07\tt\n" + b"y" * 60_000)
    parcel = lines.parcel()
    assert parcel is not None
    cut, clean = parcel["lines"]
    assert (cut, clean) == ("x" * simscope.LOG_LINE + " …", "red\tt")
    lines.arrived()
    for _ in range(100):
        lines.take(1, b"z" * 60_000)
    last = lines.last()
    assert last is not None and len(last["lines"][-1]) == simscope.LOG_LINE + 2


# ----------------------------------------------------------------------------------------------------------------------
# at a real daemon
# ----------------------------------------------------------------------------------------------------------------------


def log_of(daemon: Daemon) -> tuple[dict[str, Any], list[str], dict[str, Any]]:
    """The only job there is, the lines of its log, and the log's page."""
    [job] = daemon.get("/jobs")["items"]
    page = daemon.get(f"/jobs/{job['id']}/logs?limit=10000")
    return job, [line["message"] for line in page["lines"]], page


def run_job(daemon: Daemon, script: str, *options: object, spool: bool = False) -> subprocess.Popen[str]:
    where = ("--spool", daemon.spool) if spool else ()
    return start(daemon, "run", "--regression", "n/1", *where, *options, "--", "sh", "-c", script)


@pytest.mark.parametrize("spool", [False, True])
def test_the_output_of_a_run_is_its_log_while_it_runs_and_to_the_last_line(daemon: Daemon, spool: bool) -> None:
    daemon.spool.mkdir(exist_ok=True)
    script = "printf 'one\\ntw'; echo err >&2; read x < wait; printf 'o\\n50%%\\r100%%\\n\\033[31mred\\033[0m\\nlast'"
    os.mkfifo(daemon.folder / "wait")
    process = run_job(daemon, script, spool=spool)

    wait_until(lambda: daemon.get("/jobs")["items"] and "one" in log_of(daemon)[1], 15, "the first lines")
    job, _, _ = log_of(daemon)
    assert not job["done"]
    (daemon.folder / "wait").write_text("\n")
    process.communicate(timeout=20)
    wait_until(lambda: log_of(daemon)[0]["done"])

    job, got, page = log_of(daemon)
    assert sorted(got) == sorted(["one", "err", "two", "100%", "red", "last"])
    assert (got[0], got[-1], page["complete"], job["result"]) == ("one", "last", True, "pass")
    assert [entry["type"] for entry in daemon.get(f"/jobs/{job['id']}/history")["items"]] == ["job.live", "job.passed"]


def test_a_command_that_crashes_leaves_its_last_lines(daemon: Daemon) -> None:
    process = run_job(daemon, "echo before; echo at the end; kill -SEGV $$")
    process.communicate(timeout=20)

    job, got, page = log_of(daemon)

    assert (job["result"], got, page["complete"]) == ("fail", ["before", "at the end"], True)


def test_without_the_stream_there_is_no_log(daemon: Daemon) -> None:
    run_job(daemon, "echo secret", "--no-stream").communicate(timeout=20)

    assert log_of(daemon)[1] == []


def test_a_flood_of_output_is_cut_and_says_so(daemon: Daemon) -> None:
    count = 400_000
    script = f"seq -f 'line %.0f of very many that nobody will ever read' {count}"
    run_job(daemon, script, "--quiet").communicate(timeout=60)

    _, got, _ = log_of(daemon)
    gaps = [int(found[1]) for line in got if (found := re.fullmatch(r"\[simscope: (\d+) lines left out\]", line))]
    assert got[-1] == f"line {count} of very many that nobody will ever read"
    assert gaps and len(got) - len(gaps) + sum(gaps) == count


def test_where_live_jobs_are_switched_off_the_log_comes_with_the_finish(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon("[sigs]\nenablelivejobs = false\n").start()
    _, err = run_job(daemon, "echo a; sleep 3; echo b").communicate(timeout=20)

    assert log_of(daemon)[1] == ["a", "b"]
    assert err.count("live-disabled") == 1


def test_a_daemon_that_is_away_for_a_while_costs_no_line(daemon: Daemon) -> None:
    os.mkfifo(daemon.folder / "wait")
    process = run_job(daemon, "echo 0; for i in 1 2 3 4 5 6; do sleep 1; echo $i; done; read x < wait; echo end")
    wait_until(lambda: daemon.get("/jobs")["items"] and log_of(daemon)[1], 15)

    daemon.stop()
    time.sleep(3)
    daemon.start(env={"SIMSCOPE_LISTEN": daemon.url.removeprefix("http://")})
    (daemon.folder / "wait").write_text("\n")
    process.communicate(timeout=20)

    assert log_of(daemon)[1] == [*map(str, range(7)), "end"]


def test_what_a_run_tells_of_its_batch_system(daemon: Daemon) -> None:
    more = {"SLURM_JOB_ID": "90", "SLURM_ARRAY_JOB_ID": "88", "SLURM_ARRAY_TASK_ID": "3", "SLURM_RESTART_COUNT": "2"}
    run(daemon, "run", "--regression", "n/1", "--", "true", env=environment(daemon, **more))

    assert dict(log_of(daemon)[0]["metadata"]) == {
        "batch.system": "slurm", "batch.id": "90", "batch.array_index": "3", "batch.restart": "2",
    }  # fmt: skip


def test_the_bodies_in_the_manual_are_taken_as_they_are(daemon: Daemon) -> None:
    bodies = re.findall(r"^```json\n(.*?)^```", (ROOT / "docs" / "messages.md").read_text(), re.M | re.S)
    told = []
    for kind, body in zip(("job-live", "regr-start"), bodies, strict=True):
        (daemon.folder / "body.json").write_text(body)
        told += objects(daemon, "publish", kind, "--regression", "n/1", "body.json")

    assert [(one["applied"], one["details"][0]["warnings"]) for one in told] == [(1, []), (1, [])]
    assert daemon.get("/jobs/1")["extra"] == {}
    assert objects(daemon, "logs", 1)[1]["message"] == "the second line"
