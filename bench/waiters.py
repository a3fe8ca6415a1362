"""500 clients that wait for a live job each (long poll): what that costs, and how long until all have been answered.

usage: python bench/waiters.py [--waiters 500] [--seconds 10] [--rate 100] [--quick] [--work FOLDER] [--daemon FILE]

The waiters are a process of their own; each holds one question open, GET /jobs/ID?wait=60&until=done. First nothing
happens, then other jobs are published at --rate a second, then all jobs that are waited for are finished at once by one
request, and each answer is checked and timed from the moment that request was sent.
"""

import argparse
import asyncio
import json
import multiprocessing
import time
from multiprocessing.connection import Connection
from pathlib import Path

from common import Daemon, ask, envelope, job, options, percentile, random, report_most, work_folder

WAITED = "waiters/1"
OTHERS = "others/1"


def main() -> None:
    chosen = options(
        __doc__,
        ("--waiters", {"type": int, "default": 500}),
        ("--seconds", {"type": int, "default": 10}),
        ("--rate", {"type": int, "default": 100}),
    )
    count, seconds = (50, 3) if chosen.quick else (chosen.waiters, chosen.seconds)
    with work_folder(chosen) as folder:
        daemon = Daemon(chosen, folder / "waiters")
        daemon.start()
        chance = random.Random(5)
        lives = [job(chance, WAITED, number) for number in range(count)]
        numbers = publish(daemon, "job-live", WAITED, lives)
        before = daemon.memory_mb()
        waiting, control = wait_for_all(daemon, numbers)
        what = f"{count} waiting clients"
        report_most(f"memory of {what}", round(daemon.memory_mb() - before, 1), "MB", 50, 20)
        report_most(f"CPU of {what}, nothing happens", cpu(daemon, seconds, 0), "% of a core", 5, 1)
        busy = cpu(daemon, seconds, chosen.rate)
        alone = cpu_without_waiters(chosen, folder, seconds)
        report_most(f"CPU at {chosen.rate} other jobs/s, {what}", busy, "% of a core", 60, 25, without_waiters=alone)
        sent = time.time()
        publish(daemon, "job-finish", WAITED, [live | {"result": "pass", "compute_ms": 1} for live in lives])
        answered = control.recv()
        waiting.join()
        wrong = sum(1 for _, good in answered if not good) + count - len(answered)
        delays = [(at - sent) * 1000 for at, _ in answered]
        report_most(f"p50 from the finish to the answer, {what}", percentile(delays, 50), "ms", None, 500)
        report_most(f"until all are answered, {what}", max(delays), "ms", 5000, 1000, wrong_answers=wrong)
        daemon.stop()


def publish(daemon: Daemon, kind: str, regression: str, bodies: list[dict[str, object]]) -> list[int]:
    """Publish jobs in one request. -> their ids."""
    lines = b"\n".join(envelope(kind, regression, body) for body in bodies)
    connection = daemon.connection()
    status, told = ask(connection, "POST", "/api/v1/messages", lines, "x-ndjson")
    assert (status, told["applied"]) == (200, len(bodies)), told
    found, after = [], ""
    while after is not None:
        path = f"/api/v1/regressions/{regression.replace('/', '%2F')}/jobs?limit=500{after and '&after=' + after}"
        _, page = ask(connection, "GET", path)
        found += [item["id"] for item in page["items"]]
        after = page["next"]
    return found


def cpu(daemon: Daemon, seconds: int, rate: int) -> float:
    """CPU of the daemon in percent of a core, while other jobs are published so often."""
    chance, connection = random.Random(7), daemon.connection()
    used, begun = daemon.cpu_s(), time.perf_counter()
    for number in range(seconds * rate):
        time.sleep(max(0.0, begun + number / rate - time.perf_counter()))
        ask(connection, "POST", "/api/v1/messages", envelope("job-live", OTHERS, job(chance, OTHERS, number)))
    time.sleep(max(0.0, begun + seconds - time.perf_counter()))
    return round((daemon.cpu_s() - used) / (time.perf_counter() - begun) * 100, 1)


def cpu_without_waiters(chosen: argparse.Namespace, folder: Path, seconds: int) -> float:
    """The same load for a daemon that nobody waits for."""
    daemon = Daemon(chosen, folder / "alone")
    daemon.start()
    used = cpu(daemon, seconds, chosen.rate)
    daemon.stop()
    return used


def wait_for_all(daemon: Daemon, numbers: list[int]) -> tuple[multiprocessing.Process, Connection]:
    """Let a process wait for each of the jobs; return when all have asked."""
    ours, theirs = multiprocessing.Pipe()
    waiting = multiprocessing.get_context("fork").Process(target=wait_in_process, args=(daemon.port, numbers, theirs))
    waiting.start()
    ours.recv()
    time.sleep(1)
    return waiting, ours


def wait_in_process(port: int, numbers: list[int], control: Connection) -> None:
    async def wait_for(number: int, asked: asyncio.Semaphore) -> tuple[float, bool]:
        """Ask until the job is done. -> when the answer came, and whether it is the right one."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        path = f"/api/v1/jobs/{number}?wait=60&until=done"
        while True:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            asked.release()
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].split()[0])
            told = json.loads(await reader.readexactly(length))
            if told["done"]:
                writer.close()
                return time.time(), (told["id"], told["result"]) == (number, "pass")

    async def run() -> None:
        asked = asyncio.Semaphore(0)
        tasks = [asyncio.create_task(wait_for(number, asked)) for number in numbers]
        for _ in numbers:
            await asked.acquire()
        control.send("waiting")
        control.send(await asyncio.gather(*tasks))

    asyncio.run(run())


if __name__ == "__main__":
    main()
