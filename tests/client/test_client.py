"""The client simscope.py as people use it: a process, real files, a real server. No daemon is needed.

In this order: publish into a spool, input that is wrong, publish to a server, where messages go, the tunnel form, run
(output, verdict, results file, job fields), signals, a tracker in trouble and the backlog, parts, the file itself.
"""

from __future__ import annotations

import http.server
import importlib.util
import json
import os
import pty
import re
import shlex
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.trackers import Answer, Tracker, receipt

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "simscope.py"
SUB_SECOND = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def load_module() -> Any:
    spec = importlib.util.spec_from_file_location("simscope_under_test", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


simscope = load_module()


class Client:
    """Runs the script in a folder of its own, with an environment of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spool = folder / "spool"
        self.spool.mkdir()
        self.backlog = folder / "state" / "backlog"
        self.env = {"PATH": os.environ["PATH"], "HOME": str(folder), "SIMSCOPE_BACKLOG": str(self.backlog)}

    def __call__(
        self, *arguments: object, stdin: bytes | int = subprocess.DEVNULL, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end; standard input is bytes, a descriptor, or empty."""
        source: dict[str, Any] = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin}
        done = subprocess.run(
            self.command(*arguments), cwd=self.folder, env=self.env | env, capture_output=True, timeout=20, **source
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
        )

    def command(self, *arguments: object) -> list[str]:
        return [sys.executable, str(SCRIPT), *map(str, arguments)]

    def start(self, *arguments: object, **more: Any) -> subprocess.Popen[bytes]:
        more = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": self.env} | more
        return subprocess.Popen(self.command(*arguments), cwd=self.folder, **more)

    def run(self, *arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
        """`run` into the spool; the arguments behind the options start with "--"."""
        return self("run", "--regression", "r/1", "--spool", self.spool, *arguments, **env)

    def shell(self, script: str, *options: object, **env: str) -> subprocess.CompletedProcess[str]:
        return self.run(*options, "--", "sh", "-c", script, **env)

    def file(self, name: str, content: Any) -> Path:
        path = self.folder / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def spooled(self) -> list[Any]:
        return read_whole(self.spool)

    def messages(self) -> dict[str, dict[str, Any]]:
        """The bodies in the spool by type: one live, one finish."""
        return {envelope["type"]: envelope["body"] for envelope in self.spooled()}

    def finish(self) -> dict[str, Any]:
        return self.messages()["job-finish"]

    def kept(self, folder: str = "") -> list[dict[str, Any]]:
        """What is in the backlog, oldest first."""
        return read_whole(self.backlog / folder)


def read_whole(folder: Path) -> list[Any]:
    """The JSON files in a folder by name, without those still being written."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("[!.]*.json"))]


@pytest.fixture(autouse=True)
def signals_are_not_ignored() -> Iterator[None]:
    """The client respects signals that are ignored from outside: a test run in the background, or under nohup."""
    numbers = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    for number, handler in zip(numbers, before, strict=True):
        if handler == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(tmp_path)


@pytest.fixture
def inside(client: Client, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> Callable[..., tuple[int, str, str]]:
    """Calls main() without a process, which is faster, for the many cases that differ in a detail."""
    monkeypatch.chdir(client.folder)
    for name in [name for name in os.environ if name.startswith("SIMSCOPE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SIMSCOPE_BACKLOG", str(client.backlog))

    def call(*arguments: object) -> tuple[int, str, str]:
        code = simscope.main(list(map(str, arguments)))
        written = capfd.readouterr()
        return code, written.out, written.err

    return call


Inside = Callable[..., tuple[int, str, str]]


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    tracker = Tracker()
    yield tracker
    tracker.close()


def problem(status: int, title: str, **more: Any) -> Answer:
    return status, {"type": "about:blank", "title": title, "status": status} | more


def dead_url() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def wait_until(condition: Callable[[], Any], seconds: float = 10) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.01)


# ----------------------------------------------------------------------------------------------------------------------
# publish into a spool
# ----------------------------------------------------------------------------------------------------------------------


def test_publish_writes_an_envelope(client: Client) -> None:
    job = {"category": "sim", "uniqueid": "1", "result": "live", "note": "ü\ud800", "big": 2**70}
    path = client.file("job.json", job)
    done = client("publish", "job-live", "--regression", "myrun/123", path, "--spool", client.spool)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert client.spooled() == [{"type": "job-live", "regression": "myrun/123", "body": job}]
    [name] = os.listdir(client.spool)
    host = re.sub("[^A-Za-z0-9-]", "-", os.uname().nodename.split(".")[0])
    assert re.fullmatch(r"\d{8}T\d{6}\.\d{9}-" + host + r"-\d+-0-[0-9a-f]{8}\.json", name)


def test_publish_sends_several_files_in_order(client: Client) -> None:
    paths = [client.file(f"{n}.json", {"category": "sim", "uniqueid": str(n), "result": "pass"}) for n in (2, 0, 1)]
    client("publish", "job-finish", "--regression", "r", *paths, "--spool", client.spool)
    assert [item["body"]["uniqueid"] for item in client.spooled()] == ["2", "0", "1"]


@pytest.mark.parametrize("content", [None, "", '{"tag": "x"}'])
def test_regr_finish_needs_no_body(client: Client, inside: Inside, content: str | None) -> None:
    files = [] if content is None else [client.file("regr.json", content)]
    assert inside("publish", "regr-finish", "--regression", "r", *files, "--spool", client.spool) == (0, "", "")
    expected = {"type": "regr-finish", "regression": "r"} | ({"body": {"tag": "x"}} if content else {})
    assert client.spooled() == [expected]


@pytest.mark.parametrize("names", [["-"], []])
def test_standard_input_is_a_file(client: Client, names: list[str]) -> None:
    body = b'\xef\xbb\xbf{"submitted": 3}\n'
    done = client("publish", "regr-update", "--regression", "r", "--spool", client.spool, *names, stdin=body)
    assert done.returncode == 0
    assert client.spooled()[0]["body"] == {"submitted": 3}


def test_a_terminal_is_not_read(client: Client) -> None:
    controller, terminal = pty.openpty()
    done = client("publish", "job-live", "--regression", "r", "--spool", client.spool, stdin=terminal)
    os.close(controller)
    os.close(terminal)
    assert done.returncode == 2
    assert "needs a FILE" in done.stderr


def test_ndjson_is_many_bodies_in_one_spool_file_of_a_hundred(client: Client) -> None:
    lines = "\n".join(json.dumps({"category": "sim", "uniqueid": str(n), "result": "pass"}) for n in range(150))
    done = client(
        "publish",
        "job-finish",
        "--regression",
        "r",
        client.file("jobs.ndjson", lines + "\n\n"),
        "--spool",
        client.spool,
    )
    assert done.returncode == 0
    first, second = client.spooled()
    assert (len(first), len(second)) == (100, 50)
    assert [item["body"]["uniqueid"] for item in first + second] == [str(n) for n in range(150)]
    assert {(item["type"], item["regression"]) for item in first} == {("job-finish", "r")}


def test_lines_on_standard_input_are_noticed(client: Client) -> None:
    done = client("publish", "job-live", "--regression", "r", "--spool", client.spool, stdin=b'{"a": 1}\n{"a": 2}\n')
    assert done.returncode == 0
    assert [item["body"] for item in client.spooled()[0]] == [{"a": 1}, {"a": 2}]


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


def test_a_spool_file_is_whole_before_it_loses_its_dot(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The moment before the rename: only a dot name is there, and it holds everything."""
    before, rename = [], os.rename

    def watched(source: str, target: str) -> None:
        before.append((os.listdir(client.spool), json.loads(Path(source).read_text())))
        rename(source, target)

    monkeypatch.setattr(os, "rename", watched)
    simscope.Spool(str(client.spool)).deliver([simscope.Message("job-live", "r", '{"n": 1}', "test")])
    [(names, content)] = before
    assert names == ["." + name for name in os.listdir(client.spool)]
    assert content == client.spooled()[0] == {"type": "job-live", "regression": "r", "body": {"n": 1}}


def test_a_reader_of_the_spool_never_meets_half_a_file(client: Client) -> None:
    path = client.file("big.ndjson", "\n".join(json.dumps({"pad": "x" * 30_000, "n": n}) for n in range(200)))
    process = client.start("publish", "job-live", "--regression", "r", path, "--spool", client.spool)
    while process.poll() is None:
        assert all(len(parcel) == 100 for parcel in client.spooled())
    process.communicate()
    assert (process.returncode, len(client.spooled())) == (0, 2)


def test_two_publishers_do_not_disturb_each_other(client: Client) -> None:
    files = [client.file(f"{n}.json", {"n": n}) for n in range(40)]
    arguments = ("publish", "job-live", "--regression", "r", *files, "--spool", client.spool)
    processes = [client.start(*arguments) for _ in range(2)]
    assert [process.wait(20) for process in processes] == [0, 0]
    for process in processes:
        process.communicate()
    assert sorted(item["body"]["n"] for item in client.spooled()) == sorted(list(range(40)) * 2)


def test_spool_trouble_is_exit_3_with_a_sentence(client: Client, inside: Inside) -> None:
    done = client("publish", "regr-finish", "--regression", "r", "--spool", client.folder / "nowhere")
    assert done.returncode == 3
    assert re.match(r"simscope: error: the spool folder \S+/nowhere does not exist; start the daemon", done.stderr)
    code, _, errors = inside("publish", "regr-finish", "--regression", "r", "--spool", client.file("plain", ""))
    assert code == 3
    assert "is not a folder" in errors
    assert "is not writable for you" in simscope.Spool("/x").explain(PermissionError(13, "Permission denied"))
    assert "no space left" in simscope.Spool("/x").explain(OSError(28, "No space left on device"))


def test_json_prints_where_the_message_went(client: Client, inside: Inside) -> None:
    code, output, _ = inside("publish", "regr-finish", "--regression", "r", "--spool", client.spool, "--json")
    assert code == 0
    answer = json.loads(output)
    assert Path(answer["spooled"]).name == answer["name"] == os.listdir(client.spool)[0]


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
    ("job-live", "a.json", " \n", "a.json: is empty; job-live needs a body"),
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


def test_all_files_are_checked_before_one_is_sent(client: Client) -> None:
    good, bad = client.file("good.json", {"a": 1}), client.file("bad.json", '{"a": 1 "b"}')
    done = client("publish", "job-live", "--regression", "r", good, bad, "--spool", client.spool)
    assert done.returncode == 1
    assert re.search(r"^simscope: error: \S+bad\.json: line 1, column 9: ", done.stderr)
    assert client.spooled() == []


def test_what_the_system_refuses_is_told_in_a_sentence(client: Client) -> None:
    publish = shlex.join(client.command("publish", "job-live", "--regression", "r", "--spool", "x"))
    for script, expected in (
        (f"exec {publish} - <&-", "standard input: is closed"),
        (f"exec {publish} .", ".: cannot be read: is a directory"),
        (f"mkdir gone; cd gone; rmdir ../gone; exec {publish} -", "No such file or directory"),
    ):
        done = subprocess.run(["sh", "-c", script], cwd=client.folder, env=client.env, capture_output=True, text=True)
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
        (["publish", "job-live", "--regression", "r", "--spool", ".", "missing.json"], "missing.json: cannot be read"),
        (["publish", "job-live", "--regression", "r", "--server", "tracker:8040", "x.json"], "http://HOST:PORT"),
        (["publish", "job-live", "--regression", "r", "--server", "http://h:99999", "x"], "http://h:99999"),
        (["publish", "job-live", "--regression", "r", "--server", "http://u:p@h", "x"], "is no address"),
        (["publish", "job-live", "--regression", "r", "--server", "http://h", "--token", "a b", "x"], "the token"),
        (["publish", "job-live", "--regression", "r", "--timeout", "0", "x"], "no number of seconds above 0"),
        (["run", "--regression", "r", "--spool", "."], "no command"),
        (["run", "--regression", "r", "--spool", ".", "--"], "no command"),
        (["run", "--regression", "r", "--spool", ".", "make"], "unrecognized arguments: make"),
        (["run", "--regression", "r", "--", "true"], "nowhere to send to"),
        (["run", "--regression", "r", "--spool", ".", "--fail-pattern", "(", "--", "true"], "no regular expression"),
        (["run", "--regression", "r", "--spool", ".", "--time-limit", "soon", "--", "true"], "'soon' is no duration"),
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
# publish to a server
# ----------------------------------------------------------------------------------------------------------------------


def test_post_is_the_bare_body(client: Client, tracker: Tracker) -> None:
    path = client.file("job.json", {"category": "sim", "uniqueid": "1", "result": "live"})
    done = client(
        "publish",
        "job-live",
        "--regression",
        "my run/1",
        path,
        "--server",
        tracker.url + "/",
        SIMSCOPE_TOKEN="s3cret\n",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    [request] = tracker.requests
    assert request["path"] == "/api/v1/publish/job-live?regression=my%20run%2F1"
    assert request["headers"]["Authorization"] == "Bearer s3cret"
    assert request["headers"]["Content-Type"] == "application/json"
    assert request["body"] == {"category": "sim", "uniqueid": "1", "result": "live"}


def test_post_of_nothing_for_a_regr_finish(inside: Inside, tracker: Tracker) -> None:
    assert inside("publish", "regr-finish", "--regression", "r", "--server", tracker.url + "/sub") == (0, "", "")
    [request] = tracker.requests
    assert (request["path"], request["raw"]) == ("/sub/api/v1/publish/regr-finish?regression=r", b"")
    assert "Authorization" not in request["headers"]


def test_proxies_of_the_environment_are_not_used(client: Client, tracker: Tracker) -> None:
    done = client("publish", "regr-finish", "--regression", "r", "--server", tracker.url, http_proxy=dead_url())
    assert (done.returncode, len(tracker.requests)) == (0, 1)


def test_many_bodies_are_one_post_of_envelopes(client: Client, inside: Inside, tracker: Tracker) -> None:
    path = client.file("a.ndjson", '{"n": 1}\n{"n": 2}\n{"n": 3}')
    wrong = {
        "index": 1,
        "type": "job-live",
        "regression": "r",
        "outcome": "rejected",
        "reason": "bad-time",
        "path": "$.body.start_time",
        "detail": "Expected a zone",
    }
    tracker.answer = lambda request: problem(422, "Some refused", **receipt(wrong, applied=2, rejected=1))
    code, _, errors = inside("publish", "job-live", "--regression", "r", path, "--server", tracker.url)
    assert code == 1
    assert (
        errors == f"simscope: {path}: line 2: job-live for r was rejected: bad-time at $.start_time: Expected a zone\n"
    )
    [request] = tracker.requests
    assert request["path"] == "/api/v1/messages"
    assert request["body"][2] == {"type": "job-live", "regression": "r", "body": {"n": 3}}


def test_a_refused_message_is_exit_1_and_the_others_are_sent(client: Client, tracker: Tracker) -> None:
    files = [client.file(f"{name}.json", {"uniqueid": name}) for name in "abc"]
    wrong = {"index": 0, "type": "job-live", "regression": "r", "outcome": "rejected", "reason": "bad-result"}
    wrong |= {"path": "$.body", "detail": "no body of ours"}

    def answer(request: dict[str, Any]) -> Answer:
        if request["body"]["uniqueid"] == "b":
            return problem(422, "Nothing applied", **receipt(wrong, applied=0, rejected=1))
        return 200, receipt()

    tracker.answer = answer
    done = client("publish", "job-live", "--regression", "r", *files, "--server", tracker.url, "--json")
    assert done.returncode == 1
    assert done.stderr == f"simscope: {files[1]}: job-live for r was rejected: bad-result at $.body: no body of ours\n"
    assert [json.loads(line)["applied"] for line in done.stdout.splitlines()] == [1, 0, 1]


def test_an_ignored_message_is_told_and_is_no_error(client: Client, inside: Inside, tracker: Tracker) -> None:
    ignored = {"index": 0, "type": "job-live", "regression": "r", "outcome": "ignored", "reason": "live-disabled"}
    tracker.answer = lambda request: (200, receipt(ignored, applied=0, ignored=1))
    client.file("a.json", {})
    code, _, errors = inside("publish", "job-live", "--regression", "r", "--server", tracker.url, "a.json")
    assert code == 0
    assert errors == "simscope: a.json: job-live for r was ignored: live-disabled\n"


def test_a_long_receipt_says_what_it_leaves_out(client: Client, inside: Inside, tracker: Tracker) -> None:
    wrong = [{"index": n, "type": "job-live", "regression": "r", "outcome": "rejected", "reason": "x"} for n in (3, 5)]
    tracker.answer = lambda request: problem(422, "Refused", **receipt(*wrong, applied=0, rejected=9))
    client.file("a.json", [{}])
    _, _, errors = inside("publish", "batch-job-live", "--regression", "r", "--server", tracker.url, "a.json")
    assert errors.splitlines() == [
        "simscope: a.json: item 3: job-live for r was rejected: x",
        "simscope: a.json: item 5: job-live for r was rejected: x",
        "simscope: 7 more were rejected or ignored, see the receipt 7",
    ]


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (
            problem(400, "Bad request", detail="no JSON at 7", reason="bad-json"),
            1,
            "400: Bad request: no JSON at 7 (bad-json)",
        ),
        (problem(413, "Too large", reason="too-large"), 1, "413: Too large (too-large)"),
        ((413, b"<html>"), 1, "413: the message is too large"),
        (
            problem(401, "Unauthorized", detail="wrong token"),
            2,
            "401: Unauthorized: wrong token; the token is not set\n",
        ),
        (problem(401, "Unauthorized", detail="x", reason="token"), 2, "401: Unauthorized: x; the token is not set\n"),
        (problem(403, "Forbidden", reason="bad-host"), 2, "403: Forbidden (bad-host)"),
        ((404, b"<html>not here</html>"), 2, "404, not what simscoped answers"),
        ((302, b""), 2, "302, not what simscoped answers"),
        ((200, b"<html>please log in</html>"), 2, "200, not what simscoped answers"),
        ((200, {"hello": "world"}), 2, "without a receipt"),
        (problem(503, "Unavailable", detail="shutting down"), 3, "503: Unavailable: shutting down"),
        (problem(507, "Disk full"), 3, "507: Disk full"),
    ],
    ids=lambda value: str(value[0]) if isinstance(value, tuple) else None,
)
def test_answers_and_exit_codes(inside: Inside, tracker: Tracker, answer: Answer, code: int, words: str) -> None:
    tracker.answer = lambda request: answer
    got, _, errors = inside("publish", "regr-finish", "--regression", "r", "--server", tracker.url)
    assert got == code
    assert words in errors


