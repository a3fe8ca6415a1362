"""Files that jobs declare: the list, and their content from below the roots."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import rooms
from support.asking import quoted, send
from support.daemons import LIVE_SIGS, Daemon, driven, live, wait_until

from simscope_server.api.declared import HASHED_BYTES, _opened, sha256_of
from simscope_server.api.problems import Problem
from simscope_server.settings import Config

pytestmark = pytest.mark.process

SIM_LOG = "/api/v1/jobs/1/files/log/sim.log"


@pytest.fixture(scope="module")
def with_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    tmp_path = tmp_path_factory.mktemp("with-files")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "sim.log").write_text("0123456789")
    (tmp_path / "secret").write_text("secret")
    daemon = Daemon(tmp_path, f'file_roots = ["{tmp_path / "runs"}"]\n[spool]\ndir = "spool"\n{LIVE_SIGS}').start()
    files = [
        {"kind": "log", "name": "sim.log", "path": "sim.log"},
        {"kind": "result", "name": "out", "path": str(tmp_path / "secret")},
        {"kind": "result", "name": "up", "path": "../secret"},
        {"kind": "result", "name": "link", "path": "link"},
        {"kind": "result", "name": "gone", "path": "gone"},
    ]
    os.symlink(tmp_path / "secret", tmp_path / "runs" / "link")
    send(daemon, live(jobdir=str(tmp_path / "runs"), files=files))
    yield daemon
    daemon.stop()


def test_declared_files_are_listed_and_read_with_ranges_and_their_hash(with_files: Daemon) -> None:
    listed = with_files.get("/jobs/1/files?kind=log")["items"]

    whole = with_files.request("GET", listed[0]["_links"]["content"]["href"])
    part = with_files.request("GET", SIM_LOG, headers={"Range": "bytes=2-4"})

    assert [file["name"] for file in listed] == ["sim.log"]
    assert (whole[0], whole[1]) == (200, "0123456789")
    assert hashlib.sha256(b"0123456789").digest() == _digest(whole[2]["repr-digest"])
    assert whole[2]["etag"]
    assert "attachment" in whole[2]["content-disposition"]
    assert (part[0], part[1]) == (206, "234")
    again = with_files.request("GET", SIM_LOG, headers={"If-None-Match": whole[2]["etag"]})
    assert again[0] == 304


def test_size_and_hash_of_a_served_file_are_told_where_the_job_does_not(with_files: Daemon) -> None:
    runs = with_files.folder / "runs"
    (runs / "big").write_bytes(bytes(HASHED_BYTES))
    declared = {"kind": "log", "name": "mine", "path": "sim.log", "size": 3, "sha256": "ab" * 32}
    files = [
        {"kind": "log", "name": name, "path": name} for name in ("sim.log", "big", "../secret", "link", "gone", "")
    ]

    def told(result: str) -> list[tuple[int | None, str | None]]:
        job = send(with_files, {**live("b"), "result": result, "jobdir": str(runs), "files": [declared, *files]})["job"]
        items = with_files.get(f"/jobs/{job}/files")["items"]
        return [(file.get("size"), file.get("sha256")) for file in items]

    digest = hashlib.sha256(b"0123456789").hexdigest()
    big, nothing = HASHED_BYTES, [(None, None)] * 4
    assert told("live") == [(3, "ab" * 32), (10, None), (big, None), *nothing]  # it may still be written to
    assert told("pass") == [(3, "ab" * 32), (10, digest), (big, None), *nothing]


def test_only_what_is_served_has_a_link_to_its_content(with_files: Daemon) -> None:
    links = {file["name"]: file["_links"] for file in with_files.get("/jobs/1/files")["items"]}

    assert links.pop("sim.log") == {"content": {"href": SIM_LOG}}
    assert list(links) == ["out", "up", "link", "gone"]
    assert not any(links.values())


def _digest(header: str) -> bytes:
    return base64.b64decode(header.removeprefix("sha-256=:").removesuffix(":"))


@pytest.mark.parametrize(
    ("wanted", "status", "content"),
    [
        ("bytes=0-3", 206, "0123"),
        ("bytes=7-", 206, "789"),
        ("bytes=-2", 206, "89"),
        ("bytes=8-99999999999", 206, "89"),
        ("bytes=-99", 206, "0123456789"),
        ("bytes=abc", 200, "0123456789"),
        ("bytes=-", 200, "0123456789"),
        ("bytes=5-2", 200, "0123456789"),
        ("items=0-1", 200, "0123456789"),
        ("bytes=0-0,2-3", 200, "0123456789"),
        (f"bytes=0-{'9' * 5000}", 200, "0123456789"),
    ],
)
def test_one_range_of_bytes_is_answered_and_any_other_means_the_whole_file(
    with_files: Daemon, wanted: str, status: int, content: str
) -> None:
    answer = with_files.request("GET", SIM_LOG, headers={"Range": wanted})

    assert answer[:2] == (status, content)


@pytest.mark.parametrize("wanted", ["bytes=10-", "bytes=100-200"])
def test_a_range_behind_the_end_of_a_file_is_416_with_its_size(with_files: Daemon, wanted: str) -> None:
    status, told, headers = with_files.request("GET", SIM_LOG, headers={"Range": wanted})

    assert (status, told["reason"], headers["content-range"]) == (416, "range-not-satisfiable", "bytes */10")


def test_a_range_counts_only_for_the_file_that_if_range_means(with_files: Daemon) -> None:
    now = with_files.request("HEAD", SIM_LOG)[2]
    said = {
        now["etag"]: 206,
        now["last-modified"]: 206,
        '"other"': 200,
        f"W/{now['etag']}": 200,
        "Mon, 01 Jan 2001 00:00:00 GMT": 200,
        "Mon, 01 Jan 2091 00:00:00 GMT": 200,
        "x": 200,
    }

    answers = [with_files.request("GET", SIM_LOG, headers={"Range": "bytes=2-4", "If-Range": known}) for known in said]

    assert [answer[0] for answer in answers] == list(said.values())
    assert {answer[1] for answer in answers} == {"234", "0123456789"}


def test_preconditions_hold_with_a_range_too(with_files: Daemon) -> None:
    tag = with_files.request("HEAD", SIM_LOG)[2]["etag"]

    for name, value, status in (
        ("If-None-Match", tag, 304),
        ("If-None-Match", "\xff", 206),
        ("If-Match", tag, 206),
        ("If-Match", '"other"', 412),
    ):
        assert with_files.request("GET", SIM_LOG, headers={"Range": "bytes=1-1", name: value})[0] == status, name


def test_a_compressed_file_beside_a_declared_one_is_not_its_content(with_files: Daemon) -> None:
    (with_files.folder / "runs" / "sim.log.gz").write_bytes(b"other")

    _, content, headers = with_files.request("GET", SIM_LOG, headers={"Accept-Encoding": "gzip"})

    assert content == "0123456789"
    assert "content-encoding" not in headers


# The file is replaced by a link, or its folder is, just after a step of the daemon's.
REPLACING = """
real = rooms.find("STEP")

