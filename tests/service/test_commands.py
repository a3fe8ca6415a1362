"""The watching commands of simscope.py, and the log of `run`, as people use them: processes, the real daemon."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.daemons import ROOT, Daemon, done, live, publish_job, wait_until

import simscope
from simscope_server.reading.queries import JOB_ORDERS

SCRIPT = ROOT / "simscope.py"
HOSTILE = "\x1b[2J\x1b]0;owned\x07bad\x9b31m\r\x08 \u202etxt"


def publish(daemon: Daemon, body: dict[str, Any], regression: str = "n/1") -> int:
    return publish_job(daemon, regression, body)


def environment(daemon: Daemon, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SIMSCOPE_")}
    backlog = str(daemon.folder / "backlog")
    return kept | {"SIMSCOPE_SERVER": daemon.url, "SIMSCOPE_BACKLOG": backlog, "PYTHONIOENCODING": "utf-8"} | more


def start(daemon: Daemon, *arguments: object, **more: Any) -> subprocess.Popen[str]:
    more = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment(daemon)} | more
    return subprocess.Popen([sys.executable, str(SCRIPT), *map(str, arguments)], cwd=daemon.folder, **more)


def run(daemon: Daemon, *arguments: object, **more: Any) -> tuple[int, str, str]:
    """-> exit code, standard output, standard error."""
    process = start(daemon, *arguments, **more)
    out, err = process.communicate(timeout=30)
    assert "Traceback" not in err, err
    return process.returncode, out, err


def lines(daemon: Daemon, *arguments: object) -> list[str]:
    code, out, err = run(daemon, *arguments)
    assert (code, err) == (0, "")
    return out.splitlines()


def objects(daemon: Daemon, *arguments: object) -> list[Any]:
    return [json.loads(line) for line in lines(daemon, *arguments, "--json")]


# ----------------------------------------------------------------------------------------------------------------------
# lists and single things, in both forms
# ----------------------------------------------------------------------------------------------------------------------


def test_jobs_and_job(daemon: Daemon) -> None:
    fail = publish(daemon, done("f", "fail", name="bad seed", host="h1", fail_message="UVM_ERROR x\nmore", seed=7))
    progress = {"done": 3, "total": 4, "unit": "tests"}
    running = publish(daemon, live("r", phase="running", progress=progress, metadata=[["k", "v"]]), "n/2")

    head, first, second = lines(daemon, "jobs")
    assert head.split() == ["ID", "RESULT", "TIME", "HOST", "REGRESSION", "NAME", "SEED", "MESSAGE"]
    assert re.match(rf"{running}\s+live \(running\)\s+(0:\d\d|\d+ ms)\s+-\s+n/2\s+r\s+-\s+3/4 tests", first)
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
        ["11:40", "n1"],
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


def test_the_orders_of_the_server_are_offered_and_no_other() -> None:
    [sort] = [one for one in simscope._WATCHING["jobs"][2] if one.names == ("--sort",)]

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

    assert simscope.history_note(entry) == (
        "r; d; start_time: - -> 2020-01-02 04:04, time_limit_ms: - -> 1:30:00, "
        'metadata.k: a -> 2020-01-02T03:04:99Z, env: {"A":"1"} -> -'
    )


def test_a_time_of_today_is_told_without_the_day() -> None:
    now = datetime.datetime.now(datetime.UTC)

    assert simscope.brief(now) in (f"{now.astimezone():%H:%M:%S}", f"{now.astimezone():%Y-%m-%d %H:%M}")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", simscope.brief(now + datetime.timedelta(days=2)))
    assert [simscope.clock(ms) for ms in (0, 999, 1000, 3_600_000, None)] == ["0 ms", "999 ms", "0:01", "1:00:00", "-"]


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
    assert abs(simscope.parse_time(moved["due_at"]) - until) < datetime.timedelta(seconds=10)
    assert run(daemon, "extend", job, "10m")[0] == 1
    for wrong, expected in (
        (("0",), "is no duration above 0"),
        (("-5m",), "'-5m' is no duration (accepted: 90, "),
        ((), "either by how much, such as 30m, or until when"),
        (("5m", "--until", "18:30"), "either by how much, such as 30m, or until when"),
        (("--until", "25:00"), "'25:00' is no time (accepted: 18:30 of here, or "),
        (("--until", "2036-01-01T18:30:00"), "is no time (accepted: "),
    ):
        code, _, err = run(daemon, "extend", job, *wrong)
        assert (code, expected in err) == (2, True), err


def test_a_time_of_day_is_the_next_one_here(here: None) -> None:
    now = datetime.datetime.now().astimezone()

    for hour in range(24):
        when = simscope.moment_said(f"{hour:02}:30")
        assert (when.hour, when.minute, when.second) == (hour, 30, 0)
        assert now < when < now + datetime.timedelta(hours=26)


# ----------------------------------------------------------------------------------------------------------------------
# wait, watch, exit codes
# ----------------------------------------------------------------------------------------------------------------------


def test_the_exit_code_of_wait_is_the_verdict(daemon: Daemon) -> None:
    good, skipped = publish(daemon, done("g"), "good/1"), publish(daemon, done("s", "skip"), "good/1")
    bad, tanked = publish(daemon, done("b", "fail"), "bad/1"), publish(daemon, live("t"), "tank/1")
    running = publish(daemon, live("l"), "short/1")
    for name in ("good", "bad", "short"):
        daemon.post(f"/publish/regr-finish?regression={name}%2F1")
    daemon.post("/regressions/tank%2F1/tank", {"reason": "x"})

    codes = {
        refs: run(daemon, "wait", *refs)[0]
        for refs in [
            (good,), (skipped,), (bad,), (tanked,), ("good/1",), ("bad/$",), ("short/1",), ("tank/1",),
            (good, bad), (good, "tank/1", bad), (good, "good/1"), (4711,), ("no/such",), (good, 4711),
        ]
    }  # fmt: skip

    assert list(codes.values()) == [0, 0, 1, 4, 0, 1, 4, 4, 1, 4, 0, 2, 2, 2]
    assert run(daemon, "wait", publish(daemon, live("z"), "late/1"), "--timeout", "300ms")[0] == 5
    assert run(daemon, "wait", "late/1", good, "--timeout", "0.3")[0] == 5
    assert run(daemon, "wait", running, "--timeout", "1s")[0] == 1
    [told] = [json.loads(run(daemon, "wait", "bad/1", "--json")[1])]
    assert (told["status"], told["counts"]["fail"]) == ("complete", 1)
    assert [json.loads(line)["id"] for line in run(daemon, "wait", good, bad, "--json")[1].splitlines()] == [good, bad]


def test_wait_ends_in_time_while_the_daemon_hangs(daemon: Daemon) -> None:
    job = publish(daemon, live())
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        begun = time.monotonic()
        told = [run(daemon, "wait", *refs, "--timeout", "0.2") for refs in ((job,), (job, "n/1"))]
        assert time.monotonic() - begun < 16
    finally:
        daemon.process.send_signal(signal.SIGCONT)

    assert [code for code, _, _ in told] == [5, 5]
    assert all("the time that was given for waiting is over" in err for _, _, err in told)


def test_wait_prints_a_line_for_each_change(daemon: Daemon) -> None:
    job = publish(daemon, live(name="smoke", phase="queued"))
    waiting = start(daemon, "wait", job)
    assert waiting.stdout is not None

    first = waiting.stdout.readline()
    publish(daemon, live(phase="running"))
    second = waiting.stdout.readline()
    publish(daemon, done(result="fail", fail_message="no"))
    rest, err = waiting.communicate(timeout=20)

    assert first.startswith(f"job {job}  live (queued)") and second.startswith(f"job {job}  live (running)")
    assert rest.startswith(f"job {job}  fail") and rest.count("\n") == 1 and "no" in rest
    assert (waiting.returncode, err) == (1, "")


def test_a_wait_that_takes_too_long_names_what_is_not_over_and_prints_what_it_knows(daemon: Daemon) -> None:
    good = publish(daemon, done("g"), "good/1")
    late = [publish(daemon, live(str(n)), "late/1") for n in range(12)]

    code, out, err = run(daemon, "wait", good, late[0], "late/1", "--timeout", "0.3")
    assert (code, out.count("\n")) == (5, 1)
    assert err == f"simscope: error: job {late[0]}, late/1 are not over in the time that was given\n"
    _, _, err = run(daemon, "wait", good, *late, "--timeout", "0.3")
    assert f"job {late[9]} and 2 more are not over" in err
    for refs in ((late[0],), (good, late[0]), ("late/1",)):
        code, out, err = run(daemon, "wait", *refs, "--timeout", "0.3", "--json")
        told = [json.loads(line) for line in out.splitlines()]
        assert (code, len(told), err.count("\n")) == (5, len(refs), 1)
        assert (
            told[-1]["done"] is False
            and told[-1]["id"]
            and [one["done"] for one in told[:-1]] == [True] * (len(refs) - 1)
        )


def test_wait_goes_on_through_a_restart(daemon: Daemon) -> None:
    job = publish(daemon, live())
    waiting = start(daemon, "wait", job)
    assert waiting.stdout is not None and waiting.stdout.readline()

    daemon.stop()
    daemon.start(env={"SIMSCOPE_LISTEN": daemon.url.removeprefix("http://")})
    publish(daemon, done())

    assert waiting.communicate(timeout=20)[1] == ""
    assert waiting.returncode == 0


def on_a_terminal(daemon: Daemon, *arguments: object, until: str, then: Callable[[], Any] = lambda: None) -> str:
    """Run a command on a terminal; when it has shown `until`, do something; return all that it has shown."""
    controller, terminal = pty.openpty()
    process = start(daemon, *arguments, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True)
    os.close(terminal)
    shown, end = b"", time.monotonic() + 25
    try:
        while time.monotonic() < end:
            if select.select([controller], [], [], 0.2)[0]:
                try:
                    shown += os.read(controller, 65536)
                except OSError:
                    break
            if until and until in shown.decode("utf-8", "replace"):
                until = ""
                then()
    finally:
        os.close(controller)
    process.wait(10)
    assert not until, shown
    return shown.decode("utf-8", "replace")


def test_wait_draws_a_bar_on_a_terminal(daemon: Daemon) -> None:
    daemon.post("/publish/regr-start?regression=n%2F1", {"submitted": 2})
    publish(daemon, done())

    def finish() -> None:
        publish(daemon, done("b"))
        daemon.post("/publish/regr-finish?regression=n%2F1")

    shown = on_a_terminal(daemon, "wait", "n/1", until="1/2 done", then=finish)

    assert "[###########...........] n/1  live" in shown
    assert "\x1b[1F\x1b[J" in shown and "complete" in shown


def test_watch_is_a_live_view_on_a_terminal_and_lines_elsewhere(daemon: Daemon) -> None:
    daemon.post("/publish/regr-start?regression=n%2F1", {"submitted": 3})
    publish(daemon, live("slow", name="slow one"))
    publish(daemon, done("f", "fail", name="bad one", fail_message="UVM_FATAL y"))

    once = lines(daemon, "watch", "n/$", "--once")
    assert once[0].startswith("n/1  live")
    assert "newest fails" in once and "slowest live jobs" in once
    assert any("bad one" in line and "UVM_FATAL y" in line for line in once)

    piped = start(daemon, "watch", "n/1")
    assert piped.stdout is not None
    first = piped.stdout.readline()
    assert "\x1b" not in first and first.startswith("n/1  live  1/3 done  pass 0  fail 1")
    assert "bad one" in piped.stdout.readline()
    as_json = start(daemon, "watch", "n/1", "--json")

    def finish() -> None:
        publish(daemon, done("slow"))
        publish(daemon, done("c"))
        daemon.post("/publish/regr-finish?regression=n%2F1")

    shown = on_a_terminal(daemon, "watch", "n/1", until="slow one", then=finish)

    assert "\x1b[J" in shown and "[########" in shown and "complete" in shown
    rest = piped.communicate(timeout=20)[0].splitlines()
    assert rest[-1].startswith("n/1  complete  3/3 done") and piped.returncode == 1
    assert [json.loads(line)["status"] for line in as_json.communicate(timeout=20)[0].splitlines()][-1] == "complete"


def test_watch_tells_every_new_fail_however_many_come_at_once(daemon: Daemon) -> None:
    first = publish(daemon, live("first"))
    for n in range(7):
        publish(daemon, done(f"old{n}", "fail"))
    watching = start(daemon, "watch", "n/1")
    assert watching.stdout is not None
    assert "n/1  live" in [watching.stdout.readline() for _ in range(6)][0]  # noqa: RUF015  all six are read

    publish(daemon, done("first", "fail", name="the oldest job"))
    bodies = [{"type": "job-finish", "regression": "n/1", "body": done(str(n), "fail")} for n in range(12)]
    assert daemon.post("/messages", bodies)[0] == 200
    daemon.post("/publish/regr-finish?regression=n%2F1")
    out, err = watching.communicate(timeout=20)

    told = re.findall(r"^  job (\d+)  fail", out, re.M)
    assert sorted(map(int, told)) == [first, *range(first + 8, first + 20)]
    assert (watching.returncode, err) == (1, "")


def test_watch_shows_the_fails_that_came_last(daemon: Daemon) -> None:
    publish(daemon, live("first"))
    for n in range(7):
        publish(daemon, done(f"old{n}", "fail"))
    publish(daemon, done("first", "fail", name="the oldest job"))

    once = lines(daemon, "watch", "n/1", "--once")

    assert "the oldest job" in once[once.index("newest fails") + 2]


def test_a_view_fits_its_terminal() -> None:
    jobs = [simscope.Job(id=n, name="x" * 300, result="fail", done=True) for n in range(9)]
    found = simscope.Regression(id=1, name="n" * 200, status="live", progress=simscope.Progress(1, 2, 50.0))

    view = simscope.view(found, jobs, jobs, 40, 12)

    assert len(view) <= 11 and all(len(line) <= 40 for line in view)


def test_ctrl_c_ends_watch_in_peace(daemon: Daemon) -> None:
    publish(daemon, live())
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background ignores it
    watching = start(daemon, "watch", "n/1")
    signal.signal(signal.SIGINT, before)
    assert watching.stdout is not None and watching.stdout.readline()

    watching.send_signal(signal.SIGINT)

    assert watching.communicate(timeout=20)[1] == ""
    assert watching.returncode == 130  # it is not over


def test_a_daemon_that_is_not_there_is_exit_3_and_wrong_usage_2(daemon: Daemon) -> None:
    nowhere = {"env": environment(daemon, SIMSCOPE_SERVER="http://127.0.0.1:9")}
    for command in ("jobs", "regressions", "job 1", "status 1", "history 1", "wait 1", "wait 1 2", "wait n/1", "logs 1",
                    "logs -f 1", "files 1", "download 1 x", "extend 1 1h", "watch n/1"):  # fmt: skip
        code, out, err = run(daemon, *command.split(), **nowhere)
        assert (code, out) == (3, ""), command
        assert err.startswith("simscope: error: the server http://127.0.0.1:9 cannot be reached"), err
    for wrong in ("jobs --limit 0", "job", "job x", "wait", "wait 1 --timeout soon", "logs", "extend 1", "colour",
                  "jobs --sort colour", "completion tcsh", "jobs --result colour"):  # fmt: skip
        code, _, err = run(daemon, *wrong.split())
        assert (code, bool(err)) == (2, True), wrong
    for wrong, expected in (
        ("logs 1 --offset -1", "'-1' is no whole number of at least 0"),
        ("job abc", "'abc' is no job's number"),
        ("run --heartbeat x -- true", "'x' is no number of seconds, 0 or more"),
    ):
        code, _, err = run(daemon, *wrong.split())
        assert (code, expected in err) == (2, True), err


def test_an_argument_that_is_no_text_is_told_in_a_sentence(daemon: Daemon) -> None:
    publish(daemon, done())
    for words in ("status a?", "regression a?", "history a?", "watch --once a?", "wait --timeout 1 a?", "wait a? 1",
                  "jobs --q ?", "jobs --filter host=?", "jobs --regression ?", "regressions --q ?", "files 1 --kind ?",
                  ):  # fmt: skip
        code, out, err = run(daemon, *words.replace("?", "\udcff").split())
        assert (code, out, err.count("\n")) == (2, "", 1), words
        assert err.startswith("simscope: error: '") and err.endswith("\\udcff' is not UTF-8 text\n")


def test_the_exit_codes_are_the_same_in_all_places() -> None:
    manual = (simscope.__doc__ or "").partition("\nEXIT CODES")[2].partition("\nSECTIONS")[0]
    places = (
        re.findall(r"^  (\d+) ", manual, re.M),
        re.findall(r"  (\d+) ", simscope.main_parser().format_help().partition("exit codes:")[2]),
        re.findall(r"^\| (\d+) \|", (ROOT / "docs" / "client.md").read_text(), re.M),
    )

    assert {tuple(codes) for codes in places} == {("0", "1", "2", "3", "4", "5", "130")}


def test_the_server_is_named_by_option_environment_or_file(daemon: Daemon) -> None:
    config = daemon.folder / "client.conf"
    config.write_text(f'server = "{daemon.url}"\n')
    bare = {name: value for name, value in environment(daemon).items() if name != "SIMSCOPE_SERVER"}

    assert run(daemon, "jobs", "--config", config, env=bare)[0] == 0
    assert run(daemon, "jobs", "--server", daemon.url, env=bare | {"SIMSCOPE_SERVER": "http://127.0.0.1:9"})[0] == 0
    assert run(daemon, "jobs", "--config", config, env=bare | {"SIMSCOPE_SERVER": "http://127.0.0.1:9"})[0] == 3


def test_what_jobs_write_gives_no_orders_to_a_terminal(daemon: Daemon) -> None:
    fields = {"name": HOSTILE, "host": HOSTILE, "phase": HOSTILE, "config": HOSTILE, "metadata": [[HOSTILE, HOSTILE]]}
    job = publish(daemon, live(**fields, log={"lines": [HOSTILE]}, files=[{"kind": HOSTILE, "name": HOSTILE}]))
    publish(daemon, done("b", "fail", name=HOSTILE, fail_message=HOSTILE))

    for command in ("jobs", f"job {job}", "regressions", f"history {job}", f"logs {job}", f"files {job}",
                    "watch n/1 --once", f"wait {job} --timeout 0.2"):  # fmt: skip
        for form in ((), ("--json",)):
            _, out, err = run(daemon, *command.split(), *form)
            assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", out + err), (command, out)
    assert lines(daemon, "logs", job) == ["bad31m txt"]


# ----------------------------------------------------------------------------------------------------------------------
# run: the output as the job's log
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


def test_a_flood_of_output_is_cut_and_says_so_and_slows_nothing(daemon: Daemon) -> None:
    count = 400_000
    script = f"seq -f 'line %.0f of very many that nobody will ever read' {count}"
    began = time.monotonic()
    run_job(daemon, script, "--quiet", "--no-stream").communicate(timeout=60)
    plain = time.monotonic() - began
    [job] = daemon.get("/jobs")["items"]
    began = time.monotonic()
    process = start(daemon, "run", "--regression", "n/2", "--quiet", "--", "sh", "-c", script)
    process.communicate(timeout=60)
    streamed = time.monotonic() - began

    [job] = daemon.get("/jobs?regression=n%2F2")["items"]
    got = [line["message"] for line in daemon.get(f"/jobs/{job['id']}/logs?limit=10000")["lines"]]
    gaps = [int(found[1]) for line in got if (found := re.fullmatch(r"\[simscope: (\d+) lines left out\]", line))]
    assert got[-1] == f"line {count} of very many that nobody will ever read"
    assert gaps and len(got) - len(gaps) + sum(gaps) == count
    assert streamed < 2 * plain + 3


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
    bodies = re.findall(r"^```json\n(.*?)^```", (ROOT / "docs/messages.md").read_text(), re.M | re.S)
    told = []
    for kind, body in zip(("job-live", "regr-start"), bodies, strict=True):
        (daemon.folder / "body.json").write_text(body)
        told += objects(daemon, "publish", kind, "--regression", "n/1", "body.json")

    assert [(one["applied"], one["details"][0]["warnings"]) for one in told] == [(1, []), (1, [])]
    assert daemon.get("/jobs/1")["extra"] == {}
    assert objects(daemon, "logs", 1)[1]["message"] == "the second line"


# ----------------------------------------------------------------------------------------------------------------------
# completion
# ----------------------------------------------------------------------------------------------------------------------


def completed(words: list[str], folder: Path) -> list[str]:
    """What bash offers for the last of some words."""
    script = (
        'source <(simscope_completion); COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _simscope;'
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    define = f"simscope_completion() {{ {sys.executable} {SCRIPT} completion bash; }}; {script}"
    done = subprocess.run(
        ["bash", "-c", define, "bash", *words], cwd=folder, capture_output=True, text=True, timeout=20
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_bash_completes_commands_options_values_and_files(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.json").touch()

    assert set(completed(["simscope", ""], tmp_path)) >= set(simscope.COMMANDS)
    assert completed(["simscope", "wa"], tmp_path) == ["wait", "watch"]
    assert completed(["simscope", "logs", "--fol"], tmp_path) == ["--follow"]
    assert completed(["simscope", "jobs", "--sort", "n"], tmp_path) == ["newest", "name"]
    assert completed(["simscope", "jobs", "--sort", "-r"], tmp_path) == ["-result", "-runtime"]
    assert completed(["simscope", "jobs", "--result", ""], tmp_path) == ["live", "pass", "fail", "skip"]
    assert completed(["simscope", "regressions", "--status", "t"], tmp_path) == ["tanked"]
    assert completed(["simscope", "publish", "job-l"], tmp_path) == ["job-live"]
    assert completed(["simscope", "publish", "--spool", "f"], tmp_path) == ["folder"]
    assert completed(["simscope", "publish", "job-live", "fi"], tmp_path) == ["file.json"]


def test_zsh_is_told_the_place_of_each_argument_and_only_a_repeated_one_has_all_the_rest() -> None:
    text = simscope.zsh_completion()
    cases = re.findall(r"^ {8}([a-z]+)\)\n(.*?) ;;$", text, re.M | re.S)
    places = {name: re.findall(r"'([0-9*]):([A-Z]+):", case) for name, case in cases}

    assert set(places) == set(simscope.COMMANDS)
    assert all([place for place, _ in each if place == "*"] in ([], ["*"]) for each in places.values())
    assert places["publish"] == [("1", "TYPE"), ("*", "FILE")]
    assert places["download"] == [("1", "JOB"), ("2", "NAME"), ("3", "DEST")]
    assert (places["extend"], places["wait"]) == ([("1", "JOB"), ("2", "TIME")], [("*", "REF")])


def read_until(controller: int, wanted: str, seconds: float = 20) -> str:
    """What a program on a terminal writes, up to and with the first match of an expression."""
    shown, end = "", time.monotonic() + seconds
    while time.monotonic() < end:
        if select.select([controller], [], [], 0.2)[0]:
            shown += os.read(controller, 65536).decode("utf-8", "replace")
        if found := re.search(wanted, shown):
            return found[0]
    raise AssertionError(f"no {wanted!r} in {shown!r}")


@pytest.mark.zsh
def test_a_real_zsh_completes_commands_options_values_and_files(tmp_path: Path) -> None:
    """The command is a function that tells with which words it was called: as the Tab key has left them."""
    (tmp_path / "made.json").touch()
    (tmp_path / "completion").write_text(simscope.zsh_completion())
    controller, terminal = pty.openpty()
    kept = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TERM": "dumb"}
    streams = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
    zsh = subprocess.Popen(["zsh", "-f", "-i"], cwd=tmp_path, env=kept, start_new_session=True, **streams)  # type: ignore[call-overload]
    os.close(terminal)
    got: list[str] = []
    try:
        setup = "autoload -Uz compinit; compinit -u -D; . ./completion; simscope() { echo told:$*:; }; PS1=re''ady"
        os.write(controller, setup.encode() + b"\n")
        read_until(controller, "ready")
        for typed in ("--ver", "publi", "publish job-f", "publish job-live ma", "download 1 cov ma", "extend 1 5m --un",
                      "jobs --result sk", "completion z"):  # fmt: skip
            os.write(controller, f"simscope {typed}\t\n".encode())
            got.append(read_until(controller, r"(?s)told:[^$\n]*:\r.*ready"))
    finally:
        zsh.kill()
        zsh.wait()
        os.close(controller)

    assert [told.partition("told:")[2].partition(":\r")[0] for told in got] == [
        "--version", "publish", "publish job-finish", "publish job-live made.json", "download 1 cov made.json",
        "extend 1 5m --until", "jobs --result skip", "completion zsh",
    ]  # fmt: skip


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_has_every_command_and_every_option(shell: str) -> None:
    text = simscope.SHELLS[shell]()

    for name, command in simscope.COMMANDS.items():
        assert name in text
        for action in command.parser()._actions:
            for option in action.option_strings:
                word = option.lstrip("-") if shell == "fish" else option
                assert re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text), (name, option)