def test_a_dead_server_is_exit_3(client: Client) -> None:
    files = [client.file(f"{n}.json", {"n": n}) for n in range(3)]
    done = client("publish", "job-live", "--regression", "r", *files, "--server", dead_url())
    assert done.returncode == 3
    assert "cannot be reached: connection refused; 3 of 3 messages not sent" in done.stderr


def test_a_server_that_hangs_up_is_exit_3(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=lambda: server.accept()[0].close(), daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert client("publish", "regr-finish", "--regression", "r", "--server", url).returncode == 3


def test_a_silent_server_is_given_up(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        done = client("publish", "regr-finish", "--regression", "r", "--server", url, "--timeout", "0.2")
    assert done.returncode == 3
    assert "timed out" in done.stderr


def test_a_refusal_in_the_middle_of_a_large_body_is_read(client: Client) -> None:
    """The server answers 413 and hangs up before the body is through."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            connection = server.accept()[0]
            connection.recv(1000)
            text = json.dumps(problem(413, "Too large")[1])
            head = "HTTP/1.1 413 X\r\nContent-Type: application/problem+json\r\n"
            connection.sendall(f"{head}Content-Length: {len(text)}\r\n\r\n{text}".encode())
            connection.shutdown(socket.SHUT_WR)
            connection.close()

        threading.Thread(target=refuse, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        body = json.dumps({"pad": "x" * 8_000_000}).encode()
        done = client("publish", "job-live", "--regression", "r", "--server", url, stdin=body)
    assert done.returncode in (1, 3)  # 3 where the system throws the answer away with the connection
    assert "Traceback" not in done.stderr


# ----------------------------------------------------------------------------------------------------------------------
# where messages go: option, environment, file
# ----------------------------------------------------------------------------------------------------------------------


def options(**given: Any) -> Any:
    names = dict.fromkeys(("spool", "server", "token", "config"), None)
    return type("Options", (), names | {"timeout": 1.0} | given)()


def test_option_beats_environment_beats_file_and_spool_beats_server(tmp_path: Path) -> None:
    config = tmp_path / "c.conf"
    config.write_text('server = "http://file"\nspool = "from-file"\ntoken = "t-file"\n')
    both = {"SIMSCOPE_SPOOL": "/env", "SIMSCOPE_SERVER": "http://env", "SIMSCOPE_TOKEN": "t-env"}
    choose = simscope.choose_destination
    assert choose(options(config=str(config)), {}).folder == str(tmp_path / "from-file")
    assert choose(options(config=str(config)), both).folder == "/env"
    assert choose(options(server="http://option", config=str(config)), both).key == "server http://option"
    assert choose(options(server="http://option", spool="/option"), both).folder == "/option"
    assert choose(options(config=str(config)), {"SIMSCOPE_SERVER": "http://env"}).address.token == "t-file"
    assert choose(options(server="http://option"), both).address.token == "t-env"
    assert choose(options(server="http://o", token="t-option"), both).address.token == "t-option"
    with pytest.raises(simscope.UsageError):
        choose(options(), {"SIMSCOPE_SPOOL": "", "SIMSCOPE_SERVER": ""})


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
    assert "not used here: input-queue (line 8), durable (line 9) (known: server, spool, token)" in error
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
def test_the_original_command_line(client: Client, inside: Inside, line: str) -> None:
    job = {"category": "sim", "uniqueid": "ca8d8738-d8a0-4ad3-b0aa-09af0ff87caf", "result": "live"}
    client.file("job.json", job)
    client.file("simscope-tunnel.conf", '[tunnel]\nspool = "spool"  # beside this file\n')
    assert inside(*line.split()) == (0, "", "")
    done = client(*line.split())
    assert (done.returncode, done.stderr) == (0, "")
    assert client.spooled() == [{"type": "job-live", "regression": "myrun/123", "body": job}] * 2


def test_tunnel_main_and_a_copy_under_its_name(client: Client) -> None:
    client.file("job.json", {"uniqueid": "1"})
    client.file("simscope-tunnel.conf", 'spool = "spool"\ninput-queue = "q"\n')
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import simscope; sys.exit(simscope.tunnel_main())"
    command = [sys.executable, "-B", "-c", code, *WORD_FOR_WORD.split()]
    done = subprocess.run(command, cwd=client.folder, env=client.env, capture_output=True, check=False)
    assert done.returncode == 0
    assert b"warning: simscope-tunnel.conf: not used here: input-queue" in done.stderr
    copy = client.file("simscope-tunnel", SCRIPT.read_bytes())
    done = subprocess.run([sys.executable, copy, "--version"], capture_output=True, check=True)
    assert done.stdout == f"simscope-tunnel {simscope.__version__}\n".encode()
    assert len(client.spooled()) == 1


def test_tunnel_errors(client: Client, inside: Inside) -> None:
    client.file("job.json", {"uniqueid": "1"})
    assert inside(*WORD_FOR_WORD.split())[0] == 2  # no such file
    client.file("simscope-tunnel.conf", 'spool = "spool\n')
    code, _, errors = inside(*WORD_FOR_WORD.split())
    assert code == 2
    assert errors.startswith("simscope-tunnel: error: simscope-tunnel.conf: line 1: cannot read")
    client.file("simscope-tunnel.conf", 'spool = "gone"\n')
    assert inside(*WORD_FOR_WORD.split())[0] == 3
    assert inside("--publish", "job-pass", "--regression=r")[0] == 2


# ----------------------------------------------------------------------------------------------------------------------
# run: what becomes of the output
# ----------------------------------------------------------------------------------------------------------------------


def test_run_tells_the_life_of_a_job(client: Client) -> None:
    began = time.time()
    done = client.shell("echo hello; echo oops >&2; head -c 300000 /dev/zero | sha256sum >/dev/null", "--seed", "9")
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "oops\n")
    live, finish = client.messages()["job-live"], client.finish()
    assert {name: live[name] for name in ("category", "result", "seed", "jobdir", "host")} == {
        "category": "sim",
        "result": "live",
        "seed": "9",
        "jobdir": str(client.folder),
        "host": os.uname().nodename,
    }
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", live["uniqueid"])
    assert shlex.split(live["config"])[:2] == ["sh", "-c"]
    assert not {"compute_ms", "runtime_ms", "fail_message", "exit_code"} & set(live)
    same = ("category", "uniqueid", "start_time", "config", "seed", "jobdir", "host", "username")
    assert [finish[name] for name in same] == [live[name] for name in same]
    assert (finish["result"], finish["exit_code"], finish["fail_message"]) == ("pass", 0, "")
    assert re.fullmatch(SUB_SECOND, finish["start_time"]) and re.fullmatch(SUB_SECOND, finish["finish_time"])
    assert live["start_time"] >= simscope.rfc3339(began)
    assert 0 <= finish["runtime_ms"] < 20_000 and isinstance(finish["compute_ms"], int)


def test_output_comes_through_byte_for_byte_and_in_order(client: Client) -> None:
    noise = client.file("noise", bytes(range(256)) * 3000 + b"no end of line")
    process = client.start(
        "run", "--regression", "r", "--spool", client.spool, "--log", "out.log", "--", "sh", "-c",
        "for i in 1 2 3 4 5 6 7 8 9; do echo out $i; echo err $i >&2; done; cat noise", stderr=subprocess.STDOUT,
    )  # fmt: skip
    output, _ = process.communicate(timeout=20)
    lines = "".join(f"out {n}\nerr {n}\n" for n in range(1, 10)).encode()
    assert output == lines + noise.read_bytes() == (client.folder / "out.log").read_bytes()
    [entry] = client.finish()["files"]
    log = client.folder / "out.log"
    assert entry == {"kind": "log", "name": "out.log", "path": str(log), "size": log.stat().st_size}


def test_output_comes_at_once_and_input_goes_in(client: Client) -> None:
    """A dialogue: each answer is here before the next question is written."""
    script = 'while read word; do echo "you said $word"; done; exit 4'
    process = client.start(
        "run", "--regression", "r", "--spool", client.spool, "--", "sh", "-c", script, stdin=subprocess.PIPE
    )
    assert process.stdin is not None and process.stdout is not None
    for word in (b"one", b"two"):
        process.stdin.write(word + b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"you said " + word + b"\n"
    process.communicate(timeout=20)
    assert process.returncode == 4


def test_a_quiet_run_is_scanned_all_the_same(client: Client) -> None:
    done = client.shell("echo '%Error: t.v:1: x'; echo err >&2", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert client.finish()["fail_message"] == "%Error: t.v:1: x"


def test_a_reader_that_goes_away_ends_the_command_as_it_would_without_us(client: Client) -> None:
    process = client.start("run", "--regression", "r", "--spool", client.spool, "--", "yes")
    assert process.stdout is not None and process.stdout.readline() == b"y\n"
    process.stdout.close()
    assert process.wait(20) == 128 + signal.SIGPIPE
    assert process.stderr is not None and process.stderr.read() == b""
    process.stderr.close()
    assert client.finish()["fail_message"].startswith("killed by SIGPIPE\ny\n")


def test_a_process_left_in_the_background_does_not_hold_the_run(client: Client) -> None:
    began = time.monotonic()
    done = client.shell("sleep 15 & echo $!; exit 6")
    assert done.returncode == 6
    assert time.monotonic() - began < 10
    assert client.finish()["exit_code"] == 6
    assert client.finish()["runtime_ms"] < 1000  # the wait is not the command's
    os.kill(int(done.stdout), signal.SIGKILL)


def test_closed_standard_streams_do_not_confuse_run(client: Client) -> None:
    command = shlex.join(client.command("run", "--regression", "r", "--spool", client.spool, "--", "echo", "x"))
    done = subprocess.run(
        ["sh", "-c", f"{command} <&- >&- 2>&-; echo $?"], capture_output=True, env=client.env, check=True
    )
    assert done.stdout == b"0\n"
    assert client.finish()["result"] == "pass"


# ----------------------------------------------------------------------------------------------------------------------
# run: pass or fail
# ----------------------------------------------------------------------------------------------------------------------

FAILS = [
    "UVM_ERROR @ 58028327 ps: (prim_count.sv:150) [ASSERT FAILED] CntNext_A",
    "UVM_ERROR tb/env.sv(12) @ 100: uvm_test_top.env [SCB] mismatch",
    "  UVM_ERROR @ 2824.490000 us: (pwrmgr_slow_fsm.sv:362) [ASSERT FAILED] IntRstReq_A",
    "# UVM_FATAL @ 0: reporter [NOCOMP] No components instantiated.",
    "[12.5ns] UVM_FATAL: timeout",
    "UVM_ERROR(sb.sv:12) foo",
    "UVM_ERROR: 3 packets lost",
    "UVM_ERROR: 5 (expected 3)",
    "UVM_ERROR: 5, expected 3",
    "UVM_ERROR: 3 errors in the last packet",
    "UVM_ERROR @ 120 ns: uvm_test_top.env.scb [SCB] count: 0",
    "# KERNEL: UVM_ERROR /a.sv(3) @ 0: x [Y] z",
    "2026-01-01 12:00:01 UVM_ERROR /a.sv(3) @ 0: x [Y] z",
    "12:00:01.250Z UVM_FATAL /a.sv(3) @ 0: x [Y] z",
    "ERROR: f.v:1: boom 3",
    "FATAL: t.v:1: dead",
    "FATAL: clock stopped",
    "%Error: t.v:12: Verilog $stop",
    "[100] %Error: t.sv:5: Assertion failed in top.t: 'assert' failed.",
    "[0] %Fatal: t.v:3: Assertion failed in top",
    "%Error-WIDTH: t.v:3: Operator ASSIGN expects 8 bits",
    'Error: "f.sv", 3: tb.unnamed$$_0: at time 100 ns',
    'Fatal: "f.sv", 3: tb.unnamed$$_0: at time 100 ns',
    "Error-[SE] Syntax error",
    "# ** Error: scoreboard mismatch",
    "#  ** Error: (vsim-3601) Iteration limit reached at time 0 ns.",
    "# ** Error: 0 is not 1",
    "# ASSERT: Error: ASRT_0005 tb.sv(33): $error",
    "# RUNTIME: Fatal Error: RUNTIME_0035 tb.sv (12): stopped",
    "** Fatal: (vsim-160) no license",
    "# ** Error (suppressible): (vsim-8885) x",
    "xmsim: *E,ASRTST (tb.sv,12): (time 10 NS) Assertion tb.a1 has failed",
    "xmelab: *F,CUMSTS: Timescale directive missing",
    "*E,UNDIDN: undeclared identifier",
    "t.v:3: error: Unknown module type: foo",
    "t.v:5: syntax error",
    "model.c:10:5: fatal error: x.h: No such file",
    "ERROR: [VRFC 10-2989] 'x' is not declared",
    '"tb.sv", 373: tb.dut.unnamed$$_0: started at 1000000ps failed at 1000000ps',
    "        Offending '(cnt_o == $past(cnt_next_o))'",
    'Assertion failed "0" at line 815 in file assignmentpattern.cc',
    "sim: model.c:12: main: Assertion `x > 0' failed.",
    "Assert failed: tb.dut.a1",
    "ASSERTION FAILED: foo",
    "Assertion FAILED at time 3",
    "TB: ASSERTION FAILED at 10ns: p1",
    "tb.sv:12: assertion a1 violated",
    "Assertion failure at tb",
    "# Assertion violation",
    "tb.dut: Assertion failure: a1",
    "AssertionError: 3 != 4",
    "cocotb.result.AssertionError",
    "E   AssertionError: assert 3 == 4",
    "t.vhd:12:3:@10ns:(assertion error): bad",
    "t.vhd:12:3:@10ns:(assertion failure): bad",
    "# ** Failure: end of the test bench",
    "$fatal called at time 5",
    "$error: data mismatch",
    "tb.sv:33: $fatal: bad",
    "line 1: 12345 Segmentation fault      (core dumped) ./simv",
    "Segmentation fault",
    "Aborted (core dumped)",
    "run.sh: line 3: 12345 Aborted                 ./simv",
    "./run.sh: line 3:  1234 Bus error               ./simv",
    "bash: 30663 Bus error               bash -c 'kill -BUS $$'",
    "bash: line 1: 5 Illegal instruction     ./simv",
    "run.sh: line 3: 12345 Floating point exception ./simv",
    "run.sh: line 30: 12345 Killed                  ./simv",
    "Bus error",
    "Illegal instruction",
    "Aborted",
    "double free or corruption (!prev)",
    "*** Error in `./simv': double free or corruption (out): 0x0000000001c2b010 ***",
    "free(): invalid pointer",
    "free(): double free detected in tcache 2",
    "malloc(): corrupted top size",
    "malloc_consolidate(): unaligned fastbin chunk detected",
    "munmap_chunk(): invalid pointer",
    "corrupted size vs. prev_size",
    "corrupted double-linked list",
    "*** stack smashing detected ***: terminated",
    "terminate called after throwing an instance of 'std::bad_alloc'",
    "An unexpected termination has occurred in ./simv due to a signal",
    "Internal error: node table is corrupt",
    "xmsim: INTERNAL ERROR - contact support",
    "Out of memory",
    "cc1plus: out of memory allocating 65536 bytes",
    "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=1.batch",
    "   100.00ns INFO     cocotb.regression                  test_force.test_overwrite failed",
    "15000.00ns ERROR  cocotb.regression  regression.py:399 in _score_test  Test Failed: t (result was TestFailure)",
    "     0.00ns INFO     cocotb.regression    ** TESTS=2 PASS=1 FAIL=1 SKIP=0    1.00  0.00  **",
    "FAILED tests/test_x.py::test_y - AssertionError: 3",
    "*** TEST FAILED ***",
    "\x1b[31mUVM_ERROR @ 3: x [Y] in red\x1b[0m",
]
PASSES = [
    "",
    "UVM_ERROR :    0",
    "UVM_FATAL :    0",
    "# UVM_ERROR :    0",
    "UVM_ERROR: 0",
    "UVM_ERROR",
    "UVM_ERROR count : 0",
    "UVM_ERROR :    2",
    "# UVM_FATAL :    1",
    "UVM_ERROR : 0 UVM_FATAL : 0",
    "UVM_ERROR : 2, UVM_FATAL : 1",
    "# UVM_ERROR:0, UVM_FATAL:0",
    "UVM_ERROR :    0 (expected)",
    "UVM_ERROR: 0 errors",
    "UVM_ERROR | 0",
    "UVM_ERROR - 0",
    "UVM_ERROR severity set to UVM_LOG",
    "UVM_ERROR messages are demoted to UVM_WARNING",
    "UVM_FATAL disabled",
    "# KERNEL: UVM_ERROR :    0",
    "** Error: 0",
    "** Error count: 0",
    "%Error: 0",
    "$error: 0",
    "FATAL: 0 errors",
    "# ASSERT: Error: 0",
    "Number of caught UVM_ERROR reports  :    0",
    "Number of demoted UVM_FATAL reports :    0",
    "UVM_INFO @ 0: reporter [CFG] UVM_ERROR is demoted to UVM_INFO",
    "UVM_WARNING @ 5: tb [X] Assertion checks have failed to start",
    "+uvm_set_severity=*,_ALL_,UVM_ERROR,UVM_WARNING",
    "0 errors",
    "0 error(s), 0 warning(s)",
    "Errors: 0, Warnings: 0",
    "# Errors: 0, Warnings: 0",
    "** Errors: 0",
    "** Failures: 0",
    "checking $error(...) in tb.sv",
    "error injection enabled",
    "ERROR injection enabled: mode 3",
    "Error count: 0",
    "No errors found",
    "tb.v:12: note: 0 errors",
    "TESTS: 12 PASSED, 0 FAILED",
    "** TESTS=2 PASS=2 FAIL=0 SKIP=0",
    "    0.00ns INFO     cocotb.regression    test_x passed",
    "    0.00ns INFO     cocotb.regression    test_x passed: failed as expected (result was AssertionError)",
    "FATAL: 0",
    "Assertions: 12 passed, 0 failed",
    "Assertion summary: 12 passed, 0 failed",
    "Assertion failed count: 0",
    "Assertion checks failed: 0",
    "No assertion has failed",
    "Stopping new assertion attempts at time 0ps: level = 0",
    "Assertion coverage enabled",
    "assertion failures: 0",
    "ASSERTION FAILED: 0",
    "Assertion failure: none",
    "Assertion violations: 0",
    "no assertion failed",
    "checking that assertion failures are counted",
    "checking that an assertion failed",
    "the run stops on assertion failure",
    "Assertion violation detection enabled",
    '    assert (a) else $error("assertion failed");',
    '12: $display("ASSERTION FAILED: foo");',
    '`uvm_error("TB", "assertion failed")',
    "// ASSERTION FAILED is what the bench prints",
    "+ grep 'ASSERTION FAILED' run.log",
    "with pytest.raises(AssertionError):",
    "reset aborted: Aborted by the user",
    "Killed 3 background tasks",
    "tb: 3 Aborted transfers",
    "run.sh: line 3: see above",
    "free(): 3 calls",
    "packet corrupted on purpose",
    "it is a Bus error that is injected",
    "Installing Segmentation fault handler",
    "Segmentation fault handler installed",
    "state of core dumped to regs.txt",
    "internal error injection enabled",
    "internal error count: 0",
    "Internal errors: 0",
    "the core fetches its boot image out of memory at 0x80000000",
    "Out of memory range access test: PASSED",
    "read out of memory bounds is expected",
    "xmsim: *W,RNDXCELON: Xcelium",
    "CFG*E,",
    "TEST PASSED",
    "TEST FAILED: 0",
    "%Warning-WIDTH: t.v:3: Error if you like",
    "WARNING: f.v:1: Assertion might have failed",
    "a.out: the offending value is 3",
]


def fails(line: str) -> bool:
    scanner = simscope.Scanner()
    scanner.take(1, line.encode() + b"\n")
    return bool(scanner.failure)


@pytest.mark.parametrize("line", FAILS)
def test_a_failing_line(line: str) -> None:
    assert fails(line)


@pytest.mark.parametrize("line", PASSES)
def test_a_harmless_line(line: str) -> None:
    assert not fails(line)


LONG = [" ", "#", "0", "1", "#1", "- ", ":1", ": line 1", "[1", "assert ", "Assertion failure ", "a.", "1:", "\\", "'"]


def begun(hints: tuple[str, ...], expression: str) -> set[str]:
    """What makes a pattern look further: each of its hints, and its examples cut behind each word that it takes."""
    found = {"", *hints}
    for line in FAILS:
        if match := re.search(expression, line):
            found |= {line[: cut.end()] for cut in re.finditer(r"\S+", line) if cut.end() < match.end()}
            found.add(line[: match.end()])
    return found


@pytest.mark.parametrize(("hints", "expression", "whose"), simscope.FAIL_PATTERNS)
def test_a_long_line_takes_no_pattern_long(hints: tuple[str, ...], expression: str, whose: str) -> None:
    """It takes milliseconds; time that grew with the square of the length would be most of a minute."""
    pattern = re.compile(expression)
    for start in begun(hints, expression):
        for unit in LONG:
            line = start + unit * (simscope.LINE_BYTES // len(unit))
            since = time.thread_time()
            pattern.search(line)
            assert time.thread_time() - since < 2, (whose, start, unit)


@pytest.mark.parametrize("unit", LONG)
def test_a_line_of_a_megabyte_is_looked_at_only_so_far(unit: str) -> None:
    hints = " ".join(hint for row in simscope.FAIL_PATTERNS for hint in row[0])
    since = time.thread_time()
    fails(hints + unit * (1_000_000 // len(unit)))
    assert time.thread_time() - since < 2


def test_each_default_pattern_has_its_example() -> None:
    for hints, expression, whose in simscope.FAIL_PATTERNS:
        lines = [re.sub("\x1b\\[[0-9;]*m", "", line) for line in FAILS]
        found = [line for line in lines if re.search(expression, line)]
        assert found, f"no line in FAILS for {whose}: {expression}"
        assert all(any(hint in line + "\n" for hint in hints) for line in found), f"hints of {whose} miss a line"


def test_a_whole_log_of_harmless_lines_passes(client: Client) -> None:
    client.file("log", "\n".join(PASSES))
    done = client.run("--", "cat", "log")
    assert done.returncode == 0
    assert (client.finish()["result"], client.finish()["fail_message"]) == ("pass", "")


def test_the_first_failing_line_is_the_message_and_the_exit_code_stays(client: Client) -> None:
    done = client.shell("echo fine; printf 'UVM_ERROR @ 7: \\033[1mtop\\033[0m [X] first\\r\\n'; echo '%Error: second'")
    assert done.returncode == 0
    finish = client.finish()
    assert (finish["result"], finish["exit_code"]) == ("fail", 0)
    assert finish["fail_message"] == "UVM_ERROR @ 7: top [X] first"


def test_without_a_failing_line_the_end_of_the_output_is_told(client: Client) -> None:
    client.shell("for i in $(seq 100); do echo line $i; done; exit 3")
    message = client.finish()["fail_message"].split("\n")
    assert message == ["exit code 3"] + [f"line {n}" for n in range(81, 101)]


@pytest.mark.parametrize(
    ("script", "code", "message"),
    [
        ("kill -SEGV $$", 139, "killed by SIGSEGV"),
        ("sh -c 'kill -ABRT $$'; exit $?", 134, "exit code 134 (SIGABRT)"),
        ("kill -KILL $$", 137, "killed by SIGKILL"),
        ("sh -c 'kill -ABRT $$'; true", 0, "Aborted"),
        ("echo running; sh -c 'kill -BUS $$'; true", 0, "Bus error"),
    ],
)
def test_a_command_that_a_signal_kills(client: Client, script: str, code: int, message: str) -> None:
    assert client.shell(script).returncode == code
    finish = client.finish()
    assert (finish["result"], finish["exit_code"], finish["fail_message"].split("\n")[0]) == ("fail", code, message)
    assert finish.get("reason") == ("killed" if "SIGKILL" in message else None)


def test_a_command_that_cannot_be_started(client: Client) -> None:
    done = client.run("--", "no-such-simulator", "+seed=3")
    assert done.returncode == 127
    assert done.stderr == "simscope: command not found: no-such-simulator\n"
    finish = client.finish()
    assert (finish["result"], finish["exit_code"]) == ("fail", 127)
    assert finish["fail_message"] == "command not found: no-such-simulator"
    assert client.run("--", client.file("plain.txt", "x")).returncode == 126


@pytest.mark.parametrize(
    ("chosen", "output", "result", "message"),
    [
        ({"own": ["^MISMATCH"]}, "MISMATCH at 7", "fail", "MISMATCH at 7"),
        ({"own": ["a", "^b"]}, "bc", "fail", "bc"),
        ({"defaults": False}, "%Error: x", "pass", ""),
        ({"defaults": False, "own": ["x$"]}, "UVM_INFO x", "fail", "UVM_INFO x"),
        ({"ignored": ["expected"]}, "%Error: expected", "pass", ""),
        ({"passing": ["^TEST PASSED"]}, "TEST PASSED", "pass", ""),
        ({"passing": ["^OK", "DONE"]}, "DONE", "pass", ""),
        ({"passing": ["^TEST PASSED"]}, "cut", "fail", "no line matches a pass pattern\ncut"),
        ({"passing": ["^OK"]}, "OK\n%Error: y", "fail", "%Error: y"),
    ],
)
def test_patterns_can_be_changed(chosen: dict[str, Any], output: str, result: str, message: str) -> None:
    assert judge(output=output, **chosen) == (result, message)


def judge(output: str = "", code: int = 0, found: Any = None, **patterns: Any) -> tuple[str, str]:
    """The verdict on a command that ended with `code` after `output`, with `found` in its results file."""
    scanner = simscope.Scanner(**patterns)
    scanner.take(1, output.encode())
    scanner.close()
    verdict: tuple[str, str] = simscope.verdict(
        simscope.Ended(code), scanner, found or {}, bool(patterns.get("passing"))
    )
    return verdict


def test_pattern_options(client: Client) -> None:
    given = ("--no-default-patterns", "--fail-pattern", "a.c", "--ignore-pattern", "abc", "--pass-pattern", "fine")
    client.shell("echo '%Error: abc'; echo adc; echo fine", *given)
    assert client.finish()["fail_message"] == "adc"


def test_long_and_split_lines_and_lines_without_end(client: Client) -> None:
    scanner = simscope.Scanner()
    for piece in (
        b"x" * 10_000_000,
        b"UVM_ERROR not at the start of a line\n",
        b"UVM_",
        b"ERR",
        b"OR @ 1: \xff\x00split",
    ):
        scanner.take(1, piece)
        assert sum(map(len, scanner._rest.values())) <= simscope.LINE_BYTES
    assert scanner.failure == ""
    scanner.close()
    assert scanner.failure == "UVM_ERROR @ 1: \ufffdsplit"


def test_the_two_streams_do_not_mix_their_lines() -> None:
    scanner = simscope.Scanner()
    scanner.take(1, b"UVM_ERR")
    scanner.take(2, b"OR @ 1: x\n")
    scanner.close()
    assert scanner.failure == ""


# ----------------------------------------------------------------------------------------------------------------------
# run: the results file
# ----------------------------------------------------------------------------------------------------------------------


def results(client: Client, document: Any, script: str = "", code: int = 0, *more: str) -> tuple[dict[str, Any], str]:
    """Run a command that writes `document` as its results; return the finish and standard error."""
    client.file("r.json", document)
    done = client.shell(f'cp r.json "$SIMSCOPE_RESULTS_FILE"; {script}\nexit {code}', *more)
    assert done.returncode == code
    return client.finish(), done.stderr


def test_results_go_into_the_finish(client: Client) -> None:
    finish, stderr = results(
        client,
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
        {"path": str(client.folder / "waves.vcd"), "name": "waves.vcd", "kind": "file"},
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
        ('{"x": "%s"}' % ("x" * 300_000), "the results file is not used: is larger than 256 KiB"),
        ("\1" * 100_000, "the results file is not used: is no text"),
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


def test_a_broken_results_file_harms_nothing(client: Client) -> None:
    finish, stderr = results(client, '{"cycles": ')
    assert stderr == (
        "simscope: warning: the results file is taken as plain text: the text: line 1, column 12: Expecting value\n"
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
    depth, value = 0, finish["deep"]
    while isinstance(value, list):
        depth, value = depth + 1, value[0]
    assert depth < 28 and isinstance(value, str)


def test_the_results_file_is_private_and_removed(client: Client) -> None:
    done = client.shell(
        'stat -c %a "$(dirname "$SIMSCOPE_RESULTS_FILE")"; touch "$SIMSCOPE_RESULTS_FILE.tmp"', TMPDIR="/tmp"
    )
    assert done.stdout == "700\n"
    done = client.shell('echo "$SIMSCOPE_RESULTS_FILE"')
    assert not Path(done.stdout.strip()).parent.exists()
    done = client.shell('mkfifo "$SIMSCOPE_RESULTS_FILE"')
    assert "warning: the results file is not used: is no ordinary file" in done.stderr
    done = client.shell('echo "[$SIMSCOPE_RESULTS_FILE]"', TMPDIR="/nowhere")
    assert (done.returncode, done.stdout) == (0, "[]\n")
    assert "warning: no results file" in done.stderr


# ----------------------------------------------------------------------------------------------------------------------
# run: what is said about the job
# ----------------------------------------------------------------------------------------------------------------------


def test_options_become_job_fields(client: Client) -> None:
    script = 'echo "$SIMSCOPE_REGRESSION $SIMSCOPE_UNIQUEID"'
    chosen = (
        "--category lint --name top --uniqueid job-7 --job-config cfg --build b+cov --testgroup g --jobdir http://x"
    )
    done = client.shell(script, *chosen.split(), "--time-limit", "1h30m", "--metadata", "a=b=c")
    assert done.stdout == "r/1 job-7\n"
    live = client.messages()["job-live"]
    expected = {"category": "lint", "name": "top", "uniqueid": "job-7", "config": "cfg", "build": "b+cov"}
    expected |= {"testgroup": "g", "jobdir": "http://x", "rerun": shlex.join(["sh", "-c", script])}
    assert {name: live[name] for name in expected} == expected
    assert (live["time_limit_ms"], live["metadata"]) == (5_400_000, [["a", "b=c"]])


def test_a_command_can_publish_about_its_own_regression(client: Client) -> None:
    inner = shlex.join(client.command("publish", "regr-update", "--spool", client.spool, "-"))
    assert client.shell(f"echo '{{}}' | {inner}").returncode == 0
    assert {(item["type"], item["regression"]) for item in client.spooled()} == {
        ("job-live", "r/1"), ("regr-update", "r/1"), ("job-finish", "r/1"),
    }  # fmt: skip


def test_names_that_are_not_utf8_do_no_harm(client: Client) -> None:
    command = [*client.command("run", "--regression", "r", "--spool", client.spool, "--"), b"echo", b"\xff\xfe"]
    done = subprocess.run(command, env=client.env, cwd=client.folder, capture_output=True, check=True)
    assert done.stdout == b"\xff\xfe\n"
    assert client.finish()["config"] == "echo '\ufffd\ufffd'"


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


def test_batch_ids_are_published(client: Client) -> None:
    client.shell("", "--metadata", "mine=1", SLURM_JOB_ID="12")
    for body in client.messages().values():
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


def started_job(client: Client, script: str, *arguments: str, **more: Any) -> subprocess.Popen[bytes]:
    """Start `run` with a shell script and wait until it says that it is ready."""
    process = client.start(
        "run",
        "--regression",
        "r",
        "--spool",
        client.spool,
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
def test_a_stop_signal_reaches_the_command_and_the_finish_is_published(client: Client, name: str) -> None:
    process = started_job(client, "echo ready; exec sleep 30")
    number = signal.Signals[name]
    process.send_signal(number)
    process.communicate(timeout=10)
    assert process.returncode == 128 + number
    finish = client.finish()
    assert (finish["result"], finish["reason"], finish["exit_code"]) == ("fail", "killed", 128 + number)
    assert finish["fail_message"] == f"killed by {name}\nready"


def test_a_command_that_handles_the_signal_keeps_its_exit_code(client: Client) -> None:
    process = started_job(client, "trap 'echo cleaning; exit 5' TERM; echo ready; while :; do sleep 0.05; done")
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=10)
    assert (process.returncode, output) == (5, b"cleaning\n")
    finish = client.finish()
    assert (finish["result"], finish["reason"], finish["exit_code"]) == ("fail", "killed", 5)


def test_a_warning_signal_is_passed_on_and_is_no_stop(client: Client) -> None:
    process = started_job(client, "trap 'echo noted; exit 0' USR1; echo ready; while :; do sleep 0.05; done")
    process.send_signal(signal.SIGUSR1)
    output, _ = process.communicate(timeout=10)
    assert (process.returncode, output, client.finish()["result"]) == (0, b"noted\n", "pass")


def test_an_ignored_hangup_stays_ignored(client: Client) -> None:
    """As under nohup."""
    process = started_job(
        client, "echo ready; sleep 0.1; exit 0", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    )
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=10)
    assert process.returncode == 0
    assert client.finish()["result"] == "pass"


def test_a_key_at_the_terminal_reaches_the_command_once(client: Client) -> None:
    script = (
        "import os, signal, time\nseen = []\n"
        "signal.signal(signal.SIGINT, lambda *_: seen.append(os.write(1, b'INT ')))\n"
        "os.write(1, b'ready ')\nuntil = time.monotonic() + 10\n"
        "while not seen and time.monotonic() < until: time.sleep(0.01)\n"
        "time.sleep(0.2)"  # long enough for a second one
    )
    command = client.command("run", "--regression", "r", "--spool", client.spool, "--", sys.executable, "-c", script)
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(client.folder)
        os.execve(command[0], command, client.env)
    seen = b""
    try:
        while b"ready" not in seen:
            seen += os.read(terminal, 1000)
        os.write(terminal, b"\x03")
        while True:
            seen += os.read(terminal, 1000)
    except OSError:
        pass  # the end of a terminal
    os.waitpid(child, 0)
    os.close(terminal)
    assert seen.count(b"INT") == 1
    assert client.finish()["reason"] == "killed"


# ----------------------------------------------------------------------------------------------------------------------
# a tracker in trouble, and the backlog
# ----------------------------------------------------------------------------------------------------------------------


def run_to(client: Client, *where: object, script: str = "echo out; exit 3") -> subprocess.CompletedProcess[str]:
    return client("run", "--regression", "r", *where, "--", "sh", "-c", script)


def test_a_missing_spool_harms_nothing_and_is_caught_up_by_the_next_call(client: Client) -> None:
    gone = client.folder / "later"
    done = run_to(client, "--spool", gone)
    assert (done.returncode, done.stdout) == (3, "out\n")
    assert len(done.stderr.splitlines()) == 1
    assert re.match(r"simscope: warning: the spool folder \S+ does not exist.* kept for the next call", done.stderr)
    assert [item["type"] for item in client.kept()] == ["job-live", "job-finish"]
    assert {item["to"] for item in client.kept()} == {f"spool {gone}"}
    assert stat.S_IMODE(client.backlog.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in client.backlog.glob("*.json")} == {0o600}

    client("publish", "regr-finish", "--regression", "r", "--spool", client.spool)  # another destination
    assert len(client.kept()) == 2 and len(client.spooled()) == 1

    gone.mkdir()
    assert client("publish", "regr-finish", "--regression", "r", "--spool", gone).returncode == 0
    assert client.kept() == []
    sent = read_whole(gone)
    assert [item["type"] for item in sent] == ["regr-finish", "job-live", "job-finish"]
    assert set(sent[2]) == {"type", "regression", "body"} and sent[2]["body"]["exit_code"] == 3


def test_a_dead_server_harms_nothing_and_is_caught_up_by_the_next_run(client: Client, tracker: Tracker) -> None:
    port = tracker.server.server_port
    tracker.server.shutdown()
    tracker.server.server_close()
    done = run_to(client, "--server", tracker.url, "--token", "s3cret")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (3, "out\n", 1)
    assert [item["type"] for item in client.kept()] == ["job-live", "job-finish"]
    assert "s3cret" not in "".join(path.read_text() for path in client.backlog.glob("*.json"))

    tracker.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), tracker.server.RequestHandlerClass)
    threading.Thread(target=tracker.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    assert run_to(client, "--server", tracker.url, script="exit 0").returncode == 0
    assert client.kept() == []
    assert sorted(tracker.types()) == ["job-finish", "job-finish", "job-live", "job-live"]
    assert {request["body"]["result"] for request in tracker.requests} == {"live", "pass", "fail"}


def test_a_wrong_token_keeps_the_messages(client: Client, tracker: Tracker) -> None:
    tracker.answer = lambda request: (
        (200, receipt())
        if request["headers"].get("Authorization") == "Bearer right"
        else problem(401, "Unauthorized", detail="wrong token")
    )
    done = run_to(client, "--server", tracker.url, "--token", "wrong")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (3, "out\n", 1)
    assert "401: Unauthorized: wrong token; the token was not accepted" in done.stderr
    assert len(client.kept()) == 2
    finish = ("publish", "regr-finish", "--regression", "r", "--server", tracker.url)
    assert client(*finish, SIMSCOPE_TOKEN="wrong").returncode == 2
    assert len(client.kept()) == 2
    assert client(*finish, SIMSCOPE_TOKEN="right").returncode == 0
    assert client.kept() == []


def test_a_slow_server_delays_neither_the_command_nor_for_long_its_end(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        process = client.start(
            "run", "--regression", "r", "--server", url, "--timeout", "0.2", "--heartbeat", "0.1", "--", "sh", "-c",
            "echo a; echo b; exit 5",
        )  # fmt: skip
        began = time.monotonic()
        output, errors = process.communicate(timeout=15)
    assert (process.returncode, output) == (5, b"a\nb\n")
    assert time.monotonic() - began < 5
    assert len(errors.splitlines()) == 1 and b"kept for the next call" in errors
    assert [item["type"] for item in client.kept()] == ["job-live", "job-finish"]


def test_a_server_that_never_answers_holds_up_the_end_of_a_run_for_seconds_only(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        began = time.monotonic()
        done = run_to(client, "--server", url, "--timeout", "18", script="exit 5")
    assert done.returncode == 5
    assert simscope.FINISH_SECONDS <= time.monotonic() - began < 14
    assert done.stderr == f"simscope: warning: server {url} does not answer; the finish is kept for the next call\n"
    assert [item["type"] for item in client.kept()] == ["job-finish"]


def test_a_refused_finish_goes_to_bad(client: Client, tracker: Tracker) -> None:
    wrong = {
        "index": 0,
        "type": "job-finish",
        "regression": "r",
        "outcome": "rejected",
        "reason": "bad-field",
        "path": "x",
    }
    tracker.answer = lambda request: (
        problem(422, "Refused", **receipt(wrong, applied=0, rejected=1))
        if "job-finish" in request["path"]
        else (200, receipt())
    )
    done = run_to(client, "--server", tracker.url)
    assert done.returncode == 3
    assert "job-finish for r was rejected: bad-field at x; it is in the folder bad of the backlog" in done.stderr
    assert client.kept() == []
    [bad] = client.kept("bad")
    assert bad["body"]["exit_code"] == 3 and "422" in bad["refused"]


def test_kept_messages_that_are_refused_go_to_bad_and_do_not_hold_up_others(client: Client, tracker: Tracker) -> None:
    backlog = simscope.Backlog(str(client.backlog))
    key = "server " + tracker.url
    for name in ("good1", "evil", "good2"):
        backlog.keep(key, simscope.Message("job-finish", "r", json.dumps({"uniqueid": name}), "test"))
    Path(backlog.waiting(key)[0]).with_name(f"0000.{simscope.destination_mark(key)}.json").write_text("{torn")
    tracker.answer = lambda request: (
        problem(400, "Bad request", reason="bad-json") if b"evil" in request["raw"] else (200, receipt())
    )
    done = client("publish", "regr-finish", "--regression", "r", "--server", tracker.url)
    assert done.returncode == 0
    assert (
        "job-finish for r, kept earlier, was refused" in done.stderr and "cannot be read; moved to bad" in done.stderr
    )
    assert [request["body"]["uniqueid"] for request in tracker.requests[1:]] == ["good1", "evil", "good2"]
    assert client.kept() == [] and len(list((client.backlog / "bad").iterdir())) == 2


def test_one_call_sends_a_bounded_number_oldest_first(client: Client) -> None:
    backlog = simscope.Backlog(str(client.backlog))
    key = simscope.Spool(str(client.spool)).key
    for number in range(simscope.BACKLOG_PER_CALL + 7):
        backlog.keep(key, simscope.Message("job-live", "r", json.dumps({"n": number}), "test"))
    client("publish", "regr-finish", "--regression", "r", "--spool", client.spool)
    assert [item["body"]["n"] for item in client.spooled()[1:]] == list(range(simscope.BACKLOG_PER_CALL))
    client("publish", "regr-finish", "--regression", "r", "--spool", client.spool)
    assert client.kept() == []


def test_two_calls_do_not_send_the_backlog_twice(client: Client, tracker: Tracker) -> None:
    backlog = simscope.Backlog(str(client.backlog))
    for number in range(20):
        backlog.keep("server " + tracker.url, simscope.Message("job-live", "r", json.dumps({"n": number}), "test"))
    processes = [client.start("publish", "regr-finish", "--regression", "r", "--server", tracker.url) for _ in range(3)]
    for process in processes:
        process.communicate(timeout=20)
    sent = [request["body"]["n"] for request in tracker.requests if request["body"]]
    assert sorted(sent) == list(range(20))


def test_the_finish_is_kept_before_it_is_sent_when_somebody_wants_us_to_end(client: Client) -> None:
    """A batch system sends SIGKILL soon after SIGTERM: even while the server hangs, the finish is on disk."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        process = client.start(
            "run", "--regression", "r", "--server", url, "--", "sh", "-c", "echo ready; exec sleep 30"
        )
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: [item for item in client.kept() if item["type"] == "job-finish"])
        process.kill()
        process.communicate()
    assert client.kept()[-1]["body"]["reason"] == "killed"


