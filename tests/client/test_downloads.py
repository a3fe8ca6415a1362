"""The Python client lists the files of a job and fetches them."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.clients import publish
from support.daemons import LIVE_SIGS, Daemon, done, live
from support.proxies import Wire

import simscope
from simscope import Client

CONTENT = bytes(range(256)) * 2000


@pytest.fixture
def shelf(make_daemon: Callable[..., Daemon], tmp_path: Path) -> Daemon:
    """A daemon that serves the files below tmp_path/files."""
    (tmp_path / "files").mkdir()
    daemon = make_daemon(LIVE_SIGS)
    daemon.config.write_text(
        daemon.config.read_text().replace("[server]\n", f'[server]\nfile_roots = ["{tmp_path}/files"]\n')
    )
    return daemon.start()


def declared(daemon: Daemon, tmp_path: Path, name: str = "cov.dat", **more: Any) -> int:
    path = tmp_path / "files" / "content"
    path.write_bytes(CONTENT)
    return publish(daemon, done(files=[{"kind": "result", "name": name, "path": str(path)} | more]))


def test_all_files_are_listed_however_many(shelf: Daemon) -> None:
    number = publish(shelf, done(files=[{"kind": "log", "name": f"f{each}"} for each in range(501)]))

    assert [file.name for file in Client(shelf.url).files(number)][499:] == ["f499", "f500"]


def test_a_file_that_the_job_only_names_has_its_size_and_hash(shelf: Daemon, tmp_path: Path) -> None:
    file = Client(shelf.url).file(declared(shelf, tmp_path), "result", "cov.dat")

    assert file is not None and file.hash is not None
    assert (file.size, file.hash.digest) == (len(CONTENT), hashlib.sha256(CONTENT).digest())


def test_a_download_is_checked_appears_at_once_and_never_overwrites(shelf: Daemon, tmp_path: Path) -> None:
    client = Client(shelf.url)
    number = declared(shelf, tmp_path, sha256=hashlib.sha256(CONTENT).hexdigest(), size=len(CONTENT))
    assert client.files(number, "log") == [] and client.file(number, "result", "other") is None
    file = client.file(number, "result", "cov.dat")
    assert file is not None and (file.kind, file.size, file.job_id) == ("result", len(CONTENT), number)

    path = client.download(file, tmp_path / "new" / "folder" / "mine")
    stream = io.BytesIO()

    assert path == tmp_path / "new" / "folder" / "mine" and path.read_bytes() == CONTENT
    assert client.download(file, stream) is None and stream.getvalue() == CONTENT
    path.write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        client.download(file, path)
    assert path.read_bytes() == b"mine"
    in_folder = client.download(file, path.parent)
    assert in_folder == path.parent / "cov.dat"
    assert sorted(found.name for found in path.parent.iterdir()) == ["cov.dat", "mine"]
    assert client.download(file, f"{tmp_path}/not/yet/") == tmp_path / "not" / "yet" / "cov.dat"


def test_a_destination_may_be_bytes_and_a_stream_that_takes_nothing_is_an_error_of_ours(
    shelf: Daemon, tmp_path: Path
) -> None:
    client = Client(shelf.url)
    file = client.files(declared(shelf, tmp_path))[0]
    closed = io.BytesIO()
    closed.close()

    assert client.download(file, os.fsencode(tmp_path / "b")) == tmp_path / "b"
    with open("/dev/full", "wb", buffering=0) as full, open("/dev/null", "rb") as read_only:
        for stream in (closed, full, read_only):
            with pytest.raises(simscope.CannotWrite):
                client.download(file, stream)
    with pytest.raises(simscope.WrongType):
        client.download(file, io.StringIO())
    with pytest.raises(simscope.CannotWrite):
        client.download(file, "a\0b")


class Narrow(io.BytesIO):
    """A stream that takes so many bytes at a time."""

    def __init__(self, taken: int) -> None:
        super().__init__()
        self.taken = taken

    def write(self, data: Any) -> int:
        return super().write(data[: self.taken])


class Silent(io.BytesIO):
    """A stream that takes all, and does not say how much that is."""

    def write(self, data: Any) -> None:  # type: ignore[override]
        super().write(data)


def test_a_stream_that_takes_less_than_it_is_given_gets_the_rest(shelf: Daemon, tmp_path: Path) -> None:
    client = Client(shelf.url)
    file = client.files(declared(shelf, tmp_path))[0]

    for stream in (Narrow(1000), Silent()):
        client.download(file, stream)
        assert stream.getvalue() == CONTENT
    with pytest.raises(simscope.CannotWrite, match="it accepts nothing"):
        client.download(file, Narrow(0))


def test_a_file_that_appears_during_the_download_is_not_overwritten(shelf: Daemon, tmp_path: Path) -> None:
    client = Client(shelf.url)
    file = client.files(declared(shelf, tmp_path))[0]
    target = tmp_path / "target"
    fetch = client._fetch

    def fetching(file: Any, write: Any) -> None:
        fetch(file, write)
        target.write_text("somebody else's")

    client._fetch = fetching  # type: ignore[method-assign]
    with pytest.raises(FileExistsError):
        client.download(file, target)

    assert target.read_text() == "somebody else's"
    assert not list(tmp_path.glob(".simscope-*"))


@pytest.mark.parametrize("there", [False, True])
def test_a_file_system_without_links_will_do(
    shelf: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    """As FAT and some network file systems are; the name may be taken while the content comes."""
    target = tmp_path / "target"

    def refused(source: str, name: str) -> None:
        if there:
            target.write_text("somebody else's")
        raise PermissionError(1, "Operation not permitted")

    client = Client(shelf.url)
    file = client.files(declared(shelf, tmp_path))[0]
    monkeypatch.setattr(os, "link", refused)
    if there:
        with pytest.raises(simscope.AlreadyThere):
            client.download(file, target)
    else:
        client.download(file, target)

    assert target.read_bytes() == (b"somebody else's" if there else CONTENT)
    assert not list(tmp_path.glob(".simscope-*"))


@pytest.mark.parametrize("known", [False, True])
def test_a_download_that_is_damaged_on_the_way_leaves_nothing(shelf: Daemon, tmp_path: Path, known: bool) -> None:
    """The daemon tells the digest of what it sends, also where nobody has declared one."""
    file = Client(shelf.url).files(declared(shelf, tmp_path))[0]
    if not known:
        file = dataclasses.replace(file, hash=None, size=None)
    wire = Wire(shelf.url)
    wire.change = lambda data: data.replace(b"\xfe\xff\x00", b"\xfe\xfe\x00")
    folder = tmp_path / "out"
    folder.mkdir()

    with pytest.raises(simscope.ChecksumMismatch, match="damaged on the way"):
        Client(wire.url).download(file, folder / "a")
    wire.close()

    assert list(folder.iterdir()) == []


def test_a_file_that_is_not_the_declared_one_leaves_nothing(shelf: Daemon, tmp_path: Path) -> None:
    client = Client(shelf.url)
    number = declared(shelf, tmp_path, sha256="00" * 32)
    folder = tmp_path / "out"
    folder.mkdir()

    with pytest.raises(simscope.ChecksumMismatch, match=f"not the file that job {number} declared"):
        client.download(client.files(number)[0], folder / "a")

    assert list(folder.iterdir()) == []


def test_a_download_that_breaks_off_leaves_nothing(shelf: Daemon, tmp_path: Path) -> None:
    wire = Wire(shelf.url)
    file = Client(wire.url).files(declared(shelf, tmp_path))[0]
    wire.on_answer = lambda: wire.cut() if wire.answered > 100_000 else None
    folder = tmp_path / "out"
    folder.mkdir()

    with pytest.raises(ConnectionError):
        Client(wire.url).download(file, folder / "b")
    wire.close()

    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["../../etc/passwd", "..", "a\x1b[2Jb", "/"])
def test_a_name_that_leads_elsewhere_is_never_used_in_a_folder(shelf: Daemon, tmp_path: Path, name: str) -> None:
    client = Client(shelf.url)
    file = simscope.JobFile(job_id=declared(shelf, tmp_path), kind="result", name=name)
    folder = tmp_path / "in" / "here"
    folder.mkdir(parents=True)

    with pytest.raises(simscope.SimscopeError):
        client.download(file, folder)

    assert [path for path in (tmp_path / "in").rglob("*") if path.is_file()] == []


def test_what_the_server_does_not_serve_is_a_permission_error(daemon: Daemon, client: Client, tmp_path: Path) -> None:
    number = publish(daemon, live(files=[{"kind": "log", "name": "x", "path": "/etc/passwd"}]))

    with pytest.raises(PermissionError) as caught:
        client.download(client.files(number)[0], tmp_path / "x")

    assert "(outside-roots)" in str(caught.value) and "token" not in str(caught.value)
    assert not (tmp_path / "x").exists()
