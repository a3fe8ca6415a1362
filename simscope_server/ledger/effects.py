"""A batch and a message come in; changed rows, events and an outcome go out. No SQL of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simscope_server.ledger import signatures
from simscope_server.ledger.batch import CHANGED_LENGTH, Batch
from simscope_server.ledger.logbook import LogGap
from simscope_server.ledger.rows import Job, Regression, copied, limit_of
from simscope_server.ledger.rules import (
    ABSENT,
    ALIVE,
    DONE,
    JOB_LIMIT_SIGNATURE,
    LEFT_BEHIND,
    LIMITED,
    MIGRATED,
    ON_FINISH,
    ON_LIVE,
    TANKED,
    TANKED_SIGNATURE,
    is_later_run,
    is_running,
    moves_limit,
    names_run,
    regression_state,
    run_of,
    says_over,
)
from simscope_server.messages.protocol import (
    COLUMN_OF_REGRESSION,
    FAIL,
    JOB_FINISH,
    JOB_LIVE,
    JOB_TIMES,
    LIVE,
    OF_VERDICT,
    REGR_START,
    RESULTS,
    SAID,
    SKIP,
    LogLines,
    Message,
    Outcome,
    json_object,
    to_json,
)
from simscope_server.messages.times import HOUR_MS, in_words, utc
from simscope_server.settings import Config

# Messages about jobs.


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


def _became(outcome: str, reason: str | None = None, job: int | None = None, *warnings: str) -> Outcome:
    return Outcome(0, None, None, outcome, reason, job=job, warnings=list(warnings))


def apply_live(batch: Batch, message: Message) -> Outcome:
    if not batch.config.enablelivejobs:
        return _became("ignored", "live-disabled", None, "live tracking is off: [sigs] enablelivejobs = false")
    regression = heard_of(batch, message.regression)
    reopen_after_silence(batch, regression)
    job = batch.job(regression, message.key)
    where = regression_state(regression.ended, regression.ending, regression.tanked_at)
    action = ON_LIVE[job.state if job else ABSENT][where]
    if job is None and action == "create":
        job = create_live(batch, regression, message)
        return _became("applied", None, job.id)
    if job is None or action == "ignore":
        return _became("ignored", "tanked", job.id if job else None)
    if action == "reconsider":
        moved = moves_limit(job.time_limit_ms, message.values, job.running_tick, batch.moment.tick)
        action = "revive" if moved else "fill"
    if action == "fill":
        fill_in(batch, regression, job, message)
        return _became("ignored", "already-finished", job.id)
    if action == "revive":
        revive(batch, regression, job, message)
    else:
        update_live(batch, regression, job, message)
    return _became("applied", None, job.id)


def apply_finish(batch: Batch, message: Message) -> Outcome:
    regression = heard_of(batch, message.regression)
    reopen_after_silence(batch, regression)
    job = batch.job(regression, message.key)
    if job is None and message.result == SKIP and not batch.config.enableskip:
        return _became("ignored", "skip-disabled", None, "skipped jobs are not kept: [sigs] enableskip = false")
    action = ON_FINISH[job.state if job else ABSENT]
    if job is None:
        job = batch.new_job(regression, message)
    elif action == "repeat":
        return repeat_finish(batch, regression, job, message)
    before = copied(job) if action == "correct" else job
    write_verdict(batch, regression, job, message)
    if action == "correct":
        why = "the real verdict came after all"
        batch.tell("job.corrected", regression, job, changed=difference(before, job), description=why)
    else:
        tell_verdict(batch, regression, job)
    return _became("applied", None, job.id)


def repeat_finish(batch: Batch, regression: Regression, job: Job, message: Message) -> Outcome:
    """A finish for a job that has one: a re-run, the same again, or one that comes too late to differ."""
    if says_the_same(job, message):
        return _became("duplicate", "same-content", job.id)
    if not is_later_run(message.values.get("start_at"), job.verdict_start_at):
        warning = "differs from the finish that came first, which is kept"
        return _became("duplicate", "first-finish-wins", job.id, warning)
    before = copied(job)
    for column in SAID:
        setattr(job, column, None)
    job.running_at = job.running_tick = job.extended_ms = None
    write_verdict(batch, regression, job, message)
    batch.leave_log(job.id)
    if message.log is not None:
        batch.begin_log(job.id, message.log.get("offset", 0))
    tell_verdict(batch, regression, job, description="run again", changed=difference(before, job))
    return _became("applied", None, job.id)


def says_the_same(job: Job, message: Message) -> bool:
    """Is everything that a finish says already in the row?"""
    if job.result != message.result or any(getattr(job, name) != value for name, value in message.values.items()):
        return False
    metadata, extra = json_object(job.metadata), json_object(job.extra)
    return metadata == metadata | message.metadata and extra == extra | message.extra


def heard_of(batch: Batch, name: str) -> Regression:
    """The regression of a message, which is a sign of its life."""
    regression = batch.regression(name)
    regression.last_activity_at, regression.active_tick = batch.moment
    return regression


def create_live(batch: Batch, regression: Regression, message: Message) -> Job:
    job = batch.new_job(regression, message)
    take_over(job, message)
    start_running(batch, job, message)
    batch.tell("job.live", regression, job)
    return job


def update_live(batch: Batch, regression: Regression, job: Job, message: Message) -> None:
    """A repeated live message: take over what it says. A heartbeat, which says nothing new, leaves no event."""
    changed = merge_live(batch, job, message)
    if not changed:
        return
    told = {"progress": message.extra["progress"]} if "progress" in changed else {}
    if changed.keys() != {"progress"}:
        batch.tell("job.updated", regression, job, changed=changed, **told)
        return
    batch.forget_progress(job)
    job.progress_seq = batch.tell("job.updated", regression, job, **told)


def merge_live(batch: Batch, job: Job, message: Message) -> dict[str, list[Any]]:
    """Merge a live message into a row: fields, sign of life, time limit. -> what changed: {field: [old, new]}.

    A publisher who repeats its limit leaves alone what a person added to it; one who moves its limit replaces that."""
    before = copied(job)
    take_over(job, message)
    job.seen_at, job.seen_tick = batch.moment
    limit_moved = job.time_limit_ms != before.time_limit_ms
    if limit_moved:
        job.extended_ms = None
    start_running(batch, job, message, limit_moved=limit_moved)
    batch.touch(job)
    changed = difference(before, job)
    if before.running_at != job.running_at:
        changed["started_at"] = [None, utc(job.running_at)]
    return changed


def start_running(batch: Batch, job: Job, message: Message, *, limit_moved: bool = False) -> None:
    """Start the clock of a job's own time limit at its first live message without a waiting phase."""
    starts = job.running_tick is None and is_running(message.values.get("phase"))
    if starts:
        job.running_at, job.running_tick = batch.moment
    if (starts or limit_moved) and job.running_tick is not None:
        job.limit_tick = limit_ends(job)


