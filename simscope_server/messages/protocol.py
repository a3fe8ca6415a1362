"""Every word that others use: message types and fields, results, outcomes, refusals, events, limits; and the shapes in
which messages, deliveries and receipts travel between the wings.

Pure: no clock, no files, no database, no network.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, NamedTuple, ParamSpec, TypedDict, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from simscope_server.messages.times import DAY_MS

# A job longer than this is a mistake in the publisher's arithmetic: the original keeps durations in a signed 32-bit
# number of milliseconds (24.8 days) and refuses more than 24 days.
LONGEST_MS = 24 * DAY_MS

# What one job counts for at most in sums of cycles, so that sums of mistaken numbers still fit 64 bits.
MOST_CYCLES = 2**48
NAME_LENGTH = 512  # characters of a regression name; long enough for a path, short enough for an address
DEEPEST = 32  # nesting of a message; the deepest known field needs 4
DETAILS_KEPT = 100  # messages told one by one in a receipt
LIMIT_DEFAULT, LIMIT_MOST = 20, 500  # entries of one page of a list
WAIT_MOST_S = 60  # for which a request may wait for something new
API = "/api/v1"

P = ParamSpec("P")
T = TypeVar("T")
encode_json = msgspec.json.encode
decode_json = msgspec.json.decode
log = logging.getLogger("simscoped")

Row = dict[str, Any]  # a row of a table or a view, by column name

# Why a message was refused, ignored or taken as a duplicate. The table in docs/messages.md is checked against this one.
REASONS = {
    # refused: nothing of the message was applied
    "bad-json": "not JSON, or cut short",
    "bad-text": "not UTF-8, or text with U+0000 or half a surrogate pair",
    "bad-number": "an integer beyond 64 bits, or a number beyond a double",
    "too-deep": f"nested deeper than {DEEPEST} levels",
    "too-large": "larger than [limits] message_kib, or the delivery larger than body_mib",
    "unreadable": "the spool file could not be read",
    "no-regression": "nothing says which regression the message is about",
    "bad-regression": f"a regression name is 1 to {NAME_LENGTH} characters without control characters",
    "unknown-type": "the message type is not one of the seven, or nothing says it",
    "missing-field": "a job's body, category, result or identity (uniqueid or start_time) is missing",
    "wrong-type": "a known field has another JSON type than it must have",
    "bad-result": "result is not one of live, pass, fail, skip",
    "result-mismatch": "result is at odds with the message type",
    "bad-time": "a time is not RFC 3339 with a zone",
    "bad-duration": "a duration is below 0 or above 24 days",
    "internal-error": "our own mistake; the traceback is in the daemon's log",
    # ignored: understood, and rightly without effect (fields that were missing may have been filled in)
    "live-disabled": "[sigs] enablelivejobs is off",
    "skip-disabled": "[sigs] enableskip is off",
    "already-finished": "a live message for a job that has its verdict",
    "tanked": "a live message for a tanked job or regression",
    "older-run": "about an earlier run of a regression whose name is used again",
    # duplicate: said before
    "same-content": "the same was said before",
    "first-finish-wins": "another finish was there first, and this one has no later start_time",
}


def to_json(value: Any) -> str:
    """A value as compact JSON text, as it stands in JSON columns."""
    return encode_json(value).decode()


def json_object(text: str | None) -> dict[str, Any]:
    """The object in a JSON column, where NULL stands for an empty one."""
    return decode_json(text) if text else {}


class SimscopedError(Exception):
    """A mistake of somebody else's that ends a command with one sentence on stderr, and with the exit code `code`."""

    code = 2


class NotNow(SimscopedError):
    """What is no matter of usage or configuration, so that the next try may go well."""

    code = 1


class StorageError(Exception):
    """The database cannot be used just now (disk full, I/O error). Nothing was applied; trying again may help."""


