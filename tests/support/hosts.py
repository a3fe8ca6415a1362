"""A host of the farm, with the script simscope.py, a spool folder and a backlog."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import simscope
from support.trackers import Answer

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "simscope.py"

Inside = Callable[..., tuple[int, str, str]]  # main() called without a process: exit code, standard output, error


class Host:
    """A host of the farm: runs simscope.py as a process in a folder of its own, with an environment of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spool = folder / "spool"
        self.spool.mkdir()
        self.backlog = folder / "state" / "backlog"
        self.env = {"PATH": os.environ["PATH"], "HOME": str(folder), "SIMSCOPE_BACKLOG": str(self.backlog)}

    def __call__(
        self, *arguments: object, stdin: bytes | int = subprocess.DEVNULL, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end; standard input is bytes, a descriptor, or empty."""
        source: dict[str, Any] = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin}
        done = subprocess.run(
            self.command(*arguments), cwd=self.folder, env=self.env | env, capture_output=True, timeout=20, **source
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
        )

    def command(self, *arguments: object) -> list[str]:
        return [sys.executable, str(SCRIPT), *map(str, arguments)]

    def start(self, *arguments: object, **more: Any) -> subprocess.Popen[bytes]:
        options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": self.env} | more
        process: subprocess.Popen[bytes] = subprocess.Popen(self.command(*arguments), cwd=self.folder, **options)
        return process

    def run(self, *arguments: object, **env: Any) -> subprocess.CompletedProcess[str]:
        """`run` into the spool; the arguments behind the options start with "--"."""
        return self("run", "--regression", "r/1", "--spool", self.spool, *arguments, **env)

    def shell(self, script: str, *options: object, **env: str) -> subprocess.CompletedProcess[str]:
        return self.run(*options, "--", "sh", "-c", script, **env)

    def file(self, name: str, content: Any) -> Path:
        path = self.folder / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def spooled(self) -> list[Any]:
        return read_whole(self.spool)

    def messages(self) -> dict[str, dict[str, Any]]:
        """The bodies in the spool by type: one live, one finish."""
        return {envelope["type"]: envelope["body"] for envelope in self.spooled()}

    def finish(self) -> dict[str, Any]:
        return self.messages()["job-finish"]

    def kept(self, folder: str = "") -> list[dict[str, Any]]:
        """What is in the backlog, oldest first."""
        return read_whole(self.backlog / folder)


def read_whole(folder: Path) -> list[Any]:
    """The JSON files in a folder by name, without those still being written."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("[!.]*.json"))]


def problem(status: int, title: str, **more: Any) -> Answer:
    return status, {"type": "about:blank", "title": title, "status": status} | more


def dead_url() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def judge(output: str = "", code: int = 0, found: Any = None, **patterns: Any) -> tuple[str, str]:
    """The verdict on a command that ended with `code` after `output`, with `found` in its results file."""
    scanner = simscope.Scanner(**patterns)
    scanner.take(1, output.encode())
    scanner.close()
    verdict: tuple[str, str] = simscope.verdict(
        simscope.Ended(code), scanner, found or {}, bool(patterns.get("passing"))
    )
    return verdict
