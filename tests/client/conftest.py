"""Fixtures: a host of the farm, a stand-in for the daemon, and the Python client of a real one."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.daemons import Daemon
from support.hosts import Host, Inside
from support.proxies import Wire
from support.trackers import Tracker

import simscope
from simscope import Client


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
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def inside(host: Host, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> Inside:
    """Calls main() without a process, which is faster, for the many cases that differ in a detail."""
    monkeypatch.chdir(host.folder)
    for name in [name for name in os.environ if name.startswith("SIMSCOPE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SIMSCOPE_BACKLOG", str(host.backlog))

    def call(*arguments: object) -> tuple[int, str, str]:
        code = simscope.main(list(map(str, arguments)))
        written = capfd.readouterr()
        return code, written.out, written.err

    return call


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    tracker = Tracker()
    yield tracker
    tracker.close()


@pytest.fixture
def client(daemon: Daemon) -> Client:
    return Client(daemon.url)


@pytest.fixture
def wire(daemon: Daemon) -> Iterator[Wire]:
    wire = Wire(daemon.url)
    yield wire
    wire.close()