def replacing(*args):
    result = real(*args)
    if os.path.exists(FLAG):
        os.rename(MOVED, MOVED + ".before")
        os.symlink(INSTEAD, MOVED)
        os.remove(FLAG)
    return result

rooms.replace("STEP", replacing)
"""


def test_files_on_a_disk_that_hangs_hold_up_neither_the_spool_nor_the_stop(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    prelude = """
import threading

def hanging(*asked):
    open(f"hangs{threading.get_ident()}", "w").close()
    threading.Event().wait()

rooms.replace("FILE_THREADS", 40)
rooms.replace("_real_path", hanging)
"""
    daemon = make_daemon(LIVE_SIGS, program=driven(tmp_path, prelude)).start()
    job = send(daemon, live(files=[{"kind": "log", "name": "sim.log", "path": "/mnt/sim.log"}]))["job"]
    paths = [f"/api/v1/jobs/{job}/files", SIM_LOG] * 20
    address = urllib.parse.urlsplit(daemon.url)
    channels = [socket.create_connection((address.hostname, address.port), 20) for _ in paths]
    for channel, path in zip(channels, paths, strict=True):
        channel.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    wait_until(lambda: len(list(daemon.folder.glob("hangs*"))) >= 6)

    daemon.drop("r/1.json", live("b"))

    wait_until(lambda: len(daemon.get("/jobs")["items"]) == 2)
    assert daemon.stop() == 0
    assert "Traceback" not in daemon.log.read_text()
    for channel in channels:
        channel.close()


def test_a_file_that_can_be_opened_but_not_read_is_listed_without_its_hash_and_404(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    prelude = """
def failing(file, digest):
    raise OSError(5, "Input/output error")

