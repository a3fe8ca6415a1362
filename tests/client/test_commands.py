"""The watching commands as people use them: processes, the real daemon. Lists and single things, in both forms."""

from __future__ import annotations

import datetime
import hashlib
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.commands import environment, lines, objects, on_a_terminal, publish, run, start
from support.daemons import Daemon, done, live
from support.hosts import SCRIPT

import simscope
import simscope_client
from simscope_server.reading.queries import JOB_ORDERS


def test_jobs_and_job(daemon: Daemon) -> None:
    fail = publish(daemon, done("f", "fail", name="bad seed", host="h1", fail_message="UVM_ERROR x\nmore", seed=7))
    progress = {"done": 3, "total": 4, "unit": "tests"}
    running = publish(daemon, live("r", phase="running", progress=progress, metadata=[["k", "v"]]), "n/2")

    head, first, second = lines(daemon, "jobs")
    assert head.split() == ["ID", "RESULT", "TIME", "HOST", "REGRESSION", "NAME", "SEED", "MESSAGE"]
    assert re.match(rf"{running}\s+live \(running\)\s+(\d+s|\d+ ms)\s+-\s+n/2\s+r\s+-\s+3/4 tests", first)
    assert re.match(rf"{fail}\s+fail\s+\S+\s+h1\s+n/1\s+bad seed\s+7\s+UVM_ERROR x$", second)
    assert [job["id"] for job in objects(daemon, "jobs", "--result", "fail,skip")] == [fail]
    assert [job["id"] for job in objects(daemon, "jobs", "--regression", "n/$", "--limit", "1")] == [running]
    assert [job["id"] for job in objects(daemon, "jobs", "--result", "live", "--result", "fail,skip")] == [
        running,
        fail,
    ]
    shown = "\n".join(lines(daemon, "job", fail))
    assert re.search(r"^seed\s+7$", shown, re.M) and re.search(r"^fail_message\s+more$", shown, re.M)
    assert objects(daemon, "job", fail)[0]["fail_message"] == "UVM_ERROR x\nmore"


def test_jobs_are_filtered_and_ordered_as_on_the_page(daemon: Daemon) -> None:
    slow = publish(daemon, done("a", name="a", host="n1", runtime_ms=700_000))
    quick = publish(daemon, done("b", name="b", host="n2", runtime_ms=90))

    assert [job["id"] for job in objects(daemon, "jobs", "--filter", "host=~^n1, runtime>10m")] == [slow]
    assert [job["id"] for job in objects(daemon, "jobs", "--sort", "-runtime")] == [slow, quick]
    assert [job["id"] for job in objects(daemon, "jobs", "--sort=-host", "--limit", "1")] == [quick]
    assert [line.split()[2:4] for line in lines(daemon, "jobs", "--sort", "name")[1:]] == [
        ["11m", "40s"],
        ["90", "ms"],
    ]
    for wrong in (("--filter", "colour=red"), ("--sort", "colour"), ("--result", "colour"), ("--signature", "x")):
        code, out, err = run(daemon, "jobs", *wrong)
        assert (code, out, err.count("\n")) == (2, "", 1), wrong


def test_a_table_is_as_wide_as_its_terminal(daemon: Daemon) -> None:
    publish(daemon, done(result="fail", fail_message="x" * 300))

    assert len(lines(daemon, "jobs")[1]) > 300
    shown = on_a_terminal(daemon, "jobs", until="xxx").splitlines()
    assert len(shown) == 2 and len(shown[1]) == 80


def test_a_terminal_that_is_not_utf8_is_shown_what_it_can_show(daemon: Daemon) -> None:
    publish(daemon, done(name="größe"))

    code, out, err = run(daemon, "jobs", env=environment(daemon, PYTHONIOENCODING="ascii"))

    assert (code, err, "gr??e" in out) == (0, "", True)


def test_the_orders_of_the_server_are_offered_and_no_other() -> None:
    [sort] = [one for one in simscope_client._WATCHING["jobs"][1] if one.names == ("--sort",)]

    assert sorted(sort.words) == sorted(JOB_ORDERS)


