"""One message in each POST, 16 connections, answered when durable, against an aiohttp handler that does nothing.

usage: python bench/post.py [--seconds 10] [--reps 1] [--quick] [--work FOLDER]     needs wrk

wrk drives both with the same requests (post.lua): jobs that go live, and finish 1,000 jobs later.
"""

import contextlib
import multiprocessing
import re
import socket
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

from aiohttp import web
from common import Daemon, options, report_ratio, work_folder

SCRIPT = Path(__file__).with_name("post.lua")
UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


def main() -> None:
    chosen = options(__doc__, ("--seconds", {"type": int, "default": 10}), ("--reps", {"type": int, "default": 1}))
    seconds = 2 if chosen.quick else chosen.seconds
    limits, ours, slowest = [], [], []
    with work_folder(chosen) as folder:
        for repetition in range(chosen.reps):
            with nothing_served() as address:
                limits.append(driven(address, seconds)[0])
            daemon = Daemon(chosen, folder / f"daemon{repetition}")
            daemon.start()
            used = daemon.cpu_s()
            rate, p99 = driven(f"http://{daemon.host}:{daemon.port}/api/v1/messages", seconds)
            cpu = (daemon.cpu_s() - used) / (rate * seconds) * 1e6
            if daemon.receipts() < rate * seconds * 0.99:
                raise SystemExit("more answers than receipts")
            daemon.stop()
            ours.append(rate)
            slowest.append(p99)
    rate, limit = statistics.median(ours), statistics.median(limits)
    more = {"p99_ms": statistics.median(slowest), "cpu_us": round(cpu)}
    report_ratio("POST of one message, 16 connections", rate, limit, "requests/s", 0.25, 0.40, **more)


@contextlib.contextmanager
def nothing_served() -> Iterator[str]:
    """The address of a process whose handler reads the request and answers an empty object."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        server = multiprocessing.get_context("fork").Process(target=serve_nothing, args=(door,))
        server.start()
        yield "http://{}:{}/".format(*door.getsockname())
        server.terminate()
        server.join()


def serve_nothing(door: socket.socket) -> None:
    async def nothing(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=b"{}", content_type="application/json")

    app = web.Application()
    app.router.add_post("/", nothing)
    web.run_app(app, sock=door, access_log=None, print=None)


def driven(address: str, seconds: int) -> tuple[float, float]:
    """Requests per second, and p99 in ms."""
    command = ["wrk", "-t1", "-c16", f"-d{seconds}s", "--latency", "-s", str(SCRIPT), address]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in told or "Socket errors" in told:
        raise SystemExit(told)
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", told)[1])
    number, unit = re.search(r"99%\s+([\d.]+)(\w+)", told).groups()
    return rate, float(number) * UNITS[unit]


if __name__ == "__main__":
    main()