def test_after_a_stop_nothing_is_left_in_the_backlog_when_the_server_answers(client: Client, tracker: Tracker) -> None:
    process = client.start(
        "run", "--regression", "r", "--server", tracker.url, "--", "sh", "-c", "echo x; exec sleep 30"
    )
    assert process.stdout is not None and process.stdout.readline() == b"x\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
    assert (process.returncode, tracker.types(), client.kept()) == (143, ["job-live", "job-finish"], [])


def test_heartbeats_repeat_the_live_message_until_the_finish(client: Client, tracker: Tracker) -> None:
    process = client.start(
        "run", "--regression", "r", "--server", tracker.url, "--heartbeat", "0.05", "--", "sh", "-c", "read x; exit 0",
        stdin=subprocess.PIPE,
    )  # fmt: skip
    wait_until(lambda: len(tracker.requests) >= 4)
    process.communicate(b"\n", timeout=10)
    *lives, last = tracker.requests
    assert last["body"]["result"] == "pass"
    assert len(lives) >= 4 and all(request["body"] == lives[0]["body"] for request in lives)


def test_heartbeats_stop_where_live_messages_are_ignored(client: Client, tracker: Tracker) -> None:
    ignored = {"index": 0, "type": "job-live", "regression": "r", "outcome": "ignored", "reason": "live-disabled"}
    tracker.answer = lambda request: (
        200,
        receipt(ignored, applied=0, ignored=1) if "live" in request["path"] else receipt(),
    )
    done = client("run", "--regression", "r", "--server", tracker.url, "--heartbeat", "0.02", "--", "sleep", "0.2")
    assert tracker.types() == ["job-live", "job-finish"]
    assert done.stderr == "simscope: warning: run: job-live for r was ignored: live-disabled\n"


