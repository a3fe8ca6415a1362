"""Which names in the spool folder are read, which files are reported and not opened."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable

import pytest
from support.daemons import LIVE_SIGS, Daemon, live, wait_until
from support.spools import SPOOL, count, envelope, put, receipt, rescanned, results, skipped

CONFIG = SPOOL


def test_temporary_names_are_never_read(shared: Daemon, run: str) -> None:
    folder = shared.spool / run
    (folder / ".hidden").mkdir(parents=True)
    unread = [".x.json", ".x.ndjson", "x.json.tmp", "x.tmp", "x.json.part", "x.part", "x.json~", "x.ndjson~", "x.txt"]
    unread += [".hidden/x.json", "json", "x.JSON.bak"]
    for name in unread:
        (folder / name).write_text(json.dumps(live(name)))

    rescanned(shared, run)

    assert [name for name in unread if not (folder / name).exists()] == []
    assert results(shared, run) == {}


@pytest.mark.parametrize("suffix", [".tmp", ".part", "~"])
def test_a_folder_of_a_temporary_name_is_read_once_it_is_renamed(shared: Daemon, run: str, suffix: str) -> None:
    folder = shared.spool / f"{run}{suffix}"
    (folder / "deep").mkdir(parents=True)
    for name in ("x", "deep/y"):
        (folder / f"{name}.json").write_text(json.dumps(live(name)))

    rescanned(shared, run)

    assert sorted(path.name for path in folder.rglob("*.json")) == ["x.json", "y.json"]
    folder.rename(shared.spool / run)
    receipt(shared, f"{run}/x.json")
    receipt(shared, f"{run}/deep/y.json")
    assert results(shared, run) == {"x": "live"}
    assert count(shared, f"{run}{suffix}") == 0


# --- what is not opened -----------------------------------------------------------------------------------------------


def test_links_pipes_folders_named_like_messages_and_names_that_are_not_utf_8_are_reported_and_not_opened(
    shared: Daemon, run: str
) -> None:
    folder = shared.spool / run
    (folder / "folder.json").mkdir(parents=True)
    (folder / "folder.json" / "x.json").write_text(json.dumps(live("in folder")))
    outside = shared.folder / f"{run}-outside.json"
    outside.write_text(json.dumps(live("linked")))
    (folder / "link.json").symlink_to(outside)
    (folder / "nowhere.ndjson").symlink_to("/does/not/exist")
    for name in ("pipe.json", "pipe", ".pipe", "pipe.tmp", "pipe~"):
        os.mkfifo(folder / name)
    os.mknod(folder / "socket", stat.S_IFSOCK | 0o600)
    strange = [os.fsencode(folder) + name for name in (b"/\xff\xfe.json", b"/\xff.txt", b"/.\xff.json", b"/\xff.part")]
    for path in strange:
        with open(path, "w") as file:
            file.write(json.dumps(live("strange")))
    strange_folder = os.fsencode(folder) + b"/\xfe"
    os.mkdir(strange_folder)

    told = wait_until(lambda: len([path for path in skipped(shared) if run in path]) >= 9 and skipped(shared))
    shared.drop(f"{run}/good.json", live("good"))
    receipt(shared, f"{run}/good.json")

    own = {path.removeprefix(f"{run}/"): why for path, why in told.items() if run in path}
    assert own["folder.json"] == "a folder named like a message"
    assert own["link.json"] == own["nowhere.ndjson"] == "a symbolic link"
    assert own["pipe.json"] == own["pipe"] == own["socket"] == "not a regular file"
    assert own["?"] == own["?.txt"] == own["??.json"] == "its name is not UTF-8"
    assert len(own) == 9
    assert results(shared, run) == {"good": "live"}
    assert outside.exists()
    assert all(map(os.path.lexists, strange))
    status, health, _ = shared.request("GET", "/healthz")
    assert (status, health["status"]) == (200, "ok")
    assert "simscoped_spool_skipped_files 9.0" in shared.request("GET", "/metrics")[1]
    for name in ("link.json", "nowhere.ndjson", "pipe.json", "pipe", "socket"):
        (folder / name).unlink()
    os.rmdir(strange_folder)
    (folder / "folder.json").rename(folder / "folder")
    for path in strange:
        os.unlink(path)
    wait_until(lambda: not [path for path in skipped(shared) if run in path])
    receipt(shared, f"{run}/folder/x.json")


def test_a_symbolic_link_to_a_folder_is_reported_and_not_followed(shared: Daemon, run: str) -> None:
    outside = shared.folder / f"{run}-outside"
    outside.mkdir()
    (outside / "x.json").write_text(json.dumps(live()))
    link = shared.spool / run
    link.symlink_to(outside)

    rescanned(shared, run)

    told = skipped(shared)
    link.unlink()
    assert (outside / "x.json").exists()
    assert run in told


def folder_so_long(daemon: Daemon, size: int) -> str:
    """A folder below the spool whose whole path has so many bytes."""
    rest = size - len(os.fsencode(daemon.spool)) - 1
    return "/".join("d" * 99 for _ in range(rest // 100 - 1)) + "/" + "e" * (rest % 100 + 100)


@pytest.mark.parametrize("done", ["keep", "delete"])
def test_a_file_whose_path_leaves_no_room_for_what_becomes_of_it_is_reported_and_left(
    make_daemon: Callable[..., Daemon], done: str
) -> None:
    daemon = make_daemon(f'{LIVE_SIGS}[spool]\ndir = "spool"\ndone = "{done}"\n').start()
    beyond = [f"{folder_so_long(daemon, size)}/x.json" for size in (3994, 4030, 4080, 4088)]
    for path in beyond:
        put(daemon, path, live())
    fits = folder_so_long(daemon, 3993)
    put(daemon, f"{fits}/x.json", envelope("job-live", "r", live("fits")))
    put(daemon, f"{fits}/y.json", [1])

    daemon.drop("r/good.json", live("good"))

    receipt(daemon, "r/good.json")
    wait_until((daemon.spool / ".bad" / fits / "y.json.reason.json").exists)
    wait_until(lambda: skipped(daemon) == dict.fromkeys(beyond, "its path is longer than 4000 bytes"))
    wait_until(lambda: results(daemon, "r") == {"good": "live", "fits": "live"})
    wait_until(lambda: len(list(daemon.spool.glob(f".done/*/{fits}/x.json"))) == (done == "keep"))
    assert all((daemon.spool / path).exists() for path in beyond)
    assert daemon.request("GET", "/healthz")[0] == 200


def test_folders_below_too_many_folders_are_reported_and_not_read(shared: Daemon, run: str) -> None:
    deep = "/".join([run, *("d" for _ in range(255))])
    for number, folder in enumerate([deep, f"{deep}/d", f"{deep}/{'/'.join('d' * 300)}"]):
        shared.drop(f"{folder}/x.json", envelope("job-live", run, live(str(number))))

    shared.drop(f"{run}/good.json", live("good"))

    receipt(shared, f"{run}/good.json")
    receipt(shared, f"{deep}/x.json")
    wait_until(lambda: skipped(shared).get(f"{deep}/d/") == "lies more than 256 folders deep")
    assert results(shared, run) == {"good": "live", "0": "live"}
    (shared.spool / deep / "d").rename(shared.spool / f".{run}")
