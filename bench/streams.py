"""500 readers of the event stream at 200 events a second, and how fast the daemon ends with 50 streams open.

usage: python bench/streams.py [--readers 500] [--rate 200] [--seconds 10] [--quick] [--work FOLDER]

The readers are a process of their own. A live message carries the time of its POST in its phase, which its event tells.
"""

import asyncio
import multiprocessing
import re
import time
from multiprocessing.connection import Connection

from common import Daemon, ask, envelope, job, options, percentile, random, report_most, work_folder

REQUEST = b"GET /api/v1/events/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
PHASE = re.compile(rb'"phase":"(\d+)"')
ONE_POST_S = 0.05
SAMPLED = 20  # readers whose delays are kept


def main() -> None:
    chosen = options(
        __doc__,
        ("--readers", {"type": int, "default": 500}),
        ("--rate", {"type": int, "default": 200}),
        ("--seconds", {"type": int, "default": 10}),
    )
    readers, seconds = (50, 3) if chosen.quick else (chosen.readers, chosen.seconds)
    with work_folder(chosen) as folder:
        daemon = Daemon(chosen, folder / "fanout")
        daemon.start()
        before = daemon.memory_mb()
        cpu, delays, lost = fan_out(daemon, readers, chosen.rate, seconds)
        memory = daemon.memory_mb() - before
        daemon.stop()
        what = f"{readers} streams at {chosen.rate} events/s"
        report_most(f"CPU of {what}", cpu, "% of a core", 60, 25, lost_events=lost, memory_growth_mb=round(memory, 1))
        report_most(f"p99 from POST to reader, {what}", percentile(delays, 99), "ms", None, 100)
        report_most("end with 50 streams open", ended_with_streams(Daemon(chosen, folder / "end"), 50), "s", 2, 0.5)


def fan_out(daemon: Daemon, readers: int, rate: int, seconds: int) -> tuple[float, list[float], int]:
    """-> CPU in percent, delays in ms, events that did not arrive."""
    ours, theirs = multiprocessing.Pipe()
    reading = multiprocessing.get_context("fork").Process(target=read_all, args=(daemon.port, readers, theirs))
    reading.start()
    ours.recv()
    used = daemon.cpu_s()
    sent = send_at(daemon, rate, seconds)
    cpu = (daemon.cpu_s() - used) / seconds * 100
    time.sleep(1)
    ours.send("enough")
    seen, delays = ours.recv()
    reading.join()
    return cpu, delays, sent * readers - seen


def send_at(daemon: Daemon, rate: int, seconds: int) -> int:
    chance = random.Random(9)
    connection = daemon.connection()
    begun = time.perf_counter()
    each = max(1, round(rate * ONE_POST_S))
    posts = round(rate * seconds / each)
    for post in range(posts):
        time.sleep(max(0.0, begun + post * each / rate - time.perf_counter()))
        now = str(time.time_ns())
        told = (envelope("job-live", "stream/1", job(chance, "stream/1", 1) | {"phase": now}) for _ in range(each))
        ask(connection, "POST", "/api/v1/messages", b"\n".join(told), "x-ndjson")
    return posts * each


class Reader(asyncio.Protocol):
    """One open stream: counts events, and keeps how long they took."""

    def __init__(self, delays: list[float] | None) -> None:
        self.delays = delays
        self.rest = b""
        self.seen = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        now = time.time_ns()
        whole, _, self.rest = (self.rest + data).rpartition(b"\n\n")
        sent = PHASE.findall(whole)
        self.seen += len(sent)
        if self.delays is not None:
            self.delays += [(now - int(at)) / 1e6 for at in sent]


def read_all(port: int, count: int, control: Connection) -> None:
    """Open the streams, say so, read until told to end, hand back what was seen."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        delays: list[float] = []
        readers = [Reader(delays if number < SAMPLED else None) for number in range(count)]
        for reader in readers:
            await loop.create_connection(lambda reader=reader: reader, "127.0.0.1", port)
        await asyncio.sleep(1)
        control.send("open")
        await loop.run_in_executor(None, control.recv)
        control.send((sum(reader.seen for reader in readers), delays))

    asyncio.run(run())


def ended_with_streams(daemon: Daemon, count: int) -> float:
    daemon.start()
    ours, theirs = multiprocessing.Pipe()
    reading = multiprocessing.get_context("fork").Process(target=read_all, args=(daemon.port, count, theirs))
    reading.start()
    ours.recv()
    spent = daemon.stop()
    ours.send("enough")
    reading.join()
    return spent


if __name__ == "__main__":
    main()
