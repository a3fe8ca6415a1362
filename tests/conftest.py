"""Fixtures: a database in memory with a clock set by hand, and the real daemon as a process on a free port."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.daemons import LIVE_SIGS, Daemon
from support.stories import Story


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.fixture
def make_daemon(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Makes daemons, not started yet; ends them all, and shows the log of a test that failed."""
    made: list[Daemon] = []

    def make(config: str = LIVE_SIGS, folder: str = "daemon", program: list[str] | None = None) -> Daemon:
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        made.append(Daemon(place, config, program))
        return made[-1]

    yield make
    for daemon in made:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.process.kill()
            daemon.process.wait()
        if daemon.log.exists():
            print(daemon.log.read_text())


@pytest.fixture
def daemon(make_daemon: Callable[..., Daemon]) -> Daemon:
    return make_daemon().start()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--everything", action="store_true", help="fail where a program that tests drive is missing")


NEEDED = {
    "browser": ("chromium", "chromium"),
    "firefox": ("firefox-esr", "firefox-esr"),
    "icarus": ("iverilog", "iverilog"),
    "node": ("node", "nodejs"),
    "zsh": ("zsh", "zsh"),
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, and say so, what needs a program that is not installed; with --everything it fails instead."""
    for item in items:
        for marker, (program, package) in NEEDED.items():
            if item.get_closest_marker(marker) and shutil.which(program) is None and not config.option.everything:
                item.add_marker(pytest.mark.skip(reason=f"{program} is missing: apt install {package}"))


@pytest.fixture(scope="module")
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all tests of a module, with the CONFIG of the module, if it has one."""
    daemon = Daemon(tmp_path_factory.mktemp("shared"), getattr(request.module, "CONFIG", LIVE_SIGS)).start()
    yield daemon
    daemon.stop()


numbers = itertools.count(1)


@pytest.fixture
def run() -> str:
    """A regression that no other test uses."""
    return f"run{next(numbers)}"