hashlib.file_digest = failing
"""
    (tmp_path / "sim.log").write_text("0123456789")
    roots = f'file_roots = ["{tmp_path}"]\n[spool]\ndir = "spool"\n{LIVE_SIGS}'
    daemon = make_daemon(roots, program=driven(tmp_path, prelude)).start()
    declared = [{"kind": "log", "name": "sim.log", "path": str(tmp_path / "sim.log")}]
    send(daemon, {**live(files=declared), "result": "pass"})

    (listed,) = daemon.get("/jobs/1/files")["items"]
    status, told, _ = daemon.request("GET", SIM_LOG)

    assert (listed["size"], listed.get("sha256"), bool(listed["_links"])) == (10, None, True)
    assert (status, told["reason"]) == (404, "no-such-file")
    assert "Input/output error" in told["detail"]


def test_the_hash_of_a_file_outlives_that_many_others_are_looked_at_meanwhile(tmp_path: Path) -> None:
    class Crowded(dict[Any, bytes]):
        """Another thread empties it at once."""

        def __setitem__(self, state: Any, digest: bytes) -> None:
            super().__setitem__(state, digest)
            self.clear()

    (tmp_path / "file").write_bytes(b"0123456789")

    with (tmp_path / "file").open("rb", buffering=0) as file:
        assert sha256_of(Crowded(), file) == hashlib.sha256(b"0123456789").digest()


def test_a_file_that_was_replaced_is_not_left_open(tmp_path: Path, monkeypatch: Any) -> None:
    rooms.replace("_real_path", lambda config, job, declared: tmp_path / "link" / declared, monkeypatch)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "sim.log").touch()
    (tmp_path / "link").symlink_to("runs")
    before = os.listdir("/proc/self/fd")

    with pytest.raises(Problem, match="replaced") as told:
        _opened(Config(), {}, "sim.log")

    assert told.tb is not None  # as long as it is kept, so is what the function had
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("moved", ["runs/sub/sim.log", "runs/sub"])
@pytest.mark.parametrize(("step", "status"), [("_real_path", 404), ("sha256_of", 200)])
def test_a_file_that_is_replaced_while_it_is_asked_for_leads_nowhere_else(
    make_daemon: Callable[..., Daemon], tmp_path: Path, moved: str, step: str, status: int
) -> None:
    (tmp_path / "runs" / "sub").mkdir(parents=True)
    (tmp_path / "runs" / "sub" / "sim.log").write_text("0123456789")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "sim.log").write_text("secret")
    instead = "elsewhere/sim.log" if moved.endswith(".log") else "elsewhere"
    names = {"STEP": step, "FLAG": repr(str(tmp_path / "flag")), "MOVED": repr(str(tmp_path / moved))}
    prelude = REPLACING
    for name, text in (names | {"INSTEAD": repr(str(tmp_path / instead))}).items():
        prelude = prelude.replace(name, text)
    roots = f'file_roots = ["{tmp_path / "runs"}"]\n[spool]\ndir = "spool"\n{LIVE_SIGS}'
    daemon = make_daemon(roots, program=driven(tmp_path, prelude)).start()
    send(daemon, live(files=[{"kind": "log", "name": "sim.log", "path": str(tmp_path / "runs/sub/sim.log")}]))
    (tmp_path / "flag").touch()

    code, content, headers = daemon.request("GET", SIM_LOG)

    assert (code, (tmp_path / "flag").exists(), (tmp_path / moved).is_symlink()) == (status, False, True)
    if code == 200:
        assert content == "0123456789"
        assert _digest(headers["repr-digest"]) == hashlib.sha256(b"0123456789").digest()
    else:
        assert content["reason"] == "no-such-file"
    assert daemon.request("GET", SIM_LOG)[0] == 403
    assert daemon.process is not None
    opened = [os.readlink(entry) for entry in Path(f"/proc/{daemon.process.pid}/fd").iterdir()]
    assert [name for name in opened if "sim.log" in name] == []


def test_a_file_is_offered_under_its_declared_name_and_linked_if_it_has_a_path(with_files: Daemon) -> None:
    os.symlink(with_files.folder / "runs" / "sim.log", with_files.folder / "runs" / "latest")
    files = [{"kind": "log", "name": "out/run é.log", "path": "latest"}, {"kind": "log", "name": "nowhere"}]
    job = send(with_files, live("named", jobdir=str(with_files.folder / "runs"), files=files))["job"]

    listed = with_files.get(f"/jobs/{job}/files")["items"]
    _, content, headers = with_files.request("GET", listed[0]["_links"]["content"]["href"])

    assert content == "0123456789"
    assert headers["content-disposition"] == "attachment; filename*=UTF-8''run%20%C3%A9.log"
    assert listed[1]["_links"] == {}


@pytest.mark.parametrize("name", ["out", "up", "link"])
def test_nothing_outside_the_roots_is_read(with_files: Daemon, name: str) -> None:
    status, told, _ = with_files.request("GET", f"/api/v1/jobs/1/files/result/{name}")

    assert (status, told["reason"]) == (403, "outside-roots")


OWN = (
    "simscope.config",
    "spool/.work/.lock",
    "spool/r/1.json",
    *(f"simscope.db{end}" for end in ("", "-wal", "-shm", ".lock", ".logs", ".logs-wal", ".logs-shm")),
)


@pytest.fixture(scope="module")
def with_all_in_a_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon whose own files lie below a root; files that are written to go on lying in the spool."""
    folder = tmp_path_factory.mktemp("all-in-a-root")
    spool = '[spool]\ndir = "spool"\nsettle_ms = 600000\n'
    daemon = Daemon(folder, f'file_roots = ["{folder}"]\ntoken = "sesame"\n{spool}{LIVE_SIGS}').start()
    (daemon.spool / "r").mkdir()
    (daemon.spool / "r" / "1.json").write_text("{")
    (folder / "sim.log").write_text("0123456789")
    files = [{"kind": "log", "name": name.replace("/", " "), "path": name} for name in (*OWN, "sim.log")]
    body = live(jobdir=str(folder), files=files)
    token = {"Authorization": "Bearer sesame"}
    assert daemon.request("POST", "/api/v1/publish/job-live?regression=r", body, token)[0] == 200
    yield daemon
    daemon.stop()


