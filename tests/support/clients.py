"""What tests of the Python client share: a daemon that is told things, and calls that run in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from simscope import Client
from support.daemons import Daemon, publish_job

SOON = 20  # seconds; below the 30 that one question of a waiting client may be pending


def publish(daemon: Daemon, body: dict[str, Any], regression: str = "r/1") -> int:
    """Publish a job. -> its id."""
    return publish_job(daemon, regression, body)


def append(daemon: Daemon, job: int, *lines: str, offset: int | None = None) -> None:
    body: dict[str, Any] = {"lines": lines} | ({} if offset is None else {"offset": offset})
    assert daemon.post(f"/jobs/{job}/logs", body)[0] == 200


def restart(daemon: Daemon, away: float = 0.0) -> None:
    """Stop the daemon and start it again at the same address."""
    address = urlsplit(daemon.url).netloc
    daemon.stop()
    time.sleep(away)
    daemon.start(env={"SIMSCOPE_LISTEN": address})


class Running:
    """Calls a function in a thread; `result` gives what it returns, or raises what it raises."""

    def __init__(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> None:
        self.found: Any = None
        self.error: BaseException | None = None

        def call() -> None:
            try:
                self.found = function(*arguments, **keywords)
            except BaseException as error:
                self.error = error

        self.thread = threading.Thread(target=call, daemon=True)
        self.thread.start()

    def result(self, seconds: float = 20) -> Any:
        self.thread.join(seconds)
        assert not self.thread.is_alive(), f"it has not returned after {seconds} s"
        if self.error is not None:
            raise self.error
        return self.found


def before_request(client: Client, part: str, action: Callable[[], Any]) -> None:
    """Do something once, at the last moment before the client sends a request whose path has `part` in it."""
    ask, waiting = client.caller.ask, [action]

    def asking(method: str, path: str, *arguments: Any, **keywords: Any) -> Any:
        if part in path and waiting:
            waiting.pop()()
        return ask(method, path, *arguments, **keywords)

    client.caller.ask = asking  # type: ignore[method-assign]


def after_reply(client: Client, part: str, action: Callable[[], Any]) -> None:
    """Do something once, the moment a reply has come to a request whose path has `part` in it."""
    ask, waiting = client.caller.ask, [action]

    def asking(method: str, path: str, *arguments: Any, **keywords: Any) -> Any:
        document = ask(method, path, *arguments, **keywords)
        if part in path and waiting:
            waiting.pop()()
        return document

    client.caller.ask = asking  # type: ignore[method-assign]
