"""`publish` into a spool folder: what lies there, input that is wrong, where messages go, the form of the tunnel."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.daemons import ROOT
from support.hosts import SCRIPT, Host, Inside

import simscope

# ----------------------------------------------------------------------------------------------------------------------
# what lies in the spool
# ----------------------------------------------------------------------------------------------------------------------


def test_publish_writes_an_envelope(host: Host) -> None:
    job = {"category": "sim", "uniqueid": "1", "result": "live", "note": "ü\ud800", "big": 2**70}
    path = host.file("job.json", job)
    done = host("publish", "job-live", "--regression", "myrun/123", path, "--spool", host.spool)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert host.spooled() == [{"type": "job-live", "regression": "myrun/123", "body": job}]
    [name] = os.listdir(host.spool)
    node = re.sub("[^A-Za-z0-9-]", "-", os.uname().nodename.split(".")[0])
    assert re.fullmatch(r"\d{8}T\d{6}\.\d{9}-" + node + r"-\d+-0-[0-9a-f]{8}\.json", name)


def test_publish_sends_several_files_in_order(host: Host) -> None:
    paths = [host.file(f"{n}.json", {"category": "sim", "uniqueid": str(n), "result": "pass"}) for n in (2, 0, 1)]
    host("publish", "job-finish", "--regression", "r", *paths, "--spool", host.spool)
    assert [item["body"]["uniqueid"] for item in host.spooled()] == ["2", "0", "1"]


@pytest.mark.parametrize("content", [None, "", '{"tag": "x"}'])
def test_regr_finish_needs_no_body(host: Host, inside: Inside, content: str | None) -> None:
    files = [] if content is None else [host.file("regr.json", content)]
    assert inside("publish", "regr-finish", "--regression", "r", *files, "--spool", host.spool) == (0, "", "")
    expected = {"type": "regr-finish", "regression": "r"} | ({"body": {"tag": "x"}} if content else {})
    assert host.spooled() == [expected]


@pytest.mark.parametrize("names", [["-"], []])
def test_standard_input_is_a_file(host: Host, names: list[str]) -> None:
    body = b'\xef\xbb\xbf{"submitted": 3}\n'
    done = host("publish", "regr-update", "--regression", "r", "--spool", host.spool, *names, stdin=body)
    assert done.returncode == 0
    assert host.spooled()[0]["body"] == {"submitted": 3}


def test_a_terminal_is_not_read(host: Host) -> None:
    controller, terminal = pty.openpty()
    done = host("publish", "job-live", "--regression", "r", "--spool", host.spool, stdin=terminal)
    os.close(controller)
    os.close(terminal)
    assert done.returncode == 2
    assert "needs a FILE" in done.stderr


def test_ndjson_is_many_bodies_in_one_spool_file_of_a_hundred(host: Host) -> None:
    lines = "\n".join(json.dumps({"category": "sim", "uniqueid": str(n), "result": "pass"}) for n in range(150))
    done = host(
        "publish",
        "job-finish",
        "--regression",
        "r",
        host.file("jobs.ndjson", lines + "\n\n"),
        "--spool",
        host.spool,
    )
    assert done.returncode == 0
    first, second = host.spooled()
    assert (len(first), len(second)) == (100, 50)
    assert [item["body"]["uniqueid"] for item in first + second] == [str(n) for n in range(150)]
    assert {(item["type"], item["regression"]) for item in first} == {("job-finish", "r")}


def test_lines_on_standard_input_are_noticed(host: Host) -> None:
    done = host("publish", "job-live", "--regression", "r", "--spool", host.spool, stdin=b'{"a": 1}\n{"a": 2}\n')
    assert done.returncode == 0
    assert [item["body"] for item in host.spooled()[0]] == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.json", '[{"a": 1}, {"a": 2}]'), ("a.jsonl", '{"a": 1}\n{"a": 2}\n'), ("a.ndjson", '{"a": 1}')],
)
def test_a_batch_is_one_message(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    [message] = simscope.read_messages("batch-job-finish", "r", str(tmp_path / name))
    assert json.loads(message.envelope()) == {
        "type": "batch-job-finish",
        "regression": "r",
        "body": [{"a": n + 1} for n in range(content.count("a"))],
    }


def test_a_spool_file_is_whole_before_it_loses_its_dot(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The moment before the rename: only a dot name is there, and it holds everything."""
    before, rename = [], os.rename

    def watched(source: str, target: str) -> None:
        before.append((os.listdir(host.spool), json.loads(Path(source).read_text())))
        rename(source, target)

    monkeypatch.setattr(os, "rename", watched)
    simscope.Spool(str(host.spool)).deliver([simscope.Message("job-live", "r", '{"n": 1}', "test")])
    [(names, content)] = before
    assert names == ["." + name for name in os.listdir(host.spool)]
    assert content == host.spooled()[0] == {"type": "job-live", "regression": "r", "body": {"n": 1}}