def limit_ends(job: Job) -> int | None:
    """When a job's time limit is over; None while it waits, and if it has none."""
    limit = limit_of(job)
    return None if limit is None or job.running_tick is None else job.running_tick + limit


def revive(batch: Batch, regression: Regression, job: Job, message: Message | None, **data: Any) -> None:
    """Make a job live again whose verdict was ours, and merge the message that did it. If the end of its regression
    takes it along at once, only that is told: it was not live as seen from outside."""
    before = copied(job)
    job.result, job.state, job.signature_id, job.done_at = LIVE, ALIVE, None, None
    job.reason = job.fail_message = None
    merged = merge_live(batch, job, message) if message is not None else {}
    batch.touch(job)
    how = regression.ending or regression.ended
    if how is not None and batch.config.livetimeoutsignature:
        condemn(batch, regression, job, how, **({"changed": merged} if merged else {}))
    else:
        batch.tell("job.revived", regression, job, changed=difference(before, job), **data)


def take_over(job: Job, message: Message, *, fill: bool = False) -> None:
    """Write what a message says into a row: present fields overwrite, absent ones stay.

    With `fill`, only fields that the row does not have are taken over."""
    for column, value in message.values.items():
        if not (fill and getattr(job, column) is not None):
            setattr(job, column, value)
    if message.metadata:
        job.metadata = _merged(job.metadata, message.metadata, fill)
    if message.extra:
        job.extra = _merged(job.extra, message.extra, fill)


def _merged(stored: str | None, said: dict[str, Any], fill: bool) -> str:
    news = to_json(said)
    if stored is None or stored == news:
        return news
    known = json_object(stored)
    merged = said | known if fill else known | said
    return stored if merged == known else to_json(merged)


def difference(before: Job, after: Job) -> dict[str, list[Any]]:
    """What changed of a job, as its events tell it: {field: [old, new]}, long values cut."""
    changed: dict[str, list[Any]] = {}
    for column in SAID:
        old, new = getattr(before, column), getattr(after, column)
        if old == new:
            continue
        if column in ("metadata", "extra"):
            known, said = json_object(old), json_object(new)
            prefix = "metadata." if column == "metadata" else ""
            names = [name for name in known | said if known.get(name) != said.get(name)]
            changed |= {prefix + name: [_cut(known.get(name)), _cut(said.get(name))] for name in names}
        elif column in JOB_TIMES:
            changed[JOB_TIMES[column]] = [utc(old), utc(new)]
        else:
            changed[column] = [_cut(old), _cut(new)]
    if before.result != after.result:
        changed["result"] = [RESULTS[before.result], RESULTS[after.result]]
    return changed


