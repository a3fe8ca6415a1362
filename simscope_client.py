"""simscope_client: watch jobs and regressions of simscoped, from Python and from a terminal.

The second file of the client, beside simscope.py: standard library only, Python 3.8 or newer. simscope.py loads it when
something in it is wanted, `from simscope import Client` or `simscope.py jobs`; it is not run by itself. What it asks
goes through simscope.py, whose connections, errors and configuration it shares.

  client = Client("http://tracker:8040")
  job = client.wait(1234, timeout=3600)         a frozen snapshot: job.result, job.done, job.fail_message, job.raw
  for job in client.as_completed(client.jobs(100, regression="nightly/$", result="live")): ...
  for line in client.iter_logs(job, follow=True): print(line.message)

docs/client.md tells it all. Every error is a SimscopeError, and the builtin one that fits it.

SECTIONS, in the order data flows

  1 limits   2 snapshots   3 asking   4 a window on a log   5 the client   6 lines for a terminal
  7 commands that watch   8 command line
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import functools
import itertools
import os
import re
import sys
import threading
import time

from simscope import (
    _SURROGATES,
    COMMANDS,
    DEFAULT_SERVER,
    DURATION_MS,
    EXIT_ABORTED,
    EXIT_NO,
    EXIT_OK,
    READ_BYTES,
    Address,
    AlreadyThere,
    CannotWrite,
    ChecksumMismatch,
    CursorExpired,
    NotFound,
    NotPassed,
    Pruned,
    Refused,
    SimscopeError,
    Unreachable,
    UsageError,
    WaitTimeout,
    WrongType,
    answer_document,
    as_text,
    ask,
    check_output,
    clean_text,
    compact,
    duration_ms,
    emit,
    json_kind,
    new_parser,
    open_answer,
    output_lost,
    plain,
    reaching,
    read_config,
    reason_of,
    rfc3339,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime, timedelta
    from pathlib import Path
    from typing import Any, Callable, Iterable, Iterator, Mapping, Sequence, TypeVar, Union

    T = TypeVar("T")

# ----------------------------------------------------------------------------------------------------------------------
# 1 Limits
# ----------------------------------------------------------------------------------------------------------------------

WAIT_SECONDS = 30.0  # one question that the server answers when there is news; it allows 60
SILENT_SECONDS = 30.0  # the server says something every 15 s on a stream; one that is silent longer is opened anew
LATE_SECONDS = 1.0  # a question may take so long beyond the time for waiting: the answer may be on its way
IDLE_CONNECTIONS = 8  # kept by a client
PAUSE_FIRST = 0.5  # longest pause before the first new attempt, doubled with each failure up to
PAUSE_MOST = 30.0
OUTAGE_SECONDS = 600.0  # who waits puts up with a server that is away for so long
NAMES_TOLD = 10  # of what is not over when the time for waiting is
PAGE_ITEMS = 500  # most that the server gives of a list at once
PAGE_LINES = 10000  # and of a log


# ----------------------------------------------------------------------------------------------------------------------
# 2 Snapshots: what the daemon answers, as values that do not change
# ----------------------------------------------------------------------------------------------------------------------

# A snapshot shows a thing as it was when it was asked for; ask again for how it is now. Fields are named as in the
# answers of the daemon; what a newer daemon tells besides is in `raw`. Times are aware datetimes in UTC, durations
# whole milliseconds. Two snapshots are equal if they agree in their texts, numbers and times.


def parse_time(text: str) -> datetime:
    """Return a time of the server as an aware datetime in UTC."""
    from datetime import datetime

    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _part(read: Callable[[Any], Any], **default: Any) -> Any:
    """A field that is read from JSON by a function of its own, and that does not count when snapshots are compared."""
    return dataclasses.field(compare=False, repr=False, metadata={"read": read}, **default)


def _never(self: Any, *arguments: Any, **keywords: Any) -> Any:
    raise WrongType("a snapshot cannot be changed; dict(…) and list(…) make copies that can")


class _Mapping(dict):  # type: ignore[type-arg]
    """An object of an answer. It is a dict, for json, pickle and whoever asks, but takes no changes."""

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _never

    def __reduce__(self) -> Any:
        return _Mapping, (dict(self),)


class _List(list):  # type: ignore[type-arg]
    """An array of an answer, likewise."""

    __setitem__ = __delitem__ = __iadd__ = __imul__ = append = clear = extend = _never
    insert = pop = remove = reverse = sort = _never

    def __reduce__(self) -> Any:
        return _List, (list(self),)


def fixed(value: Any) -> Any:
    """Return a JSON value that takes no changes, however deep."""
    if isinstance(value, (_Mapping, _List)):
        return value
    if isinstance(value, dict):
        return _Mapping((key, fixed(item)) for key, item in value.items())
    return _List(map(fixed, value)) if isinstance(value, list) else value


def _mapping() -> Any:
    return _part(lambda value: fixed(dict(value)), default_factory=_Mapping)


@contextlib.contextmanager
def understanding() -> Iterator[None]:
    """Turn what happens to a reader of an answer that simscoped does not give into UsageError."""
    try:
        yield
    except SimscopeError:
        raise
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise UsageError(f"the server answered unlike simscoped ({error!r}); is this its address?") from error


def snapshot(kind: type[T], document: Any, **more: Any) -> T:
    """Return a `kind` with the members of a JSON object that it has fields for, and with `more`.

    null and what is missing leave a field at its default. Raises UsageError for anything but an object that fits.
    """
    if not isinstance(document, dict):
        raise UsageError(
            f"the server answered {json_kind(document)} instead of an object; is this the address of simscoped?"
        )
    values = {"raw": fixed(document), **more}
    with understanding():
        for field in dataclasses.fields(kind):  # type: ignore[arg-type]
            value = document.get("_links" if field.name == "links" else field.name)
            if value is not None and field.name not in values:
                values[field.name] = (field.metadata.get("read") or _reader(field.name))(value)
    return kind(**{field.name: values[field.name] for field in dataclasses.fields(kind) if field.name in values})  # type: ignore[arg-type]


def _reader(name: str) -> Callable[[Any], Any]:
    is_time = name.endswith(("_at", "_time")) or name in ("at", "created")
    return parse_time if is_time else lambda value: value


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a job or a regression is; `total` and what only one of the two tells may be None."""

    done: float = 0
    total: float | None = None
    percent: float | None = None
    unit: str | None = None
    rate: float | None = None
    note: str | None = None


@dataclasses.dataclass(frozen=True)
class Signature:
    """The bucket of equal failures that a job fell into."""

    id: int = 0
    title: str = ""


@dataclasses.dataclass(frozen=True)
class FileHash:
    """A hash and the algorithm that made it, such as sha256."""

    algorithm: str
    digest: bytes

    def hex(self) -> str:
        return self.digest.hex()


@dataclasses.dataclass(frozen=True)
class JobFile:
    """A file that a job declares. `size` and `hash` are None where the job did not tell them and the server does not
    know them: it looks at files that it serves, and hashes little ones of jobs that are done."""

    job_id: int = 0
    kind: str = ""
    name: str = ""
    path: str | None = None
    size: int | None = None
    hash: FileHash | None = None
    raw: Mapping[str, Any] = _mapping()


def read_file_entry(job_id: int, entry: Any) -> JobFile:
    """Return a file of a job's list; a hash that is not valid is left out."""
    found = re.fullmatch("(?:sha256:)?([0-9a-fA-F]{64})", str(isinstance(entry, dict) and entry.get("sha256")))
    digest = FileHash("sha256", bytes.fromhex(found.group(1))) if found else None
    return snapshot(JobFile, entry, job_id=job_id, hash=digest)


@dataclasses.dataclass(frozen=True)
class Job:
    """A job, as it was when it was asked for."""

    id: int = 0
    regression: str = ""
    regression_id: int = 0
    uniqueid: str | None = None
    name: str | None = None
    category: str = ""
    result: str = ""  # live, pass, fail or skip
    reason: str | None = None
    done: bool = False
    migrated: bool = False
    phase: str | None = None
    progress: Progress | None = _part(lambda value: snapshot(Progress, value), default=None)
    host: str | None = None
    config: str | None = None
    seed: str | None = None
    build: str | None = None
    testgroup: str | None = None
    jobdir: str | None = None
    start_time: datetime | None = None  # as the publisher says
    finish_time: datetime | None = None
    submitted_at: datetime | None = None  # as the daemon saw it
    started_at: datetime | None = None
    finished_at: datetime | None = None
    last_seen_at: datetime | None = None
    due_at: datetime | None = None
    time_limit_ms: int | None = None
    elapsed_ms: int | None = _part(int, default=None)
    compute_ms: int | None = None
    runtime_ms: int | None = None
    cycles: int | None = None
    exit_code: int | None = None
    fail_message: str | None = None
    signature: Signature | None = _part(lambda value: snapshot(Signature, value), default=None)
    metadata: tuple[tuple[str, str], ...] = _part(lambda pairs: tuple(map(tuple, pairs)), default=())
    env: Mapping[str, str] = _mapping()
    results: str = ""
    files: tuple[JobFile, ...] = _part(tuple, default=())
    extra: Mapping[str, Any] = _mapping()
    version: int = 0
    links: Mapping[str, Any] = _mapping()
    raw: Mapping[str, Any] = _mapping()

    @property
    def ok(self) -> bool:
        """Done, and nothing to worry about."""
        return self.done and self.result in ("pass", "skip")

    @property
    def title(self) -> str:
        """What people call it: its name, else what is run, else its identity."""
        return self.name or self.config or self.uniqueid or f"job {self.id}"


def read_job(document: Any) -> Job:
    with understanding():
        entries = document.get("files") or () if isinstance(document, dict) else ()
        files = tuple(read_file_entry(document["id"], entry) for entry in entries)
    return snapshot(Job, document, files=files)


@dataclasses.dataclass(frozen=True)
class JobStatus:
    """What is most often asked about a job, in small."""

    id: int = 0
    result: str = ""
    reason: str | None = None
    done: bool = False
    version: int = 0


@dataclasses.dataclass(frozen=True)
class Regression:
    """A regression, as it was when it was asked for. `counts` has pass, fail, skip, live and migrated."""

    id: int = 0
    name: str = ""
    series: str | None = None
    number: int | None = None
    status: str = ""  # live, complete, aborted or tanked
    reason: str | None = None
    component: str | None = None
    project: str | None = None
    branch: str | None = None
    tag: str | None = None
    submitted: int | None = None
    running: int | None = None
    counts: Mapping[str, int] = _mapping()
    progress: Progress | None = _part(lambda value: snapshot(Progress, value), default=None)
    eta_at: datetime | None = _part(parse_time, default=None)
    started_at: datetime | None = None
    finished_at: datetime | None = None
    last_activity_at: datetime | None = None
    due_at: datetime | None = None
    elapsed_ms: int | None = _part(int, default=None)
    stats: Mapping[str, Any] = _mapping()
    custom_metadata: tuple[tuple[str, str], ...] = _part(lambda pairs: tuple(map(tuple, pairs)), default=())
    fields: Mapping[str, Any] = _mapping()
    version: int = 0
    links: Mapping[str, Any] = _mapping()
    raw: Mapping[str, Any] = _mapping()

    @property
    def done(self) -> bool:
        """Is it over, however it ended?"""
        return self.status != "live"

    @property
    def ok(self) -> bool:
        """Complete, and without a fail."""
        return self.status == "complete" and not self.counts.get("fail")