def test_where_nothing_can_be_kept_the_loss_is_told(client: Client) -> None:
    blocked = client.file("blocked", "a file, not a folder")
    done = client(
        "run",
        "--regression",
        "r",
        "--spool",
        "nowhere",
        "--",
        "sh",
        "-c",
        "exit 3",
        SIMSCOPE_BACKLOG=str(blocked / "x"),
    )
    assert done.returncode == 3
    assert "job-finish for r is lost; the backlog" in done.stderr
    assert "kept for the next call" not in done.stderr


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"SIMSCOPE_BACKLOG": "/b", "XDG_STATE_HOME": "/x"}, "/b"),
        ({"XDG_STATE_HOME": "/x"}, "/x/simscope/backlog"),
        ({"XDG_STATE_HOME": "relative"}, "/home/u/.local/state/simscope/backlog"),
        ({}, "/home/u/.local/state/simscope/backlog"),
    ],
)
def test_where_the_backlog_is(monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], folder: str) -> None:
    monkeypatch.setenv("HOME", "/home/u")
    assert simscope.backlog_folder(environ) == folder


# ----------------------------------------------------------------------------------------------------------------------
# the output as log lines
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
        assert parcel["offset"] == len(got) and len(json.dumps(parcel)) < 2 * simscope.LOG_PARCEL
        got += parcel["lines"]
        pauses.append(lines.pause)
        lines.arrived()
        for number in range(5000):
            lines.take(1, b"more %d\n" % number)

    left_out = [int(match[1]) for line in got if (match := re.fullmatch(r"\[simscope: (\d+) lines left out\]", line))]
    assert got[-1] == "more 4999" and len(got) - len(left_out) + sum(left_out) == 200_000 + 3 * 5000
    assert pauses == [4.0, 8.0, 10.0, 10.0]


