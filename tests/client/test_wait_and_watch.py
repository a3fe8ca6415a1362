"""`wait` and `watch` as people use them, exit codes, and what is wrong usage."""

from __future__ import annotations

import datetime
import json
import re
import signal
import time
from typing import Any

from support.commands import HOSTILE, environment, lines, on_a_terminal, publish, run, start
from support.daemons import ROOT, Daemon, done, live

import simscope
import simscope_client


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
        assert time.monotonic() - begun < 2 * 10  # seconds, which a question takes elsewhere
    finally:
        daemon.process.send_signal(signal.SIGCONT)

    assert [code for code, _, _ in told] == [5, 5]
    assert all("the timeout has passed" in err for _, _, err in told)


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
    assert err == f"simscope: error: job {late[0]}, late/1 are not over within the timeout\n"
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

    view = simscope_client.view(found, jobs, jobs, 40, 12)

    assert len(view) <= 11 and all(len(line) <= 40 for line in view)


def test_a_view_tells_the_end_that_is_expected() -> None:
    eta = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=50)
    found = simscope.Regression(name="n/1", status="live", eta_at=eta, elapsed_ms=7_500_000)

    [title, *_] = simscope_client.view(found, [], [], None, 12)

    assert title == f"n/1  live  running for 2h 05m  expected to end at {eta.astimezone():%Y-%m-%d %H:%M}"


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
        ("logs 1 --offset -1", "must be a whole number of at least 0, not '-1'"),
        ("job abc", "must be the number of a job, not 'abc'"),
        ("run --heartbeat x -- true", "must be a number of seconds, 0 or more (0: never), not 'x'"),
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
    fields: dict[str, Any] = dict.fromkeys(("name", "host", "phase", "config"), HOSTILE)
    fields["metadata"] = [[HOSTILE, HOSTILE]]
    job = publish(daemon, live(**fields, log={"lines": [HOSTILE]}, files=[{"kind": HOSTILE, "name": HOSTILE}]))
    publish(daemon, done("b", "fail", name=HOSTILE, fail_message=HOSTILE))

    for command in ("jobs", f"job {job}", "regressions", f"history {job}", f"logs {job}", f"files {job}",
                    "watch n/1 --once", f"wait {job} --timeout 0.2"):  # fmt: skip
        for form in ((), ("--json",)):
            _, out, err = run(daemon, *command.split(), *form)
            assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", out + err), (command, out)
    assert lines(daemon, "logs", job) == ["bad31m txt"]
