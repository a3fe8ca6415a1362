"""A wire between a client and the daemon that can be cut, and held silent."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from urllib.parse import urlsplit


class Wire:
    """Passes bytes between a port of its own and the daemon's."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.target = (parts.hostname or "127.0.0.1", parts.port or 80)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.connections = 0
        self.requests: list[bytes] = []
        self.answered = 0  # bytes
        self.held = threading.Event()
        self.held.set()
        self.on_answer: Callable[[], None] = lambda: None
        self.change: Callable[[bytes], bytes] = lambda data: data  # what the daemon says, on its way
        self.open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def hold(self) -> None:
        """From here on nothing comes through any more, and nobody is told."""
        self.held.clear()

    def cut(self) -> None:
        """Break all connections, in the middle of whatever they carry."""
        while self.open:
            with contextlib.suppress(OSError):
                self.open.pop().shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.listener.close()
        self.held.set()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                self.connections += 1
                try:
                    far = socket.create_connection(self.target)
                except OSError:
                    near.close()
                    continue
                self.open += [near, far]
                threading.Thread(target=self._pass, args=(near, far, True), daemon=True).start()
                threading.Thread(target=self._pass, args=(far, near, False), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, asking: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(4096):
                self.held.wait()
                if asking:
                    self.requests.append(data.partition(b"\r\n")[0])
                else:
                    self.answered += len(data)
                    self.on_answer()
                    data = self.change(data)
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