def test_long_lines_are_cut_and_orders_to_a_terminal_left_out() -> None:
    lines = simscope.LogLines()
    lines.take(1, b"x" * 5000 + b"\n\x1b[31mred\x1b[0m\x00\x07\tt\n" + b"y" * 60_000)
    cut, clean = lines.parcel()["lines"]
    assert (cut, clean) == ("x" * simscope.LOG_LINE + " …", "red\tt")
    lines.arrived()
    for _ in range(100):
        lines.take(1, b"z" * 60_000)
    assert len(lines.last()["lines"][-1]) == simscope.LOG_LINE + 2


# ----------------------------------------------------------------------------------------------------------------------
# the file itself
# ----------------------------------------------------------------------------------------------------------------------


def test_help_and_version(client: Client, inside: Inside) -> None:
    assert client("--version").stdout == f"simscope {simscope.__version__}\n"
    for command in simscope.COMMANDS:
        code, output, _ = inside(command, "--help")
        assert code == 0
        assert "examples:\n  " in output
    code, output, _ = inside("--help")
    assert (code, "exit codes:" in output) == (0, True)


def test_each_option_is_explained_and_each_variable_is_in_the_manual() -> None:
    source = SCRIPT.read_text()
    for variable in set(re.findall(r'"(SIMSCOPE_[A-Z_]+)"', source)) - {"SIMSCOPE_"}:
        assert variable in simscope.__doc__, variable
    banners = re.findall(r"^# -+\n# (\d+) ", source, re.MULTILINE)
    contents = re.findall(r"(?:^|\s)(\d+) \w", simscope.__doc__[simscope.__doc__.index("SECTIONS") :])
    assert banners == contents == [str(number) for number in range(1, len(banners) + 1)]