@dataclasses.dataclass(frozen=True)
class LogLine:
    """A line of a job's log: its number, counted from 0, when the daemon got it, and its text."""

    offset: int = 0
    at: datetime | None = None
    message: str = ""


@dataclasses.dataclass(frozen=True)
class HistoryEntry:
    """Something that happened to a job or a regression."""

    seq: int = 0
    created: datetime | None = None
    type: str = ""
    result: str | None = None
    status: str | None = None
    reason: str | None = None
    phase: str | None = None
    description: str | None = None
    created_by: str | None = None
    progress: Progress | None = _part(lambda value: snapshot(Progress, value), default=None)
    changed: Mapping[str, Any] = _mapping()
    raw: Mapping[str, Any] = _mapping()


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that happened; `seq` grows, and is where to go on after it. `job` is a job's id or None."""

    seq: int = 0
    type: str = ""
    at: datetime | None = None
    regression: str = ""
    regression_id: int = 0
    job: int | None = None
    data: Mapping[str, Any] = _mapping()
    raw: Mapping[str, Any] = _mapping()


if TYPE_CHECKING:
    JobRef = Union[Job, JobFile, int, str]
    RegressionRef = Union[Regression, int, str]
    AnyRef = Union[Job, Regression, int, str]
    Snapshot = Union[Job, Regression]


def for_address(value: T) -> T:
    """Return what is to be part of an address; raise UsageError for half characters, which cannot be."""
    if re.search(_SURROGATES, str(value)):
        raise UsageError(f"{value!r} is not UTF-8 text")
    return value


def is_number(value: Any, *kinds: type) -> bool:
    """Say whether a value is a number of one of these types; true and false are not."""
    return isinstance(value, kinds) and not isinstance(value, bool)


def job_number(ref: Any) -> int:
    """Return the id of the job that is meant: by a snapshot of it, by its id, or by its id as text."""
    if isinstance(ref, Job):
        return ref.id
    if isinstance(ref, JobFile):
        return ref.job_id
    if isinstance(ref, str) and re.fullmatch("[0-9]{1,18}", ref):
        return int(ref)
    if is_number(ref, int) and ref >= 0:
        return int(ref)
    error = UsageError if isinstance(ref, str) or is_number(ref, int) else WrongType
    raise error(f"{ref!r} is not a job (accepted: a Job, or its id, a whole number)")


def regression_path(ref: Any) -> str:
    """Return the address of the regression that is meant: by a snapshot, its id, its name, or SERIES/$."""
    from urllib.parse import quote

    if isinstance(ref, Regression):
        return f"/regressions/{ref.id}"
    if isinstance(ref, str) and ref:
        return "/regressions/" + quote(for_address(ref), safe="")
    if is_number(ref, int) and ref >= 0:
        return f"/regressions/{ref}"
    error = UsageError if isinstance(ref, str) or is_number(ref, int) else WrongType
    raise error(f"{ref!r} is not a regression (accepted: a Regression, its name, SERIES/$, or its id)")


def means_regression(ref: Any) -> bool:
    """Say whether a regression is meant where both kinds may be named: a number, also as text, is a job's id."""
    return isinstance(ref, Regression) or (isinstance(ref, str) and not re.fullmatch("[0-9]+", ref))


def verdict_text(found: Snapshot) -> str:
    """Return in a few words how a job or a regression stands."""
    word = found.status if isinstance(found, Regression) else found.result
    reason = found.reason if found.reason not in (None, "finish") else None
    return f"{word} ({reason})" if reason else word


def whole_number(name: str, value: Any, least: int) -> int:
    """Return a whole number that is large enough, and of 18 digits at most; raise UsageError, for any other type
    WrongType."""
    if is_number(value, int) and least <= value < 10**18:
        return int(value)
    error = UsageError if is_number(value, int) else WrongType
    raise error(f"{name}={value!r} is not accepted: it must be a whole number of at least {least}, of up to 18 digits")


def check_seconds(name: str, value: Any, accepted: Callable[[float], bool], words: str) -> None:
    """Raise UsageError for a number of seconds that is not accepted, for any other type WrongType."""
    if not is_number(value, int, float) or not accepted(value):
        error = UsageError if is_number(value, int, float) else WrongType
        raise error(f"{name}={value!r} is not accepted: it must be {words}")


# ----------------------------------------------------------------------------------------------------------------------
# 3 Asking: connections that are kept, outages that are borne, streams that are taken up again
# ----------------------------------------------------------------------------------------------------------------------


def jitter(failures: int) -> float:
    """Return the seconds to pause after some failures in a row: anything from 0 to a limit that doubles each time.

    Chance over the whole span spreads a thousand clients whose server was started anew better than any other rule.
    """
    chance = int.from_bytes(os.urandom(4), "big") / 2**32
    return chance * float(min(PAUSE_MOST, PAUSE_FIRST * 2 ** min(failures, 10)))


def seconds_left(until: float | None) -> float:
    """Return the seconds until a moment of the monotonic clock; None is for ever."""
    return float("inf") if until is None else until - time.monotonic()


def check_timeout(timeout: float | None) -> None:
    """Raise UsageError unless a timeout is None or a number of seconds."""
    if timeout is not None:
        check_seconds("timeout", timeout, lambda value: 0 <= value < 1e9, "a number of seconds, 0 or more, or None")


def moment(timeout: float | None) -> float | None:
    """Return the moment of the monotonic clock that is `timeout` seconds away; None for None. Raises UsageError."""
    check_timeout(timeout)
    return None if timeout is None else time.monotonic() + timeout


def late(error: Unreachable) -> WaitTimeout:
    return WaitTimeout(f"the timeout has passed, and {error}")


class Caller:
    """Asks one server, for any number of threads at once; idle connections are kept and used again."""

    def __init__(self, address: Address, outage: float) -> None:
        self.address = address
        self.outage = outage
        self.reached = False  # it has answered once, so the address is right
        self._own = threading.local()  # `until` of the call of `insist` that this thread is in
        self._idle: collections.deque[Any] = collections.deque()

    def ask(self, method: str, path: str, text: str | None = None, wait: float = 0.0, **headers: str) -> Any:
        """Return the JSON answer to one request, on which the server may take `wait` seconds longer than usual."""
        while True:
            connection, used = self._connection(self.timeout(wait))
            try:
                document = ask(self.address, connection, method, path, text, **headers)
            except BaseException as error:
                connection.close()
                if used and isinstance(error, Unreachable) and isinstance(error.__cause__, ConnectionError):
                    continue  # the server closed it while it was idle
                raise
            self.reached = True
            self._keep(connection)
            return document

    def _keep(self, connection: Any) -> None:
        """Keep an idle connection, unless there are enough."""
        if len(self._idle) < IDLE_CONNECTIONS:
            self._idle.append(connection)
        else:
            connection.close()

    def timeout(self, wait: float = 0.0) -> float:
        """Return the seconds that one question may take: what `insist` has left sets a bound."""
        left = max(0.0, seconds_left(getattr(self._own, "until", None)))
        return min(self.address.timeout + wait, left + LATE_SECONDS)

    def _connection(self, timeout: float) -> tuple[Any, bool]:
        """Return a connection, and whether it was used before."""
        try:
            connection, used = self._idle.pop(), True
        except IndexError:
            connection, used = self.address.connection(), False
        connection.timeout = timeout
        if connection.sock is not None:
            connection.sock.settimeout(timeout)
        return connection, used

    def insist(
        self,
        attempt: Callable[[], T],
        until: float | None = None,
        stop: threading.Event | None = None,
        outage: float | None = None,
    ) -> T:
        """Call `attempt` until it does not raise Unreachable, with pauses; return what it returns.

        Gives up, with the last Unreachable, when an outage lasts too long, when `stop` is set, and at once if the
        server has never answered: then it is not an outage but the wrong address. At the moment `until` raises
        WaitTimeout, also where a server that has never answered keeps silent.
        """
        import socket

        begun, failures = time.monotonic(), 0
        outage = self.outage if outage is None else outage
        while True:
            self._own.until = until
            try:
                return attempt()
            except Unreachable as error:
                if isinstance(error.__cause__, socket.timeout) and seconds_left(until) <= 0:
                    raise late(error) from error
                if time.monotonic() > begun + outage or not self.reached or (stop is not None and stop.is_set()):
                    raise
                if seconds_left(until) <= 0:
                    raise late(error) from error
                self.pause(max(jitter(failures), error.retry_after), until, stop)
                failures += 1
            finally:
                self._own.until = None

    def pause(self, seconds: float, until: float | None, stop: threading.Event | None = None) -> None:
        seconds = max(0.0, min(seconds, seconds_left(until)))
        if stop is None:
            time.sleep(seconds)
        else:
            stop.wait(seconds)

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()


class Frame:
    """What a stream says once: `event` ("" for the ordinary kind), its `id`, and `data`, a JSON value."""

    def __init__(self, event: str, ident: int | None, data: Any) -> None:
        self.event = event
        self.id = ident
        self.data = data


class Stream:
    """An open stream of server-sent events."""

    def __init__(self, address: Address, path: str, timeout: float | None = None) -> None:
        """Open it, in `timeout` seconds or those of the address; raises as `ask` does."""
        self._address = address
        self._connection = address.connection()
        self._connection.timeout = address.timeout if timeout is None else timeout
        self._rest = b""
        try:
            with reaching(address):
                self._connection.connect()
            self._socket = self._connection.sock
            self._answer = open_answer(address, self._connection, "GET", path, Accept="text/event-stream")
        except BaseException:
            self._connection.close()
            raise

    def read(self, seconds: float) -> list[Frame]:
        """Return the frames that come next, [] for a mere sign of life; raise Unreachable at the end, and if the
        server says nothing for so long."""
        blocks: list[bytes] = []
        while not blocks:
            with reaching(self._address):
                self._socket.settimeout(max(0.001, seconds))
                data = self._answer.read1(READ_BYTES)
            if not data:
                raise Unreachable(f"the server {self._address.url} has ended the stream")
            *blocks, self._rest = (self._rest + data).split(b"\n\n")
        frames = [self._frame(part.decode("utf-8", "replace")) for part in blocks]
        return [frame for frame in frames if frame is not None]

    def _frame(self, text: str) -> Frame | None:
        said = {}
        for line in text.split("\n"):
            name, _, value = line.partition(":")
            if name:
                said[name] = value[1:] if value.startswith(" ") else value
        ident = said.get("id", "")
        if "data" not in said and not ident:
            return None
        data = answer_document(said["data"].encode()) if "data" in said else None
        return Frame(said.get("event", ""), int(ident) if ident.isdigit() else None, data)

    def interrupt(self) -> None:
        """End it from another thread: whoever reads it gets Unreachable at once."""
        import socket

        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._answer.close()
        self._connection.close()


