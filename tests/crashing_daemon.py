"""The daemon, killed at a named point: CRASH_AT="before-commit:3" kills it when it passes that point the third time.

Takes the arguments of simscoped.py. A transaction without messages (the uptime being saved) does not count as passing.
"""

from __future__ import annotations

import os
import signal
import sys

import simscoped

wanted, _, count = os.environ["CRASH_AT"].partition(":")
left = int(count)
with_messages = False


def passing(point: str) -> None:
    global left
    if point != wanted or not (with_messages or point == "half-settled"):
        return
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)


def noted(*args: object, applied: object = simscoped.apply_deliveries, **kwargs: object) -> object:
    """Only the writer's thread comes here, and goes on to the points from here."""
    global with_messages
    with_messages = True
    return applied(*args, **kwargs)  # type: ignore[operator]


def others(fn: object) -> object:
    """A change that is not one of messages."""

    def change(*args: object) -> object:
        global with_messages
        with_messages = False
        return fn(*args)  # type: ignore[operator]

    return change


simscoped.passing = passing
simscoped.apply_deliveries = noted  # type: ignore[assignment]
for name in ("_save_tick", "expire", "prune_records"):
    setattr(simscoped, name, others(getattr(simscoped, name)))

sys.exit(simscoped.main())