class Refused(Exception):
    """One message cannot be taken. `reason` is a key of REASONS, `path` a JSONPath into the message or None."""

    def __init__(self, reason: str, detail: str, path: str | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.path = path


REGR_START, REGR_UPDATE, REGR_FINISH = "regr-start", "regr-update", "regr-finish"
JOB_LIVE, JOB_FINISH = "job-live", "job-finish"
BATCH_JOB_LIVE, BATCH_JOB_FINISH = "batch-job-live", "batch-job-finish"
TYPES = (REGR_START, REGR_UPDATE, REGR_FINISH, JOB_LIVE, JOB_FINISH, BATCH_JOB_LIVE, BATCH_JOB_FINISH)
SINGLE = {BATCH_JOB_LIVE: JOB_LIVE, BATCH_JOB_FINISH: JOB_FINISH}
LIVE, PASS, FAIL, SKIP = range(4)
RESULTS = ("live", "pass", "fail", "skip")
Integer = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Time = Annotated[datetime, Meta(tz=True)]
Pair = tuple[str, str]


class Progress(TypedDict, total=False):
    """How far a live job is: `done` of `total` in `unit`s, `rate` units per second."""

    done: float
    total: float
    unit: str
    rate: float
    note: str


class DeclaredFile(TypedDict, total=False):
    """A file that belongs to a job: where it lies and what it is for."""

    kind: str
    name: str
    path: str
    size: Integer
    sha256: str


class LogLines(TypedDict, total=False):
    """Lines of a job's output; `offset` is the number of the first one, counted from 0, or left out to append."""

    offset: Annotated[int, Meta(ge=0, le=2**53)]
    lines: list[str]


# The fields that a publisher may use, and where each is kept. This is the one table of them: what decodes a message,
# what is merged, filtered, listed and described is derived from it. A field of a job that is to have a column needs a
# line here, the column in schema.sql with its migration, and code where it means more than its value.


class Column(NamedTuple):
    """A field with a column of its own: under its own name, or another one."""

    name: str = ""
    of_verdict: bool = False  # a live message has none to give, and a finish that leaves it out clears it
    maybe_empty: bool = False  # 0 and "" say: there is none


class Extra(NamedTuple):
    """A field that is kept, beside all unknown ones, in the JSON object in column `extra`."""


class JobBody(TypedDict, total=False):
    """The known fields of a job message; those that are neither Column nor Extra are taken apart in decoding.py.
    Unknown ones are kept and shown."""

    category: Annotated[str, Column()]
    result: str
    uniqueid: str
    start_time: Annotated[Time, Column("start_at")]
    finish_time: Annotated[Time, Column("finish_at", of_verdict=True)]
    compute_ms: Annotated[Integer, Column(of_verdict=True)]
    runtime_ms: Annotated[Integer, Column(of_verdict=True)]
    cycles: Annotated[Integer, Column(of_verdict=True)]
    config: Annotated[str, Column()]
    seed: Annotated[str | int, Column()]
    build: Annotated[str, Column()]
    testgroup: Annotated[str, Column()]
    jobdir: Annotated[str, Column()]
    host: Annotated[str, Column()]
    extid: Annotated[str, Extra()]
    exit_code: Annotated[Integer, Column(of_verdict=True)]
    fail_message: Annotated[str, Column(of_verdict=True, maybe_empty=True)]
    bucket: Annotated[str, Column(of_verdict=True, maybe_empty=True)]
    sourcecode: Annotated[str, Extra()]
    username: Annotated[str, Extra()]
    metadata: list[Pair]
    name: Annotated[str, Column()]
    phase: Annotated[str, Column()]
    progress: Annotated[Progress, Extra()]
    time_limit_ms: Annotated[Integer, Column(maybe_empty=True)]
    env: Annotated[dict[str, str], Extra()]
    results: Annotated[str, Extra()]
    files: Annotated[list[DeclaredFile], Extra()]
    log: LogLines
    reason: Annotated[str, Column(of_verdict=True)]


class RegressionBody(TypedDict, total=False):
    """The known fields of a regression message. All but `pending` are kept as they were said, in the JSON object in
    column `fields`; those that are filtered by or reckoned with have a column too. Unknown ones are kept and shown."""

    name: str
    component: Annotated[str, Column()]
    project: Annotated[str, Column()]
    starttime: Annotated[Time, Column("starttime_at")]
    pending: bool
    submitted: Annotated[Integer, Column()]
    running: Annotated[Integer, Column()]
    model_branch: Annotated[str, Column("branch")]
    model_version: str
    model_timestamp: Time
    integrate: bool
    changelist_path: str
    command: str
    dir: str
    group: str
    host: str
    queue: str
    tag: Annotated[str, Column()]
    username: str
    time_limit_hours: Annotated[float, Column("time_limit_ms")]
    custom_metadata: list[Pair]


def kinds_of(body: Any) -> dict[str, Any]:
    """The declared fields of a body, and the types that they must be of."""
    return get_type_hints(body, include_extras=True)


def bare(kind: Any) -> Any:
    """A type without what is said about it."""
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _said_of(body: Any, what: type[T]) -> dict[str, T]:
    """field -> what is said of it, for the fields of which such a thing is said."""
    said = ((field, said) for field, kind in kinds_of(body).items() for said in getattr(kind, "__metadata__", ()))
    return {field: told for field, told in said if isinstance(told, what)}


def _of_type(body: Any, kind: Any) -> frozenset[str]:
    return frozenset(field for field, declared in kinds_of(body).items() if bare(declared) is kind)


JOB_FIELDS = frozenset(JobBody.__annotations__)
REGRESSION_FIELDS = frozenset(RegressionBody.__annotations__)
EXTRA_FIELDS = frozenset(_said_of(JobBody, Extra))
TIMES = _of_type(JobBody, datetime) | _of_type(RegressionBody, datetime)
DURATIONS = tuple(field for field in JobBody.__annotations__ if field.endswith("_ms"))

_OF_JOB = _said_of(JobBody, Column)
_OF_REGRESSION = _said_of(RegressionBody, Column)

COLUMN_OF_JOB = {field: said.name or field for field, said in _OF_JOB.items()}
COLUMN_OF_REGRESSION = {field: said.name or field for field, said in _OF_REGRESSION.items()}
JOB_TIMES = {column: field for field, column in COLUMN_OF_JOB.items() if field in TIMES}  # column -> field

# Columns of a job: those that 0 or "" empties; those that hold the value as it was said; those of short texts, which
# lists are filtered by; those of a verdict, and by what names a live message cannot set them.
MAYBE_EMPTY = tuple(field for field, said in _OF_JOB.items() if said.maybe_empty)
PLAIN_COLUMNS = frozenset(
    field for field, said in _OF_JOB.items() if not (said.name or said.maybe_empty or field == "seed")
)
TEXT_COLUMNS = tuple(
    field for field in COLUMN_OF_JOB if bare(kinds_of(JobBody)[field]) in (str, str | int) and field not in MAYBE_EMPTY
)
OF_VERDICT = frozenset(COLUMN_OF_JOB[field] for field, said in _OF_JOB.items() if said.of_verdict)
NOT_OF_LIVE = sorted(field for field, said in _OF_JOB.items() if said.of_verdict)

# What messages say of a job, as columns; a re-run clears it all before it writes its own.
SAID = (*COLUMN_OF_JOB.values(), "metadata", "extra")

# What the original calls required of a finished job, and we accept missing with a warning.
EXPECTED_OF_FINISH = ("start_time", "compute_ms", "config")
EXPECTED_OF_START = ("component", "project", "starttime")

# Phases in which a job waits and does not run yet: its time limit does not count. Those in the second row, and some in
# the first, are what Agave and Tapis call the states before RUNNING; a phase is compared without regard to case.
WAITING_PHASES = frozenset(
    "queued pending submitted staging paused "
    "accepted blocked processing_inputs staging_inputs staged staging_job submitting submitting_job".split()
)


class Context(msgspec.Struct, frozen=True):
    """What the surroundings of a delivery say about its messages."""

    type: str | None = None  # from the file name or the address; never a batch, arrays are cut up before
    regression: str | None = None  # from the folder or the address
    bare: bool = False  # the address says the type: an object is a body, whatever its keys


class Message(msgspec.Struct):
    """One message, decoded and checked. `values` are columns of its row, `extra` and `metadata` are JSON objects."""

    index: int
    type: str
    regression: str
    values: dict[str, Any]
    extra: dict[str, Any]
    metadata: dict[str, str]
    key: str | bytes = ""  # jobs: identity inside the regression
    result: int = LIVE
    pending: bool | None = None  # regressions
    warnings: list[str] = []
    log: LogLines | None = None  # jobs


class Outcome(msgspec.Struct):
    """What became of one message: an element of a receipt's `details`."""

    index: int
    type: str | None
    regression: str | None
    outcome: str
    reason: str | None = None
    path: str | None = None
    detail: str | None = None
    warnings: list[str] = []
    job: int | None = None


class Delivery(msgspec.Struct):
    """A spool file or a request: its items, where they come from, and (spool) which claimed file to clear away."""

    name: str  # path below the spool, or the peer of a request
    origin: str  # as events tell it: spool:NAME or http:PEER
    items: list[bytes]
    context: Context
    refusal: Outcome | None = None  # the delivery as a whole could not be read
    claim: tuple[str, int, int] | None = None  # spool: path below the work folder, inode, mtime in ns
    messages: list[Message | Outcome] | None = None  # instead of the items, where they are decoded already

    def weight(self) -> int:
        """How many messages it holds, as far as that is known."""
        return len(self.items) if self.messages is None else len(self.messages)

    def size(self) -> int:
        """Bytes of its items."""
        return sum(map(len, self.items))


OUTCOMES = ("applied", "duplicate", "ignored", "rejected")
GRAVITY = OUTCOMES[::-1]


class Receipt(msgspec.Struct):
    """What became of one delivery."""

    id: int
    name: str
    received_at: int
    applied: int
    duplicate: int
    ignored: int
    rejected: int
    details: list[Outcome]  # of all messages, if they are few; else of the notable ones

    @property
    def messages(self) -> int:
        return self.applied + self.duplicate + self.ignored + self.rejected

    def refused(self) -> list[Any]:
        """Those that were refused among the first, as JSON has them."""
        if not self.rejected:
            return []
        return [msgspec.to_builtins(told) for told in self.notable() if told.outcome == "rejected"]

    def notable(self) -> list[Outcome]:
        """The first messages that were not plainly applied; of too many, refused ones before others without effect,
        and those before applied ones with warnings."""
        notable = [told for told in self.details if told.outcome != "applied" or told.warnings]
        if len(notable) <= DETAILS_KEPT:
            return notable
        gravest = sorted(notable, key=lambda told: GRAVITY.index(told.outcome))
        return sorted(gravest[:DETAILS_KEPT], key=lambda told: told.index)


class Submission(NamedTuple):
    """Deliveries that a door hands in together, and the notes about files that are certain to be cleared away."""

    deliveries: list[Delivery]
    deletable: Sequence[int] = ()

    def weight(self) -> int:
        """How many messages it holds, as far as that is known."""
        return sum(delivery.weight() for delivery in self.deliveries)


EVENT_TYPES = (
    *(f"regression.{word}" for word in "started updated finished timed_out reopened tanked untanked".split()),
    "regression.first_failure",
    *(f"job.{word}" for word in "live updated passed failed skipped timed_out missing tanked corrected".split()),
    *(f"job.{word}" for word in "revived extended pruned".split()),
)

FAMILIES = ("*", "regression.*", "job.*")

# What a subscriber may ask for instead of a type: a family, or the names that Agave and JuliaHub give to the states of
# a job, so that what was written for them goes on working. States in which a job waits, runs or is cleaned up after
# are phases here: they come with the first live message or with an update. Nothing is like Agave's permissions.
LIVE_TYPES = ("job.live", "job.updated")

TYPE_ALIASES = {
    "job.finished": ("job.passed", "job.failed", "job.skipped", "job.timed_out", "job.missing", "job.tanked"),
    "CREATED": ("job.live",),
    "UPDATED": ("job.updated",),
    "HEARTBEAT": ("job.updated",),
    **dict.fromkeys(
        "SUBMITTED ACCEPTED PENDING PROCESSING_INPUTS STAGING_INPUTS STAGED STAGING_JOB SUBMITTING SUBMITTING_JOB "
        "QUEUED BLOCKED PAUSED CLEANING_UP ARCHIVING ARCHIVING_FINISHED ARCHIVING_FAILED".split(),
        LIVE_TYPES,
    ),
    "RUNNING": (*LIVE_TYPES, "job.revived"),
    "FINISHED": ("job.passed", "job.skipped"),
    "COMPLETED": ("job.passed", "job.skipped"),
    "FAILED": ("job.failed", "job.timed_out", "job.missing"),
    **dict.fromkeys(("KILLED", "STOPPED", "CANCELLED"), ("job.tanked",)),
    "DELETED": ("job.pruned",),
    "RESTORED": ("job.corrected", "job.revived"),
    "PERMISSION_GRANT": (),
    "PERMISSION_REVOKE": (),
}


def types_named(name: str) -> tuple[str, ...]:
    """The event types that a name stands for: itself, or, whatever the case of its letters, an alias."""
    return TYPE_ALIASES.get(name, TYPE_ALIASES.get(name.upper(), (name,)))
