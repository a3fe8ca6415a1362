"""What messages, ends and people do to a job: a batch, a regression and a job come in; a changed row and an event go
out.

The tables ON_LIVE and ON_FINISH in rules.py say which of this is done when. No SQL of its own.
"""

from __future__ import annotations

from typing import Any

from simscope_server.ledger import life, signatures
from simscope_server.ledger.batch import CHANGED_LENGTH, Batch
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
)
from simscope_server.messages.protocol import (
    FAIL,
    JOB_TIMES,
    LIVE,
    OF_VERDICT,
    RESULTS,
    SAID,
    SKIP,
    Message,
    Outcome,
    json_object,
    to_json,
)
from simscope_server.messages.times import in_words, utc


def apply_live(batch: Batch, message: Message) -> Outcome:
    if not batch.config.enablelivejobs:
        return became("ignored", "live-disabled", None, "live tracking is off: [sigs] enablelivejobs = false")
    regression = heard_of(batch, message.regression)
    life.hear_job(batch, regression)
    job = batch.job(regression, message.key)
    action = ON_LIVE[job.state if job else ABSENT][life.stands(regression)]
    if job is None and action == "create":
        job = create_live(batch, regression, message)
        return became("applied", None, job.id)
    if job is None or action == "ignore":
        return became("ignored", "tanked", job.id if job else None)
    if action == "reconsider":
        moved = moves_limit(job.time_limit_ms, message.values, job.running_tick, batch.moment.tick)
        action = "revive" if moved else "fill"
    if action == "fill":
        fill_in(batch, regression, job, message)
        return became("ignored", "already-finished", job.id)
    if action == "revive":
        revive(batch, regression, job, message)
    else:
        update_live(batch, regression, job, message)
    return became("applied", None, job.id)


def apply_finish(batch: Batch, message: Message) -> Outcome:
    regression = heard_of(batch, message.regression)
    life.hear_job(batch, regression)
    job = batch.job(regression, message.key)
    if job is None and message.result == SKIP and not batch.config.enableskip:
        return became("ignored", "skip-disabled", None, "skipped jobs are not kept: [sigs] enableskip = false")
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
    return became("applied", None, job.id)


def became(outcome: str, reason: str | None = None, job: int | None = None, *warnings: str) -> Outcome:
    return Outcome(0, None, None, outcome, reason, job=job, warnings=list(warnings))


def repeat_finish(batch: Batch, regression: Regression, job: Job, message: Message) -> Outcome:
    """A finish for a job that has one: a re-run, the same again, or one that comes too late to differ."""
    if says_the_same(job, message):
        return became("duplicate", "same-content", job.id)
    if not is_later_run(message.values.get("start_at"), job.verdict_start_at):
        warning = "differs from the finish that came first, which is kept"
        return became("duplicate", "first-finish-wins", job.id, warning)
    before = copied(job)
    for column in SAID:
        setattr(job, column, None)
    job.running_at = job.running_tick = job.extended_ms = None
    write_verdict(batch, regression, job, message)
    batch.leave_log(job.id)
    if message.log is not None:
        batch.begin_log(job.id, message.log.get("offset", 0))
    tell_verdict(batch, regression, job, description="run again", changed=difference(before, job))
    return became("applied", None, job.id)


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
    how = life.fate(regression)
    if how is not None and batch.config.livetimeoutsignature:
        condemn(batch, regression, job, how, **({"changed": merged} if merged else {}))
    else:
        batch.tell("job.revived", regression, job, changed=difference(before, job), **data)


def revive_all(batch: Batch, regression: Regression, state: str, why: str) -> None:
    """Make all jobs of a regression live again that are fails of one kind.

    Not in slices, because a message about a job whose turn had not come would meet a fail: 60,000 jobs hold up all
    other writing for 1.5 s."""
    batch.save_jobs()
    for job in batch.load_jobs("regression_id = ? AND result = 2 AND state = ? ORDER BY id", regression.id, state):
        revive(batch, regression, job, None, description=why)
        job.seen_tick = batch.moment.tick
    batch.save_jobs()


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
            changed |= {prefix + name: [cut_short(known.get(name)), cut_short(said.get(name))] for name in names}
        elif column in JOB_TIMES:
            changed[JOB_TIMES[column]] = [utc(old), utc(new)]
        else:
            changed[column] = [cut_short(old), cut_short(new)]
    if before.result != after.result:
        changed["result"] = [RESULTS[before.result], RESULTS[after.result]]
    return changed


def cut_short(value: Any) -> Any:
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
    give_up(batch, regression, job, reason, event, title, life.why_ended(batch.config, regression, how), **data)


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