class Follower:
    """A stream that is taken up again where it broke off, for as long as its reader wants.

    `path()` tells the address that goes on from here. Iterating gives a list of frames at a time, an empty one at a
    sign of life and when the stream was opened anew, and ends at the moment `until` and after `interrupt`; raises what
    `Caller.insist` raises.
    """

    def __init__(self, caller: Caller, path: Callable[[], str], until: float | None = None) -> None:
        self._caller = caller
        self._path = path
        self._until = until
        self.stop = threading.Event()
        self._stream: Stream | None = None

    def __iter__(self) -> Iterator[list[Frame]]:
        breaks = 0
        while not self._over():
            try:
                stream = self._stream = self._caller.insist(self._open, self._until, self.stop)
            except (Unreachable, WaitTimeout):
                if self._over():
                    return
                raise
            try:
                if breaks:
                    yield []
                while not self._over():
                    frames = stream.read(min(SILENT_SECONDS, seconds_left(self._until)))
                    breaks = 0 if frames else breaks
                    yield frames
            except Unreachable:
                if not self._over():
                    self._caller.pause(jitter(breaks), self._until, self.stop)
                breaks += 1
            finally:
                stream.close()

    def _over(self) -> bool:
        return self.stop.is_set() or seconds_left(self._until) <= 0

    def _open(self) -> Stream:
        if self.stop.is_set():
            raise Unreachable("the stream was interrupted")
        stream = Stream(self._caller.address, self._path(), self._caller.timeout())
        self._caller.reached = True
        return stream

    def interrupt(self) -> None:
        """End the iteration, from whatever thread, also while the server is silent."""
        self.stop.set()
        if self._stream is not None:
            self._stream.interrupt()


# ----------------------------------------------------------------------------------------------------------------------
# 4 A window on a log
# ----------------------------------------------------------------------------------------------------------------------