def test_a_spool_file_that_cannot_be_finished_leaves_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: str, target: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(simscope.Unreachable, match="no space left"):
        simscope.Spool(str(host.spool)).deliver([simscope.Message("job-live", "r", "{}", "test")])

    assert os.listdir(host.spool) == []


def test_a_reader_of_the_spool_never_meets_half_a_file(host: Host) -> None:
    path = host.file("big.ndjson", "\n".join(json.dumps({"pad": "x" * 30_000, "n": n}) for n in range(200)))
    process = host.start("publish", "job-live", "--regression", "r", path, "--spool", host.spool)
    while process.poll() is None:
        assert all(len(parcel) == 100 for parcel in host.spooled())
    process.communicate()
    assert (process.returncode, len(host.spooled())) == (0, 2)


def test_two_publishers_do_not_disturb_each_other(host: Host) -> None:
    files = [host.file(f"{n}.json", {"n": n}) for n in range(40)]
    arguments = ("publish", "job-live", "--regression", "r", *files, "--spool", host.spool)
    processes = [host.start(*arguments) for _ in range(2)]
    assert [process.wait(20) for process in processes] == [0, 0]
    for process in processes:
        process.communicate()
    assert sorted(item["body"]["n"] for item in host.spooled()) == sorted(list(range(40)) * 2)


def test_spool_trouble_is_exit_3_with_a_sentence(host: Host, inside: Inside) -> None:
    done = host("publish", "regr-finish", "--regression", "r", "--spool", host.folder / "nowhere")
    assert done.returncode == 3
    assert re.match(r"simscope: error: the spool folder \S+/nowhere does not exist; start the daemon", done.stderr)
    code, _, errors = inside("publish", "regr-finish", "--regression", "r", "--spool", host.file("plain", ""))
    assert code == 3
    assert "is not a folder" in errors
    assert "is not writable" in simscope.Spool("/x").explain(PermissionError(13, "Permission denied"))
    assert "no space left" in simscope.Spool("/x").explain(OSError(28, "No space left on device"))


def test_json_prints_where_the_message_went(host: Host, inside: Inside) -> None:
    code, output, _ = inside("publish", "regr-finish", "--regression", "r", "--spool", host.spool, "--json")
    assert code == 0
    answer = json.loads(output)
    assert Path(answer["spooled"]).name == answer["name"] == os.listdir(host.spool)[0]


# ----------------------------------------------------------------------------------------------------------------------
# input that is wrong: exit 1, or 2 where there is none; the place named, nothing sent
# ----------------------------------------------------------------------------------------------------------------------


WRONG_INPUT = [
    ("job-live", "a.json", '{"a": 1,\n  "b" 2}', "a.json: line 2, column 7: Expecting ':' delimiter"),
    ("job-live", "a.ndjson", '{"a": 1}\n\n{"a": }', "a.ndjson: line 3, column 7: Expecting value"),
    ("job-live", "a.json", '{"t": "NaN",\n "a": NaN}', "a.json: line 2, column 7: NaN is not a JSON number"),
    ("job-live", "a.json", '{"a": 1e999}', "a.json: line 1, column 7: 1e999 is not a JSON number"),
    ("job-live", "a.json", b'{"a":\n "\xff"}', "a.json: line 2, column 3: not UTF-8 text"),
    ("job-live", "a.json", "[" * 100_000, "a.json: line 1, column 1: nested too deep"),
    ("job-live", "a.json", '{"a": %s}' % ("9" * 5000), "a.json: line 1, column 1: Exceeds the limit"),
    ("job-live", "a.json", '{"a": 1} x', "a.json: line 1, column 10: Extra data"),
    ("job-live", "a.json", " \n", "a.json is empty; job-live needs a body"),
    ("job-live", "a.json", "[{}]", "job-live takes one object, not an array (batch-job-live takes an array)"),
    ("regr-start", "a.json", "7", "regr-start takes an object, not a number"),
    ("batch-job-live", "a.json", "{}", "a.json: batch-job-live takes an array of job objects, not an object"),
    ("batch-job-live", "a.json", "[{}, 1]", "a.json: item 1: batch-job-live takes an object, not a number"),
    ("batch-job-live", "a.jsonl", "{}\n[]", "a.jsonl: line 2: batch-job-live takes an object, not an array"),
    ("job-live", "a.json", '{"type": "job-live", "body": {}}', "a.json: this is an envelope already"),
]


@pytest.mark.parametrize(("kind", "name", "content", "expected"), WRONG_INPUT, ids=[row[3][:40] for row in WRONG_INPUT])
def test_wrong_input_names_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str, content: Any, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(simscope.WrongInput) as caught:
        simscope.read_messages(kind, "r", name)
    assert expected in str(caught.value)


