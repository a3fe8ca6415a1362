"""The daemon, killed at a named point: CRASH_AT="before-commit:3" kills it when it passes that point the third time.

Takes the arguments of simscoped.py. The points are told in simscoped.passing.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys

import simscoped

point, _, count = os.environ["CRASH_AT"].partition(":")
passed = itertools.count(1)
daemon = os.getpid()  # its writer, which passes some of the points, is another process


def passing(here: str) -> None:
    if here == point and next(passed) == int(count):
        os.kill(daemon, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)


simscoped.passing = passing

if __name__ == "__main__":
    sys.exit(simscoped.main())