def test_the_manual_of_the_client_tells_every_method_error_and_command() -> None:
    manual = (ROOT / "docs" / "client.md").read_text()
    public = {name for name in vars(simscope.Client) if not name.startswith("_")}
    errors = {
        name for name, value in vars(simscope).items() if isinstance(value, type) and "Error" in str(value.__mro__)
    }
    errors = {name for name in errors if issubclass(getattr(simscope, name), simscope.SimscopeError)}
    known = "jobs job isdone wait_job extend_job job_logs job_logs_buffered job_logs_older! job_logs_newer! hasfirst"
    known += " haslast interrupt! job_files job_file download_job_file Job JobStatus JobFile FileHash JobLogMessage"

    told = set(re.findall(r"[A-Za-z_!]+", manual))

    assert public - told <= {"about", "events_page", "log_page", "log_end", "log_is_over", "caller"}
    assert errors <= told and set(known.replace("!", "").split()) <= {word.replace("!", "") for word in told}
    assert {name for name in simscope.COMMANDS if name not in ("publish",)} <= told
    assert set(simscope.COMMANDS) <= set(re.findall(r"[a-z]+", simscope.__doc__))


def test_the_file_keeps_to_python_3_8() -> None:
    """vermin has no module to run by -m; its script lies beside the interpreter."""
    code = "import sys, vermin; sys.argv[0] = 'vermin'; vermin.main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "-t=3.8-", "--no-tips", str(SCRIPT)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_publishing_into_a_spool_loads_no_network_and_no_subprocess_code(client: Client) -> None:
    code = (
        f"import sys; before = set(sys.modules); sys.path.insert(0, {str(ROOT)!r}); import simscope;"
        "code = simscope.main(['publish', 'regr-finish', '--regression', 'r', '--spool', 'spool']);"
        "print(code, sorted({'http', 'ssl', 'socket', 'urllib', 'subprocess', 'uuid', 'tempfile', 'typing', 'asyncio'}"
        " & (set(sys.modules) - before)))"
    )
    command = [sys.executable, "-I", "-B", "-c", code]
    done = subprocess.run(command, cwd=client.folder, env=client.env, capture_output=True, text=True, check=False)
    assert done.stdout == "0 []\n", done.stderr
