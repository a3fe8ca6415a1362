"""`run`: output and input, what is said about the job, signals."""

from __future__ import annotations

import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
from support.daemons import ROOT, wait_until
from support.hosts import Host

import simscope

SUB_SECOND = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


# ----------------------------------------------------------------------------------------------------------------------
# what becomes of the output
# ----------------------------------------------------------------------------------------------------------------------


def test_run_tells_the_life_of_a_job(host: Host) -> None:
    began = time.time()
    done = host.shell("echo hello; echo oops >&2; head -c 300000 /dev/zero | sha256sum >/dev/null", "--seed", "9")
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "oops\n")
    live, finish = host.messages()["job-live"], host.finish()
    assert {name: live[name] for name in ("category", "result", "seed", "jobdir", "host")} == {
        "category": "sim",
        "result": "live",
        "seed": "9",
        "jobdir": str(host.folder),
        "host": os.uname().nodename,
    }
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", live["uniqueid"])
    assert shlex.split(live["config"])[:2] == ["sh", "-c"]
    assert not {"compute_ms", "runtime_ms", "fail_message", "exit_code"} & set(live)
    same = ("category", "uniqueid", "start_time", "config", "seed", "jobdir", "host", "username")
    assert [finish[name] for name in same] == [live[name] for name in same]
    assert (finish["result"], finish["exit_code"], finish["fail_message"]) == ("pass", 0, "")
    assert re.fullmatch(SUB_SECOND, finish["start_time"]) and re.fullmatch(SUB_SECOND, finish["finish_time"])
    assert simscope.rfc3339(began) <= live["start_time"] <= finish["finish_time"] <= simscope.rfc3339(time.time())
    assert 0 <= finish["runtime_ms"] < 20_000 and isinstance(finish["compute_ms"], int)


def test_output_comes_through_byte_for_byte_and_in_order(host: Host) -> None:
    noise = host.file("noise", bytes(range(256)) * 3000 + b"no end of line")
    process = host.start(
        "run", "--regression", "r", "--spool", host.spool, "--log", "out.log", "--", "sh", "-c",
        "for i in 1 2 3 4 5 6 7 8 9; do echo out $i; echo err $i >&2; done; cat noise", stderr=subprocess.STDOUT,
    )  # fmt: skip
    output, _ = process.communicate(timeout=20)
    lines = "".join(f"out {n}\nerr {n}\n" for n in range(1, 10)).encode()
    assert output == lines + noise.read_bytes() == (host.folder / "out.log").read_bytes()
    [entry] = host.finish()["files"]
    log = host.folder / "out.log"
    assert entry == {"kind": "log", "name": "out.log", "path": str(log), "size": log.stat().st_size}