def test_all_files_are_checked_before_one_is_sent(host: Host) -> None:
    good, bad = host.file("good.json", {"a": 1}), host.file("bad.json", '{"a": 1 "b"}')
    done = host("publish", "job-live", "--regression", "r", good, bad, "--spool", host.spool)
    assert done.returncode == 1
    assert re.search(r"^simscope: error: \S+bad\.json: line 1, column 9: ", done.stderr)
    assert host.spooled() == []


def test_what_the_system_refuses_is_told_in_a_sentence(host: Host) -> None:
    publish = shlex.join(host.command("publish", "job-live", "--regression", "r", "--spool", "x"))
    for script, expected in (
        (f"exec {publish} - <&-", "the standard input is closed"),
        (f"exec {publish} .", ". cannot be read: is a directory"),
        (f"mkdir gone; cd gone; rmdir ../gone; exec {publish} -", "No such file or directory"),
    ):
        done = subprocess.run(["sh", "-c", script], cwd=host.folder, env=host.env, capture_output=True, text=True)
        assert done.returncode == 2
        assert re.fullmatch(f"simscope: error: .*{re.escape(expected)}\n", done.stderr), done.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["publish", "job-pass", "--regression", "r", "x.json"], "batch-job-finish"),
        (["publish", "job-live", "x.json"], "give --regression NAME"),
        (["publish", "job-live", "--regression", "a\nb", "x.json"], "control character"),
        (["publish", "job-live", "--regression", "x" * 513, "x.json"], "513 characters (accepted: 1 to 512)"),
        (["publish", "job-live", "--regression", "r", "x.json"], "nowhere to send to: give --spool DIR"),
        (["publish", "job-live", "--regression", "r", "--spool", ".", "missing.json"], "missing.json cannot be read"),
        (["publish", "job-live", "--regression", "r", "--server", "tracker:8040", "x.json"], "http://HOST:PORT"),
        (["publish", "job-live", "--regression", "r", "--server", "http://h:99999", "x"], "http://h:99999"),
        (
            ["publish", "job-live", "--regression", "r", "--server", "http://u:p@h", "x"],
            "is not the address of a server",
        ),
        (["publish", "job-live", "--regression", "r", "--server", "http://h", "--token", "a b", "x"], "the token"),
        (
            ["publish", "job-live", "--regression", "r", "--timeout", "0", "x"],
            "must be a number of seconds above 0, not '0'",
        ),
        (["run", "--regression", "r", "--spool", "."], "no command"),
        (["run", "--regression", "r", "--spool", ".", "--"], "no command"),
        (["run", "--regression", "r", "--spool", ".", "make"], "unrecognized arguments: make"),
        (["run", "--regression", "r", "--", "true"], "nowhere to send to"),
        (
            ["run", "--regression", "r", "--spool", ".", "--fail-pattern", "(", "--", "true"],
            "is not a regular expression",
        ),
        (
            ["run", "--regression", "r", "--spool", ".", "--time-limit", "soon", "--", "true"],
            "'soon' is not a duration",
        ),
        (["run", "--regression", "r", "--spool", ".", "--metadata", "x", "--", "true"], "'x' is not NAME=VALUE"),
        (
            ["run", "--regression", "r", "--spool", ".", "--log", "no/x", "--", "true"],
            "log file no/x cannot be written",
        ),
        ([], "COMMAND"),
    ],
)
def test_wrong_usage_is_exit_2(inside: Inside, arguments: list[str], expected: str) -> None:
    code, _, errors = inside(*arguments)
    assert code == 2
    assert expected in errors


# ----------------------------------------------------------------------------------------------------------------------
# where messages go: option, environment, file
# ----------------------------------------------------------------------------------------------------------------------


def options(**given: Any) -> Any:
    names = dict.fromkeys(("spool", "server", "token", "config"), None)
    return type("Options", (), names | {"timeout": 1.0} | given)()


def folder(environ: dict[str, str], **given: Any) -> str:
    """The spool that is chosen."""
    chosen = simscope.choose_destination(options(**given), environ)
    assert isinstance(chosen, simscope.Spool)
    return chosen.folder


def server(environ: dict[str, str], **given: Any) -> simscope.Server:
    chosen = simscope.choose_destination(options(**given), environ)
    assert isinstance(chosen, simscope.Server)
    return chosen


