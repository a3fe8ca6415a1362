"""Short words to ask the daemon over HTTP: problems, streams, followed logs, and what waits meanwhile."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable
from typing import Any, NamedTuple

from support.daemons import Daemon, publish


def envelope(kind: str, regression: str, body: Any) -> dict[str, Any]:
    return {"type": kind, "regression": regression, "body": body}


def lines(*values: Any) -> bytes:
    return "".join(f"{json.dumps(value)}\n" for value in values).encode()


def quoted(name: str) -> str:
    return urllib.parse.quote(name, safe="")


def problem(answer: tuple[int, Any, dict[str, str]], status: int, reason: str) -> Any:
    """Check that an answer is problem+json with all its members. -> it."""
    said, told, headers = answer
    assert (said, headers["content-type"].partition(";")[0]) == (status, "application/problem+json"), told
    assert told["status"] == status
    assert told["reason"] == reason
    assert all(isinstance(told[member], str) and told[member] for member in ("type", "title", "detail"))
    return told


def unchanged(daemon: Daemon, path: str, known: str) -> bool:
    """Does the daemon say that a reader who knows these tags has the newest version?"""
    status, body, headers = daemon.request("GET", path, headers={"If-None-Match": known})
    assert (status, bool(body)) in ((200, True), (304, False))
    assert headers["etag"]
    return status == 304


def raw(daemon: Daemon, request: bytes) -> bytes:
    """Send bytes as they are. -> the beginning of the answer."""
    address = urllib.parse.urlsplit(daemon.url)
    with socket.create_connection((address.hostname, address.port), 10) as channel:
        channel.sendall(request)
        return channel.recv(4096)


def send(daemon: Daemon, body: dict[str, Any], regression: str = "r") -> dict[str, Any]:
    """Publish a job over HTTP. -> what became of the message."""
    kind = "job-live" if body["result"] == "live" else "job-finish"
    outcome: dict[str, Any] = publish(daemon, kind, regression, body)["details"][0]
    return outcome


def texts(page: dict[str, Any]) -> list[str]:
    return [line["message"] for line in page["lines"]]


class Followed:
    """A log that is followed; read as it comes over the line."""

    def __init__(self, daemon: Daemon, job: int, offset: int = 0) -> None:
        address = urllib.parse.urlsplit(daemon.url)
        self.channel = socket.create_connection((address.hostname, address.port), 20)
        head = "Host: localhost\r\nAccept: text/event-stream\r\nConnection: close"
        self.channel.sendall(f"GET /api/v1/jobs/{job}/logs?offset={offset} HTTP/1.1\r\n{head}\r\n\r\n".encode())
        self.raw = b""

    def until(self, text: str | None) -> str:
        """All that has come, once that text is there; without one, at the end."""
        while (text is None or text.encode() not in self.raw) and (more := self.channel.recv(65536)):
            self.raw += more
        return self.raw.decode()

    def close(self) -> None:
        self.channel.close()


def newest(daemon: Daemon) -> int:
    return int(daemon.get("/events?limit=1")["newest"])


def types(items: list[Any]) -> list[str]:
    return [item["type"] for item in items]


WOKEN_S = 50  # of the 60 that a request waits: one that is answered later has not been woken


def later(seconds: float, action: Callable[[], Any]) -> threading.Thread:
    """Do something while the caller waits."""

    def act() -> None:
        time.sleep(seconds)
        action()

    thread = threading.Thread(target=act)
    thread.start()
    return thread


class Frame(NamedTuple):
    """A block of a stream."""

    id: int | None
    event: str | None
    data: Any
    comments: list[str]


class Stream:
    """A reader of /events/stream; reads only when it is asked to."""

    def __init__(self, daemon: Daemon, query: str = "", **headers: str) -> None:
        address = urllib.parse.urlsplit(daemon.url)
        self.channel = socket.create_connection((address.hostname, address.port), 10)
        head = {"Host": "localhost"} | {name.replace("_", "-"): value for name, value in headers.items()}
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        self.channel.sendall(f"GET /api/v1/events/stream{query} HTTP/1.0\r\n{lines}\r\n".encode())
        self.file = self.channel.makefile("rb")
        self.status = int(self.file.readline().split()[1])
        self.headers = {}
        while line := self.file.readline().strip():
            name, _, value = line.decode().partition(":")
            self.headers[name.lower()] = value.strip()
        self.first = self.block() if self.status == 200 else None

    def block(self) -> Frame | None:
        """The next block; None at the end."""
        fields: dict[str, str] = {}
        comments: list[str] = []
        while line := self.file.readline().decode():
            if line == "\n":
                value = json.loads(fields["data"]) if "data" in fields else None
                return Frame(int(fields["id"]) if "id" in fields else None, fields.get("event"), value, comments)
            name, _, value = line.rstrip("\n").partition(":")
            if name:
                fields[name] = value.removeprefix(" ")
            else:
                comments.append(value.strip())
        return None

    def take(self, count: int) -> list[Frame]:
        """The next frames with data."""
        found: list[Frame] = []
        while len(found) < count:
            frame = self.block()
            assert frame is not None, "the stream ended"
            if frame.data is not None:
                found.append(frame)
        return found

    def close(self) -> None:
        self.file.close()
        self.channel.close()


def streams(daemon: Daemon) -> float:
    lines = daemon.request("GET", "/metrics")[1].splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("simscoped_streams "))


def waiting(daemon: Daemon, path: str) -> tuple[threading.Thread, list[Any]]:
    told: list[Any] = []
    thread = threading.Thread(target=lambda: told.append(daemon.get(path)))
    thread.start()
    return thread, told
