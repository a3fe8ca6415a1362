"""What the benchmarks share: the real daemon as a process, messages, the composed limit, and how figures are reported.

Not run by itself. Every benchmark takes:
  --quick        a tenth of the size or less: does it run at all, and roughly how
  --work FOLDER  put database and spool below this folder instead of the system's temporary one
  --daemon FILE  measure this simscoped.py instead of the one in the checkout
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import random
import re
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

ROOT = Path(__file__).resolve().parent.parent
TICK = os.sysconf("SC_CLK_TCK")
BATCH = 1000
WINDOW = 2000  # jobs that are live at once: more than a batch, so that no job begins and ends in one transaction

CONFIG = """
[server]
listen = "127.0.0.1:0"
db = "{folder}/simscope.db"
[spool]
dir = "{spool}"
settle_ms = {settle_ms}
[sigs]
enablelivejobs = true
livetimeoutsignature = "LIVE Job Timeout or Missing"
"""


def options(doc: str | None, *more: tuple[str, dict[str, Any]]) -> argparse.Namespace:
    """The command line; `more` are further options as (name, keywords of add_argument)."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--daemon", type=Path, default=ROOT / "simscoped.py")
    for name, keywords in more:
        parser.add_argument(name, **keywords)
    return parser.parse_args()


@contextlib.contextmanager
def work_folder(chosen: argparse.Namespace) -> Iterator[Path]:
    """A fresh folder that is removed afterwards."""
    if chosen.work:
        chosen.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="simscoped-bench-", dir=chosen.work, ignore_cleanup_errors=True) as name:
        yield Path(name)


# The daemon.