@pytest.mark.parametrize("name", OWN)
def test_no_file_of_the_daemons_own_is_read_even_below_a_root(with_all_in_a_root: Daemon, name: str) -> None:
    daemon = with_all_in_a_root
    assert (daemon.folder / name).is_file()

    status, told, _ = daemon.request("GET", f"/api/v1/jobs/1/files/log/{quoted(name.replace('/', ' '))}")

    assert (status, told["reason"]) == (403, "outside-roots")
    assert daemon.request("GET", SIM_LOG)[:2] == (200, "0123456789")


@pytest.mark.parametrize("place", ["result/gone", "result/nothing", "input/sim.log"])
def test_a_file_that_is_not_there_or_not_declared_is_404(with_files: Daemon, place: str) -> None:
    status, told, _ = with_files.request("GET", f"/api/v1/jobs/1/files/{place}")

    assert (status, told["reason"]) == (404, "no-such-file")


def test_files_are_listed_in_pages_of_at_most_five_hundred(shared: Daemon, run: str) -> None:
    names = [f"f{number}" for number in range(1203)]
    job = send(shared, live(files=[{"kind": "log" if name == "f7" else "cov", "name": name} for name in names]), run)[
        "job"
    ]

    pages, path = [], f"/api/v1/jobs/{job}/files?kind=cov"
    while path:
        status, page, headers = shared.request("GET", path)
        pages.append([file["name"] for file in page["items"]])
        path = headers.get("link", "").partition(">")[0].removeprefix("<")
        assert (status, page["next"] is None) == (200, not path)

    assert [len(page) for page in pages] == [500, 500, 202]
    assert [name for page in pages for name in page] == [name for name in names if name != "f7"]
    few = shared.get(f"/jobs/{job}/files?limit=3&after=1201")
    assert ([file["name"] for file in few["items"]], few["next"]) == (["f1201", "f1202"], None)
    assert shared.get(f"/jobs/{job}/files?limit=2")["next"] == 2
    for wrong in ("limit=0", "limit=501", "after=x"):
        assert shared.request("GET", f"/api/v1/jobs/{job}/files?{wrong}")[1]["reason"] == "bad-query"


def test_without_roots_files_are_listed_only(shared: Daemon, run: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    job = send(shared, live(files=[{"kind": "log", "name": "x", "path": str(tmp_path / "x")}]), run)["job"]

    listed = shared.get(f"/jobs/{job}/files")["items"][0]
    assert (listed["name"], listed["_links"]) == ("x", {})
    assert shared.request("GET", f"/api/v1/jobs/{job}/files/log/x")[0] == 403