def _cut(value: Any) -> Any:
    """A value, if it is short; else the beginning of its text, or of its JSON."""
    text = to_json(value) if isinstance(value, dict | list) else value
    return text[:CHANGED_LENGTH] if isinstance(text, str) and len(text) > CHANGED_LENGTH else value


def fill_in(batch: Batch, regression: Regression, job: Job, message: Message) -> None:
    """A live message that was overtaken by the verdict: it may still know what the finish left out."""
    before = copied(job)
    take_over(job, message, fill=True)
    changed = difference(before, job)
    if changed:
        batch.touch(job)
        batch.tell("job.updated", regression, job, changed=changed, description="late live message")


def write_verdict(batch: Batch, regression: Regression, job: Job, message: Message) -> None:
    """Turn a row into what a finish says, in place."""
    for column in OF_VERDICT:
        setattr(job, column, None)
    take_over(job, message)
    job.result, job.state = message.result, DONE
    job.done_at, job.seen_tick = batch.moment
    job.seen_at, job.limit_tick = job.done_at, None
    job.verdict_start_at = message.values.get("start_at")
    job.signature_id = None
    if job.result == FAIL:
        title = signatures.title_of(job.fail_message, job.bucket)
        job.signature_id = batch.signature(regression, job.category, title)
        batch.failed.add(regression.id)
    batch.touch(job)


def tell_verdict(batch: Batch, regression: Regression, job: Job, **data: Any) -> None:
    batch.tell(("job.live", "job.passed", "job.failed", "job.skipped")[job.result], regression, job, **data)


def condemn(batch: Batch, regression: Regression, job: Job, how: str, **data: Any) -> None:
    """Give a live job the verdict that its regression's end (or a person) leaves it: a fail that nobody reported."""
    reason, event = LEFT_BEHIND[how]
    title = TANKED_SIGNATURE if how == "tank" else batch.config.livetimeoutsignature
    job.state = TANKED if how == "tank" else MIGRATED
    give_up(batch, regression, job, reason, event, title, why_ended(batch.config, regression, how), **data)


def limit_job(batch: Batch, regression: Regression, job: Job) -> None:
    """Give a live job the verdict of its own time limit."""
    title = batch.config.livetimeoutsignature or JOB_LIMIT_SIGNATURE
    job.state = LIMITED
    why = f"ran longer than its time limit of {in_words(limit_of(job) or 0)}"
    give_up(batch, regression, job, "time-limit", "job.timed_out", title, why)


def give_up(
    batch: Batch, regression: Regression, job: Job, reason: str, event: str, title: str, why: str, **data: Any
) -> None:
    why = f"{why}; last sign of life {utc(job.seen_at)}"
    job.result, job.reason, job.fail_message = FAIL, reason, why
    job.done_at = batch.moment.now
    job.signature_id = batch.signature(regression, job.category, title, ours=True)
    batch.failed.add(regression.id)
    batch.touch(job)
    batch.tell(event, regression, job, description=why, **data)


def why_ended(config: Config, regression: Regression, how: str) -> str:
    """The rule and the threshold behind the end of a regression, for people."""
    if how == "timeout":
        silent = in_words(round(config.autotimeouthours * HOUR_MS))
        return f"no message about the regression for {silent} (autotimeouthours)"
    if how == "time-limit":
        return f"the regression ran longer than its time limit of {in_words(regression.time_limit_ms or 0)}"
    if how == "tank":
        return f"tanked: {regression.tank_reason or 'no reason given'}"
    return "the regression finished while this job was live"


# Messages about regressions.


