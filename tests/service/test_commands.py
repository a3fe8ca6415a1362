"""The commands of simscoped beside serve, and its command line."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.daemons import LIVE_SIGS, ROOT, Daemon, driven, live, publish, wait_until

import simscoped
from simscope_server.program import __version__

SPOOL = '[spool]\ndir = "spool"\nsettle_ms = 100\npoll_ms = 100\n'
CONFIG = f"{LIVE_SIGS}{SPOOL}"


def command(daemon: Daemon, *arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, str(ROOT / "simscoped.py"), *map(str, arguments)]
    if "--config" not in arguments:
        line += ["--config", str(daemon.config)]
    return subprocess.run(line, capture_output=True, text=True, timeout=20, cwd=cwd)


class Here:
    """Runs commands in this process, which takes no time. Only those that end by themselves."""

    def __init__(self, daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
        self.daemon = daemon
        self.capsys = capsys

    def __call__(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        line = [*map(str, arguments)]
        if "--config" not in line:
            line += ["--config", str(self.daemon.config)]
        try:
            code = simscoped.main(line)
        except SystemExit as ended:
            code = int(str(ended.code))
        said = self.capsys.readouterr()
        return subprocess.CompletedProcess(line, code, said.out, said.err)


def sentence(ended: subprocess.CompletedProcess[str], code: int = 2) -> str:
    """Check that a command ended with an exit code and one sentence. -> it."""
    assert "Traceback" not in ended.stderr
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (code, "", 1)
    return ended.stderr


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that runs, with a good and a bad delivery behind it."""
    daemon = Daemon(tmp_path_factory.mktemp("service"), CONFIG).start()
    daemon.drop("r/good.json", live())
    daemon.drop("r/bad.json", live(cycles="many"))
    wait_until(lambda: daemon.rows("SELECT count(*) FROM receipt") == [(2,)])
    yield daemon
    daemon.stop()


@pytest.fixture
def here(shared: Daemon, capsys: pytest.CaptureFixture[str]) -> Here:
    return Here(shared, capsys)


# --- snapshot ---------------------------------------------------------------------------------------------------------


def test_a_snapshot_is_a_whole_copy_taken_while_the_daemon_writes(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = make_daemon(CONFIG).start()
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            jobs = [live(f"{number}-{each}", log={"lines": ["x"]}) for each in range(50)]
            daemon.post("/publish/batch-job-live?regression=r", jobs)

    writer = threading.Thread(target=write)
    writer.start()
    wait_until(lambda: daemon.rows("SELECT count(*) FROM job")[0][0] > 100)
    target = tmp_path / "copy.db"

    ended = command(daemon, "snapshot", target)

    stop.set()
    writer.join()
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"{target}\n{target}.logs\n", "")
    assert sorted(path.name for path in tmp_path.glob("copy.db*")) == ["copy.db", "copy.db.logs"]
    copy = sqlite3.connect(f"file:{target}?mode=ro", uri=True)
    assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    (counted, stored) = copy.execute("SELECT n_live, (SELECT count(*) FROM job) FROM regressions").fetchone()
    assert counted == stored > 100
    assert stored % 50 == 0
    logs = sqlite3.connect(f"file:{target}.logs?mode=ro", uri=True)
    copied = {log for (log,) in logs.execute("SELECT log FROM log_line WHERE number = 0 AND message = 'x'")}
    told = {log for (log,) in copy.execute("SELECT id FROM log WHERE (first_offset, next_offset) = (0, 1)")}
    assert len(told) == stored and told <= copied
    copy.close()
    logs.close()


