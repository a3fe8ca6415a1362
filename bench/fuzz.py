"""Bad inputs by both doors: the daemon lives on, each has a receipt, and good messages are still taken.

usage: python bench/fuzz.py [--inputs 10000] [--seed 1] [--quick] [--work FOLDER]

Half of the inputs are requests, half are files. Each is a good message with bytes or values damaged, or made from
nothing; some are still good, which is no matter. The same seed makes the same inputs.
"""

import contextlib
import http.client
import json
import random
import time
from collections.abc import Callable
from typing import Any

from common import Daemon, ask, drop, envelope, finished, job, options, report_none, work_folder

ROUND = 1000
PATIENCE_S = 60
WEIRD = (
    None, True, 0, -1, 2**63, -(2**63) - 1, 10**400, 1e308, 0.5, "", " ", "\0", "\x1b[31m", "\u202e", "é" * 600,
    "x" * 5000, "0001-01-01T00:00:00Z", "2025-02-30T00:00:00Z", "9999-12-31T23:59:59Z", "2025-02-01T00:00:00", [],
    [[]], [None], {}, {"": ""}, [["a"]], [["a", "b", "c"]], "live", "pass", "fail", "skip", "LIVE",
    "job-live", "regr-finish", "../../etc",
)  # fmt: skip
TOKENS = (
    b"NaN", b"Infinity", b"-0", b"1e999", b'"\\ud800"', b'"\\u0000"', b"\xff\xfe", b"\xef\xbb\xbf", b"\x00", b"{", b"}",
    b"[", b"]", b",", b":", b'"', b"\\", b"\n", b"null", b"[[[[[[[[", b'{"a":' * 50,
    b"99999999999999999999", b"//", b"'",
)  # fmt: skip
KINDS = (
    "regr-start",
    "regr-update",
    "regr-finish",
    "job-live",
    "job-finish",
    "batch-job-live",
    "batch-job-finish",
    "x",
)


