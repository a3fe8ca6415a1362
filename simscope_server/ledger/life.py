"""A regression's life: the one place where its columns `ended`, `ending` and `tanked_at` are read and written.

The table ON_REGRESSION in rules.py says what ends it, and what takes an end back. Three columns hold where it stands:

  ended      how it ended, as seen from outside; NULL while it is live
  ending     how it is going to end: decided, but its live jobs are still being given up, a slice in a transaction;
             with the last of them it becomes `ended`. "tank" gives the jobs of a tanked one up, and ends nothing
  tanked_at  it is tanked, whether or not it has ended

So the jobs of a regression may be seen changing before it, and its own status, counts and event flip in one commit.
"""

from __future__ import annotations

from simscope_server.ledger.batch import Batch
from simscope_server.ledger.rows import Regression
from simscope_server.ledger.rules import FINISHED, JOB_SPOKE, ON_REGRESSION, OPEN, OVER, SILENT, TANKED
from simscope_server.messages.times import HOUR_MS, in_words
from simscope_server.settings import Config

# Conditions for rows of table regression, as its partial indexes have them.
IS_OPEN = "ended IS NULL AND tanked_at IS NULL AND ending IS NULL"
MAY_END = "ended IS NULL AND tanked_at IS NULL"


def is_unfinished(config: Config) -> str:
    """The condition for regressions whose end has jobs left to give up."""
    left = "(ending IS NOT NULL OR (ended IS NOT NULL AND n_live > 0))"
    return left if config.livetimeoutsignature else f"{left} AND ending IS NOT NULL"


# Where it stands.


def ended_by(regression: Regression) -> str:
    """How it has ended, or is going to, a key of ON_REGRESSION; OPEN if it has not. Being tanked is no end."""
    return regression.ended or (regression.ending if regression.ending not in (None, "tank") else None) or OPEN


def stands(regression: Regression) -> str:
    """Where it stands for messages about its jobs: OPEN, OVER or TANKED."""
    if regression.tanked_at is not None:
        return TANKED
    return OPEN if fate(regression) is None else OVER


def fate(regression: Regression) -> str | None:
    """What its live jobs are given up for, if they are: how it ended, or "tank"."""
    return regression.ending or regression.ended


# What ends it.


def end(batch: Batch, regression: Regression, how: str) -> None:
    """Decide its end. flush() gives its live jobs up and makes it visible."""
    if ended_by(regression) == FINISHED:
        return
    if regression.ending == "tank":
        _over(batch, regression, how)
    else:
        regression.ended, regression.ending = None, how


def complete(batch: Batch, regression: Regression) -> None:
    """The last live job is dealt with: it is over (or, if it was tanked, has no live jobs any more)."""
    how, regression.ending = regression.ending, None
    if how is not None and how != "tank":
        _over(batch, regression, how)


def is_complete(regression: Regression) -> bool:
    """Is there nothing left to decide or to give up?"""
    return regression.ending is None


def _over(batch: Batch, regression: Regression, how: str) -> None:
    regression.ended, regression.ended_at = how, batch.moment.now
    if how == FINISHED:
        batch.tell("regression.finished", regression)
    else:
        why = why_ended(batch.config, regression, how)
        batch.tell("regression.timed_out", regression, reason=how, description=why)


def why_ended(config: Config, regression: Regression, how: str) -> str:
    """The rule and the threshold behind an end, for people."""
    if how == SILENT:
        silent = in_words(round(config.autotimeouthours * HOUR_MS))
        return f"no message about the regression for {silent} (autotimeouthours)"
    if how == "time-limit":
        return f"the regression ran longer than its time limit of {in_words(regression.time_limit_ms or 0)}"
    if how == "tank":
        return f"tanked: {regression.tank_reason or 'no reason given'}"
    return "the regression finished while this job was live"


# What takes an end back.


def reopen(batch: Batch, regression: Regression, why: str) -> None:
    """Take its end back."""
    _forget_end(regression)
    batch.tell("regression.reopened", regression, description=why)


def hear_job(batch: Batch, regression: Regression) -> None:
    """A message came about one of its jobs: one that ended for want of messages is open again; not one that is tanked,
    of which nobody wants to hear."""
    if regression.tanked_at is None and ON_REGRESSION[JOB_SPOKE][ended_by(regression)] == "reopen":
        reopen(batch, regression, "a job spoke after all")


def begin_again(batch: Batch, regression: Regression) -> None:
    """The name is used for a new run, whether or not the earlier one was closed: clocks and news begin anew."""
    regression.first_failure = 0
    _forget_end(regression)
    regression.created_at, regression.first_tick = batch.moment
    if regression.time_limit_ms is not None:
        regression.limit_tick = regression.first_tick + regression.time_limit_ms
    batch.tell("regression.started", regression, description="started again, with a later starttime")


def _forget_end(regression: Regression) -> None:
    """As if it had not ended. One that is tanked stays so: what is live in it, flush() gives up."""
    regression.ended = regression.ended_at = None
    regression.ending = None if regression.tanked_at is None else "tank"


# What people do.


def tank(batch: Batch, regression: Regression, reason: str) -> None:
    """Hide it, and have its live jobs given up; one that is tanked already stays as it is."""
    if regression.tanked_at is not None:
        return
    complete(batch, regression)
    regression.tanked_at, regression.tank_reason = batch.moment.now, reason or None
    regression.ending = "tank"
    batch.tell("regression.tanked", regression, reason=reason)


def untank(batch: Batch, regression: Regression) -> bool:
    """Show it again; it is active as of now, or a timer could end it at once. -> False if it is not tanked."""
    if regression.tanked_at is None:
        return False
    regression.tanked_at = regression.tank_reason = regression.ending = None
    regression.last_activity_at, regression.active_tick = batch.moment
    batch.tell("regression.untanked", regression)
    return True
