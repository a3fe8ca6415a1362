"""What a message does, and what an end does to the jobs of a regression: a batch and a message come in; changed rows,
events and an outcome go out. No SQL of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simscope_server.ledger import life
from simscope_server.ledger.batch import Batch
from simscope_server.ledger.jobs import apply_finish, apply_live, became, condemn, cut_short, heard_of, revive_all
from simscope_server.ledger.logbook import LogGap
from simscope_server.ledger.rows import Regression
from simscope_server.ledger.rules import (
    DONE,
    FINISHED,
    MIGRATED,
    names_run,
    regression_action,
    run_of,
)
from simscope_server.messages.protocol import (
    COLUMN_OF_REGRESSION,
    JOB_FINISH,
    JOB_LIVE,
    REGR_START,
    LogLines,
    Message,
    Outcome,
    json_object,
    to_json,
)


def apply_message(batch: Batch, message: Message) -> Outcome:
    """Apply one message to the rows of a batch and say what became of it."""
    if message.type == JOB_LIVE:
        outcome = apply_live(batch, message)
    elif message.type == JOB_FINISH:
        outcome = apply_finish(batch, message)
    else:
        outcome = apply_to_regression(batch, message)
    if message.log is not None and outcome.job is not None:
        outcome.warnings += keep_lines(batch, message, message.log, outcome.outcome)
    outcome.index = message.index
    outcome.type = message.type
    outcome.regression = message.regression
    if message.warnings:
        outcome.warnings = message.warnings + outcome.warnings
    return outcome


def keep_lines(batch: Batch, message: Message, log: LogLines, outcome: str) -> list[str]:
    """Keep the log lines that came with a message. -> warnings, where they cannot be taken.

    A job that was only given up, or ran into its limit, still writes: its publisher's verdict completes the log."""
    job = batch.job(batch.regression(message.regression), message.key)
    if job is None or outcome == "duplicate":
        return []
    if outcome == "ignored" and job.state == DONE:
        return ["log: the job has its verdict; the lines are not taken"]
    try:
        batch.append_lines(job.id, log.get("offset"), log.get("lines", []))
    except LogGap as gap:
        return [f"log: {gap}; the lines are not taken"]
    return []


# Messages about regressions.


def apply_to_regression(batch: Batch, message: Message) -> Outcome:
    """regr-start, regr-update, regr-finish: merge what is said, then do what the table has for it."""
    known = batch.counters.seq
    regression = heard_of(batch, message.regression)
    made = regression.version > known
    run = run_of(message.values.get("starttime_at"), regression.starttime_at) if names_run(message) else "same"
    if run == "older":
        _tell_update(batch, regression, _merge_regression(batch, regression, message, fill=True))
        return became("ignored", "older-run")
    changed = _merge_regression(batch, regression, message)
    moved = "time_limit_ms" in changed and not _past_limit(batch, regression)
    action = regression_action(message, run, moved=moved, ended_by=life.ended_by(regression))
    if not (changed or made) and (action == "repeat" or (action == "stay" and message.type == REGR_START)):
        return became("duplicate", "same-content")
    act_on_regression(batch, regression, action)
    if not made:
        _tell_update(batch, regression, changed)
    return became("applied")


def act_on_regression(batch: Batch, regression: Regression, action: str) -> None:
    """End a regression, or take its end back, with what that means for its jobs."""
    if action == "end":
        life.end(batch, regression, FINISHED)
    elif action == "reopen":
        life.reopen(batch, regression, "a message says that it is still pending")
    elif action == "go on":
        life.reopen(batch, regression, "its time limit was moved")
        revive_all(batch, regression, MIGRATED, "the regression's time limit was moved")
    elif action == "begin again":
        tell_first_failure(batch, regression)
        life.begin_again(batch, regression)
        revive_all(batch, regression, MIGRATED, "the regression was started again")


# Columns that are told by the fields that they are made from.
DERIVED = {column for field, column in COLUMN_OF_REGRESSION.items() if column != field}


def _tell_update(batch: Batch, regression: Regression, changed: Mapping[str, list[Any]]) -> None:
    """Tell what changed. How many jobs run is mere progress: of such updates only the newest stays in the history."""
    if not changed:
        return
    if changed.keys() == {"running"}:
        batch.forget_progress(regression)
        progress = {"running": regression.running}
        regression.progress_seq = batch.tell("regression.updated", regression, progress=progress)
        return
    cut = {field: [cut_short(value) for value in values] for field, values in changed.items() if field not in DERIVED}
    batch.tell("regression.updated", regression, changed=cut)


def _past_limit(batch: Batch, regression: Regression) -> bool:
    return regression.limit_tick is not None and regression.limit_tick <= batch.moment.tick


def _merge_regression(
    batch: Batch, regression: Regression, message: Message, *, fill: bool = False
) -> dict[str, list[Any]]:
    """Take over what a regression message says. -> {field: [old, new]}."""
    stored = json_object(regression.fields)
    pairs = dict(stored.get("custom_metadata", ()))
    said = dict(message.extra)
    if fill:
        said = {field: value for field, value in said.items() if field not in stored}
    if message.metadata:
        merged = pairs | message.metadata | (pairs if fill else {})
        said["custom_metadata"] = [list(pair) for pair in merged.items()]
    changed = {field: [stored.get(field), value] for field, value in said.items() if stored.get(field) != value}
    if changed:
        regression.fields = to_json(stored | said)
    for column, value in message.values.items():
        old = getattr(regression, column)
        if (fill and old is not None) or old == value or (column == "starttime_at" and not names_run(message)):
            continue
        setattr(regression, column, value)
        changed.setdefault(column, [old, value])
    if "time_limit_ms" in changed:
        limit = regression.time_limit_ms
        regression.limit_tick = None if limit is None else regression.first_tick + limit
    return changed


# Ends, as they reach the jobs.


def flush(batch: Batch) -> None:
    """Bring jobs in line with the ends of their regressions, a slice in a transaction, and write everything."""
    batch.save_jobs()
    for regression in batch.regressions.values():
        if life.fate(regression) is not None:
            _end_slice(batch, regression)
        tell_first_failure(batch, regression)
    batch.write()


def tell_first_failure(batch: Batch, regression: Regression) -> None:
    """Tell, once in a run of a regression, that a job has failed."""
    if regression.id in batch.failed and not regression.first_failure:
        regression.first_failure = 1
        batch.tell("regression.first_failure", regression)
    batch.failed.discard(regression.id)


def _end_slice(batch: Batch, regression: Regression) -> None:
    """Give up live jobs of a regression that is over, what is left of a slice; with the last one its status flips."""
    how = life.fate(regression)
    condemns = how == "tank" or batch.config.livetimeoutsignature
    if regression.n_live and condemns and batch.left_of_slice:
        for job in batch.load_slice("regression_id = ? AND result = 0", regression.id):
            condemn(batch, regression, job, str(how))
        batch.save_jobs()
    if not life.is_complete(regression) and not (regression.n_live and condemns):
        life.complete(batch, regression)