def main() -> None:
    chosen = options(__doc__, ("--inputs", {"type": int, "default": 10_000}), ("--seed", {"type": int, "default": 1}))
    inputs = ROUND if chosen.quick else chosen.inputs
    chance = random.Random(chosen.seed)
    wrong: list[Any] = []
    statuses: dict[int, int] = {}
    with work_folder(chosen) as folder:
        daemon = Daemon(chosen, folder, settle_ms=100)
        daemon.start()
        for first in range(0, inputs, ROUND):
            for number in range(first, min(first + ROUND, inputs)):
                raw, lines = bad_input(chance), chance.random() < 0.2
                if number % 2:
                    suffix = "ndjson" if lines else "json"
                    drop(f"{daemon.spool}/.next", f"{daemon.spool}/{file_name(chance, number)}.{suffix}", raw)
                else:
                    wrong += posted(daemon, raw, lines, statuses)
            wrong += good_messages(daemon, first)
        await_quiet(daemon)
        wrong += unreceipted(daemon, inputs // 2)
        if daemon.process.poll() is not None or "Traceback" in daemon.log.read_text():
            wrong.append(daemon.log.read_text()[-3000:])
        else:
            daemon.stop()
    report_none(f"{inputs:,} bad inputs", wrong, statuses=dict(sorted(statuses.items())))


# Making inputs.


def bad_input(chance: random.Random) -> bytes:
    make: Callable[[random.Random], bytes] = chance.choice(
        (flipped, flipped, cut, spliced, odd_fields, odd_fields, nonsense, many)
    )
    return make(chance)


def good(chance: random.Random) -> bytes:
    kind = chance.choice(KINDS[:5])
    live = job(chance, "fuzz/1", chance.randrange(100))
    if kind == "job-finish":
        return envelope(kind, "fuzz/1", finished(chance, live))
    if kind == "job-live":
        return envelope(kind, "fuzz/1", live)
    return envelope(
        kind, f"fuzz/{chance.randrange(9)}", {"component": "core", "submitted": 5, "starttime": live["start_time"]}
    )


def flipped(chance: random.Random) -> bytes:
    raw = bytearray(good(chance))
    for _ in range(chance.randint(1, 8)):
        raw[chance.randrange(len(raw))] = chance.randrange(256)
    return bytes(raw)


def cut(chance: random.Random) -> bytes:
    raw = good(chance)
    return raw[: chance.randrange(len(raw))] if chance.random() < 0.7 else raw[chance.randrange(len(raw)) :]


def spliced(chance: random.Random) -> bytes:
    raw = good(chance)
    for _ in range(chance.randint(1, 3)):
        place = chance.randrange(len(raw))
        raw = raw[:place] + chance.choice(TOKENS) + raw[place + chance.choice((0, 0, 1, 5)) :]
    return raw


def odd_fields(chance: random.Random) -> bytes:
    """A message in which some values are of the wrong kind."""
    told = json.loads(good(chance))
    places = [(told, key) for key in told] + [(told["body"], key) for key in told["body"]]
    places += [
        (told["body"], key) for key in ("progress", "env", "files", "log", "time_limit_ms", "exit_code", "phase", "x")
    ]
    for where, key in chance.sample(places, chance.randint(1, 3)):
        where[key] = chance.choice(WEIRD)
    return json.dumps(told).encode("utf-8", "surrogatepass")


def nonsense(chance: random.Random) -> bytes:
    if chance.random() < 0.5:
        return chance.randbytes(chance.choice((0, 1, 10, 1000)))
    return b"".join(chance.choice(TOKENS) for _ in range(chance.randint(1, 50)))


def many(chance: random.Random) -> bytes:
    """Several inputs in one delivery, as lines, an array or the body of a batch."""
    parts = [bad_input(chance) if chance.random() < 0.3 else good(chance) for _ in range(chance.randint(0, 5))]
    form = chance.randrange(3)
    if form == 0:
        return b"\n".join(parts)
    array = b"[" + b",".join(parts) + b"]"
    if form == 1:
        return array
    return b'{"type":"%b","regression":"fuzz/1","body":%b}' % (chance.choice(KINDS).encode(), array)


def file_name(chance: random.Random, number: int) -> str:
    return chance.choice(("", "", f"{chance.choice(KINDS)}.", "ü ", "%2f'\"", "a" * 200)) + f"{number}"


# Sending and checking.


def posted(daemon: Daemon, raw: bytes, lines: bool, statuses: dict[int, int]) -> list[Any]:
    """Post an input. -> what is wrong with the answer."""
    try:
        status, answer = ask(daemon.connection(), "POST", "/api/v1/messages", raw, "x-ndjson" if lines else "json")
    except (OSError, http.client.HTTPException, ValueError) as error:
        return [[repr(error), repr(raw)]]
    statuses[status] = statuses.get(status, 0) + 1
    if status in (200, 400, 413, 422) and isinstance(answer.get("id"), int):
        return []
    return [[status, answer, repr(raw)]]


def good_messages(daemon: Daemon, number: int) -> list[Any]:
    """Send a good message by each door. -> those that are not taken."""
    chance = random.Random(number)
    raws = [envelope("job-live", f"good/{number}", job(chance, "good", place)) for place in range(2)]
    drop(f"{daemon.spool}/.good", f"{daemon.spool}/good-{number}.json", raws[0])
    status, answer = ask(daemon.connection(), "POST", "/api/v1/messages", raws[1])
    wrong = [] if (status, answer["applied"]) == (200, 1) else [[status, answer]]
    path = f"/api/v1/receipts?name=good-{number}.json"
    until = time.monotonic() + PATIENCE_S
    while not (items := daemon.get(path)["items"]) and time.monotonic() < until:
        time.sleep(0.05)
    return wrong if items and items[0]["applied"] == 1 else [*wrong, [path, items]]


def await_quiet(daemon: Daemon) -> None:
    """Wait until no file is left that is still to be taken."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until and waiting(daemon):
        time.sleep(0.1)


def waiting(daemon: Daemon) -> bool:
    with contextlib.suppress(FileNotFoundError):
        taken = [*daemon.spool.glob("*json"), *(daemon.spool / ".work").glob("*/*json")]
        return any(not path.name.startswith(".") for path in taken)
    return True


def unreceipted(daemon: Daemon, files: int) -> list[Any]:
    """Files that vanished without a receipt, or have two."""
    sql = "SELECT COUNT(*), COUNT(DISTINCT name) FROM receipt WHERE name LIKE '%json' AND name NOT LIKE 'good-%'"
    with contextlib.closing(daemon.reader()) as conn:
        found = conn.execute(sql).fetchone()
    left = [path.name for path in daemon.spool.glob("*json")]
    return (
        [] if found == (files, files) and not left else [["receipts of files", found, "of", files, "left", left[:20]]]
    )


if __name__ == "__main__":
    main()
