"""The daemon, killed at a named point: CRASH_AT="before-commit:3" kills it when it passes that point the third time.

Takes the arguments of simscoped.py. The points are told in simscope_server/crashpoints.py. Of the transactions, only
those that apply messages count: what the daemon writes by itself comes when it likes.
"""

from __future__ import annotations

import functools
import itertools
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

import simscoped
from simscope_server.ledger.batch import Batch
from simscope_server.ledger.deliveries import apply_submissions
from simscope_server.messages.protocol import Submission
from support import rooms

point, _, count = os.environ["CRASH_AT"].partition(":")
passed = itertools.count(1)
daemon = os.getpid()  # its writer, which passes some of the points, is another process
is_applying = point == "half-cleared"


@functools.wraps(apply_submissions)
def applying(batch: Batch, submissions: Sequence[Submission], **named: Any) -> Any:
    global is_applying
    is_applying = True
    return apply_submissions(batch, submissions, **named)


def passing(here: str) -> None:
    global is_applying
    if here == point and is_applying and next(passed) == int(count):
        os.kill(daemon, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    if here == "after-commit":
        is_applying = False


rooms.replace("apply_submissions", applying)
rooms.replace("passing", passing)

if __name__ == "__main__":
    sys.exit(simscoped.main())
