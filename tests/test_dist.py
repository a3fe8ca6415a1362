"""The daemon as one file to carry away: what `make dist` builds serves a run, with its page, schema and logs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.daemons import ROOT, Daemon, done, live, publish

from simscope_server.program import __version__

pytestmark = pytest.mark.process

LIVE = "[sigs]\nenablelivejobs = true\n"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """dist/simscoped.pyz, built as the Makefile builds it, alone in a folder."""
    folder = tmp_path_factory.mktemp("dist")
    built = folder / "simscoped.pyz"
    subprocess.run([sys.executable, str(ROOT / "contrib" / "make_pyz.py"), str(built)], cwd=folder, check=True)
    return built


def test_the_archive_says_its_version(archive: Path) -> None:
    told = subprocess.run([sys.executable, str(archive), "--version"], capture_output=True, text=True, check=True)

    assert told.stdout == f"simscoped {__version__}\n"


def test_the_archive_serves_a_run(archive: Path, tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, LIVE, [sys.executable, str(archive)])
    daemon.start(env={"PYTHONPATH": ""})
    try:
        publish(daemon, "job-live", "r/1", live("a"))
        publish(daemon, "job-finish", "r/1", done("a", "fail", fail_message="stuck"))
        publish(daemon, "regr-finish", "r/1", {})

        told = daemon.get("/regressions/r%2F1")
        page = daemon.request("GET", "/")[1]
        script = page.partition('type="module" src="')[2].partition('"')[0]

        assert (told["status"], told["counts"]["fail"]) == ("complete", 1)
        assert daemon.request("GET", script)[0] == 200
        assert (tmp_path / "simscope.db.logs").exists()
    finally:
        assert daemon.stop() == 0


def test_what_is_not_installed_is_told_in_a_sentence(archive: Path) -> None:
    told = subprocess.run([sys.executable, "-S", "-I", str(archive), "serve"], capture_output=True, text=True)

    assert told.returncode == 2
    assert "is not installed; it needs aiohttp>=" in told.stderr
    assert "Traceback" not in told.stderr


def test_building_it_twice_gives_the_same_bytes(archive: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.pyz"

    subprocess.run([sys.executable, str(ROOT / "contrib" / "make_pyz.py"), str(again)], check=True)

    assert again.read_bytes() == archive.read_bytes()
