"""What the project promises about its dependencies and its installation."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from support.daemons import ROOT, Daemon

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUNTIME = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]]
DEV = PROJECT["project"]["optional-dependencies"]["dev"]
PINNED = re.compile(
    r"^([a-z0-9-]+)==([^ ;]+)(?: ; (.*?))? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE
)


class Pinned(NamedTuple):
    version: str
    condition: str
    hashes: str


def locked(name: str) -> dict[str, Pinned]:
    """A lock file by package."""
    return {found[1]: Pinned(*found.group(2, 3, 4)) for found in PINNED.finditer((ROOT / name).read_text())}


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-run.lock"])
def test_every_line_of_a_lock_is_an_exact_version_with_hashes_or_a_comment(name: str) -> None:
    text = (ROOT / name).read_text()
    assert all(line.lstrip().startswith("#") for line in PINNED.sub("", text).splitlines())
    assert "make lock" in text.split("\n\n")[0]


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-run.lock"])
def test_a_lock_names_no_host_and_no_folder(name: str) -> None:
    assert not re.search(r"://|--(?:extra-)?index|--find-links|[ =]/", (ROOT / name).read_text())


def test_the_daemon_gets_the_versions_that_the_tests_see() -> None:
    tested = locked("requirements.lock")
    for package, pinned in locked("requirements-run.lock").items():
        assert pinned._replace(condition="") == tested[package]._replace(condition=""), package


@pytest.mark.parametrize(("name", "wanted"), [("requirements.lock", RUNTIME + DEV), ("requirements-run.lock", RUNTIME)])
def test_a_lock_has_what_pyproject_asks_for(name: str, wanted: list[str]) -> None:
    versions = locked(name)
    for requirement in map(Requirement, wanted):
        assert requirement.specifier.contains(versions[requirement.name].version), f"{requirement}: run make lock"


def test_the_lock_of_the_daemon_has_nothing_for_tests_alone() -> None:
    names = {Requirement(line).name for line in DEV}
    assert not names & locked("requirements-run.lock").keys()


def test_ranges_are_open_upward_and_say_their_reason() -> None:
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    for wanted in RUNTIME[:-1] + DEV:
        [line] = [line for line in lines if line.strip().startswith(f'"{wanted}"')]
        assert "# " in line, line
        assert {piece.operator for piece in Requirement(wanted).specifier} == {">="}, line


def copy_checkout(source: Path) -> None:
    """What belongs to the project, without what tools left behind."""
    left = shutil.ignore_patterns(".*", "build", "dist", "var", "*.egg-info", "__pycache__", "node_modules", "tests")
    shutil.copytree(ROOT, source, ignore=left)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the project as pip installs it, and the dependencies of this one."""
    folder = tmp_path_factory.mktemp("installed")
    copy_checkout(folder / "source")
    venv.create(folder / "venv")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build: list[str | Path] = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, folder / "source"]
    subprocess.run([*pip, *build], check=True)
    [wheel] = folder.glob("*.whl")
    subprocess.run([*pip, "--python", folder / "venv" / "bin" / "python", "install", "--no-deps", wheel], check=True)
    [packages] = folder.glob("venv/lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "venv"


@pytest.mark.process
def test_an_installed_daemon_serves_the_page_without_the_checkout(installed: Path, tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, program=[str(installed / "bin" / "simscoped")]).start(env={"PYTHONPATH": ""})
    try:
        assert "<!doctype html>" in daemon.request("GET", "/")[1].lower()
        for path in (ROOT / "static").iterdir():
            assert daemon.request("GET", f"/static/{path.name}")[0] == 200, path.name
    finally:
        daemon.stop()


@pytest.mark.process
def test_the_example_of_a_configuration_is_installed(installed: Path) -> None:
    assert [path.read_text() for path in installed.rglob("simscope.config.example")] == [
        (ROOT / "simscope.config.example").read_text()
    ]


@pytest.mark.process
@pytest.mark.parametrize("program", ["simscoped", "simscope", "simscope-tunnel"])
def test_every_command_starts_where_it_is_installed(installed: Path, tmp_path: Path, program: str) -> None:
    command = [str(installed / "bin" / program), "--help"]
    told = subprocess.run(command, cwd=tmp_path, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert program in told.stdout