def test_output_comes_at_once_and_input_goes_in(host: Host) -> None:
    """A dialogue: each answer is here before the next question is written."""
    script = 'while read word; do echo "you said $word"; done; exit 4'
    process = host.start(
        "run", "--regression", "r", "--spool", host.spool, "--", "sh", "-c", script, stdin=subprocess.PIPE
    )
    assert process.stdin is not None and process.stdout is not None
    for word in (b"one", b"two"):
        process.stdin.write(word + b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"you said " + word + b"\n"
    process.communicate(timeout=20)
    assert process.returncode == 4


def test_a_quiet_run_is_scanned_all_the_same(host: Host) -> None:
    done = host.shell("echo '%Error: t.v:1: x'; echo err >&2", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert host.finish()["fail_message"] == "%Error: t.v:1: x"


def test_a_reader_that_goes_away_ends_the_command_as_it_would_without_us(host: Host) -> None:
    process = host.start("run", "--regression", "r", "--spool", host.spool, "--", "yes")
    assert process.stdout is not None and process.stdout.readline() == b"y\n"
    process.stdout.close()
    assert process.wait(20) == 128 + signal.SIGPIPE
    assert process.stderr is not None and process.stderr.read() == b""
    process.stderr.close()
    assert host.finish()["fail_message"].startswith("killed by SIGPIPE\ny\n")


def test_a_process_left_in_the_background_does_not_hold_the_run(host: Host) -> None:
    began = time.monotonic()
    done = host.shell("sleep 60 & echo $!; exit 6")
    took, now = time.monotonic() - began, time.time()
    assert done.returncode == 6
    assert simscope.SILENCE_SECONDS < took < simscope.LINGER_SECONDS
    assert host.finish()["exit_code"] == 6
    assert host.finish()["runtime_ms"] <= 1000 * (took - simscope.SILENCE_SECONDS)  # the wait is not the command's
    assert host.finish()["finish_time"] <= simscope.rfc3339(now - simscope.SILENCE_SECONDS)
    os.kill(int(done.stdout), signal.SIGKILL)


def test_a_process_left_in_the_background_that_never_keeps_silent_does_not_hold_the_run(host: Host) -> None:
    short = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import simscope; simscope.LINGER_SECONDS = 0.5"
    loop = "while echo x; do sleep 0.05; done & exit 6"
    command = ["run", "--regression", "r", "--spool", str(host.spool), "--", "sh", "-c", loop]
    done = subprocess.run(
        [sys.executable, "-c", f"{short}; sys.exit(simscope.main())", *command],
        cwd=host.folder, env=host.env, capture_output=True, timeout=20,
    )  # fmt: skip

    assert done.returncode == 6
    assert host.finish()["exit_code"] == 6


def test_closed_standard_streams_do_not_confuse_run(host: Host) -> None:
    command = shlex.join(host.command("run", "--regression", "r", "--spool", host.spool, "--", "echo", "x"))
    done = subprocess.run(
        ["sh", "-c", f"{command} <&- >&- 2>&-; echo $?"], capture_output=True, env=host.env, check=True
    )
    assert done.stdout == b"0\n"
    assert host.finish()["result"] == "pass"


# ----------------------------------------------------------------------------------------------------------------------
# what is said about the job
# ----------------------------------------------------------------------------------------------------------------------


def test_options_become_job_fields(host: Host) -> None:
    script = 'echo "$SIMSCOPE_REGRESSION $SIMSCOPE_UNIQUEID"'
    chosen = (
        "--category lint --name top --uniqueid job-7 --job-config cfg --build b+cov --testgroup g --jobdir http://x"
    )
    done = host.shell(script, *chosen.split(), "--time-limit", "1h30m", "--metadata", "a=b=c")
    assert done.stdout == "r/1 job-7\n"
    live = host.messages()["job-live"]
    expected = {"category": "lint", "name": "top", "uniqueid": "job-7", "config": "cfg", "build": "b+cov"}
    expected |= {"testgroup": "g", "jobdir": "http://x", "rerun": shlex.join(["sh", "-c", script])}
    assert {name: live[name] for name in expected} == expected
    assert (live["time_limit_ms"], live["metadata"]) == (5_400_000, [["a", "b=c"]])


def test_a_command_can_publish_about_its_own_regression(host: Host) -> None:
    inner = shlex.join(host.command("publish", "regr-update", "--spool", host.spool, "-"))
    assert host.shell(f"echo '{{}}' | {inner}").returncode == 0
    assert {(item["type"], item["regression"]) for item in host.spooled()} == {
        ("job-live", "r/1"), ("regr-update", "r/1"), ("job-finish", "r/1"),
    }  # fmt: skip


def test_names_that_are_not_utf8_do_no_harm(host: Host) -> None:
    options = host.command("run", "--regression", "r", "--spool", host.spool, "--")
    command: list[str | bytes] = [*options, b"echo", b"\xff\xfe"]
    done = subprocess.run(command, env=host.env, cwd=host.folder, capture_output=True, check=True)
    assert done.stdout == b"\xff\xfe\n"
    assert host.finish()["config"] == "echo '\ufffd\ufffd'"


@pytest.mark.parametrize(
    ("environ", "extid", "pairs"),
    [
        ({}, "", {}),
        ({"JOB_ID": "7"}, "", {}),
        ({"SLURM_JOB_ID": "12", "SLURM_RESTART_COUNT": "0"}, "12", {"system": "slurm", "id": "12"}),
        (
            {
                "SLURM_JOB_ID": "14", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "0",
                "SLURM_RESTART_COUNT": "2", "SLURM_JOB_PARTITION": "long",
            },
            "12_0",
            {"system": "slurm", "id": "14", "array_index": "0", "restart": "2", "queue": "long"},
        ),
        ({"LSB_JOBID": "5", "LSB_JOBINDEX": "0", "LSB_RESTART": "N"}, "5", {"system": "lsf", "id": "5"}),
        ({"LSB_JOBID": "5", "LSB_JOBINDEX": "3"}, "5[3]", {"system": "lsf", "id": "5", "array_index": "3"}),
        (
            {"JOB_ID": "9", "SGE_TASK_ID": "undefined", "RESTARTED": "1"},
            "9",
            {"system": "sge", "id": "9", "restart": "1"},
        ),
        ({"JOB_ID": "9", "SGE_TASK_ID": "4"}, "9.4", {"system": "sge", "id": "9", "array_index": "4"}),
        (
            {"PBS_JOBID": "8[2].srv", "PBS_ARRAY_INDEX": "2"},
            "8[2].srv",
            {"system": "pbs", "id": "8[2].srv", "array_index": "2"},
        ),
        ({"PBS_JOBID": "8[4].t", "PBS_ARRAYID": "4"}, "8[4].t", {"system": "pbs", "id": "8[4].t", "array_index": "4"}),
        ({"LSB_JOBID": "5", "LSB_RESTART": "Y"}, "5", {"system": "lsf", "id": "5", "restart": "1"}),
        ({"LSB_JOBID": "5", "LSB_RESTART": "N"}, "5", {"system": "lsf", "id": "5"}),
    ],
)  # fmt: skip
def test_batch_systems(environ: dict[str, str], extid: str, pairs: dict[str, str]) -> None:
    assert simscope.batch_job(environ) == (extid, [["batch." + name, value] for name, value in pairs.items()])


def test_batch_ids_are_published(host: Host) -> None:
    host.shell("", "--metadata", "mine=1", SLURM_JOB_ID="12")
    for body in host.messages().values():
        assert body["extid"] == "12"
        assert body["metadata"] == [["batch.system", "slurm"], ["batch.id", "12"], ["mine", "1"]]


@pytest.mark.parametrize(
    ("line", "seed"),
    [
        ("./simv +seed=12", "12"),
        ("./simv +ntb_random_seed=3 +x", "3"),
        ("vsim -sv_seed 44 top", "44"),
        ("xrun -svseed 5", "5"),
        ("run --seed=0x1F", "0x1F"),
        ("run -seed 8", "8"),
        ("run --seed 8", "8"),
        ("Vtop +verilator+seed+9", "9"),
        ("sh -c 'vvp t.vvp +seed=6'", "6"),
        ("vsim -sv_seed random", ""),
        ("run --reseed=3", ""),
        ("run -seeds 3", ""),
    ],
)
def test_the_seed_is_guessed(line: str, seed: str) -> None:
    assert simscope.guess_seed(line) == seed


@pytest.mark.parametrize(
    ("text", "ms"), [("90", 90_000), ("15m", 900_000), ("1.5h", 5_400_000), ("1h30m", 5_400_000), ("250ms", 250)]
)
def test_durations(text: str, ms: int) -> None:
    assert simscope.duration_ms(text) == ms


@pytest.mark.parametrize("text", ["", "h", "1w", "1 h", "-3", "25d"])
def test_wrong_durations(text: str) -> None:
    with pytest.raises(Exception, match=re.escape(repr(text))):
        simscope.duration_ms(text)


# ----------------------------------------------------------------------------------------------------------------------
# signals
# ----------------------------------------------------------------------------------------------------------------------


def started_job(host: Host, script: str, *arguments: str, **more: Any) -> subprocess.Popen[bytes]:
    """Start `run` with a shell script and wait until it says that it is ready."""
    process = host.start(
        "run",
        "--regression",
        "r",
        "--spool",
        host.spool,
        *arguments,
        "--",
        "sh",
        "-c",
        script,
        **more,
    )
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    return process


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_stop_signal_reaches_the_command_and_the_finish_is_published(host: Host, name: str) -> None:
    process = started_job(host, "echo ready; exec sleep 30")
    number = signal.Signals[name]
    process.send_signal(number)
    process.communicate(timeout=10)
    assert process.returncode == 128 + number
    finish = host.finish()
    assert (finish["result"], finish["reason"], finish["exit_code"]) == ("fail", "killed", 128 + number)
    assert finish["fail_message"] == f"killed by {name}\nready"


def test_a_command_that_handles_the_signal_keeps_its_exit_code(host: Host) -> None:
    process = started_job(host, "trap 'echo cleaning; exit 5' TERM; echo ready; while :; do sleep 0.05; done")
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=10)
    assert (process.returncode, output) == (5, b"cleaning\n")
    finish = host.finish()
    assert (finish["result"], finish["reason"], finish["exit_code"]) == ("fail", "killed", 5)


def test_a_warning_signal_is_passed_on_and_is_no_stop(host: Host) -> None:
    process = started_job(host, "trap 'echo noted; exit 0' USR1; echo ready; while :; do sleep 0.05; done")
    process.send_signal(signal.SIGUSR1)
    output, _ = process.communicate(timeout=10)
    assert (process.returncode, output, host.finish()["result"]) == (0, b"noted\n", "pass")


def test_an_ignored_hangup_stays_ignored(host: Host) -> None:
    """As under nohup."""
    process = started_job(
        host, "echo ready; sleep 0.1; exit 0", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    )
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=10)
    assert process.returncode == 0
    assert host.finish()["result"] == "pass"


