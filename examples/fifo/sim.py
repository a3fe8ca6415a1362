#!/usr/bin/env python3
"""sim.py - runs one simulation of the example: at a pace, and with the planted crash.

    python sim.py --pace 5000 -- vvp -n fifo.vvp +seed=17
    python sim.py --pace 5000 -- python standin.py +seed=17

Pace: this FIFO is so small that a run takes a tenth of a second. A chip does some thousand cycles per second, and so
do we: with `+pace` (added here) the testbench waits for one character on its standard input every 250 cycles, and
sim.py hands them out by the clock, `--pace` cycles per second of wall clock. Every cycle is really simulated, the rest
is waiting, and a simulation that hangs costs next to nothing.

Crash: when the testbench prints its magic line (PLANTED 4 in tb_fifo.v), the simulator is killed with SIGSEGV, a crash
message goes out instead, and sim.py dies of the same signal, as a crashing simulator would.

Cycles: under `simscope.py run` the number of cycles is left in SIMSCOPE_RESULTS_FILE.

End: a simulator must not outlive its job. It ends with sim.py (its standard input ends), and sim.py ends when its
parent has died, or after `--at-most` seconds, in case nobody is left to care. Otherwise the exit code is the
simulator's.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import resource
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO

CYCLES_PER_TOKEN = 250
CRASH_LINE = b"%PLANTED-CRASH"
CRASH_MESSAGE = b"sim.py: unexpected termination in the coverage collector: Segmentation fault (signal 11)\n"
END_LINE = re.compile(rb"TEST (?:PASSED|FAILED) at cycle (\d+),")
LOOK_AROUND = 0.2  # seconds between two looks at the parent


class Pacer:
    """Hands out tokens by the clock."""

    def __init__(self, pipe: BinaryIO, pace: float) -> None:
        self.pipe, self.interval = pipe, CYCLES_PER_TOKEN / pace
        self.started, self.given = time.monotonic(), 0

    def give(self) -> None:
        """Write all tokens that are due. A simulator that has ended needs none; one with a full pipe has plenty."""
        due = int((time.monotonic() - self.started) / self.interval) + 1 - self.given
        self.given += due
        with contextlib.suppress(BrokenPipeError, BlockingIOError):
            os.write(self.pipe.fileno(), b"\n" * due)

    def wait(self) -> float:
        """Seconds until the next token is due."""
        return max(0.0, self.started + self.given * self.interval - time.monotonic())


class Output:
    """Passes whole lines on; keeps the number of cycles, and whether the magic line has come."""

    def __init__(self) -> None:
        self.rest, self.crashed, self.cycles = b"", False, None

    def take(self, data: bytes) -> None:
        """Pass on what is complete, keep the rest of a line."""
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            if line == CRASH_LINE:
                self.crashed = True
                self.put(CRASH_MESSAGE)
                return
            if end := END_LINE.match(line):
                self.cycles = int(end[1])
            self.put(line + b"\n")

    @staticmethod
    def put(data: bytes) -> None:
        """A reader that has gone away is a killed job; the look at the parent will tell."""
        with contextlib.suppress(OSError):
            os.write(sys.stdout.fileno(), data)


def simulate(command: list[str], pace: float, at_most: float, output: Output) -> int:
    """Run to the end; the exit code, negative for a signal."""
    parent, give_up_at = os.getppid(), time.monotonic() + at_most
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen([*command, "+pace"], **pipes) as process:
        os.set_blocking(process.stdin.fileno(), False)
        pacer = Pacer(process.stdin, pace)
        while not output.crashed and os.getppid() == parent and time.monotonic() < give_up_at:
            pacer.give()
            if select.select([process.stdout], [], [], min(LOOK_AROUND, pacer.wait()))[0]:
                data = os.read(process.stdout.fileno(), 65536)
                if not data:
                    return process.wait()
                output.take(data)
        signum = signal.SIGSEGV if output.crashed else signal.SIGKILL
        process.send_signal(signum)
        return -signum


def leave_results(output: Output) -> None:
    """Tell `simscope.py run` what it cannot know."""
    path = os.environ.get("SIMSCOPE_RESULTS_FILE")
    if path and output.cycles is not None:
        Path(path).write_text(json.dumps({"cycles": output.cycles}))


def die_of(signum: int) -> None:
    """End as the simulator ended."""
    if signum != signal.SIGKILL:
        signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="run one simulation of the example")
    parser.add_argument("--pace", type=float, default=5000, help="simulated cycles per second (default %(default)s)")
    parser.add_argument("--at-most", type=float, default=3600, help="seconds, then it is killed (default %(default)s)")
    parser.add_argument("command", nargs="+", help="the simulator with its plusargs, after --")
    args = parser.parse_args(argv)
    if not 1 <= args.pace <= 1_000_000:
        parser.error(f"--pace {args.pace:g}: 1 to 1000000 cycles per second is accepted")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # no core files for planted crashes
    output = Output()
    try:
        code = simulate(args.command, args.pace, args.at_most, output)
    except OSError as error:
        parser.error(f"{args.command[0]} cannot be started: {error.strerror}")
    leave_results(output)
    if code < 0:
        die_of(-code)
    return code


if __name__ == "__main__":
    sys.exit(main())
