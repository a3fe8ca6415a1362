"""The shapes of all answers: what reading gives, and what the description of the interface says of it.

Times are RFC 3339 in UTC, or null; durations are in milliseconds. What may be missing is marked NotRequired. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired, TypedDict, get_type_hints

from msgspec import Meta

from simscope_server.messages.protocol import TEXT_COLUMNS

When = Annotated[str, Meta(extra_json_schema={"format": "date-time"})] | None

Free = dict[str, Any]  # whatever its publisher said

Result = Literal["live", "pass", "fail", "skip"]

Pair = Annotated[list[str], Meta(min_length=2, max_length=2)]

Links = Free  # name -> {"href": address}


class About(TypedDict):
    name: str
    version: str
    epoch: str
    seq: int
    now: str
    live_enabled: bool
    token_required: bool
    series_separator: str


class Problem(TypedDict):
    """What is told of an error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    reason: str
    path: NotRequired[str]
    epoch: NotRequired[str]
    oldest: NotRequired[int]
    newest: NotRequired[int]
    next_offset: NotRequired[int]


class Outcome(TypedDict):
    """What became of one message."""

    index: int
    type: str | None
    regression: str | None
    outcome: Literal["applied", "duplicate", "ignored", "rejected"]
    reason: str | None
    path: str | None
    detail: str | None
    warnings: list[str]
    job: int | None


class Receipt(TypedDict):
    id: int
    name: str
    received_at: When
    messages: int
    applied: int
    duplicate: int
    ignored: int
    rejected: int
    details: list[Outcome]


class Refusal(Receipt):
    """A receipt of messages of which one was refused, and why."""

    type: str
    title: str
    status: int
    detail: str
    reason: str
    path: NotRequired[str]


Counts = TypedDict("Counts", {"pass": int, "fail": int, "skip": int, "live": int, "migrated": int})


class RegressionProgress(TypedDict):
    done: int
    total: int | None
    percent: float | None


class Stats(TypedDict):
    compute_ms: int
    runtime_ms: int
    cycles: int
    cycles_per_s: float | None
    pass_rate: float | None


class Estimate(TypedDict):
    at: When
    low: When
    high: When
    basis: str


class Regression(TypedDict):
    id: int
    name: str
    series: str | None
    number: int | None
    status: Literal["live", "complete", "aborted", "tanked"]
    reason: str | None
    component: str | None
    project: str | None
    branch: str | None
    tag: str | None
    submitted: int | None
    running: int | None
    counts: Counts
    new_signatures: int
    slow: int
    progress: RegressionProgress
    eta_at: When
    eta: Estimate | None
    stalled_since: When
    started_at: When
    finished_at: When
    last_activity_at: When
    due_at: When
    elapsed_ms: int
    stats: Stats
    custom_metadata: list[Pair]
    fields: Free
    version: int
    _links: Links


class SignatureName(TypedDict):
    id: int
    title: str


class JobBesideTexts(TypedDict):
    """A job but for its text columns, each of which is shown under its own name."""

    id: int
    regression: str
    regression_id: int
    uniqueid: str | None
    test: str | None
    result: Result
    done: bool
    migrated: bool
    progress: Free | None
    start_time: When
    finish_time: When
    submitted_at: When
    started_at: When
    finished_at: When
    last_seen_at: When
    due_at: When
    elapsed_ms: int | None
    usual_ms: int | None
    slow_after_ms: int | None
    slow: bool
    time_limit_ms: int | None
    compute_ms: int | None
    runtime_ms: int | None
    cycles: int | None
    cycles_per_s: float | None
    exit_code: int | None
    fail_message: str | None
    signature: SignatureName | None
    metadata: list[Pair]
    env: Free
    results: str | None
    files: list[Free]
    extra: Free
    version: int
    _links: Links


if TYPE_CHECKING:
    Job = dict[str, Any]
else:
    Job = TypedDict(
        "Job",
        {name: str if name == "category" else str | None for name in TEXT_COLUMNS}
        | get_type_hints(JobBesideTexts, include_extras=True),
    )


class JobStatus(TypedDict):
    id: int
    result: Result
    reason: str | None
    done: bool
    version: int


class LogSpan(TypedDict):
    first_offset: int
    next_offset: int
    complete: bool


class LogLine(TypedDict):
    offset: int
    at: When
    message: str


class LogPage(LogSpan):
    lines: list[LogLine]


class HistoryEntry(TypedDict):
    seq: int
    created: When
    type: str | None
    result: str | None
    reason: str | None
    phase: str | None
    description: str | None
    created_by: str | None
    progress: NotRequired[Free]
    changed: NotRequired[Free]


class RegressionName(TypedDict):
    id: int
    name: str | None


class Elsewhere(TypedDict):
    count: int
    series: list[str]