def test_option_beats_environment_beats_file_and_spool_beats_server(tmp_path: Path) -> None:
    config = tmp_path / "c.conf"
    config.write_text('server = "http://file"\nspool = "from-file"\ntoken = "t-file"\n')
    both = {"SIMSCOPE_SPOOL": "/env", "SIMSCOPE_SERVER": "http://env", "SIMSCOPE_TOKEN": "t-env"}
    assert folder({}, config=str(config)) == str(tmp_path / "from-file")
    assert folder(both, config=str(config)) == "/env"
    assert server(both, server="http://option", config=str(config)).key == "server http://option"
    assert folder(both, server="http://option", spool="/option") == "/option"
    assert server({"SIMSCOPE_SERVER": "http://env"}, config=str(config)).address.token == "t-file"
    assert server(both, server="http://option").address.token == "t-env"
    assert server(both, server="http://o", token="t-option").address.token == "t-option"
    with pytest.raises(simscope.UsageError):
        simscope.choose_destination(options(), {"SIMSCOPE_SPOOL": "", "SIMSCOPE_SERVER": ""})


def test_config_file_grammar(tmp_path: Path, capfd: Any) -> None:
    path = tmp_path / "simscope-tunnel.conf"
    path.write_text(
        '# where\n\n[simscope]   # section\n[rabbit "main"]\n'
        'server = "http://h:8040/a#b" # the tracker\n'
        "token='it is # so'#x\n"
        "  spool =  spool # bare\n"
        'input-queue = "jobs"\ndurable = true\n'
    )
    assert simscope.read_config(str(path)) == {
        "server": "http://h:8040/a#b",
        "token": "it is # so",
        "spool": str(tmp_path / "spool"),
    }
    error = capfd.readouterr().err
    assert "not used here: input-queue (line 8), durable (line 9) (used: server, spool, token)" in error
    path.write_text(r'token = "a\"b\\c"' + "\nspool = /abs/dir\n")
    assert simscope.read_config(str(path)) == {"token": 'a"b\\c', "spool": "/abs/dir"}


@pytest.mark.parametrize(
    "line", ['server = "http://x', "server", "= 3", 'server = "a" "b"', "[open", "token = 'a' b", "two words = 3"]
)
def test_a_broken_config_line_names_file_and_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "c.conf"
    path.write_text("# one\n" + line + "\n")
    with pytest.raises(simscope.UsageError, match=r"c\.conf: line 2: cannot read .* \(accepted: key = "):
        simscope.read_config(str(path))


# ----------------------------------------------------------------------------------------------------------------------
# the tunnel form
# ----------------------------------------------------------------------------------------------------------------------


WORD_FOR_WORD = "--config=simscope-tunnel.conf --publish job-live --regression=myrun/123 job.json"
VARIANTS = [
    WORD_FOR_WORD,
    WORD_FOR_WORD.replace("=", " "),
    "--publish=job-live --config=simscope-tunnel.conf --regression=myrun/123 job.json",
]


@pytest.mark.parametrize("line", VARIANTS)
def test_the_original_command_line(host: Host, inside: Inside, line: str) -> None:
    job = {"category": "sim", "uniqueid": "ca8d8738-d8a0-4ad3-b0aa-09af0ff87caf", "result": "live"}
    host.file("job.json", job)
    host.file("simscope-tunnel.conf", '[tunnel]\nspool = "spool"  # beside this file\n')
    assert inside(*line.split()) == (0, "", "")
    done = host(*line.split())
    assert (done.returncode, done.stderr) == (0, "")
    assert host.spooled() == [{"type": "job-live", "regression": "myrun/123", "body": job}] * 2


def test_tunnel_main_and_a_copy_under_its_name(host: Host) -> None:
    host.file("job.json", {"uniqueid": "1"})
    host.file("simscope-tunnel.conf", 'spool = "spool"\ninput-queue = "q"\n')
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import simscope; sys.exit(simscope.tunnel_main())"
    command = [sys.executable, "-B", "-c", code, *WORD_FOR_WORD.split()]
    done = subprocess.run(command, cwd=host.folder, env=host.env, capture_output=True, check=False)
    assert done.returncode == 0
    assert b"warning: simscope-tunnel.conf: not used here: input-queue" in done.stderr
    copy = host.file("simscope-tunnel", SCRIPT.read_bytes())
    done = subprocess.run([sys.executable, copy, "--version"], capture_output=True, check=True)
    assert done.stdout == f"simscope-tunnel {simscope.__version__}\n".encode()
    assert len(host.spooled()) == 1


def test_tunnel_errors(host: Host, inside: Inside) -> None:
    host.file("job.json", {"uniqueid": "1"})
    assert inside(*WORD_FOR_WORD.split())[0] == 2  # no such file
    host.file("simscope-tunnel.conf", 'spool = "spool\n')
    code, _, errors = inside(*WORD_FOR_WORD.split())
    assert code == 2
    assert errors.startswith("simscope-tunnel: error: simscope-tunnel.conf: line 1: cannot read")
    host.file("simscope-tunnel.conf", 'spool = "gone"\n')
    assert inside(*WORD_FOR_WORD.split())[0] == 3
    assert inside("--publish", "job-pass", "--regression=r")[0] == 2