class LogBuffer:
    """A stretch of a job's log without gaps, which grows at both ends; made by `Client.log_buffer`.

    It begins empty: before line `offset`, or where that is None behind the last line that there is. `older` and
    `newer` fetch; with `stream` a thread appends what the running job writes, until the log is complete. `on_update`,
    called after each change with the buffer and all its lines, may run in that thread; what it raises is logged.
    Lines that the server forgot before they could be fetched (it keeps the newest of a job's) are counted in `lost`.
    """

    def __init__(
        self,
        client: Client,
        job: int,
        offset: int,
        bare: bool,
        on_update: Callable[[LogBuffer, Sequence[LogLine]], Any] | None,
    ) -> None:
        self._client = client
        self._job = job
        self._on_update = on_update
        self._lock = threading.RLock()  # over the next six
        self._lines: collections.deque[LogLine] = collections.deque()
        self._first = self._next = offset
        self._complete = False  # the server has said that no line can follow those that we have
        self._bare = bare  # the log had no line at all when we looked
        self.lost = 0
        self._thread: threading.Thread | None = None
        self._follower: Follower | None = None
        self.error: SimscopeError | None = None  # what ended the stream too early

    @property
    def logs(self) -> tuple[LogLine, ...]:
        """The lines."""
        with self._lock:
            return tuple(self._lines)

    @property
    def first_offset(self) -> int:
        """The number of the first line, or of the one that `newer` would fetch first."""
        return self._first

    @property
    def next_offset(self) -> int:
        """The number of the line behind the last one."""
        return self._next

    @property
    def has_first(self) -> bool:
        """Is the first line of the log here, number 0? If the server has forgotten that before it came here: never."""
        with self._lock:
            return self._first == 0 and bool(self._lines or self._bare)

    @property
    def has_last(self) -> bool:
        """Is the last line here, and can none follow? Never while the job runs."""
        return self._complete

    @property
    def streaming(self) -> bool:
        """Does a thread append new lines?"""
        return self._thread is not None and self._thread.is_alive()

    def older(self, count: int | None = None) -> LogBuffer:
        """Fetch up to `count` lines before the first one; all of them without `count`. Returns the buffer."""
        wanted = None if count is None else whole_number("count", count, 1)
        with self._lock:
            begin = 0 if wanted is None else max(0, self._first - wanted)
            found = self._client.logs(self._job, begin, self._first - begin) if begin < self._first else []
            found = [line for line in found if line.offset < self._first]
            self._lines.extendleft(reversed(found))
            self._first -= len(found)
        self._tell(bool(found))
        return self

    def newer(self, count: int | None = None) -> LogBuffer:
        """Fetch up to `count` lines behind the last one; without `count` all that there are now. Does not wait, and
        does nothing while a stream appends them. Returns the buffer."""
        left = float("inf") if count is None else whole_number("count", count, 1)
        fetched = False
        with self._lock:
            while left > 0 and not self._complete and not self.streaming:
                asked = int(min(left + 1, PAGE_LINES))  # one more, so that we learn whether that is all
                page = self._client.log_page(self._job, self._next, asked)
                lines = read_lines(page)[: int(min(left, asked))]
                self._bare = page["next_offset"] == 0
                self._append(lines, page["first_offset"])
                self._complete = bool(page["complete"]) and self._next >= page["next_offset"]
                fetched = fetched or bool(lines)
                left -= len(lines)
                if len(lines) < asked - 1 or not lines:
                    break
        self._tell(fetched)
        return self

    def _append(self, lines: Sequence[LogLine], oldest: int = 0) -> None:
        """Take lines that follow, or that begin later because the server has forgotten some."""
        begin = lines[0].offset if lines else max(self._next, oldest)
        self.lost += begin - self._next
        if not self._lines:
            self._first = begin
        self._lines.extend(lines)
        self._next = begin + len(lines)

    def _tell(self, changed: bool) -> None:
        if changed and self._on_update is not None:
            try:
                self._on_update(self, self.logs)
            except Exception:
                import logging

                logging.getLogger("simscope").exception("on_update of the log of job %s", self._job)

    def stream(self) -> LogBuffer:
        """Let a thread append what follows; nothing happens if one does, or if the last line is here."""
        with self._lock:
            if not self.streaming and not self._complete:
                self._follower = Follower(self._client.caller, lambda: f"/jobs/{self._job}/logs?offset={self._next}")
                self._thread = threading.Thread(target=self._run, args=(self._follower,), daemon=True)
                self._thread.start()
        return self

    def _run(self, follower: Follower) -> None:
        try:
            for frames in follower:
                if self._take(frames) or (not frames and self._is_over(follower)):
                    return
        except Pruned:
            pass  # the job is gone, and its log with it
        except SimscopeError as error:
            if not follower.stop.is_set():
                self.error = error

    def _is_over(self, follower: Follower) -> bool:
        caller = self._client.caller
        return caller.insist(lambda: self._client.log_is_over(self._job, self._next), stop=follower.stop)

    def _take(self, frames: Sequence[Frame]) -> bool:
        """Append the lines of some frames; return whether the log is complete."""
        lines = [snapshot(LogLine, frame.data) for frame in frames if not frame.event and frame.data]
        over = any(frame.event == "complete" for frame in frames)
        with self._lock:
            lines = [line for line in lines if line.offset >= self._next]
            self._append(lines)
            self._bare = over and self._next == 0
            self._complete = over
        self._tell(bool(lines))
        return over

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the stream has ended; return False if it has not after `timeout` seconds. Raises what ended it
        too early."""
        check_timeout(timeout)
        if self._thread is not None:
            self._thread.join(timeout)
        if self.error is not None:
            raise self.error
        return not self.streaming

    def interrupt(self, wait: bool = True, timeout: float = 10.0) -> None:
        """End the stream, if there is one; with `wait` return when it has ended, after `timeout` seconds at most."""
        check_timeout(timeout)
        thread, follower = self._thread, self._follower
        if follower is not None:
            follower.interrupt()
        if wait and thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def __enter__(self) -> LogBuffer:
        return self

    def __exit__(self, *error: object) -> None:
        self.interrupt()

    def __iter__(self) -> Iterator[LogLine]:
        return iter(self.logs)

    def __len__(self) -> int:
        return len(self._lines)


def read_lines(page: Mapping[str, Any]) -> list[LogLine]:
    return [snapshot(LogLine, line) for line in page["lines"]]


# ----------------------------------------------------------------------------------------------------------------------
# 5 The client: what Python programs ask, wait for and follow
# ----------------------------------------------------------------------------------------------------------------------

_NOTHING: Mapping[str, Any] = {}


def unless_missing(ask: Callable[[Any], T], ref: Any, missing_ok: bool) -> T | None:
    """What is asked for; with `missing_ok` None where it is missing, else NotFound."""
    try:
        return ask(ref)
    except NotFound:
        if missing_ok:
            return None
        raise


class _Place:
    """How far somebody has read the events of a database."""

    def __init__(self, seq: int, epoch: str) -> None:
        self.seq = seq
        self.epoch = epoch


EVENT_TYPES = (
    *"job.live job.updated job.passed job.failed job.skipped job.timed_out job.missing job.tanked".split(),
    *"job.finished job.corrected job.revived job.extended job.pruned".split(),
    *"regression.started regression.updated regression.finished regression.timed_out regression.tanked".split(),
    *"regression.untanked regression.reopened regression.first_failure".split(),
)
_ENDS = "job.finished,job.pruned,regression.finished,regression.timed_out,regression.tanked"
_LOG_END = 999999999999999  # no log is so long: who asks for this line is told where the log ends
_TRIES_SECONDS = 15.0  # how long extend tries again


class Client:
    """Watches the jobs and regressions of one daemon. Any number of threads may use it at once.

    `server` and `token` are those of SIMSCOPE_SERVER and SIMSCOPE_TOKEN if they are not given. A job is meant by a
    snapshot of it or by its id, a regression by a snapshot, by its name, by SERIES/$ (the latest of a series), or by
    its id. A question is asked once, and takes `timeout` seconds at most. What waits or follows goes on through
    outages of up to `outage` seconds, and through a restart of the daemon, without losing or repeating anything.
    """

    def __init__(
        self,
        server: str | None = None,
        token: str | None = None,
        *,
        timeout: float = 10.0,
        outage: float = OUTAGE_SECONDS,
    ) -> None:
        for name, value in (("server", server), ("token", token)):
            if value is not None and not isinstance(value, str):
                raise WrongType(f"Client: {name} must be a text, not {type(value).__name__}")
        check_seconds(
            "timeout", timeout, lambda seconds: 0 < seconds < 1e6, "a number of seconds above 0 and below a million"
        )
        check_seconds("outage", outage, lambda seconds: seconds >= 0, "a number of seconds, 0 or more")
        server = server or os.environ.get("SIMSCOPE_SERVER") or DEFAULT_SERVER
        token = os.environ.get("SIMSCOPE_TOKEN", "") if token is None else token
        self.caller = Caller(Address(server, token.strip(), timeout), min(outage, 1e9))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the idle connections. The client can still be used."""
        self.caller.close()

    def _get(self, path: str, **parameters: Any) -> Any:
        """Ask; a parameter `wait` is the seconds for which the server may keep us waiting, 0 for not at all."""
        wait = parameters.pop("wait", 0.0)
        parameters["wait"] = f"{wait:.3f}" if wait else None
        return self.caller.ask("GET", path + query(parameters), wait=wait)

    def about(self) -> Mapping[str, Any]:
        """What the daemon tells about itself: version, epoch, seq (the number of the last change), now, …"""
        about = self._get("/")
        with understanding():
            found: Mapping[str, Any] = fixed({**about, "seq": int(about["seq"]), "epoch": str(about["epoch"])})
        return found

    # Lists.

    def jobs(self, limit: int | None = 20, **filters: Any) -> list[Job]:
        """Return jobs, newest first; `limit` None is all. Filters: regression, result, category, host, signature, q
        (words, each in name, config, host, seed, uniqueid or fail message), filter (the page's: "host=~^n1,
        runtime>10m"), sort (newest, longest, runtime, -runtime …). Several results may be given as a list."""
        most = None if limit is None else whole_number("limit", limit, 1)
        return list(itertools.islice(self.iter_jobs(min(most or PAGE_ITEMS, PAGE_ITEMS), **filters), most))

    def iter_jobs(self, page_size: int = 100, **filters: Any) -> Iterator[Job]:
        """Yield jobs as `jobs` returns them, asking for a page at a time; jobs that come meanwhile shift nothing."""
        path, regression = "/jobs", filters.pop("regression", None)
        if regression is not None:
            path = regression_path(regression) + path
        return map(read_job, self._pages(path, page_size, filters, _JOB_FILTERS))

    def regressions(self, limit: int | None = 20, **filters: Any) -> list[Regression]:
        """Return regressions, live ones first, then the newest; `limit` None is all. Filters: status, q (words,
        each in name, component, branch or tag), series, branch, component, tanked=True (shows those too)."""
        most = None if limit is None else whole_number("limit", limit, 1)
        filters["tanked"] = "1" if filters.get("tanked") else None
        pages = self._pages("/regressions", min(most or PAGE_ITEMS, PAGE_ITEMS), filters, _REGRESSION_FILTERS)
        return [snapshot(Regression, item) for item in itertools.islice(pages, most)]

    def _pages(self, path: str, size: int, filters: Mapping[str, Any], known: Sequence[str]) -> Iterator[Any]:
        whole_number("page_size", size, 1)
        for name in filters:
            if name not in known:
                raise UsageError(f"there is no filter {name!r} (accepted: {', '.join(known)})")
        return self._page_by_page(path, size, filters)

    def _page_by_page(self, path: str, size: int, filters: Mapping[str, Any]) -> Iterator[Any]:
        after = None
        while True:
            page = self._get(path, limit=min(size, PAGE_ITEMS), after=after, **filters)
            with understanding():
                items, after = list(page["items"]), page["next"]
            yield from items
            if after is None:
                return

    # One thing.

    def job(self, ref: JobRef, missing_ok: bool = False) -> Job | None:
        """Return a job as it is now. If there is no such job, raise NotFound, or return None with `missing_ok`."""
        return unless_missing(self._job, ref, missing_ok)

    def _job(self, ref: Any, **parameters: Any) -> Job:
        return read_job(self._get(f"/jobs/{job_number(ref)}", **parameters))

    def status(self, ref: JobRef) -> JobStatus:
        """Return only result, reason, done and version of a job."""
        return snapshot(JobStatus, self._get(f"/jobs/{job_number(ref)}/status"))

    def regression(self, ref: RegressionRef, missing_ok: bool = False) -> Regression | None:
        """Return a regression as it is now; of "nightly/$" the latest one whose name begins with nightly/."""
        return unless_missing(self._regression, ref, missing_ok)

    def _regression(self, ref: Any, **parameters: Any) -> Regression:
        return snapshot(Regression, self._get(regression_path(ref), **parameters))

    def _any(self, ref: Any, **parameters: Any) -> Job | Regression:
        return self._regression(ref, **parameters) if means_regression(ref) else self._job(ref, **parameters)

    def history(self, ref: AnyRef) -> list[HistoryEntry]:
        """Return what happened to a job or a regression, oldest first."""
        path = regression_path(ref) if means_regression(ref) else f"/jobs/{job_number(ref)}"
        return [snapshot(HistoryEntry, item) for item in self._page_by_page(path + "/history", PAGE_ITEMS, {})]

    def is_done(self, ref: AnyRef) -> bool:
        """Say whether a job or a regression is over: as a snapshot shows it, which asks nobody, or as it is now."""
        if isinstance(ref, (Job, Regression)):
            return ref.done
        return self._regression(ref).done if means_regression(ref) else self.status(ref).done

    def extend(
        self,
        ref: JobRef,
        by: timedelta | float | None = None,
        *,
        until: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Move the time limit of a job: `by` a timedelta or seconds, or to the moment `until` (an aware datetime).

        Returns the job as it is then; one that its limit had ended is live again. Raises Conflict for another job that
        is done. Sends a key along, so that a request which is sent again after a failure extends once.
        """
        if (by is None) == (until is None):
            raise UsageError("extend takes either by (a timedelta or a number of seconds) or until (a datetime)")
        body = compact({"by_ms": extension_ms(by)} if by is not None else {"until": aware(until)})
        key = idempotency_key or os.urandom(16).hex()
        path = f"/jobs/{job_number(ref)}/extend"
        send = functools.partial(self.caller.ask, "POST", path, body, Idempotency_Key=f'"{key}"')
        return read_job(self.caller.insist(send, outage=_TRIES_SECONDS))

    # Waiting.

    def wait(
        self, ref: AnyRef, timeout: float | None = None, interval: float = WAIT_SECONDS, check: bool = False
    ) -> Job | Regression:
        """Wait until a job or a regression is over; return how it is then.

        Raises WaitTimeout after `timeout` seconds, and with `check` NotPassed if it is over and not `ok`. The server
        answers the moment it is over; `interval` is how many seconds one question may be pending. A job that is
        deleted because nobody heard of it is returned with reason "pruned".
        """
        until = moment(timeout)
        check_seconds("interval", interval, lambda value: value > 0, "a number of seconds above 0")
        [found] = collections.deque(self._changes(ref, {"until": "done"}, until, interval), maxlen=1)
        if check and not found.ok:
            error = NotPassed(f"{named(found)}: {verdict_text(found)}")
            error.snapshot = found
            raise error
        return found

    def changes(self, ref: AnyRef, timeout: float | None = None) -> Iterator[Job | Regression]:
        """Yield a job or a regression as it is now, and again after each change, until it is over. Changes that come
        close together may be shown as one. Raises WaitTimeout."""
        yield from self._changes(ref, {}, moment(timeout), WAIT_SECONDS)

    def _changes(
        self, ref: AnyRef, wanted: Mapping[str, str], until: float | None, interval: float
    ) -> Iterator[Job | Regression]:
        """Yield how it is now, and then whenever the server finds it worth an answer: when it has changed, or, with
        until=done in `wanted`, when it is over. The server compares with the version that we have: nothing can happen
        unnoticed between two questions. Ends when it is over; at the moment `until` raises WaitTimeout."""
        known = ref if isinstance(ref, (Job, Regression)) else None
        version, wait = -1, 0.0
        while True:
            begun = time.monotonic()
            parameters = {**(wanted or {"version": str(version)}), "wait": wait} if wait else {}
            try:
                found = self._now(known or ref, until, parameters)
            except WaitTimeout as error:
                if known is None or version < 0:
                    raise
                raise not_over([known], error) from error
            if found.version != version or found.done:
                yield found
            if found.done:
                return
            if seconds_left(until) <= 0:
                raise not_over([found])
            if wait and found.version == version and time.monotonic() - begun < min(wait, 0.5):
                self.caller.pause(jitter(0), until, None)  # an answer too early: the server is about to stop
            known, version = found, found.version
            wait = max(0.001, min(interval, 2 * WAIT_SECONDS, seconds_left(until)))

    def as_completed(self, refs: Iterable[AnyRef], timeout: float | None = None) -> Iterator[Job | Regression]:
        """Yield jobs and regressions as they are over, each once, however many there are: one stream of events tells.

        Raises WaitTimeout if not all are over after `timeout` seconds, and NotFound for one that does not exist.
        """
        if isinstance(refs, (str, bytes, bytearray)) or not hasattr(refs, "__iter__"):
            raise WrongType(
                f"{refs!r} is not accepted: as_completed takes several jobs and regressions, such as a list"
            )
        until = moment(timeout)
        about = self.caller.insist(self.about, until)  # the cursor first, the snapshots then: nothing falls in between
        waiting: dict[tuple[str, int], Job | Regression] = {}
        try:
            yield from self._over_already(refs, waiting, until)
            yield from self._over_later(about, waiting, until)
        except WaitTimeout as error:
            if not waiting:
                raise
            raise not_over(list(waiting.values()), error) from error
        if waiting:
            raise not_over(list(waiting.values()))

    def _over_already(
        self, refs: Iterable[AnyRef], waiting: dict[tuple[str, int], Job | Regression], until: float | None
    ) -> Iterator[Job | Regression]:
        """Yield what is over now, and put what is not into `waiting`."""
        seen = set()
        for ref in refs:
            found = self._now(ref, until)
            key = (type(found).__name__, found.id)
            if key not in seen and found.done:
                yield found
            elif key not in seen:
                waiting[key] = found
            seen.add(key)

    def _over_later(
        self, about: Mapping[str, Any], waiting: dict[tuple[str, int], Job | Regression], until: float | None
    ) -> Iterator[Job | Regression]:
        """Yield what comes to its end, and take it out of `waiting`."""
        for key in self._touched(about, waiting, until):
            now = self._now(waiting[key], until) if key in waiting else None
            if now is not None and now.done:
                del waiting[key]
                yield now
            if not waiting:
                return

    def _touched(
        self, about: Mapping[str, Any], waiting: Mapping[tuple[str, int], Job | Regression], until: float | None
    ) -> Iterator[tuple[str, int]]:
        """Yield the keys of what may be over now, whenever events tell of it."""
        regressions = {found.regression_id if isinstance(found, Job) else found.id for found in waiting.values()}
        only = regressions.pop() if len(regressions) == 1 else None
        if waiting:
            for events in self._news(about, {"types": _ENDS, "regression": only}, until):
                if events is None:
                    yield from list(waiting)
                else:
                    yield from [("Job", event.job or 0) for event in events if event.job]
                    yield from [("Regression", event.regression_id) for event in events if not event.job]

    def _now(self, ref: AnyRef, until: float | None, parameters: Mapping[str, Any] = _NOTHING) -> Job | Regression:
        """The thing as it is now, or after a wait; a pruned job as its tombstone."""
        try:
            return self.caller.insist(lambda: self._any(ref, **parameters), until)
        except Pruned:
            return pruned_job(job_number(ref), ref if isinstance(ref, Job) else None)

    # Events.

    def events_page(self, after: int, limit: int = 20, wait: float = 0.0, **filters: Any) -> Mapping[str, Any]:
        """Return one answer about the events behind a cursor: items, next, oldest, newest, epoch. Filters: types,
        regression, job. Raises CursorExpired."""
        page = self._get("/events", after=after, limit=limit, wait=wait, **filters)
        with understanding():
            told = {"items": list(page["items"]), "next": int(page["next"]), "epoch": str(page["epoch"])}
            found: Mapping[str, Any] = fixed({**page, **told})
        return found

    def events(
        self,
        types: str | Iterable[str] | None = None,
        regression: RegressionRef | None = None,
        job: JobRef | None = None,
        after: int | Event | None = None,
    ) -> Iterator[Event]:
        """Yield events as they happen, for ever: of these types (such as "job.failed", "job.*"), this regression, this
        job. Begins now, or behind `after`: an event, its seq, or 0 for the oldest that is kept. Raises UsageError for
        a type that never happens (EVENT_TYPES has them all).

        Goes on where it was after an outage. If the events from there on are not kept any more, it goes on from now;
        where `after` was given it raises CursorExpired instead, for somebody counts on every single one.
        """
        named = types_text(types)
        check_event_types(named or "")
        strict = after is not None
        if after is None:
            about = self.about()
        else:
            seq = after.seq if isinstance(after, Event) else whole_number("after", after, 0)
            about = {"seq": seq, "epoch": ""}
        number = None if regression is None else self._regression(regression).id
        wanted = {"types": named, "regression": number, "job": None if job is None else job_number(job)}
        return self._events(self._news(about, wanted, None, strict))

    def _events(self, news: Iterator[list[Event] | None]) -> Iterator[Event]:
        for events in news:
            yield from events or ()

    def _news(
        self, about: Mapping[str, Any], wanted: Mapping[str, Any], until: float | None, strict: bool = False
    ) -> Iterator[list[Event] | None]:
        """Yield events behind a cursor ("seq" and "epoch" of `about`), a list at a time, [] as a sign of life.

        What has happened is read in pages, what happens then from a stream; when that says that it cannot go on from
        where we are, pages again. Where they are not kept any more either, yields None, for events were lost, and goes
        on from now, or raises CursorExpired if that is `strict`.
        """
        place = _Place(about["seq"], about["epoch"])
        while seconds_left(until) > 0:
            try:
                yield from self._events_kept(place, wanted, until)
            except CursorExpired as error:
                if strict:
                    raise
                with understanding():
                    place.seq, place.epoch = int(error.problem["newest"]), str(error.problem["epoch"])
                yield None
            yield from self._events_to_come(place, wanted, until)
            self.caller.pause(jitter(0) / 4, until, None)

    def _events_kept(
        self, place: _Place, wanted: Mapping[str, Any], until: float | None
    ) -> Iterator[list[Event] | None]:
        while True:
            page = self.caller.insist(
                lambda: self.events_page(place.seq, PAGE_ITEMS, epoch=place.epoch or None, **wanted),
                until,
            )
            place.seq, place.epoch = page["next"], page["epoch"]
            if not page["items"]:
                return
            yield [snapshot(Event, item) for item in page["items"]]

    def _events_to_come(
        self, place: _Place, wanted: Mapping[str, Any], until: float | None
    ) -> Iterator[list[Event] | None]:
        """Yield until the stream cannot go on from where we are."""
        follower = Follower(
            self.caller,
            lambda: "/events/stream" + query({"after": place.seq, "epoch": place.epoch, **wanted}),
            until,
        )
        for frames in follower:
            if any(frame.event == "reset" for frame in frames):
                return
            place.seq = max([frame.id for frame in frames if frame.id is not None], default=place.seq)
            yield [snapshot(Event, frame.data) for frame in frames if isinstance(frame.data, dict)]

    # Logs.

    def log_page(self, ref: JobRef, offset: int, limit: int, wait: float = 0.0) -> Mapping[str, Any]:
        """Return one answer about a job's log: first_offset, next_offset, complete, lines."""
        path = f"/jobs/{job_number(ref)}/logs"
        page = self._get(path, offset=offset, limit=limit, wait=wait)
        with understanding():
            numbers = {name: int(page[name]) for name in ("first_offset", "next_offset")}
            told = {"complete": bool(page["complete"]), "lines": list(page["lines"])}
            found: Mapping[str, Any] = fixed({**numbers, **told})
        return found

    def log_end(self, ref: JobRef) -> int:
        """Return the number that the next line of a job's log will have."""
        try:
            return int(self.log_page(ref, _LOG_END, 1)["next_offset"])
        except Refused as error:
            if isinstance(error.problem, dict) and isinstance(error.problem.get("next_offset"), int):
                return int(error.problem["next_offset"])
            raise

    def log_is_over(self, ref: JobRef, offset: int) -> bool:
        """Say whether nothing follows line `offset` of a job that is done, though its log is not complete: it was given
        up, and only a late finish of its own could add to it; or it was deleted."""
        try:
            if not self.status(ref).done:
                return False
            page = self.log_page(ref, offset, 1)
        except Pruned:
            return True
        return not page["lines"] and not page["complete"]

    def logs(self, ref: JobRef, offset: int = 0, limit: int | None = None) -> list[LogLine]:
        """Return lines of a job's log from number `offset` on: all that there are now, or up to `limit`.

        Lines that the server has forgotten are left out. Raises Refused for an offset beyond the end.
        """
        most = None if limit is None else whole_number("limit", limit, 1)
        return list(itertools.islice(self.iter_logs(ref, offset), most))

    def iter_logs(
        self, ref: JobRef, offset: int = 0, follow: bool = False, timeout: float | None = None
    ) -> Iterator[LogLine]:
        """Yield lines of a job's log; with `follow` wait for more until the job is over (or pruned), or raise
        WaitTimeout after `timeout` seconds."""
        whole_number("offset", offset, 0)
        return self._iter_logs(job_number(ref), offset, follow, moment(timeout))

    def _iter_logs(self, number: int, offset: int, follow: bool, until: float | None) -> Iterator[LogLine]:
        wait = 0.0
        while True:
            asked = time.monotonic()
            try:
                page = self.caller.insist(lambda: self.log_page(number, offset, PAGE_LINES, wait), until)  # noqa: B023
            except Pruned:
                if wait:
                    return  # the end of what was followed
                raise
            lines = read_lines(page)
            yield from lines
            offset = lines[-1].offset + 1 if lines else offset
            if page["complete"] or (not follow and len(lines) < PAGE_LINES):
                return
            if follow and not lines and wait:
                if seconds_left(until) <= 0:
                    raise WaitTimeout(f"the log of job {number} is not complete within the timeout")
                if self.caller.insist(lambda: self.log_is_over(number, offset), until):  # noqa: B023
                    return
                if time.monotonic() - asked < min(wait, 0.5):
                    self.caller.pause(jitter(0), until, None)
            wait = max(0.001, min(WAIT_SECONDS / 2, seconds_left(until))) if follow else 0.0

    def log_buffer(
        self,
        ref: JobRef,
        offset: int | None = None,
        stream: bool = False,
        on_update: Callable[[LogBuffer, Sequence[LogLine]], Any] | None = None,
    ) -> LogBuffer:
        """Return a window on a job's log: see LogBuffer. Raises Refused for an offset beyond the end."""
        if on_update is not None and not callable(on_update):
            raise WrongType(f"on_update={on_update!r} is not accepted: it must be a function")
        number, end = job_number(ref), self.log_end(ref)
        begin = end if offset is None else whole_number("offset", offset, 0)
        if begin > end:
            self.log_page(number, begin, 1)
        buffer = LogBuffer(self, number, begin, end == 0, on_update)
        return buffer.stream() if stream else buffer

    # Files.

    def files(self, ref: JobRef, kind: str | None = None) -> list[JobFile]:
        """Return the files that a job declares, or those of one kind."""
        number = job_number(ref)
        items = self._page_by_page(f"/jobs/{number}/files", PAGE_ITEMS, {"kind": kind})
        return [read_file_entry(number, item) for item in items]

    def file(self, ref: JobRef, kind: str, name: str) -> JobFile | None:
        """Return the file of this kind and name, or None."""
        return next((file for file in self.files(ref, kind) if file.name == name), None)

    def download(self, file: JobFile, dest: Any) -> Path | None:
        """Fetch a file's content: into a binary stream, or to a path, which is returned.

        A path appears when all is there and agrees with its SHA-256; folders above it are made; a file that is there
        is never overwritten (AlreadyThere). A folder, one that exists or a path that ends in a slash, gets a file of
        the same name in it. Raises CannotWrite, and ChecksumMismatch; after that a stream has content that must not be
        used.
        """
        if not isinstance(file, JobFile):
            raise WrongType(f"{file!r} is not a file of a job (accepted: a JobFile, as files() gives them)")
        if hasattr(dest, "write"):
            self._fetch(file, functools.partial(write_to, dest))
            return None
        if not isinstance(dest, (str, bytes, os.PathLike)):
            raise WrongType(f"{dest!r} is not accepted: download takes a path or a binary stream")
        from pathlib import Path

        path = os.fsdecode(dest)
        try:
            return Path(self._download_to(file, path))
        except SimscopeError:
            raise
        except (OSError, ValueError) as error:
            raise CannotWrite(f"{path} cannot be written: {reason_of(error)}") from error

    def _download_to(self, file: JobFile, dest: str) -> str:
        """Fetch a file's content to a path, or into a folder; return the path. Raises OSError too."""
        path, is_folder = os.path.abspath(dest), dest.endswith(os.sep) or os.path.isdir(dest)
        path = os.path.join(path, safe_name(file.name)) if is_folder else path
        if os.path.lexists(path):
            raise AlreadyThere(f"{path} exists already, and a download never overwrites")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        temporary = os.path.join(os.path.dirname(path), f".simscope-{os.getpid()}-{os.urandom(6).hex()}.part")
        try:
            with open(temporary, "xb") as stream:
                self._fetch(file, stream.write)
                stream.flush()
                os.fsync(stream.fileno())
            put_in_place(temporary, path)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        return path

    def _fetch(self, file: JobFile, write: Callable[[bytes], Any]) -> None:
        """Give a file's content to `write`, a piece at a time, and check it."""
        import hashlib
        from urllib.parse import quote

        kind, name = (quote(for_address(part), safe="") for part in (file.kind, file.name))
        path = f"/jobs/{file.job_id}/files/{kind}/{name}"
        address, found, size = self.caller.address, hashlib.sha256(), 0
        connection = address.connection()
        try:
            answer = open_answer(address, connection, "GET", path, Accept="*/*", Accept_Encoding="identity")
            while True:
                with reaching(address):
                    data = answer.read(READ_BYTES)
                if not data:
                    break
                found.update(data)
                size += len(data)
                write(data)
            length = answer.getheader("Content-Length")
            if length and length.isdigit() and size != int(length):
                raise Unreachable(f"the server {address.url} sent {size} of {length} bytes of {file.name}")
            check_digest(file, found.digest(), answer.getheader("Repr-Digest") or "")
        finally:
            connection.close()


def named(found: Snapshot) -> str:
    return shown(found.name) if isinstance(found, Regression) else f"job {found.id}"


def not_over(waiting: Sequence[Snapshot], why: WaitTimeout | None = None) -> WaitTimeout:
    """Return the error that names what is not over, as many as fit a line, and what stood in the way."""
    names = [named(found) for found in waiting]
    more = f" and {len(names) - NAMES_TOLD} more" if len(names) > NAMES_TOLD else ""
    what = "is" if len(names) == 1 else "are"
    when = f": {why}" if why is not None else " within the timeout"
    error = WaitTimeout(f"{', '.join(names[:NAMES_TOLD])}{more} {what} not over{when}")
    error.snapshots = tuple(waiting)
    error.snapshot = waiting[0] if len(waiting) == 1 else None
    return error


_JOB_FILTERS = ("result", "category", "host", "signature", "q", "filter", "sort")
_REGRESSION_FILTERS = ("status", "q", "series", "branch", "component", "tanked")


def query(parameters: Mapping[str, Any]) -> str:
    """Return parameters as they stand in an address; None is left out, a list is joined by commas."""
    from urllib.parse import urlencode

    given = {name: value for name, value in parameters.items() if value is not None}
    texts = {
        name: for_address(",".join(map(str, value)) if isinstance(value, (list, tuple, set)) else value)
        for name, value in given.items()
    }
    return "?" + urlencode(texts) if texts else ""


def types_text(types: Any) -> str | None:
    """Return types of events, given as a text or as several, as the server takes them; None is all."""
    if types is None or isinstance(types, str):
        return types
    several = list(types) if hasattr(types, "__iter__") else [types]
    if not all(isinstance(one, str) for one in several):
        raise WrongType(f"types={types!r} is not accepted: it must be a text, or a list of texts")
    return ",".join(several)


def check_event_types(named: str) -> None:
    """Raise UsageError for a type that begins as ours do and does not exist; others are left to the server."""
    for name in named.split(","):
        if re.match(r"(?:job|regression)\.(?!\*$)", name) and name not in EVENT_TYPES:
            accepted = ", ".join(EVENT_TYPES)
            raise UsageError(f"there is no event type {name!r} (accepted: job.*, regression.*, {accepted})")


def pruned_job(number: int, known: Job | None) -> Job:
    """Return what is left of a job that the server has deleted."""
    return dataclasses.replace(known or Job(id=number, result="live"), done=True, reason="pruned")


def extension_ms(by: Any) -> int:
    """Return a timedelta, or seconds, as milliseconds above 0; raise UsageError for anything else."""
    seconds = by.total_seconds() if hasattr(by, "total_seconds") else by
    words = "a timedelta or a number of seconds, above 0 and at most 24 days"
    check_seconds("by", seconds, lambda value: 0 < value <= DURATION_MS / 1000, words)
    return max(1, round(float(seconds) * 1000))


def aware(when: Any) -> str:
    """Return an aware datetime as RFC 3339; raise UsageError for anything else."""
    if not hasattr(when, "utcoffset") or not hasattr(when, "timestamp"):
        raise WrongType(f"until={when!r} is not accepted: it must be a datetime with a time zone")
    if when.utcoffset() is None:
        raise UsageError(f"until={when!r} is not accepted: it must be a datetime with a time zone")
    return rfc3339(when.timestamp())


def safe_name(name: str) -> str:
    """Return a file name for a file of that name: what a job calls its files must not lead out of a folder."""
    base = os.path.basename(clean_text(name))
    if plain(base) != base or base in ("", ".", ".."):
        raise UsageError(f"{name!r} cannot be the name of a file here; say where the file is to go")
    return base


def write_to(stream: Any, data: bytes) -> None:
    """Write all to a stream of the caller's, which may take less at a time than it is given, and says so; raise
    CannotWrite or WrongType where it does not take the bytes."""
    try:
        while data:
            taken = stream.write(data)
            if is_number(taken, int) and taken <= 0:
                raise OSError("it accepts nothing")
            data = data[taken:] if is_number(taken, int) else b""
    except TypeError as error:
        raise WrongType(f"{stream!r} is not accepted: download takes a path or a binary stream") from error
    except (OSError, ValueError) as error:  # full, read only, closed
        raise CannotWrite(f"the stream cannot be written: {reason_of(error)}") from error


def put_in_place(temporary: str, path: str) -> None:
    """Give a file its name, unless there is one of that name."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise AlreadyThere(f"{path} exists already, and a download never overwrites") from None
    except OSError:  # a file system without links: the moment between the question and the rename has to be risked
        if os.path.lexists(path):
            raise AlreadyThere(f"{path} exists already, and a download never overwrites") from None
        os.rename(temporary, path)


def check_digest(file: JobFile, digest: bytes, header: str) -> None:
    """Raise ChecksumMismatch unless a SHA-256 is what the server says and, if it does, what the job says."""
    import base64

    told = re.search(r"sha-256=:([A-Za-z0-9+/=]+):", header)
    if told and base64.b64decode(told.group(1)) != digest:
        raise ChecksumMismatch(f"{file.name} was damaged on the way: its SHA-256 is not the one that the server tells")
    if file.hash is not None and file.hash.digest != digest:
        raise ChecksumMismatch(f"{file.name} is not the file that job {file.job_id} declared: its SHA-256 differs")


# ----------------------------------------------------------------------------------------------------------------------
# 6 For people: snapshots in, lines for a terminal out
# ----------------------------------------------------------------------------------------------------------------------

# All texts of jobs go through `plain`, here and nowhere else: what is written below this section is made of these
# lines, of JSON in ASCII, or of bytes that somebody asked for.

_COLOURS = {"pass": "32", "complete": "32", "fail": "31", "aborted": "31", "tanked": "35", "live": "36", "skip": "33"}


def is_terminal() -> bool:
    return bool(sys.stdout is not None and sys.stdout.isatty() and os.environ.get("TERM") != "dumb")


def terminal_size() -> tuple[int, int]:
    """Return (columns, lines) of the terminal."""
    import shutil

    size = shutil.get_terminal_size()
    return max(20, size.columns), max(5, size.lines)


def table_width() -> int | None:
    """Return how wide a table may be: as the terminal; elsewhere, None, as it is."""
    return terminal_size()[0] if is_terminal() else None


def coloured(word: str, text: str) -> str:
    """Return `text` in the colour of a result or a status, on a terminal whose owner likes colours."""
    code = _COLOURS.get(word)
    return f"\x1b[{code}m{text}\x1b[0m" if code and is_terminal() and not os.environ.get("NO_COLOR") else text


def shown(value: Any) -> str:
    """Return a value of a snapshot as one line; - for None and nothing."""
    if value is None or value == "":
        return "-"
    if hasattr(value, "astimezone"):
        return str(value.astimezone().isoformat(" ", "seconds"))
    return plain(as_text(value).replace("\n", " ").replace("\t", " "))


def brief(value: Any) -> str:
    """Return a value as `shown` does, but of a time only what is needed here: without the date if it is today."""
    if not hasattr(value, "astimezone"):
        return shown(value)
    here = value.astimezone()
    return str(here.strftime("%H:%M:%S" if here.date() == here.now().date() else "%Y-%m-%d %H:%M"))


def duration(ms: int | None) -> str:
    """Return milliseconds in two units at most: `820 ms`, `35s`, `5m 03s`, `2h 05m`, `3d 04h`; - for None."""
    if ms is None:
        return "-"
    if ms < 1000:
        return f"{max(0, ms)} ms"
    minutes, seconds = divmod(ms // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours:02}h"
    if hours:
        return f"{hours}h {minutes:02}m"
    return f"{minutes}m {seconds:02}s" if minutes else f"{seconds}s"


def table(head: Sequence[str], rows: Sequence[Sequence[Any]], width: int | None = None) -> list[str]:
    """Return rows as lines with aligned columns below a head, cut to `width`."""
    texts = [list(head), *([brief(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(head))]
    lines = [
        "  ".join(text.ljust(wide) for text, wide in zip(row, widths)).rstrip()  # noqa: B905
        for row in texts
    ]
    return [line[:width] for line in lines]


def bar(done: float, total: float | None, width: int) -> str:
    """Return a progress bar that is `width` wide; without a total an empty one."""
    filled = int((width - 2) * min(1.0, done / total)) if total else 0
    return "[" + "#" * filled + "." * (width - 2 - filled) + "]"


def job_note(job: Job) -> str:
    """Return what is most worth knowing: why it failed, or how far it is."""
    if job.fail_message:
        return job.fail_message.strip().split("\n")[0]
    if job.raw.get("slow"):
        return f"slow: {duration(job.raw['usual_ms'])} is usual"
    if job.done or job.progress is None:
        return ""
    of = f"/{job.progress.total:g}" if job.progress.total else ""
    return f"{job.progress.done:g}{of} {job.progress.unit or ''}".strip()


def jobs_table(jobs: Sequence[Job], width: int | None = None, *, of_one: bool = False) -> list[str]:
    """Return jobs as lines; `of_one` regression, which is then not told."""
    where = () if of_one else ("REGRESSION",)
    rows = [
        (
            *(job.id, job_state(job), duration(job.elapsed_ms), job.host, *((job.regression,) if where else ())),
            *(job.title, job.seed, job_note(job)),
        )
        for job in jobs
    ]
    return table(("ID", "RESULT", "TIME", "HOST", *where, "NAME", "SEED", "MESSAGE"), rows, width)


def job_state(job: Job) -> str:
    return verdict_text(job) if job.done or not job.phase else f"{job.result} ({job.phase})"


def regressions_table(regressions: Sequence[Regression], width: int | None = None) -> list[str]:
    head = ("ID", "NAME", "STATUS", "DONE", "PASS", "FAIL", "SKIP", "LIVE", "STARTED", "ETA")
    counts = ("pass", "fail", "skip", "live")
    return table(
        head,
        [
            (
                *(one.id, one.name, verdict_text(one), done_text(one)),
                *(one.counts.get(name, 0) for name in counts),
                *(one.started_at, one.eta_at),
            )
            for one in regressions
        ],
        width,
    )


def done_text(found: Regression) -> str:
    progress = found.progress or Progress()
    return f"{progress.done:g}" + (f"/{progress.total:g}" if progress.total else "")


def counts_text(found: Regression) -> str:
    return "  ".join(f"{name} {found.counts.get(name, 0)}" for name in ("pass", "fail", "skip", "live"))


def one_line(found: Snapshot) -> str:
    """Return how a job or a regression stands, in one line."""
    if isinstance(found, Regression):
        return f"{shown(found.name)}  {verdict_text(found)}  {done_text(found)} done  {counts_text(found)}"
    parts = [f"job {found.id}", job_state(found), duration(found.elapsed_ms), found.title, job_note(found)]
    return "  ".join(shown(part) for part in parts if part)


def details(found: Snapshot) -> list[str]:
    """Return all that a snapshot says, a line for each field that says something."""
    hidden = ("raw", "links", "extra", "fields", "files")
    lines = []
    for field in dataclasses.fields(found):
        value = getattr(found, field.name)
        if field.name in hidden or value is None or value == "" or value == () or value == {}:
            continue
        if field.name.endswith("_ms"):
            value = duration(value) + (f" ({value} ms)" if value >= 1000 else "")
        elif isinstance(value, (Progress, Signature)):
            value = ", ".join(f"{k} {v}" for k, v in dataclasses.asdict(value).items() if v is not None)
        elif field.name in ("metadata", "custom_metadata"):
            value = ", ".join(f"{name}={text}" for name, text in value)
        elif isinstance(value, dict):
            value = ", ".join(f"{name} {as_text(text)}" for name, text in value.items())
        lines += [f"{field.name:<17} {shown(part)}" for part in str_lines(value)]
    return lines + [f"{'file':<17} {shown(file.kind)}/{shown(file.name)}" for file in getattr(found, "files", ())]


def str_lines(value: Any) -> list[Any]:
    return value.split("\n") if isinstance(value, str) else [value]


class Board:
    """Shows how things stand: on a terminal the same lines drawn anew, elsewhere a line when it has changed."""

    def __init__(self) -> None:
        self.live = is_terminal()
        self._drawn = 0
        self._last = ""

    def draw(self, lines: Sequence[str]) -> None:
        """Draw lines in place of those before; they may have colours."""
        up = f"\x1b[{self._drawn}F\x1b[J" if self._drawn else ""
        emit(up + "\n".join(lines))
        self._drawn = len(lines)

    def note(self, line: str) -> bool:
        """Write a line unless it is the one before; return False if nobody reads it."""
        if line == self._last:
            return True
        self._last = line
        return emit(line)

    def show(self, found: Snapshot) -> bool:
        """Show one job or regression: a bar on a terminal, else a line."""
        if not self.live:
            return self.note(one_line(found))
        progress = found.progress or Progress()
        columns, _ = terminal_size()
        line = f"{bar(progress.done, progress.total, 24)} {one_line(found)}" if progress.total else one_line(found)
        self.draw([coloured(state_word(found), line[: columns - 1])])
        return True


def state_word(found: Snapshot) -> str:
    return found.status if isinstance(found, Regression) else found.result


# ----------------------------------------------------------------------------------------------------------------------
# 7 Commands that watch: options in, exit code out
# ----------------------------------------------------------------------------------------------------------------------

_WATCH_SECONDS = 2.0  # the live view is drawn anew at least this often, for times that go on by themselves
_WATCH_PAUSE = 0.5  # and not more often than this
_WATCH_ROWS = 5


def connect(options: Any) -> Client:
    """Return a client of the server that is meant: by option, environment, file, or the one on this machine."""
    config = read_config(options.config) if options.config else {}
    server, token = (
        getattr(options, key) or os.environ.get("SIMSCOPE_" + key.upper()) or config.get(key)
        for key in ("server", "token")
    )
    return Client(server, token or "")


def exit_code(found: Snapshot) -> int:
    """Return the verdict: 0 good, 1 a fail, 4 aborted, tanked or pruned."""
    if found.ok:
        return EXIT_OK
    if isinstance(found, Regression):
        return EXIT_ABORTED if found.status in ("aborted", "tanked") else EXIT_NO
    return EXIT_ABORTED if found.reason in ("tanked", "pruned") else EXIT_NO


def print_all(options: Any, items: Sequence[Any], lines: Callable[[Sequence[Any]], list[str]]) -> int:
    """Print a list: as JSON, one object per line, or as lines for people."""
    for line in [compact(item.raw) for item in items] if options.json else lines(items):
        if not emit(line):
            break
    return EXIT_OK


def command_jobs(client: Client, options: Any) -> int:
    filters = {name: getattr(options, name) for name in ("regression", *_JOB_FILTERS)}
    found = client.jobs(options.limit, **filters)
    return print_all(options, found, functools.partial(jobs_table, width=table_width()))


def command_regressions(client: Client, options: Any) -> int:
    filters = {name: getattr(options, name) for name in _REGRESSION_FILTERS}
    found = client.regressions(options.limit, **filters)
    return print_all(options, found, functools.partial(regressions_table, width=table_width()))


def command_job(client: Client, options: Any) -> int:
    return print_all(options, [client.job(options.job)], lambda jobs: details(jobs[0]))


def command_regression(client: Client, options: Any) -> int:
    return print_all(options, [client.regression(options.name)], lambda found: details(found[0]))


def command_status(client: Client, options: Any) -> int:
    """Print how a job or a regression stands, as a word that a script can read."""
    if means_regression(options.ref):
        found = client._regression(options.ref)
        names = ("id", "name", "status", "reason", "counts", "version")
        small = {"done": found.done, **{name: found.raw.get(name) for name in names}}
        emit(compact(small) if options.json else found.status)
    else:
        status = client.status(options.ref)
        emit(compact(dataclasses.asdict(status)) if options.json else status.result)
    return EXIT_OK


def command_history(client: Client, options: Any) -> int:
    def lines(entries: Sequence[HistoryEntry]) -> list[str]:
        head = ("TIME", "TYPE", "RESULT", "PHASE", "BY", "DESCRIPTION")
        rows = [
            (one.created, one.type, one.result or one.status, one.phase, one.created_by, history_note(one))
            for one in entries
        ]
        return table(head, rows)

    return print_all(options, client.history(options.ref), lines)


def history_note(entry: HistoryEntry) -> str:
    """Return why something happened, what it changed and how far it was."""
    changed = ", ".join(f"{name}: {change_text(name, change)}" for name, change in entry.changed.items())
    progress = ", ".join(f"{name} {as_text(value)}" for name, value in (entry.raw.get("progress") or {}).items())
    return "; ".join(filter(None, [entry.reason, entry.description, changed, progress]))


def change_text(name: str, change: Any) -> str:
    """Return a change, [old, new], in words: times as they are here, durations as people read them."""
    values = change if isinstance(change, list) and len(change) == 2 else [change]
    return " -> ".join(changed_value(name, value) for value in values)


def changed_value(name: str, value: Any) -> str:
    if isinstance(value, int) and name.endswith("_ms"):
        return duration(value)
    if isinstance(value, str) and re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:", value):
        with contextlib.suppress(ValueError):
            return brief(parse_time(value))
    return "-" if value is None else as_text(value)


def command_wait(client: Client, options: Any) -> int:
    """Wait until all are over; return the worst verdict. As JSON print how all are then, or when the time runs out."""
    board = Board()
    board.live = board.live and not options.json
    seconds = None if options.timeout is None else options.timeout / 1000
    found: list[Snapshot] = []
    try:
        if len(options.refs) == 1:
            found += wait_for_one(client, board, options.refs[0], seconds, options.json)
        else:
            wait_for_all(client, board, options, seconds, found)
    except WaitTimeout as error:
        print_waited(options, [*found, *error.snapshots])
        raise
    print_waited(options, found)
    return max(map(exit_code, found))


def print_waited(options: Any, found: Sequence[Snapshot]) -> None:
    for one in found if options.json else []:
        emit(compact({**one.raw, "done": one.done, "reason": one.reason}))


def wait_for_one(client: Client, board: Board, ref: str, seconds: float | None, quiet: bool) -> list[Snapshot]:
    found: Snapshot | None = None
    for found in client.changes(ref, seconds):
        if not quiet:
            board.show(found)
    assert found is not None
    return [found]


def wait_for_all(client: Client, board: Board, options: Any, seconds: float | None, found: list[Snapshot]) -> None:
    """Wait for several, and put each into `found` when it is over."""
    total = len({str(ref) for ref in options.refs})
    for one in client.as_completed(options.refs, seconds):
        found.append(one)
        if board.live:
            board.draw([f"{bar(len(found), total, 24)} {len(found)}/{total} over  {one_line(one)}"])
        elif not options.json:
            emit(one_line(one))


def command_logs(client: Client, options: Any) -> int:
    """Print the lines of a job's log, and with --follow those to come."""
    offset = options.offset
    if options.tail is not None:
        offset = max(0, client.log_end(options.job) - options.tail)
    lines = client.iter_logs(options.job, offset, options.follow)
    for line in itertools.islice(lines, options.limit):
        at = rfc3339(line.at.timestamp()) if line.at else None
        as_json = {"offset": line.offset, "at": at, "message": line.message}
        if not emit(compact(as_json) if options.json else plain(line.message)):
            break
    return EXIT_OK


def command_files(client: Client, options: Any) -> int:
    def lines(files: Sequence[JobFile]) -> list[str]:
        rows = [(one.kind, one.name, one.size, one.hash and one.hash.hex(), one.path) for one in files]
        return table(("KIND", "NAME", "SIZE", "SHA256", "PATH"), rows)

    return print_all(options, client.files(options.job, options.kind), lines)


def command_download(client: Client, options: Any) -> int:
    """Fetch a file of a job."""
    found = [file for file in client.files(options.job, options.kind) if file.name == options.name]
    kinds = sorted({file.kind for file in found})
    if not found:
        raise UsageError(f"job {options.job} declares no file {options.name!r} (see: simscope files {options.job})")
    if len(kinds) > 1:
        raise UsageError(
            f"the job has files {options.name!r} of several kinds: choose one with --kind {'|'.join(kinds)}"
        )
    if options.dest == "-":
        return download_to_output(client, found[0])
    path = client.download(found[0], options.dest)
    emit(compact({"path": str(path), "size": os.path.getsize(str(path))}) if options.json else plain(str(path)))
    return EXIT_OK


def download_to_output(client: Client, file: JobFile) -> int:
    check_output()
    try:
        client.download(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except CannotWrite as error:
        output_lost(error.__cause__ if isinstance(error.__cause__, OSError) else error)
    except SimscopeError:
        raise
    except OSError as error:
        output_lost(error)
    return EXIT_OK


def command_extend(client: Client, options: Any) -> int:
    """Move a job's time limit."""
    if (options.time is None) == (options.until is None):
        raise UsageError("give either by how much, such as 30m, or until when, such as --until 18:30")
    by = None if options.time is None else options.time / 1000
    job = client.extend(options.job, by, until=options.until)
    emit(compact(job.raw) if options.json else f"{one_line(job)}  due {brief(job.due_at)}")
    return EXIT_OK


def command_watch(client: Client, options: Any) -> int:
    """Show a regression until it is over; return its verdict, or 0 where nobody reads on."""
    board = Board()
    seen: set[tuple[int, int]] = set()
    parameters: dict[str, Any] = {}
    while True:
        found = client.caller.insist(functools.partial(client._regression, options.name, **parameters))
        if options.json:
            readable = board.note(compact(found.raw))
        elif board.live or options.once:
            board.draw(view(found, *watched_jobs(client, found), *(terminal_size() if board.live else (None, 100))))
            readable = True
        else:
            readable = board.note(one_line(found))
            for job in client.caller.insist(lambda: new_fails(client, found, seen, not parameters)):  # noqa: B023
                readable = emit("  " + one_line(job)) and readable
        if found.done or options.once or not readable:
            return exit_code(found) if found.done else EXIT_OK
        time.sleep(_WATCH_PAUSE)
        parameters = {"version": found.version, "wait": _WATCH_SECONDS}


def watched_jobs(client: Client, found: Regression) -> tuple[list[Job], list[Job]]:
    """Return the newest fails, and the slowest live jobs."""
    fails = client.caller.insist(lambda: client.jobs(_WATCH_ROWS, regression=found, result="fail", sort="-finished"))
    slow = client.caller.insist(lambda: client.jobs(_WATCH_ROWS, regression=found, result="live", sort="longest"))
    return fails, slow


def new_fails(client: Client, found: Regression, seen: set[tuple[int, int]], first: bool) -> list[Job]:
    """Return the fails that were not seen yet, oldest first, and take note of them; at first only the newest."""
    jobs = client.iter_jobs(_WATCH_ROWS if first else PAGE_ITEMS, regression=found, result="fail", sort="-finished")
    fresh = list(
        itertools.islice(jobs, _WATCH_ROWS)
        if first
        else itertools.takewhile(lambda job: (job.id, job.version) not in seen, jobs)
    )
    seen.update((job.id, job.version) for job in fresh)
    return fresh[::-1]


def view(found: Regression, fails: Sequence[Job], slow: Sequence[Job], columns: int | None, lines: int) -> list[str]:
    """Return the live view: title, bar, counts, newest fails, slowest live jobs."""
    progress, wide = found.progress or Progress(), min(60, (columns or 62) - 2)
    percent = f" {progress.percent:g} %" if progress.percent is not None else ""
    facts = [verdict_text(found), found.branch, f"running for {duration(found.elapsed_ms)}"]
    facts += [f"expected to end at {brief(found.eta_at)}"] if found.eta_at else []
    head = [
        f"{shown(found.name)}  " + "  ".join(shown(fact) for fact in facts if fact),
        f"{bar(progress.done, progress.total, wide)} {done_text(found)}{percent}"[:columns],
        counts_text(found),
    ]
    head = [coloured(found.status, head[0][:columns]), *(line[:columns] for line in head[1:])]
    body = [line for title, jobs in (("newest fails", fails), ("slowest live jobs", slow)) if jobs
            for line in ("", title, *jobs_table(jobs, columns, of_one=True))]  # fmt: skip
    return [*head, *body][: lines - 1]


# ----------------------------------------------------------------------------------------------------------------------
# 8 Command line
# ----------------------------------------------------------------------------------------------------------------------

_WATCH_EXAMPLES = {
    "jobs": (
        "--regression nightly/12 --result fail",
        "--filter 'host=~^n1, runtime>10m' --sort -runtime",
        "--result live --sort longest --limit 5",
        "--json | jq .host",
    ),
    "regressions": ("", "--status live", "--series nightly --json"),
    "job": ("1234", "1234 --json"),
    "regression": ("nightly/12", "'nightly/$'"),
    "status": ("1234", "'nightly/$'"),
    "history": ("1234", "nightly/12"),
    "wait": ("nightly/12 --timeout 8h", "1234 1235 1236", "'nightly/$' --json"),
    "logs": ("1234", "1234 --follow", "1234 --tail 50"),
    "files": ("1234", "1234 --kind result"),
    "download": ("1234 coverage.ucdb", "1234 run.log logs/", "1234 run.log - | grep ERROR"),
    "extend": ("1234 30m", "1234 1h30m", "1234 --until 18:30"),
    "watch": ("nightly/12", "'nightly/$' --once"),
}


def add_server_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("which server to ask (an option beats the environment beats --config)")
    about = f"daemon, such as http://tracker:8040 [SIMSCOPE_SERVER] ({DEFAULT_SERVER})"
    group.add_argument("--server", metavar="URL", help=about)
    group.add_argument("--token", metavar="T", help="for extend [SIMSCOPE_TOKEN]")
    group.add_argument("--config", metavar="FILE", help='file of key = "value" lines: server, token')
    parser.add_argument("--json", action="store_true", help="print what the daemon says, one JSON object per line")


def positive(text: str) -> int:
    if not re.fullmatch("[0-9]{1,12}", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text!r}")
    return int(text)


def number_from_0(text: str) -> int:
    if not re.fullmatch("[0-9]{1,12}", text):
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 0, not {text!r}")
    return int(text)


def job_said(text: str) -> int:
    if not re.fullmatch("[0-9]{1,18}", text):
        raise argparse.ArgumentTypeError(f"must be the number of a job, not {text!r}")
    return int(text)


def positive_duration(text: str) -> int:
    ms = duration_ms(text)
    if ms < 1:
        raise argparse.ArgumentTypeError(f"must be a duration above 0, not {text!r}")
    return ms


def moment_said(text: str) -> datetime:
    """Read HH:MM (the next time that the clock here shows it) or RFC 3339 as an aware datetime."""
    from datetime import datetime, timedelta

    if re.fullmatch("(?:[01]?[0-9]|2[0-3]):[0-5][0-9]", text):
        hour, minute = map(int, text.split(":"))
        now = datetime.now()
        when = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
        return (when if when > now else when + timedelta(days=1)).astimezone()
    with contextlib.suppress(ValueError):
        when = parse_time(text.upper())
        if when.utcoffset() is not None:
            return when
    raise argparse.ArgumentTypeError(f"{text!r} is not a time (accepted: 18:30 in local time, or 2030-01-01T18:30:00Z)")


# What a watching command takes besides the server: names and keywords of add_argument, and words that a shell offers.
Argument = collections.namedtuple("Argument", "names keywords words")


def arg(*names: str, words: str = "", **keywords: Any) -> Any:
    return Argument(names, keywords, words.split())


_ORDERS_OF_JOBS = "id name config host phase seed test result runtime compute cycles cps started finished seen"


_JOB = arg("job", metavar="JOB", type=job_said, help="a job's id")


_REF = arg("ref", metavar="REF", help="a job's id; or a regression's name, or SERIES/$ for the latest of a series")


_NAME = arg("name", metavar="NAME", help="a regression's name, or SERIES/$ for the latest of a series")


_LIMIT = arg("--limit", metavar="N", type=positive, default=20, help="how many (20)")


_KIND = arg("--kind", metavar="KIND", help="only of this kind, such as log or result")


_Q = "words, each in name, component, branch or tag"


# Each command: what it is called with its options, and what it takes. What it does is told in simscope.py.
_WATCHING: dict[str, tuple[Callable[[Client, Any], int], Sequence[Any]]] = {
    "jobs": (
        command_jobs,
        (
            arg("--regression", metavar="NAME", help="only of this regression"),
            arg(
                "--result",
                metavar="R",
                action="append",
                help="one or more of live, pass, fail, skip, separated by commas, or --result once for each",
                words="live pass fail skip",
            ),
            arg("--category", metavar="C", help="only of this category"),
            arg("--host", metavar="HOST", help="only on this host"),
            arg("--signature", metavar="ID", help="only in this signature"),
            arg("--q", metavar="TEXT", help="words, each in name, config, host, seed, uniqueid or fail message"),
            arg("--filter", metavar="EXPR", help="as on the page, such as 'host=~^n1, message=~FIFO, runtime>10m'"),
            arg(
                "--sort",
                metavar="ORDER",
                help=f"newest, longest, or one of {_ORDERS_OF_JOBS}; - in front for the largest first (newest)",
                words=" ".join(["newest longest", _ORDERS_OF_JOBS, *map("-{}".format, _ORDERS_OF_JOBS.split())]),
            ),
            _LIMIT,
        ),
    ),
    "job": (command_job, (_JOB,)),
    "regressions": (
        command_regressions,
        (
            arg(
                "--status",
                metavar="S",
                action="append",
                help="one or more of live, complete, aborted, tanked, separated by commas, or --status once for each",
                words="live complete aborted tanked",
            ),
            arg("--series", metavar="NAME", help="only of this series"),
            arg("--branch", metavar="NAME", help="only of this branch"),
            arg("--component", metavar="NAME", help="only of this component"),
            arg("--q", metavar="TEXT", help=_Q),
            arg("--tanked", action="store_true", help="tanked ones too"),
            _LIMIT,
        ),
    ),
    "regression": (command_regression, (_NAME,)),
    "status": (command_status, (_REF,)),
    "history": (command_history, (_REF,)),
    "wait": (
        command_wait,
        (
            arg("refs", metavar="REF", nargs="+", help=_REF.keywords["help"]),
            arg(
                "--timeout", metavar="TIME", type=duration_ms, help="give up after this, such as 90s or 8h: exit code 5"
            ),
        ),
    ),
    "logs": (
        command_logs,
        (
            _JOB,
            arg("-f", "--follow", action="store_true", help="go on until the job is over"),
            arg("--offset", metavar="N", type=number_from_0, default=0, help="begin with line N, counted from 0 (0)"),
            arg(
                "--tail", metavar="N", type=number_from_0, help="begin N lines before the end; 0 with -f: with the next"
            ),
            arg("--limit", metavar="N", type=positive, help="print at most N lines"),
        ),
    ),
    "files": (command_files, (_JOB, _KIND)),
    "download": (
        command_download,
        (
            _JOB,
            arg("name", metavar="NAME", help="the file's name, as files lists it"),
            arg(
                "dest", metavar="DEST", nargs="?", default=".", help="file, folder, new/, or - for standard output (.)"
            ),
            _KIND,
        ),
    ),
    "extend": (
        command_extend,
        (
            _JOB,
            arg("time", metavar="TIME", nargs="?", type=positive_duration, help="by how much: 90s, 30m, 1h30m, 2d"),
            arg(
                "--until",
                metavar="TIME",
                type=moment_said,
                help="until when: 18:30 in local time, or 2030-01-01T18:30:00Z",
            ),
        ),
    ),
    "watch": (
        command_watch,
        (_NAME, arg("--once", action="store_true", help="show it once, as it is now")),
    ),
}


def watch_parser(name: str) -> argparse.ArgumentParser:
    """Return the parser of a watching command."""
    about, arguments = COMMANDS[name], _WATCHING[name][1]
    examples = "\n".join(f"  simscope {name} {example}".rstrip() for example in _WATCH_EXAMPLES[name])
    about = about[0].upper() + about[1:] + "."
    parser = new_parser(prog=f"simscope {name}", description=about, epilog=f"examples:\n{examples}\n")
    for names, keywords, _ in arguments:
        parser.add_argument(*names, **keywords)
    add_server_options(parser)
    return parser


def watch_main(name: str, arguments: Sequence[str]) -> int:
    options = watch_parser(name).parse_intermixed_args(with_order_joined(arguments))
    with connect(options) as client:
        return _WATCHING[name][0](client, options)


def words_of(name: str) -> dict[tuple[str, ...], list[str]]:
    """Return the words that a shell offers for the options of a command."""
    return {one.names: one.words for one in _WATCHING[name][1]}


def with_order_joined(arguments: Sequence[str]) -> list[str]:
    """Return arguments with "--sort -runtime" as one word: argparse takes what begins with - for an option."""
    joined: list[str] = []
    for word in arguments:
        if joined and joined[-1] == "--sort" and word.startswith("-"):
            joined[-1] += "=" + word
        else:
            joined.append(word)
    return joined
