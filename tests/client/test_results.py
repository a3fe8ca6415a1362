"""`run`: what the command writes into its results file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from support.hosts import Host, judge

import simscope


def results(host: Host, document: Any, script: str = "", code: int = 0, *more: str) -> tuple[dict[str, Any], str]:
    """Run a command that writes `document` as its results; return the finish and standard error."""
    host.file("r.json", document)
    done = host.shell(f'cp r.json "$SIMSCOPE_RESULTS_FILE"; {script}\nexit {code}', *more)
    assert done.returncode == code
    return host.finish(), done.stderr


def test_results_go_into_the_finish(host: Host) -> None:
    finish, stderr = results(
        host,
        {
            "metadata": {"cov.line": 91.5, "bufsize": "9902", "ok": True},
            "cycles": 1e6,
            "results": {"score": [1, 2]},
            "files": ["waves.vcd", {"kind": "report", "path": "/x/y.html", "size": "12"}],
            "env": {"LIC": 3},
            "own": {"deep": [1]},
            "seed": 7,
        },
        "",
        0,
        *("--metadata", "bufsize=1", "--metadata", "tool=icarus"),
    )
    assert stderr == ""
    assert finish["metadata"] == [["bufsize", "9902"], ["tool", "icarus"], ["cov.line", "91.5"], ["ok", "true"]]
    assert (finish["cycles"], finish["results"], finish["seed"]) == (1_000_000, '{"score":[1,2]}', "7")
    assert finish["files"] == [
        {"path": str(host.folder / "waves.vcd"), "name": "waves.vcd", "kind": "file"},
        {"kind": "report", "path": "/x/y.html", "size": 12, "name": "y.html"},
    ]
    assert (finish["env"], finish["own"], finish["result"]) == ({"LIC": "3"}, {"deep": [1]}, "pass")


@pytest.mark.parametrize(
    ("found", "output", "code", "result", "message"),
    [
        ({"result": "fail", "fail_message": "scoreboard"}, "", 0, "fail", "scoreboard"),
        ({"result": "fail"}, "bye", 0, "fail", "the results file says fail\nbye"),
        ({"fail_message": "half full"}, "", 0, "fail", "half full"),
        ({"result": "pass", "fail_message": "not so"}, "", 0, "pass", ""),
        ({"result": "skip"}, "", 0, "skip", ""),
        ({"result": "pass"}, "", 3, "fail", "exit code 3"),
        ({"result": "skip"}, "%Error: z", 0, "fail", "%Error: z"),
        ({"fail_message": "clearer"}, "%Error: z", 3, "fail", "clearer"),
    ],
)
def test_results_count_only_for_the_worse(found: Any, output: str, code: int, result: str, message: str) -> None:
    assert judge(output, code, found) == (result, message)


@pytest.mark.parametrize(
    ("document", "warning"),
    [
        ('{"cycles": -1}', "the results file: cycles is '-1' (accepted: a whole number of at least 0)"),
        ('{"runtime_ms": 99999999999}', "runtime_ms is '99999999999' (accepted: milliseconds, at most 24 days)"),
        ('{"metadata": "x"}', "metadata is 'x' (accepted: an object, or a list of [name, value])"),
        ('{"files": [3]}', "files is '[3]' (accepted: a list of paths or of {kind, name, path})"),
        ('{"result": "PASS"}', "result is 'PASS' (accepted: pass, fail, skip)"),
        ('{"uniqueid": "stolen"}', "the results file may not set uniqueid"),
        ('{"x": "%s"}' % ("x" * 300_000), "the results file is not used: it is larger than 256 KiB"),
        ("\1" * 100_000, "the results file is not used: it is not text"),
    ],
)
def test_results_that_cannot_be_used_are_a_warning(tmp_path: Path, capfd: Any, document: str, warning: str) -> None:
    file = simscope.ResultsFile({"TMPDIR": str(tmp_path)})
    Path(file.path).write_text(document)
    live = {"uniqueid": "1", "category": "sim", "result": "live"}
    finish = simscope.finish_body(live, simscope.Ended(0), simscope.Scanner(), file.read(), False)
    assert warning in capfd.readouterr().err
    assert set(finish) == {*live, "finish_time", "runtime_ms", "compute_ms", "exit_code", "fail_message"}
    assert (finish["result"], finish["uniqueid"]) == ("pass", "1")
    file.remove()
    assert os.listdir(tmp_path) == []


def test_a_broken_results_file_harms_nothing(host: Host) -> None:
    finish, stderr = results(host, '{"cycles": ')
    assert stderr == (
        "simscope: warning: the results file: line 1, column 12: Expecting value; it is taken as plain text\n"
    )
    assert (finish["result"], finish["results"]) == ("pass", '{"cycles": ')


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("score 91\nseed 3\n\n", "score 91\nseed 3\n"),
        ("no end of line", "no end of line"),
        ("[1]\n", "[1]"),
        ('{"a": 1}\n{"a": 2}', '{"a": 1}\n{"a": 2}'),
        (b"\xef\xbb\xbf\xff\0x", "\ufffdx"),
        (" \n\t\n", None),
        ("", None),
    ],
)
def test_a_results_file_that_is_no_object_is_the_results(
    tmp_path: Path, capfd: Any, written: str | bytes, expected: str | None
) -> None:
    file = simscope.ResultsFile({"TMPDIR": str(tmp_path)})
    Path(file.path).write_bytes(written if isinstance(written, bytes) else written.encode())

    finish = simscope.finish_body({}, simscope.Ended(0), simscope.Scanner(), file.read(), False)

    assert (finish.get("results"), finish["result"]) == (expected, "pass")
    assert bool(capfd.readouterr().err) == str(written).startswith("{")


def test_what_the_daemon_would_refuse_is_made_harmless() -> None:
    deep: Any = 1
    for _ in range(40):
        deep = [deep]
    found = json.loads(json.dumps({"a\0": "\0x\ud800", "big": 2**70, "deep": deep}))
    finish = simscope.finish_body({}, simscope.Ended(0), simscope.Scanner(), found, False)
    assert (finish["a"], finish["big"]) == ("x\ufffd", str(2**70))
    for number in (-(2**63), 2**63 - 1):
        assert simscope.clean(number) == number
    for number in (-(2**63) - 1, 2**63):
        assert simscope.clean(number) == str(number)
    depth, value = 0, finish["deep"]
    while isinstance(value, list):
        depth, value = depth + 1, value[0]
    assert depth < 28 and isinstance(value, str)


def test_the_results_file_is_private_and_removed(host: Host) -> None:
    done = host.shell(
        'stat -c %a "$(dirname "$SIMSCOPE_RESULTS_FILE")"; touch "$SIMSCOPE_RESULTS_FILE.tmp"', TMPDIR="/tmp"
    )
    assert done.stdout == "700\n"
    done = host.shell('echo "$SIMSCOPE_RESULTS_FILE"')
    assert not Path(done.stdout.strip()).parent.exists()
    done = host.shell('mkfifo "$SIMSCOPE_RESULTS_FILE"')
    assert "warning: the results file is not used: it is not an ordinary file" in done.stderr
    done = host.shell('echo "[$SIMSCOPE_RESULTS_FILE]"', TMPDIR="/nowhere")
    assert (done.returncode, done.stdout) == (0, "[]\n")
    assert "warning: there is no results file" in done.stderr
