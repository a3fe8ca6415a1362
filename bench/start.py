"""What `simscope.py run true` costs beyond an interpreter that does nothing.

A farm starts it once a job, on hosts that are slower than a desk. Whole processes are timed, in turn, so that what else
the machine does falls on all of them alike: `python3 -I -c pass`, `run true` into a spool folder, and `run true` to a
server that does not exist. Then the modules whose import costs most, by `python3 -X importtime`.

    python bench/start.py [--quick] [--client FILE]

The bound is 80 ms more than the interpreter, the goal 50 ms. On a busy machine the CPU time is the figure to read.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = os.path.realpath(sys.executable)  # without the site-packages of a virtual environment
SHOWN = 8  # modules


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def timed(command: list[str], folder: str) -> tuple[float, float]:
    """Run a command in an environment of its own. -> ms by the clock and ms of CPU, those of its children included"""
    environ = {"PATH": os.environ["PATH"], "HOME": folder, "SIMSCOPE_BACKLOG": f"{folder}/backlog"}
    begun = time.perf_counter()
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    took = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode}: {command}")
    return 1000 * took, 1000 * (usage.ru_utime + usage.ru_stime)


def imports(*command: str) -> dict[str, float]:
    """The milliseconds that each module which is imported costs by itself."""
    found = subprocess.run([PYTHON, "-X", "importtime", *command], capture_output=True, text=True, check=True)
    rows = re.findall(r"^import time: +(\d+) \| +\d+ \| +(\S+)$", found.stderr, re.M)
    return {name: int(us) / 1000 for us, name in rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="5 runs instead of 20")
    parser.add_argument("--client", type=Path, default=ROOT / "simscope.py", help="measure this simscope.py instead")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="simscoped-bench-") as folder:
        run = [PYTHON, str(chosen.client), "run", "--regression", "bench/1"]
        commands = {
            "interpreter alone": [PYTHON, "-I", "-c", "pass"],
            "run into a spool": [*run, "--spool", folder, "--", "true"],
            "run without a server": [*run, "--server", f"http://127.0.0.1:{free_port()}", "--", "true"],
        }
        runs = 5 if chosen.quick else 20
        times = [[timed(command, folder) for command in commands.values()] for _ in range(runs + 1)][1:]
        idle = imports("-c", "pass")
        ours = {name: ms for name, ms in imports(*commands["run into a spool"][1:]).items() if name not in idle}
    medians = [tuple(map(statistics.median, zip(*column, strict=True))) for column in zip(*times, strict=True)]
    for name, (ms, cpu_ms) in zip(commands, medians, strict=True):
        more, more_cpu = ms - medians[0][0], cpu_ms - medians[0][1]
        print(f"{name:<20} {ms:4.0f} ms ({more:+.0f} ms), CPU {cpu_ms:4.0f} ms ({more_cpu:+.0f} ms)")
    print(f"medians of {runs} runs, {PYTHON}")
    slowest = sorted(ours, key=ours.__getitem__, reverse=True)[:SHOWN]
    print("slowest imports: " + ", ".join(f"{name} {ours[name]:.1f} ms" for name in slowest))


if __name__ == "__main__":
    main()
