"""Facts come in, decisions go out: what a message does to a job and to its regression.

Pure: no SQL, no clock, no files. The clock's readings are arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simscope_server.messages.protocol import LONGEST_MS, REGR_FINISH, REGR_START, WAITING_PHASES, Message

# The life of a job. A job is known by its key; its row is in one of five states, or there is none:
#
#   absent     never heard of
#   live       it runs (or waits to), as far as anybody has told
#   done       its publisher has given the verdict: pass, fail or skip
#   migrated   its regression ended without it: a fail, reason `missing` or `timeout`, that nobody reported
#   limited    it ran into its own time limit: a fail, reason `time-limit`; a verdict, though the daemon's
#   tanked     a person gave it up, or its regression: a fail, reason `tanked`, that nobody reported
#
# Two messages can arrive, and messages overtake each other, are repeated, and come late. What must not depend on that
# is the verdict, so a finish always leads to `done`, from every state, and no live message ever leads out of `done`.
# What a live message does depends on the regression too: it is open, over (its end keeps hold of its live jobs:
# flush() migrates whatever is live in a regression that is over) or tanked. A regression that ended for want of
# messages is opened again by any message about one of its jobs, before these tables are asked.
#
#   create      make the row, live                  record      make the row, done
#   merge       take over the fields that are said  finish      turn the row into the verdict, in place
#   revive      make it live again, then merge      correct     the same, and take back a verdict that was ours
#   fill        take over only fields that are       repeat      first finish wins, unless this one has a later
#               missing; the message is `ignored`               start_time: a re-run, which replaces the row whole
#   reconsider  revive if it moves the job's own
#               time limit, else fill
#   ignore      leave everything as it is
ABSENT, DONE, MIGRATED, LIMITED, TANKED = "absent", "done", "migrated", "limited", "tanked"
ALIVE = "live"
JOB_STATES = (ABSENT, ALIVE, DONE, MIGRATED, LIMITED, TANKED)
OPEN, OVER = "open", "over"
REGRESSION_STATES = (OPEN, OVER, TANKED)

ON_LIVE: dict[str, dict[str, str]] = {
    ABSENT: {OPEN: "create", OVER: "create", TANKED: "ignore"},
    ALIVE: {OPEN: "merge", OVER: "merge", TANKED: "ignore"},
    DONE: {OPEN: "fill", OVER: "fill", TANKED: "fill"},
    MIGRATED: {OPEN: "revive", OVER: "merge", TANKED: "ignore"},
    LIMITED: {OPEN: "reconsider", OVER: "reconsider", TANKED: "ignore"},
    TANKED: {OPEN: "ignore", OVER: "ignore", TANKED: "ignore"},
}

ON_FINISH: dict[str, str] = {
    ABSENT: "record",
    ALIVE: "finish",
    DONE: "repeat",
    MIGRATED: "correct",
    LIMITED: "correct",
    TANKED: "correct",
}

# The life of a regression. It is open, or it has ended (or is going to) in one of three ways; that it is tanked is
# apart from that: a tanked one ends, and begins again, as others do, hidden from the lists.
#
#   finish      its publisher said that it is over
#   timeout     no message about it came for autotimeouthours
#   time-limit  it ran longer than its own time limit
#
# What is said of it, or happens to it, and what that does. The end that its publisher told is final for this run, an
# end of ours is not: it is made good by a finish, and taken back by whatever shows that it was wrong. A run ends with a
# later one of the same name, whether it was closed or not, since its publisher may have died.
#
#   end          it is over: its live jobs are given up, slice by slice, and with the last of them the end is visible
#   reopen       its end is taken back; of its jobs, those that are heard of again live again, one by one
#   go on        the same, and all jobs that the end took along live again at once
#   begin again  the same for a new run: clocks, counts of news and first_failure begin anew
#   repeat       the same was said before, unless the message changes a field
#   stay         nothing, but for the fields that the message brings
#
# Couplings. A job's message is a sign of life of its regression: it moves the clock of the timeout, and JOB_SPOKE is
# asked before the tables of the job, so that these see it open. A tanked regression is not reopened by its jobs. What
# is live in a regression that is over is given up in the same transaction, so that the order of a finish and a late
# live message does not matter.
FINISHED, SILENT, TOO_LONG = "finish", "timeout", "time-limit"
SAYS_OVER, NEW_RUN, PENDING, LIMIT_MOVED, JOB_SPOKE = "says over", "new run", "pending", "limit moved", "job spoke"

ON_REGRESSION: dict[str, dict[str, str]] = {
    SAYS_OVER: {OPEN: "end", FINISHED: "repeat", SILENT: "end", TOO_LONG: "end"},
    NEW_RUN: {OPEN: "begin again", FINISHED: "begin again", SILENT: "begin again", TOO_LONG: "begin again"},
    PENDING: {OPEN: "stay", FINISHED: "stay", SILENT: "reopen", TOO_LONG: "stay"},
    LIMIT_MOVED: {OPEN: "stay", FINISHED: "stay", SILENT: "stay", TOO_LONG: "go on"},
    JOB_SPOKE: {OPEN: "stay", FINISHED: "stay", SILENT: "reopen", TOO_LONG: "stay"},
}


def regression_action(message: Message, run: str, *, moved: bool, ended_by: str) -> str:
    """What a message about a regression does to it, by the table: the first thing that it says which does anything.

    `run` is told by run_of(), `moved`: the message moves the time limit out of the past, `ended_by`: how it has
    ended."""
    if says_over(message):
        return ON_REGRESSION[SAYS_OVER][ended_by]
    said = {
        NEW_RUN: message.type == REGR_START and run == "newer",
        PENDING: bool(message.pending),
        LIMIT_MOVED: moved,
    }
    actions = [ON_REGRESSION[what][ended_by] for what, is_said in said.items() if is_said]
    return next((action for action in actions if action != "stay"), "stay")


# How a regression ended -> the reason of the jobs that it leaves behind, and the event that tells so.
LEFT_BEHIND = {
    "finish": ("missing", "job.missing"),
    "timeout": ("timeout", "job.timed_out"),
    "time-limit": ("timeout", "job.timed_out"),
    "tank": ("tanked", "job.tanked"),
}

JOB_LIMIT_SIGNATURE = "Job Time Limit"  # unless livetimeoutsignature is set
TANKED_SIGNATURE = "Tanked"


def run_of(said: int | None, known: int | None) -> str:
    """Which run of a regression a message speaks of, by its starttime: "same", "older" or "newer".

    A name may be used again; only a starttime tells the runs apart, so without one (on either side) it is the same."""
    if said is None or known is None or said == known:
        return "same"
    return "older" if said < known else "newer"


def says_over(message: Message) -> bool:
    """Does a message about a regression say that it is over?"""
    return message.type == REGR_FINISH or message.pending is False


def names_run(message: Message) -> bool:
    """Does the starttime of a message about a regression tell its run? In an update it is a field like others."""
    return message.type == REGR_START or says_over(message)


def moves_limit(old_limit_ms: int | None, said: Mapping[str, Any], running_tick: int | None, tick: int) -> bool:
    """Does a live message move a job's time limit out of the past, so that it lives again?"""
    if "time_limit_ms" not in said or said["time_limit_ms"] == old_limit_ms:
        return False
    new = said["time_limit_ms"]
    return new is None or running_tick is None or running_tick + new > tick