def apply_to_regression(batch: Batch, message: Message) -> Outcome:
    """regr-start, regr-update, regr-finish: merge what is said, then open or close the regression."""
    known = batch.counters.seq
    regression = heard_of(batch, message.regression)
    made = regression.version > known
    run = run_of(message.values.get("starttime_at"), regression.starttime_at) if names_run(message) else "same"
    if run == "older":
        _tell_update(batch, regression, _merge_regression(batch, regression, message, fill=True))
        return _became("ignored", "older-run")
    changed = _merge_regression(batch, regression, message)
    if says_over(message):
        if "finish" in (regression.ended, regression.ending) and not changed:
            return _became("duplicate", "same-content")
        end(batch, regression, "finish")
    elif message.type == REGR_START and run == "newer":
        start_again(batch, regression)
    elif message.pending and "timeout" in (regression.ended, regression.ending):
        reopen(batch, regression, "a message says that it is still pending")
    elif (
        "time-limit" in (regression.ended, regression.ending)
        and "time_limit_ms" in changed
        and not _past_limit(batch, regression)
    ):
        reopen(batch, regression, "its time limit was moved")
        revive_all(batch, regression, MIGRATED, "the regression's time limit was moved")
    elif message.type == REGR_START and not changed and not made:
        return _became("duplicate", "same-content")
    if not made:
        _tell_update(batch, regression, changed)
    return _became("applied")


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
    cut = {field: [_cut(value) for value in values] for field, values in changed.items() if field not in DERIVED}
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


def end(batch: Batch, regression: Regression, how: str) -> None:
    """Decide the end of a regression. flush() migrates its live jobs and makes it visible."""
    if "finish" in (regression.ended, regression.ending):
        return
    if regression.ending == "tank":
        _over(batch, regression, how)
    else:
        regression.ended, regression.ending = None, how


def complete_end(batch: Batch, regression: Regression) -> None:
    """The last live job is dealt with: the regression is over (or, if it was tanked, has no live jobs any more)."""
    how, regression.ending = regression.ending, None
    if how is not None and how != "tank":
        _over(batch, regression, how)


def _over(batch: Batch, regression: Regression, how: str) -> None:
    regression.ended, regression.ended_at = how, batch.moment.now
    if how == "finish":
        batch.tell("regression.finished", regression)
    else:
        why = why_ended(batch.config, regression, how)
        batch.tell("regression.timed_out", regression, reason=how, description=why)


def flush(batch: Batch) -> None:
    """Bring jobs in line with the ends of their regressions, a slice in a transaction, and write everything."""
    batch.save_jobs()
    for regression in batch.regressions.values():
        if regression.ending is not None or regression.ended is not None:
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
    """Condemn live jobs of a regression that is over, what is left of a slice; with the last one its status flips."""
    how = regression.ending or str(regression.ended)
    condemns = how == "tank" or batch.config.livetimeoutsignature
    if regression.n_live and condemns and batch.left_of_slice:
        for job in batch.load_slice("regression_id = ? AND result = 0", regression.id):
            condemn(batch, regression, job, how)
        batch.save_jobs()
    if regression.ending is not None and not (regression.n_live and condemns):
        complete_end(batch, regression)


def reopen(batch: Batch, regression: Regression, why: str) -> None:
    """Take the end of a regression back."""
    forget_end(regression)
    batch.tell("regression.reopened", regression, description=why)


def forget_end(regression: Regression) -> None:
    """As if it had not ended. One that is tanked stays so: what is live in it, flush() gives up."""
    regression.ended = regression.ended_at = None
    regression.ending = None if regression.tanked_at is None else "tank"


def reopen_after_silence(batch: Batch, regression: Regression) -> None:
    """A regression that ended for want of messages is open again as soon as one of its jobs speaks."""
    if regression.tanked_at is None and "timeout" in (regression.ended, regression.ending):
        reopen(batch, regression, "a job spoke after all")


def start_again(batch: Batch, regression: Regression) -> None:
    """The name is used for a new run, whether or not the earlier one was closed: clocks and news begin anew. Unfinished
    jobs are live as long as a regression is open, whatever the order in which its messages arrived; so those that the
    end of the earlier run took along live again."""
    tell_first_failure(batch, regression)
    regression.first_failure = 0
    forget_end(regression)
    regression.created_at, regression.first_tick = batch.moment
    if regression.time_limit_ms is not None:
        regression.limit_tick = regression.first_tick + regression.time_limit_ms
    batch.tell("regression.started", regression, description="started again, with a later starttime")
    revive_all(batch, regression, MIGRATED, "the regression was started again")


def revive_all(batch: Batch, regression: Regression, state: str, why: str) -> None:
    """Make all jobs of a regression live again that are fails of one kind.

    Not in slices, because a message about a job whose turn had not come would meet a fail: 60,000 jobs hold up all
    other writing for 1.5 s."""
    batch.save_jobs()
    for job in batch.load_jobs("regression_id = ? AND result = 2 AND state = ? ORDER BY id", regression.id, state):
        revive(batch, regression, job, None, description=why)
        job.seen_tick = batch.moment.tick
    batch.save_jobs()