def test_a_key_at_the_terminal_reaches_the_command_once(host: Host) -> None:
    """Ours stands still until the command has had the terminal's signal: one signal more could not hide behind it."""
    script = (
        "import os, pathlib, signal, time\n"
        "def typed(*_):\n    os.write(1, b'INT ')\n    pathlib.Path('typed').touch()\n"
        "signal.signal(signal.SIGINT, typed)\n"
        "os.write(1, b'ready ')\n"
        "while not os.path.exists('go'): time.sleep(0.01)\n"
        "time.sleep(0.3)"  # long enough for a second one
    )
    command = host.command("run", "--regression", "r", "--spool", host.spool, "--", sys.executable, "-c", script)
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(host.folder)
        os.execve(command[0], command, host.env)
    seen = b""
    try:
        while b"ready" not in seen:
            seen += os.read(terminal, 1000)
        os.kill(child, signal.SIGSTOP)
        os.write(terminal, b"\x03")
        wait_until((host.folder / "typed").exists)
        os.kill(child, signal.SIGCONT)
        (host.folder / "go").touch()
        while True:
            seen += os.read(terminal, 1000)
    except OSError:
        pass  # the end of a terminal
    finally:
        os.kill(child, signal.SIGCONT)
        os.waitpid(child, 0)
        os.close(terminal)
    assert seen.count(b"INT") == 1
    assert host.finish()["reason"] == "killed"