@pytest.mark.parametrize("name", ["copy.db", "copy.db.logs"])
def test_a_snapshot_overwrites_nothing(shared: Daemon, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("precious")

    ended = command(shared, "snapshot", tmp_path / "copy.db")

    assert f"{tmp_path / name}: exists already" in sentence(ended)
    assert {path.name: path.read_text() for path in tmp_path.glob("copy*")} == {name: "precious"}


def test_a_snapshot_that_fails_leaves_nothing_and_one_that_was_interrupted_is_no_matter(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = make_daemon(CONFIG).start()
    publish(daemon, "job-live", "r", live(log={"lines": ["one", "two"]}))
    daemon.stop()
    target, logs = tmp_path / "copy.db", Path(f"{daemon.db}.logs")
    whole = logs.read_bytes()
    logs.write_text("broken " * 1000)
    (tmp_path / "copy.db.part").write_text("half of one " * 1000)

    failed = command(daemon, "snapshot", target)
    left = list(tmp_path.glob("copy*"))
    logs.write_bytes(whole)
    again = command(daemon, "snapshot", target)

    assert f"{target}: the snapshot cannot be written: " in sentence(failed, 1)
    assert (left, again.returncode) == ([], 0)
    other = make_daemon(CONFIG, folder="other")
    target.rename(other.db)
    (tmp_path / "copy.db.logs").rename(f"{other.db}.logs")
    assert [line["message"] for line in other.start().get("/jobs/1/logs")["lines"]] == ["one", "two"]


def test_a_snapshot_of_a_daemon_that_does_not_run(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    daemon = make_daemon(CONFIG).start()
    publish(daemon, "job-live", "r", live())
    daemon.stop()

    ended = command(daemon, "snapshot", tmp_path / "copy.db")

    assert ended.returncode == 0
    copy = sqlite3.connect(tmp_path / "copy.db")
    assert copy.execute("SELECT key FROM job").fetchall() == [("a",)]
    copy.close()


def test_a_snapshot_that_cannot_be_written_is_a_sentence(shared: Daemon, tmp_path: Path) -> None:
    ended = command(shared, "snapshot", tmp_path / "no such folder" / "copy.db")

    assert "no such folder" in sentence(ended, 1)


def test_a_snapshot_without_a_database_is_a_sentence_and_makes_none(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = make_daemon(CONFIG)

    ended = command(daemon, "snapshot", tmp_path / "copy.db")

    assert f"{daemon.db}: cannot be read" in sentence(ended)
    assert not daemon.db.exists()
    assert not (tmp_path / "copy.db").exists()


# --- receipt ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "code", "rejected"), [("r/good.json", 0, 0), ("r/bad.json", 1, 1)], ids=["good", "refused"]
)
def test_receipt_tells_what_became_of_a_file(shared: Daemon, here: Here, name: str, code: int, rejected: int) -> None:
    ended = here("receipt", name)

    told = json.loads(ended.stdout)
    assert (ended.returncode, ended.stderr) == (code, "")
    assert (told["name"], told["messages"], told["rejected"]) == (name, 1, rejected)
    assert told == shared.get(f"/receipts?name={name}")["items"][0]


def test_receipt_of_a_file_that_was_not_taken_says_no(here: Here) -> None:
    ended = here("receipt", "r/unknown.json")

    assert (ended.returncode, ended.stdout) == (1, "")
    assert "no receipt for 'r/unknown.json'" in ended.stderr


def test_receipt_without_a_database_is_a_sentence(make_daemon: Callable[..., Daemon]) -> None:
    ended = command(make_daemon(CONFIG), "receipt", "x")

    assert "cannot be read" in sentence(ended)


# --- check-config -----------------------------------------------------------------------------------------------------


def test_check_config_of_a_good_file_says_so_and_touches_nothing(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(CONFIG)

    ended = command(daemon, "check-config")

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"{daemon.config}: good; listens on 127.0.0.1:0")
    assert [path.name for path in daemon.folder.iterdir()] == ["simscope.config"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server\n", "not TOML"),
        ("[sevrer]\n", "unknown section [sevrer]"),
        ('[server]\nlisten = "8040"\n', ':2: [server] listen = "8040" is not accepted; it takes'),
        ("[spool]\n\npol_ms = 5\n", ":3: unknown key 'pol_ms' in [spool]"),
        ("[spool]\nsettle_ms = 1.5\n", ":2: [spool] settle_ms = 1.5 is not accepted"),
        ("[regr]\nautotimeouthours = -1\n", ":2: [regr] autotimeouthours = -1 is not accepted"),
        (
            '[sigs]\nenablelivejobs = "yes"\n',
            ':2: [sigs] enablelivejobs = "yes" is not accepted; it takes true or false',
        ),
        ('[server]\nlisten = "0.0.0.0:8040"\n', "needs a [server] token"),
    ],
)
def test_check_config_of_a_bad_file_names_the_place_and_what_is_accepted(
    here: Here, tmp_path: Path, text: str, said: str
) -> None:
    config = tmp_path / "simscope.config"
    config.write_text(text)

    for name in ("check-config", "serve"):
        told = sentence(here(name, "--config", config))

        assert told.startswith(f"simscoped: {config}")
        assert said in told


# --- the command line -------------------------------------------------------------------------------------------------


def test_version_is_told(shared: Daemon) -> None:
    ended = command(shared, "--version")

    assert (ended.returncode, ended.stdout) == (0, f"simscoped {__version__}\n")


@pytest.mark.parametrize(
    "arguments",
    [["nothing"], ["snapshot"], ["receipt"], ["serve", "--nothing"], ["check-config", "more"]],
    ids=" ".join,
)
def test_usage_that_cannot_be_is_exit_code_2(here: Here, arguments: list[str]) -> None:
    ended = here(*arguments)

    assert ended.returncode == 2
    assert ended.stderr.startswith("usage: simscoped")


@pytest.mark.parametrize("arguments", [["serve"], ["check-config"], ["requeue"], ["snapshot", "x"], ["receipt", "x"]])
def test_a_configuration_that_is_not_there_is_a_sentence(here: Here, tmp_path: Path, arguments: list[str]) -> None:
    ended = here(*arguments, "--config", tmp_path / "nothing.config")

    assert f"{tmp_path}/nothing.config: there is no such configuration file" in sentence(ended)


def test_the_configuration_is_looked_for_here_and_may_be_named_before_the_command(shared: Daemon) -> None:
    line = [sys.executable, str(ROOT / "simscoped.py")]
    ways = (["check-config"], ["--config", str(shared.config), "check-config"])

    ended = [subprocess.run([*line, *way], capture_output=True, text=True, cwd=shared.folder) for way in ways]

    assert [each.returncode for each in ended] == [0, 0]


def test_an_address_that_is_taken_is_a_sentence(shared: Daemon, make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(CONFIG)
    taken = urllib.parse.urlsplit(shared.url).netloc
    daemon.config.write_text(daemon.config.read_text().replace("127.0.0.1:0", taken))

    ended = command(daemon, "serve")

    assert f"{daemon.config}:2: [server] listen = {taken}: " in sentence(ended, 1)


NAME_SERVER = """
import asyncio, socket

def slow():
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return "named.lab"
    raise AssertionError("everybody waits for the name server")

socket.getfqdn = slow
"""


def test_a_slow_name_server_is_asked_before_anybody_waits_for_an_answer(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = make_daemon(CONFIG, program=driven(tmp_path / "daemon", NAME_SERVER)).start()

    assert daemon.request("GET", "/healthz", headers={"Host": "named.lab"})[0] == 200


def test_livetimeoutsignature_without_live_jobs_is_a_warning_at_start(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon('[sigs]\nlivetimeoutsignature = "LIVE"\n').start()

    told = daemon.post("/publish/job-live?regression=r", live())[1]

    assert "WARNING config: livetimeoutsignature has no effect without enablelivejobs" in daemon.log.read_text()
    assert (told["ignored"], told["details"][0]["reason"]) == (1, "live-disabled")
    assert told["details"][0]["warnings"] != []
    assert daemon.get("/jobs")["items"] == []


def test_the_environment_overrides_listen_db_and_token(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    daemon = make_daemon(CONFIG)
    env = {"SIMSCOPE_LISTEN": "[::1]:0", "SIMSCOPE_DB": str(tmp_path / "other.db"), "SIMSCOPE_TOKEN": "s3cret"}

    daemon.start(env=env)

    assert daemon.url.startswith("http://[::1]:")
    assert (tmp_path / "other.db").exists()
    assert not daemon.db.exists()
    assert daemon.post("/publish/job-live?regression=r", live())[0] == 401


def test_without_an_address_all_are_listened_on(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(CONFIG).start(env={"SIMSCOPE_LISTEN": ":0", "SIMSCOPE_TOKEN": "s3cret"})
    anywhere = daemon.url  # with port 0 each family of addresses has a port of its own; one of them is told
    here = anywhere.replace("[::]", "[::1]").replace("0.0.0.0", "127.0.0.1")

    assert here != anywhere
    assert daemon.request("GET", f"{here}/healthz")[0] == 200