class NotExtended(ValueError):
    """A job's time limit cannot be moved like this. `reason` tells why: not-live, no-time-limit and not-running lie
    with the job, bad-extension with what was asked; `path` is the member that is wrong, if one is."""

    def __init__(self, reason: str, detail: str, path: str | None = None) -> None:
        super().__init__(reason, detail, path)
        self.reason = reason
        self.path = path

    def __str__(self) -> str:
        return str(self.args[1])


def extended_limit(
    limit_ms: int | None, running_tick: int | None, now: int, tick: int, by_ms: int | None, until: int | None
) -> int:
    """The time limit, in ms since the job began to run, that a person gives it: later `by_ms`, or ending at `until`.

    `by_ms` counts from the limit, or from now where the limit is over: whoever asks for ten minutes gets ten. A job
    without a limit has no less than it asks for, so that is refused. Raises NotExtended."""
    if by_ms is None:
        if running_tick is None:
            raise NotExtended("not-running", "the job waits; its time limit counts from its start: by_ms moves it")
        new = (until or 0) - now + tick - running_tick
        if running_tick + new <= tick:
            raise NotExtended("bad-extension", "until is over already", "$.until")
    else:
        if limit_ms is None:
            raise NotExtended("no-time-limit", "the job has no time limit that could be moved; until gives it one")
        over = 0 if running_tick is None else max(0, tick - running_tick - limit_ms)
        new = limit_ms + over + by_ms
    if new > LONGEST_MS:
        where = "$.until" if by_ms is None else "$.by_ms"
        raise NotExtended("bad-extension", f"the job would have {new} ms in all; 24 days are the most", where)
    return new


def is_later_run(said: int | None, known: int | None) -> bool:
    """Is a second finish a re-run of the job, which replaces the first?"""
    return said is not None and (known is None or said > known)


def is_running(phase: str | None) -> bool:
    """False for the phases in which a job waits: its time limit does not count yet."""
    return phase is None or phase.casefold() not in WAITING_PHASES


def test_of(name: str | None, config: str | None, seed: str | None) -> str | None:
    """What a job has in common with those that differ in the seed only: its name, else its config with "*" in place of
    the seed's value, where that stands for itself and is no part of a word. None if it has neither."""
    if name or not config:
        return name or None
    if not seed or seed not in config:
        return config
    masked, *pieces = config.split(seed)
    for place, piece in enumerate(pieces):
        following = piece[:1] or (seed[:1] if place < len(pieces) - 1 else "")
        masked += (seed if _in_word(masked[-1:]) or _in_word(following) else "*") + piece
    return masked


def _in_word(letter: str) -> bool:
    return letter.isalnum() or letter == "_"


def split_series(name: str, separator: str) -> tuple[str | None, int | None]:
    """ "nightly/12" -> ("nightly", 12); a name without separator and number belongs to no series."""
    series, found, number = name.rpartition(separator)
    if found and series and number.isascii() and number.isdigit() and len(number) <= 18:
        return series, int(number)
    return None, None


def limit_that_holds(said_ms: int | None, added_ms: int | None) -> int | None:
    """A job's time limit: the publisher's, and what was added by hand."""
    return said_ms if added_ms is None else (said_ms or 0) + added_ms