class HostCount(TypedDict):
    host: str
    count: int


class Signature(TypedDict):
    id: int
    category: str
    title: str
    count: int
    new: bool
    first_seen_at: When
    last_seen_at: When
    first_regression: RegressionName
    elsewhere: Elsewhere
    hosts: list[HostCount]
    hosts_count: int
    example: Free


class DiffEntry(TypedDict):
    """Jobs of one config or one test in two regressions; times where it is slower or faster."""

    config: NotRequired[str]
    test: NotRequired[str]
    jobs: int
    fails: int
    base_jobs: int
    base_fails: int
    job: int | None
    base_job: int | None
    runtime_ms: NotRequired[int]
    base_runtime_ms: NotRequired[int]
    percent: NotRequired[float]


class DiffCounts(TypedDict):
    newly_failing: int
    fixed: int
    still_failing: int
    missing: int
    added: int
    slower: int
    faster: int
    new_signatures: int
    fixed_signatures: int


class SignatureCount(TypedDict):
    id: int
    category: str
    title: str
    count: int


class DiffSignatures(TypedDict):
    new: list[SignatureCount]
    fixed: list[SignatureCount]
    still: int


class Differences(TypedDict):
    by: Literal["config", "test"]
    matched: int
    counts: DiffCounts
    newly_failing: list[DiffEntry]
    fixed: list[DiffEntry]
    still_failing: list[DiffEntry]
    missing: list[DiffEntry]
    added: list[DiffEntry]
    slower: list[DiffEntry]
    faster: list[DiffEntry]
    signatures: DiffSignatures


class Diff(Differences):
    regression: str
    base: str
    regression_id: int
    base_id: int


Host = TypedDict(
    "Host",
    {
        "host": str | None,
        "pass": int,
        "fail": int,
        "skip": int,
        "live": int,
        "runtime_ms": int,
        "fail_rate": float | None,
    },
)


_Span = TypedDict("_Span", {"from": When, "to": When, "now": When})


class Timeline(_Span):
    """Jobs in time as arrays of equal length; `host` is a place in `hosts`, `result` is counted from live, 0."""

    hosts: list[str]
    jobs: int
    shown: int
    id: list[int]
    host: list[int]
    start: list[int]
    length: list[int | None]
    result: list[int]


Finished = TypedDict(
    "Finished", {"from": When, "step_ms": int, "pass": list[int], "fail": list[int], "skip": list[int]}
)


Runtimes = TypedDict("Runtimes", {"edges_ms": list[int] | None, "pass": list[int], "fail": list[int]})


class Points(TypedDict):
    shown: int
    of: int
    id: list[int]
    runtime_ms: list[int]
    cycles: list[int]
    result: list[int]


class Charts(TypedDict):
    jobs: int
    left_out: int
    finished: Finished
    runtime: Runtimes
    cycles: Points


class Series(TypedDict):
    series: str
    runs: list[Free]


EarlierRun = TypedDict(
    "EarlierRun",
    {
        "regression": str,
        "regression_id": int,
        "number": int | None,
        "jobs": int,
        "pass": int,
        "fail": int,
        "skip": int,
        "job": int,
        "result": Result,
        "runtime_ms": int | None,
        "finished_at": When,
        "host": str | None,
        "seed": str | None,
        "mean_runtime_ms": int | None,
        "same_seed": bool,
    },
)


class Earlier(TypedDict):
    test: str | None
    usual_ms: int | None
    slow_after_ms: int | None
    items: list[EarlierRun]
    next: None


class Event(TypedDict):
    seq: int
    at: When
    type: str
    regression: str
    regression_id: int
    job: int | None
    data: Free


class EventList(TypedDict):
    items: list[Event]
    next: int
    oldest: int
    newest: int
    epoch: str


class RegressionList(TypedDict):
    items: list[Regression]
    next: str | None


class JobList(TypedDict):
    items: list[Job]
    next: str | None


class SignatureList(TypedDict):
    items: list[Signature]
    next: str | None


class HostList(TypedDict):
    items: list[Host]
    next: str | None


class SeriesList(TypedDict):
    items: list[Series]
    next: str | None


class ReceiptList(TypedDict):
    items: list[Receipt]
    next: str | None


class FileList(TypedDict):
    items: list[Free]
    next: int | None


class History(TypedDict):
    items: list[HistoryEntry]
    next: int | None


class Reason(TypedDict, total=False):
    """The body that says why."""

    reason: str


ANSWERS = (
    *(About, Problem, Receipt, Refusal, Regression, Job, JobStatus, LogSpan, LogPage, FileList, History, Signature),
    *(Diff, Timeline, Charts, Earlier, EventList, RegressionList, JobList, SignatureList, HostList, SeriesList),
    *(ReceiptList, Reason),
)
