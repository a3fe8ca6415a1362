"""A server that stands in for the daemon: it records what a client sends, and answers as it is told."""

from __future__ import annotations

import http.server
import json
import re
import threading
from collections.abc import Callable
from typing import Any

Answer = tuple[int, Any]


def receipt(*details: dict[str, Any], **counts: int) -> dict[str, Any]:
    numbers = {"messages": 1, "applied": 1, "duplicate": 0, "ignored": 0, "rejected": 0} | counts
    return {"id": 7, "name": "127.0.0.1", "received_at": "2030-01-01T00:00:00.000Z", "details": list(details)} | numbers


class Tracker:
    """A server that records what it is sent; `answer` may be replaced."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.answer: Callable[[dict[str, Any]], Answer] = lambda request: (200, receipt())
        self.headers: dict[str, str] = {}  # sent with each answer
        tracker = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request: dict[str, Any] = {"path": self.path, "headers": dict(self.headers), "raw": body}
                request["body"] = json.loads(body) if body else None
                tracker.requests.append(request)
                status, document = tracker.answer(request)
                content = document if isinstance(document, bytes) else json.dumps(document).encode()
                self.send_response(status)
                kind = "text/html" if isinstance(document, bytes) else "application/json"
                self.send_header("Content-Type", kind if status < 300 else kind.replace("/json", "/problem+json"))
                self.send_header("Content-Length", str(len(content)))
                if status in (301, 302):
                    self.send_header("Location", "http://elsewhere.invalid/")
                for name, value in tracker.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def types(self) -> list[str]:
        return [re.sub(r".*/publish/|\?.*", "", request["path"]) for request in self.requests]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