def test_regressions_status_and_history(daemon: Daemon) -> None:
    daemon.post("/publish/regr-start?regression=n%2F1", {"submitted": 4})
    job = publish(daemon, done())
    head, row = lines(daemon, "regressions")
    assert head.split()[:5] == ["ID", "NAME", "STATUS", "DONE", "PASS"]
    assert row.split()[1:5] == ["n/1", "live", "1/4", "1"]
    assert objects(daemon, "regressions", "--series", "n")[0]["counts"]["pass"] == 1
    assert lines(daemon, "regressions", "--status", "complete") == [" ".join(head.split()).replace(" ", "  ")]
    assert any(line.startswith("submitted") and line.endswith(" 4") for line in lines(daemon, "regression", "n/$"))
    assert lines(daemon, "status", job) == ["pass"]
    assert lines(daemon, "status", "n/1") == ["live"]
    assert objects(daemon, "status", job)[0]["done"] is True
    assert objects(daemon, "status", "n/$")[0]["counts"]["pass"] == 1
    history = lines(daemon, "history", job)
    assert history[0].split()[:2] == ["TIME", "TYPE"] and "job.passed" in history[1]
    assert [entry["type"] for entry in objects(daemon, "history", job)] == ["job.passed"]
    assert "regression.started" in [entry["type"] for entry in objects(daemon, "history", "n/1")]
    daemon.post("/publish/regr-update?regression=n%2F1", {"tag": "rc2", "running": 3, "submitted": 5})
    assert (
        "tag: - -> rc2" in lines(daemon, "history", "n/1")[-1]
        and "submitted: 4 -> 5" in lines(daemon, "history", "n/1")[-1]
    )
    daemon.post("/publish/regr-update?regression=n%2F1", {"running": 2})
    assert lines(daemon, "history", "n/1")[-1].endswith("  running 2")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One hour ahead of UTC, all the year."""
    with monkeypatch.context() as zone:
        zone.setenv("TZ", "UTC-1")
        time.tzset()
        yield
    time.tzset()


def test_changes_are_told_in_words(here: None) -> None:
    changed = {
        "start_time": [None, "2020-01-02T03:04:05.006Z"],
        "time_limit_ms": [None, 5_400_000],
        "metadata.k": ["a", "2020-01-02T03:04:99Z"],
        "env": [{"A": "1"}, None],
    }
    entry = simscope.HistoryEntry(reason="r", description="d", changed=changed)

    assert simscope_client.history_note(entry) == (
        "r; d; start_time: - -> 2020-01-02 04:04, time_limit_ms: - -> 1h 30m, "
        'metadata.k: a -> 2020-01-02T03:04:99Z, env: {"A":"1"} -> -'
    )


def test_a_time_of_today_is_told_without_the_day() -> None:
    now = datetime.datetime.now(datetime.UTC)

    assert simscope_client.brief(now) in (f"{now.astimezone():%H:%M:%S}", f"{now.astimezone():%Y-%m-%d %H:%M}")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", simscope_client.brief(now + datetime.timedelta(days=2)))


def test_a_duration_is_told_in_two_units_at_most() -> None:
    told = {
        0: "0 ms", 999: "999 ms", 1000: "1s", 59_999: "59s", 63_000: "1m 03s", 3_599_000: "59m 59s",
        3_600_000: "1h 00m", 7_500_000: "2h 05m", 86_399_999: "23h 59m", 273_600_000: "3d 04h", None: "-",
    }  # fmt: skip

    assert {ms: simscope_client.duration(ms) for ms in told} == told


def test_logs_in_all_its_ways(daemon: Daemon) -> None:
    job = publish(daemon, live(log={"lines": [f"line {n}" for n in range(10)]}))

    assert lines(daemon, "logs", job) == [f"line {n}" for n in range(10)]
    assert lines(daemon, "logs", job, "--tail", "2") == ["line 8", "line 9"]
    assert lines(daemon, "logs", job, "--offset", "3", "--limit", "1") == ["line 3"]
    assert objects(daemon, "logs", job, "--tail", "1")[0] | {"at": ""} == {"offset": 9, "at": "", "message": "line 9"}
    assert lines(daemon, "logs", job, "--tail", "0") == []
    following = start(daemon, "logs", "-f", job)
    newest = start(daemon, "logs", "-f", "--tail", "0", job)
    assert following.stdout is not None
    assert [following.stdout.readline() for _ in range(10)][-1] == "line 9\n"
    daemon.post(f"/jobs/{job}/logs", {"lines": ["more"]})
    assert following.stdout.readline() == "more\n"
    publish(daemon, done(log={"lines": ["end"]}))
    assert following.communicate(timeout=20) == ("end\n", "")
    assert "line" not in newest.communicate(timeout=20)[0]
    assert (following.returncode, newest.returncode) == (0, 0)


def test_files_and_download(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    daemon = make_daemon()
    text = daemon.config.read_text().replace("[server]\n", f'[server]\nfile_roots = ["{tmp_path}"]\n')
    daemon.config.write_text(text)
    daemon.start()
    (tmp_path / "cov").write_bytes(b"\x00content")
    digest = hashlib.sha256(b"\x00content").hexdigest()
    entry = {"name": "cov.dat", "path": str(tmp_path / "cov"), "sha256": digest}
    job = publish(daemon, done(files=[entry | {"kind": "result"}, entry | {"kind": "log", "name": "x"}]))

    assert lines(daemon, "files", job)[1].split()[:4] == ["result", "cov.dat", "8", digest]
    assert [file["name"] for file in objects(daemon, "files", job, "--kind", "log")] == ["x"]
    assert lines(daemon, "download", job, "cov.dat") == [str(daemon.folder / "cov.dat")]
    assert (daemon.folder / "cov.dat").read_bytes() == b"\x00content"
    code, _, err = run(daemon, "download", job, "cov.dat")
    assert (code, "never overwrites" in err) == (2, True)
    assert run(daemon, "download", job, "x", "-")[:2] == (0, "\x00content")
    with open("/dev/full", "w") as full:
        code, _, err = run(daemon, "download", job, "x", "-", stdout=full)
    assert (code, err) == (2, "simscope: error: the standard output cannot be written: no space left on device\n")
    assert objects(daemon, "download", job, "x", "new/y") == [{"path": str(daemon.folder / "new/y"), "size": 8}]
    assert lines(daemon, "download", job, "x", "logs/") == [str(daemon.folder / "logs" / "x")]
    code, _, err = run(daemon, "download", job, "nope")
    assert (code, f"job {job} declares no file 'nope'" in err) == (2, True)
    for dest in ("cov.dat/y", "cov.dat/y/z", "/proc/nothing/x"):
        code, _, err = run(daemon, "download", job, "x", dest)
        assert (code, err.count("\n")) == (2, 1)
        assert err.startswith(f"simscope: error: {dest} cannot be written: ")


def test_commands_leave_no_connection_open(daemon: Daemon, capfd: Any) -> None:
    publish(daemon, done(log={"lines": ["x"]}))
    opened: list[Any] = []
    connection = simscope.Address.connection

    def watched(address: simscope.Address) -> Any:
        opened.append(connection(address))
        return opened[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simscope.Address, "connection", watched)
        for command in ("jobs", "job 1", "wait 1", "wait 1 1", "logs 1", "watch n/1 --once", "job 4711", "status n/1"):
            simscope.main([*command.split(), "--server", daemon.url])

    assert len(opened) >= 8 and all(each.sock is None for each in opened)


def test_an_output_that_takes_nothing_is_told_in_a_sentence(daemon: Daemon, tmp_path: Path) -> None:
    job = publish(daemon, done(files=[{"kind": "log", "name": "x"}]))

    for command in (("jobs",), ("job", job, "--json"), ("status", job), ("completion", "bash")):
        with open("/dev/full", "w") as full:
            code, _, err = run(daemon, *command, stdout=full)
        assert code == 2
        assert err == "simscope: error: the standard output cannot be written: no space left on device\n"
    quiet: dict[str, Any] = {"env": environment(daemon), "capture_output": True, "text": True, "timeout": 20}
    for words in ("jobs", f"status {job}", "watch n/1 --once --json", f"download {job} x -", "completion bash"):
        closed = subprocess.run(["sh", "-c", f"exec {sys.executable} {SCRIPT} {words} >&-"], **quiet)
        assert (closed.returncode, closed.stderr) == (2, "simscope: error: the standard output is closed\n"), words


def test_extend(daemon: Daemon) -> None:
    job = publish(daemon, live(time_limit_ms=3_600_000))
    before = daemon.get(f"/jobs/{job}")["due_at"]

    [line] = lines(daemon, "extend", job, "1h30m")
    [told] = objects(daemon, "extend", job, "10m")
    until = datetime.datetime.now().astimezone() + datetime.timedelta(days=2)
    [moved] = objects(daemon, "extend", job, "--until", until.isoformat("T", "seconds"))
    publish(daemon, done())

    assert line.startswith(f"job {job}  live") and re.search(r"due (\S+ )?\d\d:\d\d", line)
    assert told["due_at"] > before
    assert abs(simscope_client.parse_time(moved["due_at"]) - until) < datetime.timedelta(seconds=10)
    assert run(daemon, "extend", job, "10m")[0] == 1
    for wrong, expected in (
        (("0",), "must be a duration above 0, not '0'"),
        (("-5m",), "'-5m' is not a duration (accepted: 90, "),
        ((), "either by how much, such as 30m, or until when"),
        (("5m", "--until", "18:30"), "either by how much, such as 30m, or until when"),
        (("--until", "25:00"), "'25:00' is not a time (accepted: 18:30 in local time, or "),
        (("--until", "2036-01-01T18:30:00"), "is not a time (accepted: "),
    ):
        code, _, err = run(daemon, "extend", job, *wrong)
        assert (code, expected in err) == (2, True), err


def test_a_time_of_day_is_the_next_one_here(here: None) -> None:
    now = datetime.datetime.now().astimezone()

    for hour in range(24):
        when = simscope_client.moment_said(f"{hour:02}:30")
        assert (when.hour, when.minute, when.second) == (hour, 30, 0)
        assert now < when < now + datetime.timedelta(hours=26)
