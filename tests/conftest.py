"""Fixtures: a database in memory with a clock set by hand, and the real daemon as a process on a free port."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.daemons import LIVE_SIGS, Daemon
from support.stories import Story

from simscope import Client


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
STARTING = {"make_daemon", "shared", "host", "client", "browser", "firefox"}  # fixtures that start processes
STARTING_PLACES = {"examples", "test_docs.py"}
TAKING_LONG = {"examples", "test_docs.py", "page"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: TAKING_LONG.isdisjoint(item.path.parts))  # else a worker ends alone with one of them
    for item in items:
        _mark(item)
        if not config.option.everything:
            _leave_out(item)


def _mark(item: pytest.Item) -> None:
    """Mark what starts a process, so that all the rest can run first."""
    fixtures: list[str] = getattr(item, "fixturenames", [])
    starts = not STARTING.isdisjoint(fixtures) or not STARTING_PLACES.isdisjoint(item.path.parts)
    if starts or any(map(item.get_closest_marker, NEEDED)):
        item.add_marker(pytest.mark.process)


def _leave_out(item: pytest.Item) -> None:
    """Leave out, and say so, what needs a program that is not installed."""
    for marker, (program, package) in NEEDED.items():
        if item.get_closest_marker(marker) and shutil.which(program) is None:
            item.add_marker(pytest.mark.skip(reason=f"{program} is missing: apt install {package}"))


@pytest.fixture(autouse=True)
def starts_what_it_says(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep processes away from tests that are not marked as starting one."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("this test starts a process: mark it with pytest.mark.process")

    if request.node.get_closest_marker("process") is None:
        monkeypatch.setattr(subprocess, "Popen", refuse)


@pytest.fixture(autouse=True)
def clients_are_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close the connections that clients of a test have kept: one that is left to the collector is a warning."""
    made: list[Client] = []
    begin = Client.__init__

    def remember(self: Client, *arguments: Any, **named: Any) -> None:
        begin(self, *arguments, **named)
        made.append(self)

    monkeypatch.setattr(Client, "__init__", remember)
    yield
    for client in made:
        client.close()


@pytest.fixture(scope="module")
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all tests of a module, with the CONFIG of the module, if it has one."""
    daemon = Daemon(tmp_path_factory.mktemp("shared"), getattr(request.module, "CONFIG", LIVE_SIGS)).start()
    yield daemon
    daemon.stop()


numbers = itertools.count(1)


@pytest.fixture
def run() -> str:
    """A regression that no other test uses, in this process or in one beside it."""
    return f"run{next(numbers)}{os.environ.get('PYTEST_XDIST_WORKER', '')}"