class Daemon:
    """The real daemon as a process, with a database and a spool in `folder`."""

    def __init__(self, chosen: argparse.Namespace, folder: Path, settle_ms: int = 2000) -> None:
        self.program = chosen.daemon
        self.db = folder / "simscope.db"
        self.spool = folder / "spool"
        self.spool.mkdir(parents=True, exist_ok=True)
        self.log = folder / "daemon.log"
        self.config = folder / "simscope.config"
        self.config.write_text(CONFIG.format(folder=folder, spool=self.spool, settle_ms=settle_ms))

    def launch(self) -> None:
        """Start the process and do not wait for it."""
        command = [sys.executable, str(self.program), "--config", str(self.config)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stderr=log)
        self.started = time.perf_counter()

    def start(self) -> float:
        """Start, and wait for the first answer. -> seconds that it took."""
        self.launch()
        self.await_address()
        self.get("/healthz")
        return time.perf_counter() - self.started

    def await_address(self) -> None:
        while not (found := re.search(r" on http://([\d.]+):(\d+)/", self.log.read_text())):
            if self.process.poll() is not None:
                raise SystemExit(f"the daemon did not start:\n{self.log.read_text()}")
            time.sleep(0.002)
        self.host, self.port = found[1], int(found[2])

    def stop(self) -> float:
        """Ask it to end and wait. -> seconds that it took."""
        begun = time.perf_counter()
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(60) != 0:
            raise SystemExit(f"the daemon ended with an error:\n{self.log.read_text()[-3000:]}")
        return time.perf_counter() - begun

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.host, self.port, timeout=60)

    def get(self, path: str) -> Any:
        return ask(self.connection(), "GET", path)[1]

    def reader(self) -> sqlite3.Connection:
        """A second connection to the database, which cannot write."""
        return sqlite3.connect(f"file:{self.db}?mode=ro", uri=True, isolation_level=None)

    def receipts(self) -> int:
        """Deliveries that are committed."""
        with contextlib.suppress(sqlite3.OperationalError), contextlib.closing(self.reader()) as conn:
            return int(conn.execute("SELECT last_receipt_id FROM daemon").fetchone()[0])
        return 0

    def files(self) -> int:
        """Files that lie in the spool or in its work folder."""
        return sum(name.endswith("json") for _, _, names in os.walk(self.spool) for name in names)

    def await_drained(self, receipts: int) -> None:
        """Wait until so many deliveries are committed and the spool is cleared away."""
        while self.receipts() < receipts or self.files():
            if self.process.poll() is not None:
                raise SystemExit(f"the daemon died:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.02)

    def processes(self) -> list[int]:
        """The daemon's two processes."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [self.process.pid, *map(int, children.split())]

    def memory_mb(self) -> float:
        """Memory in use by both processes; what they share counts once."""
        told = (Path(f"/proc/{number}/smaps_rollup").read_text() for number in self.processes())
        return round(sum(int(re.search(r"^Pss:\s+(\d+)", text, re.M)[1]) for text in told) / 1024, 1)

    def peak_mb(self) -> float:
        """The highest that each process ever had, added up: what they share counts twice."""
        told = (Path(f"/proc/{number}/status").read_text() for number in self.processes())
        return round(sum(int(re.search(r"VmHWM:\s+(\d+)", text)[1]) for text in told) / 1024, 1)

    def cpu_s(self) -> float:
        """CPU seconds used so far by both processes."""
        told = [Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split() for number in self.processes()]
        return sum(int(fields[11]) + int(fields[12]) for fields in told) / TICK


def ask(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None, kind: str = "json"
) -> tuple[int, Any]:
    """One request. -> status, JSON answer."""
    connection.request(method, path, body, {"Content-Type": f"application/{kind}"} if body is not None else {})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


# Messages: the full example of the live-job documents in an envelope.

TESTGROUPS = "smoke alu lsu fetch mmu l2 noc pcie".split()
FAILS = (
    "Store buffer underflow at top.fifo{}.input{}[{}]",
    "UVM_FATAL scoreboard mismatch exp={} got={} at cycle {}",
    "Assertion core{}.lsu.chk_{} failed at time {} ns",
    "Timeout: no retire on core {} thread {} for {} cycles",
    "Register mismatch: rtl={} iss={} after {} instructions",
)
FAIL_RATE = 0.1


def job(chance: random.Random, regression: str, number: int) -> dict[str, Any]:
    """A live job."""
    seed = str(chance.randrange(1 << 31))
    at = f"2025-02-01T{chance.randrange(24):02}:{chance.randrange(60):02}:11.{chance.randrange(1000):03}-05:00"
    return {
        "start_time": at,
        "uniqueid": str(uuid.UUID(int=chance.getrandbits(128))),
        "jobdir": f"/home/runs/{regression}/job-{number}",
        "category": "sim",
        "config": f"sim +rand +tbuf +seed={seed}",
        "seed": seed,
        "build": "mybuild",
        "testgroup": TESTGROUPS[number % 8],
        "metadata": [["bufsize", str(chance.randrange(10000))]],
        "result": "live",
    }


def finished(chance: random.Random, live: dict[str, Any]) -> dict[str, Any]:
    """The same job with its verdict."""
    end = live | {"compute_ms": chance.randrange(1000, 600_000), "result": "pass"}
    if chance.random() < FAIL_RATE:
        values = (chance.randrange(8) for _ in range(3))
        end |= {"result": "fail", "fail_message": chance.choice(FAILS).format(*values)}
    return end


def envelope(kind: str, regression: str, body: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "regression": regression, "body": body}, separators=(",", ":")).encode()


def messages(count: int, names: Sequence[str] = (), seed: int = 1) -> list[bytes]:
    """`count` envelopes: jobs of 20 regressions go live, and finish when WINDOW others have begun after them."""
    chance = random.Random(seed)
    names = names or [f"bench/{number}" for number in range(20)]
    jobs = count // 2
    window = min(WINDOW, jobs // 2)
    told, running = [], []
    for number in range(jobs + window):
        if number < jobs:
            name = names[number % len(names)]
            running.append((name, job(chance, name, number)))
            told.append(envelope("job-live", *running[-1]))
        if number >= window:
            name, live = running[number - window]
            told.append(envelope("job-finish", name, finished(chance, live)))
    return told


def publish(spool: Path, told: Iterable[bytes], first: int = 0) -> int:
    """Write each message under a name that is not read, then rename it. -> how many."""
    number = first
    for number, raw in enumerate(told, first + 1):
        drop(f"{spool}/.{number:07}.json", f"{spool}/{number:07}.json", raw)
    return number - first


def drop(hidden: str, name: str, raw: bytes) -> None:
    file = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    os.write(file, raw)
    os.close(file)
    os.rename(hidden, name)


# The composed limit: what one thread needs to decode, and to write with executemany exactly the rows that the schema
# asks for (job, event, receipt) in batches of 1,000, durably, without any rule.


class Body(msgspec.Struct):
    category: str
    result: str
    uniqueid: str
    start_time: msgspec.Raw
    config: str
    seed: str
    build: str
    testgroup: str
    jobdir: str
    metadata: list[tuple[str, str]]
    compute_ms: int | None = None
    fail_message: str | None = None


class Envelope(msgspec.Struct):
    type: str
    regression: str
    body: Body


JOB = """
    id, regression_id, key, result, state, category, test_id, config, seed, build, testgroup, jobdir, start_at,
    metadata, submitted_at, running_at, seen_at, seen_tick, running_tick, version
"""
INSERT_JOB = f"INSERT INTO job ({JOB}) VALUES (?, ?, ?, 0, 'live', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
UPDATE_JOB = """
    UPDATE job SET result = ?, state = 'done', compute_ms = ?, fail_message = ?, signature_id = ?, done_at = ?,
        seen_at = ?, seen_tick = ?, limit_tick = NULL, version = ? WHERE id = ?
"""
INSERT_EVENT = "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, NULL)"
INSERT_RECEIPT = "INSERT INTO receipt VALUES (?, ?, ?, ?, 0, 0, 0, NULL)"
EVENTS = ("job.live", "job.passed", "job.failed")
RESULTS = {"live": 0, "pass": 1, "fail": 2}


def make_database(path: Path) -> sqlite3.Connection:
    """An empty database with our schema."""
    conn = sqlite3.connect(path, isolation_level=None)
    conn.executescript("""
        PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000;
        PRAGMA cache_size = -65536; PRAGMA temp_store = MEMORY;
    """)
    conn.executescript((ROOT / "schema.sql").read_text())
    conn.execute("INSERT INTO daemon VALUES (1, 'bench', 0, 0, 0, 0, 0, NULL)")
    return conn


class Spent(NamedTuple):
    """Seconds by the clock, and of CPU: on a busy machine the ratio of the latter says more."""

    wall: float
    cpu: float


def median(spent: Sequence[Spent]) -> Spent:
    return Spent(*(statistics.median(values) for values in zip(*spent, strict=True)))


class Limit:
    """Writes batches of raw messages as fast as one thread can."""

    def __init__(self, path: Path) -> None:
        self.conn = make_database(path)
        self.decode = msgspec.json.Decoder(Envelope).decode
        self.ids: dict[str, int] = {}
        self.regressions: dict[str, int] = {}
        self.signatures: dict[str, int] = {}
        self.tests: dict[str, int] = {}
        self.seq = self.receipts = 0

    def write(self, origin: Sequence[str], raws: Sequence[bytes], deliveries: Sequence[tuple[str, int]]) -> None:
        """One transaction: messages with the origin of each, and their deliveries as (name, messages)."""
        now = time.time_ns() // 1_000_000
        fresh: list[tuple[Any, ...]] = []
        done: list[tuple[Any, ...]] = []
        events: list[tuple[Any, ...]] = []
        self.conn.execute("BEGIN IMMEDIATE")
        for whence, raw in zip(origin, raws, strict=True):
            self.seq += 1
            self._rows(self.decode(raw), whence, now, fresh, done, events)
        receipts = [(self.receipts + place, name, now, count) for place, (name, count) in enumerate(deliveries, 1)]
        self.receipts += len(receipts)
        self.conn.executemany(INSERT_JOB, fresh)
        self.conn.executemany(UPDATE_JOB, done)
        self.conn.executemany(INSERT_EVENT, events)
        self.conn.executemany(INSERT_RECEIPT, receipts)
        self.conn.execute("COMMIT")

    def close(self, begun: Spent) -> Spent:
        """-> what was spent since."""
        spent = Spent(time.perf_counter() - begun.wall, time.process_time() - begun.cpu)
        self.conn.close()
        return spent

    def _rows(self, told: Envelope, whence: str, now: int, fresh: list, done: list, events: list) -> None:
        body, seq = told.body, self.seq
        regression = self.regressions.get(told.regression) or self._regression(told.regression)
        result = RESULTS[body.result]
        if result == 0:
            number = self.ids[body.uniqueid] = len(self.ids) + 1
            test = self._test(body.config.replace(body.seed, "*"))
            said = (body.category, test, body.config, body.seed, body.build, body.testgroup, body.jobdir, now)
            metadata = msgspec.json.encode(dict(body.metadata)).decode()
            fresh.append((number, regression, body.uniqueid, *said, metadata, now, now, now, now, now, seq))
        else:
            number = self.ids[body.uniqueid]
            signature = self._signature(body.fail_message) if body.fail_message else None
            done.append((result, body.compute_ms, body.fail_message, signature, now, now, now, seq, number))
        events.append((seq, now, EVENTS[result], regression, number, result, whence))

    def _regression(self, name: str) -> int:
        made = """
            INSERT INTO regression (name, fields, created_at, last_activity_at, active_tick, first_tick, version)
            VALUES (?, '{}', 0, 0, 0, 0, 0)
        """
        self.regressions[name] = int(self.conn.execute(made, (name,)).lastrowid or 0)
        return self.regressions[name]

    def _test(self, title: str) -> int:
        if title not in self.tests:
            made = "INSERT INTO test (key, title, category) VALUES (?, ?, 'sim')"
            self.tests[title] = int(self.conn.execute(made, (title.encode(), title)).lastrowid or 0)
        return self.tests[title]

    def _signature(self, message: str) -> int:
        title = message.partition(" ")[0]
        if title not in self.signatures:
            made = "INSERT INTO signature VALUES (NULL, 'sim', ?, 0, 1, 0)"
            self.signatures[title] = int(self.conn.execute(made, (title,)).lastrowid or 0)
        return self.signatures[title]


def files_at_limit(spool: Path, database: Path) -> Spent:
    """Read, remove and write all files of a folder."""
    limit = Limit(database)
    begun = Spent(time.perf_counter(), time.process_time())
    folder = os.open(spool, os.O_RDONLY)
    names = sorted(os.listdir(folder))
    for start in range(0, len(names), BATCH):
        chunk = names[start : start + BATCH]
        raws = [_taken(name, folder) for name in chunk]
        limit.write([f"spool:{name}" for name in chunk], raws, [(name, 1) for name in chunk])
    os.close(folder)
    return limit.close(begun)


def _taken(name: str, folder: int) -> bytes:
    file = os.open(name, os.O_RDONLY, dir_fd=folder)
    raw = os.read(file, 65536)
    os.close(file)
    os.unlink(name, dir_fd=folder)
    return raw


def lines_at_limit(bodies: Sequence[bytes], database: Path) -> Spent:
    """Write all messages of NDJSON bodies."""
    limit = Limit(database)
    begun = Spent(time.perf_counter(), time.process_time())
    for body in bodies:
        lines = body.splitlines()
        limit.write(["http:127.0.0.1"] * len(lines), lines, [("127.0.0.1", len(lines))])
    return limit.close(begun)


# NDJSON over HTTP.


def ndjson_bodies(count: int, names: Sequence[str] = (), seed: int = 1) -> list[bytes]:
    """Messages as NDJSON bodies of 1,000."""
    told = messages(count, names, seed)
    return [b"\n".join(told[start : start + BATCH]) for start in range(0, len(told), BATCH)]


def post_all(daemon: Daemon, bodies: Sequence[bytes], connections: int = 2) -> float:
    """Post bodies over some connections; each must be applied as a whole. -> seconds."""
    left = iter(bodies)
    lock = threading.Lock()
    wrong: list[Any] = []

    def work() -> None:
        connection = daemon.connection()
        while not wrong:
            with lock:
                body = next(left, None)
            if body is None:
                break
            status, answer = ask(connection, "POST", "/api/v1/messages", body, "x-ndjson")
            if status != 200 or answer["applied"] != answer["messages"]:
                wrong.append((status, answer))

    begun = time.perf_counter()
    in_parallel([work] * connections)
    spent = time.perf_counter() - begun
    if wrong:
        raise SystemExit(f"not applied: {str(wrong[0])[:1000]}")
    return spent


def in_parallel(works: Iterable[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# Reports: one JSON line and one line to read for each figure.


def percentile(values: Sequence[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def report_ratio(what: str, ours: float, limit: float, unit: str, bar: float, goal: float, **more: Any) -> None:
    """A ratio that shall be at least `bar`, better `goal`."""
    ratio = ours / limit
    figures = {"ours": round(ours), "limit": round(limit), "unit": unit, "ratio": round(ratio, 3)}
    verdicts = f"{_met(ratio >= bar)} the bar of {bar}, {_met(ratio >= goal)} the goal of {goal}"
    line = f"{ours:,.0f} of {limit:,.0f} {unit} = {ratio:.2f}; {verdicts}"
    _print(what, figures | {"bar": bar, "goal": goal}, line, more)


def report_most(what: str, value: float, unit: str, bar: float | None, goal: float, **more: Any) -> None:
    """A value that shall be at most `bar` (if there is one), better `goal`."""
    first = "" if bar is None else f"{_met(value <= bar)} the bar of {bar}, "
    line = f"{value:,.2f} {unit}; {first}{_met(value <= goal)} the goal of {goal}"
    _print(what, {"ours": round(value, 3), "unit": unit, "bar": bar, "goal": goal}, line, more)


def report_none(what: str, wrong: Sequence[Any] | dict[str, Any], **more: Any) -> None:
    """Something that must not happen; ends the process with 1 if it did."""
    _print(what, {"ours": len(wrong), "bar": 0, "goal": 0}, f"{len(wrong)} wrong", more)
    if wrong:
        raise SystemExit(f"  {str(wrong)[:3000]}")


def _met(so: bool) -> str:
    return "meets" if so else "misses"


def _print(what: str, figures: dict[str, Any], line: str, more: dict[str, Any]) -> None:
    load = [round(part, 2) for part in os.getloadavg()]
    print(json.dumps({"what": what, **figures, **more, "load": load}))
    beside = "".join(f"; {name} {value}" for name, value in more.items())
    print(f"  {what}: {line}{beside}", flush=True)
