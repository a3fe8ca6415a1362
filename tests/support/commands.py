"""The commands of simscope.py as processes that ask a real daemon."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from support.daemons import Daemon, publish_job
from support.hosts import SCRIPT

HOSTILE = "\x1b[2J\x1b]0;owned\x07bad\x9b31m\r\x08 \u202etxt"


def publish(daemon: Daemon, body: dict[str, Any], regression: str = "n/1") -> int:
    return publish_job(daemon, regression, body)


def environment(daemon: Daemon, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SIMSCOPE_")}
    backlog = str(daemon.folder / "backlog")
    return kept | {"SIMSCOPE_SERVER": daemon.url, "SIMSCOPE_BACKLOG": backlog, "PYTHONIOENCODING": "utf-8"} | more


def start(daemon: Daemon, *arguments: object, **more: Any) -> subprocess.Popen[str]:
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": environment(daemon)}
    options |= {"text": True} | more
    process: subprocess.Popen[str] = subprocess.Popen(
        [sys.executable, str(SCRIPT), *map(str, arguments)], cwd=daemon.folder, **options
    )
    return process


def run(daemon: Daemon, *arguments: object, **more: Any) -> tuple[int, str, str]:
    """-> exit code, standard output, standard error."""
    process = start(daemon, *arguments, **more)
    out, err = process.communicate(timeout=30)
    assert "Traceback" not in err, err
    return process.returncode, out, err


def lines(daemon: Daemon, *arguments: object) -> list[str]:
    code, out, err = run(daemon, *arguments)
    assert (code, err) == (0, "")
    return out.splitlines()


def objects(daemon: Daemon, *arguments: object) -> list[Any]:
    return [json.loads(line) for line in lines(daemon, *arguments, "--json")]


def on_a_terminal(daemon: Daemon, *arguments: object, until: str, then: Callable[[], Any] = lambda: None) -> str:
    """Run a command on a terminal; when it has shown `until`, do something; return all that it has shown."""
    controller, terminal = pty.openpty()
    process = start(daemon, *arguments, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True)
    os.close(terminal)
    shown, end = b"", time.monotonic() + 25
    try:
        while time.monotonic() < end:
            if select.select([controller], [], [], 0.2)[0]:
                try:
                    shown += os.read(controller, 65536)
                except OSError:
                    break
            if until and until in shown.decode("utf-8", "replace"):
                until = ""
                then()
    finally:
        os.close(controller)
    process.wait(10)
    assert not until, shown
    return shown.decode("utf-8", "replace")
