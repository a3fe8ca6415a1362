#!/usr/bin/env python3
"""simscoped: watch simulation regressions live.

Publishers drop small JSON files into a spool folder, or POST them. This daemon matches live jobs to their finish, turns
what never finished into a timeout signature, keeps everything in one SQLite file, and shows it on one page.

    python simscoped.py serve --config simscope.config

The path of a message, top to bottom through this file:

     spool file ─┐                                                    ┌─> stream, long poll (15) ─> page, client
     HTTP POST ──┼─> decode ─> batch ─> ONE transaction ─> COMMIT ────┤
                 │   (4)       (12)     rules (5), rows, events (6-9) └─> settle the file (13), answer the request (18)
         clock ──┴──────────────────────^ time limits, prune (16), through the same door (11)

It runs in two processes: one writes, that is, applies batches and owns the database (10), the other does the rest.

Promises
    A delivery takes effect exactly once, or is still where it was: wherever the daemon is killed.
    A bad message is refused with a named reason and a receipt; it never stops a good one, and nothing is thrown away.
    Messages may come in any order, any number of times: verdicts, counts and status come out the same.
    No verdict of death without its reason, and none that a late message cannot take back.

Commands (exit code 0 done, 1 the answer is no, or it cannot be done just now, 2 usage or configuration)
    serve           run the daemon; SIGTERM and SIGINT stop it within a second
    check-config    say what is wrong with the configuration, and where
    requeue [NAME]  put refused files back into the spool
    snapshot FILE   write a consistent copy of the database, and of its logs: FILE and FILE.logs
    receipt NAME    tell what became of a delivery

Files
    simscope.config    configuration (TOML); simscope.config.example explains every key
    schema.sql         the database: a paragraph a table, a comment a column
    static/            the page
    SPOOL/.work        files being taken    SPOOL/.bad   files refused, each with NAME.reason.json
    SPOOL/.done        files kept, by day   DB.lock      held while a daemon uses the database
    DB.logs            lines of jobs' output, apart from the database

Log, on stderr: "LEVEL part: what happened"
    service  start, stop, a part that failed      spool   files refused or not taken, folder troubles
    store    the disk does not let us write       intake  a batch that failed and was taken apart
    apply    our own mistake in one message       http    our own mistake in one request

Contents
     1  Imports, limits, errors
     2  Configuration (file -> Config)
     3  Messages (what publishers may say, and what becomes of it)
     4  Decoding (bytes -> Message or a named refusal)
     5  Rules (facts -> decision)
     6  Rows (tables -> fields, what they count for, the statements that write them; logs)
     7  Batches (connection + moment -> rows in memory -> rows and events written)
     8  Effects of messages (batch + message -> changed rows and an outcome)
     9  Effects of people and time, and whole deliveries (batch -> changed rows, receipts)
    10  Writer (questions -> transactions -> answers)
    11  Store (functions -> results of the writer; SELECTs -> rows, on connections that cannot write)
    12  Intake (deliveries from all doors -> batches -> receipts)
    13  Spool folder (files -> deliveries; verdicts -> files cleared away)
    14  Spool (sweeps -> chunks -> intake -> settled)
    15  Events out (committed events -> streams)
    16  Deadlines (clock -> verdicts and pruning)
    17  HTTP manners (who may ask, what parameters mean, how errors look)
    18  HTTP answers (requests -> receipts, JSON, streams, the page)
    19  HTTP logs, files and events (requests -> lines, contents, streams)
    20  HTTP figures (requests -> strips, lanes, charts, comparisons, badges)
    21  HTTP application (addresses -> handlers; errors -> problems)
    22  Service and commands (configuration -> running daemon)
"""

# ======================================================================================================================
# 1  Imports, limits, errors
# ======================================================================================================================

from __future__ import annotations

import argparse
import asyncio
import base64
import bisect
import concurrent.futures
import contextlib
import errno
import fcntl
import functools
import gc
import hashlib
import hmac
import io
import ipaddress
import itertools
import json
import logging
import math
import operator
import os
import pickle
import re
import secrets
import select
import shutil
import signal
import socket
import sqlite3
import stat
import struct
import sys
import sysconfig
import threading
import time
import traceback
import types
import urllib.parse
from collections import Counter, deque
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
    Set,
)
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from http import HTTPStatus
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Concatenate,
    NamedTuple,
    ParamSpec,
    TypedDict,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import aiosqlite
import msgspec
import prometheus_client
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from msgspec import Meta
from watchfiles import awatch

from simscoped_parts import answers, figures, filters, openapi, patterns, queries, signatures
from simscoped_parts.answers import Row, in_words, json_object, utc
from simscoped_parts.openapi import TYPES, WAIT_MOST_S
from simscoped_parts.settings import OPTIONS, Config, ConfigError, Option, not_accepted, read_config

__version__ = "0.1.0"

APPLICATION_ID = 0x73696D73  # "sims"; the same number stands in schema.sql
SCHEMA_VERSION = 3

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

# A job longer than this is a mistake in the publisher's arithmetic: the original keeps durations in a signed 32-bit
# number of milliseconds (24.8 days) and refuses more than 24 days.
LONGEST_MS = 24 * DAY_MS

# What one job counts for at most in sums of cycles, so that sums of mistaken numbers still fit 64 bits.
MOST_CYCLES = 2**48

NAME_LENGTH = 512  # characters of a regression name; long enough for a path, short enough for an address
DEEPEST = 32  # nesting of a message; the deepest known field needs 4
CHANGED_LENGTH = 200  # characters of a value in the `changed` of an event
DETAILS_KEPT = 100  # messages told one by one in a receipt

BATCH_MESSAGES = 1000  # per transaction; 4,000 measured no faster, 200 a fifth slower
SLICE_JOBS = 10_000  # jobs given up per transaction: about 0.1 s, so that all but giants end in one step
SLICE_LOGS = 20  # logs forgotten per transaction: 200,000 lines at most, unless [limits] log_lines says otherwise
PRUNE_ROWS = 5000  # rows pruned per transaction

P = ParamSpec("P")
T = TypeVar("T")

encode_json = msgspec.json.encode
decode_json = msgspec.json.decode

log = logging.getLogger("simscoped")

# Why a message was refused, ignored or taken as a duplicate. The README's table is checked against this one.
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


def passing(point: str) -> None:
    """Called at the named points of a batch's life: before-commit, after-commit, half-settled.

    Does nothing. A crash test puts its own function here and kills the process at the point it wants."""


# ======================================================================================================================
# 2  Configuration (file -> Config)
# ======================================================================================================================


def load_config(path: Path, environ: Mapping[str, str]) -> Config:
    """Read and check a configuration file; simscoped_parts/settings.py has the keys. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        hint = "--config FILE names another; simscope.config.example is one to begin with"
        raise ConfigError(f"{path}: there is no such configuration file; {hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    config = read_config(text, path, environ)
    for option, said, why in impossible_places(config):
        raise not_accepted(config.place(option.field or option.key), option, said, f": {why}")
    return config


def impossible_places(config: Config) -> Iterator[tuple[Option, str, str]]:
    """The paths that cannot be what they must be, as the disk is now, and why. Nothing is made or changed."""
    options = {option.key: option for option in OPTIONS}
    spool, db, roots = str(config.spool_dir), str(config.db), config.file_roots
    for key, place, why in (
        ("db", db, _no_file(db)),
        ("db", db, "that is this configuration" if _is_inside(str(config.path), db) else None),
        ("dir", spool, _no_folder(spool)),
        ("dir", spool, "that is [server] db" if _is_inside(spool, db) else None),
        *(("file_roots", root, _no_folder(root) if os.path.lexists(root) else None) for root in roots),
    ):
        if why:
            yield options[key], place, why


def _no_file(path: str) -> str | None:
    """Why a file cannot be there or be made, if so."""
    if os.path.exists(path) and not os.path.isfile(path):
        return "it is a folder" if os.path.isdir(path) else "it is no regular file"
    return _no_folder(os.path.dirname(path))


def _no_folder(path: str) -> str | None:
    """Why a folder cannot be there or be made, if so: the nearest part of the path that is there is none."""
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return None if os.path.isdir(path) else f"{path} is no folder"


def _is_inside(path: str, place: str) -> bool:
    """Is a path the place, or below it?"""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(place))


def doubts_about(config: Config) -> list[str]:
    """What is allowed but has no effect."""
    if config.livetimeoutsignature and not config.enablelivejobs:
        return ["livetimeoutsignature has no effect without enablelivejobs = true"]
    return []


# ======================================================================================================================
# 3  Messages (what publishers may say, and what becomes of it · pure)
# ======================================================================================================================

REGR_START, REGR_UPDATE, REGR_FINISH = "regr-start", "regr-update", "regr-finish"
JOB_LIVE, JOB_FINISH = "job-live", "job-finish"
BATCH_JOB_LIVE, BATCH_JOB_FINISH = "batch-job-live", "batch-job-finish"
SINGLE = {BATCH_JOB_LIVE: JOB_LIVE, BATCH_JOB_FINISH: JOB_FINISH}

LIVE, PASS, FAIL, SKIP = range(4)
RESULTS = answers.RESULTS

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


class JobBody(TypedDict, total=False):
    """The known fields of a job message. Unknown ones are kept and shown."""

    category: str
    result: str
    uniqueid: str
    start_time: Time
    finish_time: Time
    compute_ms: Integer
    runtime_ms: Integer
    cycles: Integer
    config: str
    seed: str | int
    build: str
    testgroup: str
    jobdir: str
    host: str
    extid: str
    exit_code: Integer
    fail_message: str
    bucket: str
    sourcecode: str
    username: str
    metadata: list[Pair]
    name: str
    phase: str
    progress: Progress
    time_limit_ms: Integer
    env: dict[str, str]
    results: str
    files: list[DeclaredFile]
    log: LogLines
    reason: str


class RegressionBody(TypedDict, total=False):
    """The known fields of a regression message. Unknown ones are kept and shown."""

    name: str
    component: str
    project: str
    starttime: Time
    pending: bool
    submitted: Integer
    running: Integer
    model_branch: str
    model_version: str
    model_timestamp: Time
    integrate: bool
    changelist_path: str
    command: str
    dir: str
    group: str
    host: str
    queue: str
    tag: str
    username: str
    time_limit_hours: float
    custom_metadata: list[Pair]


JOB_FIELDS = frozenset(JobBody.__annotations__)
REGRESSION_FIELDS = frozenset(RegressionBody.__annotations__)

# Job fields with a column of their own under the same name; all others but the special ones go into `extra`.
PLAIN_COLUMNS = frozenset(
    "category name phase host config build testgroup jobdir reason compute_ms runtime_ms cycles exit_code".split()
)
EXTRA_FIELDS = frozenset(("extid", "sourcecode", "username", "progress", "env", "results", "files"))
MAYBE_EMPTY = ("time_limit_ms", "fail_message", "bucket")  # 0 and "" say: there is none

# Fields that belong to a verdict: a live message has none to give, and a finish that leaves them out clears them. Every
# other field stays when a message does not speak of it.
OF_VERDICT = frozenset("fail_message bucket reason exit_code finish_at compute_ms runtime_ms cycles".split())
TIME_COLUMNS = {"start_at": "start_time", "finish_at": "finish_time"}
NOT_OF_LIVE = sorted(TIME_COLUMNS.get(column, column) for column in OF_VERDICT)

TIMES = frozenset(("start_time", "finish_time", "starttime", "model_timestamp"))
LATEST = datetime.max.replace(tzinfo=UTC)
DURATIONS = ("compute_ms", "runtime_ms", "time_limit_ms")

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


# ======================================================================================================================
# 4  Decoding (bytes -> Message or a named refusal · pure)
# ======================================================================================================================
#
# A delivery (spool file or request body) is cut into items, one for each JSON value that stands for itself: the whole
# text, the elements of an array, the lines of NDJSON. An item is decoded, told apart (envelope or bare body) and
# becomes one message, or one for each element of a batch. Nothing here knows where the bytes came from, but for the
# Context: what folder, file name or address said.


def split_items(raw: bytes, *, lines: bool) -> list[bytes]:
    """Cut a delivery into its items: the lines of NDJSON, the elements of an array, or the one value.

    Raises Refused (bad-json, bad-text, too-deep) if the text as a whole is not JSON; a bad line of NDJSON, or an
    element with bad text or nested too deeply, is no matter here: it is refused when its turn comes."""
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    if lines:
        return [line for line in raw.splitlines() if line.strip()]
    is_array = raw[:64].lstrip()[:1] == b"["
    try:
        _check_utf8(raw)
        found = _decoded(raw, list[msgspec.Raw] if is_array else msgspec.Raw)
    except Refused as refusal:
        elements = _elements(raw) if is_array and refusal.reason != "bad-json" else None
        if elements is None:
            raise
        return elements
    return [bytes(item) for item in found] if is_array else [raw]


TEXT_OR_BRACKET = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{},]', re.DOTALL)


def _elements(raw: bytes) -> list[bytes] | None:
    """The elements of an array, told by its brackets and commas alone; None if its brackets do not match."""
    elements, depth, begin = [], 0, 0
    for found in TEXT_OR_BRACKET.finditer(raw):
        depth += {b"[": 1, b"{": 1, b"]": -1, b"}": -1}.get(found[0], 0)
        if depth == 0:
            elements.append(raw[begin : found.start()])
            return elements if found[0] + raw[found.end() :].strip() == b"]" else None
        if depth == 1 and found[0] in (b"[", b","):
            elements += [raw[begin : found.start()]] if begin else []
            begin = found.end()
    return None


def _check_utf8(raw: bytes) -> None:
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        raise Refused("bad-text", f"not UTF-8: {error}") from None


def _decoded(raw: bytes, kind: Any = Any) -> Any:
    """JSON text to a tree. What is wrong is decided here: which exception the decoder raises, and what that says,
    changes with its version, so its words are only passed on."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:  # untyped JSON that is well-formed fails for its numbers only
        raise Refused("bad-number", f"a number beyond a double: {error}") from None
    except RecursionError:
        raise Refused("too-deep", f"nested deeper than {DEEPEST} levels") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        _check_utf8(raw)
        if _has_lone_surrogate(raw):
            raise Refused("bad-text", "half a surrogate pair in a text") from None
        raise Refused("bad-json", str(error)) from None


def _has_lone_surrogate(raw: bytes) -> bool:
    """True if all that is wrong with the JSON is an escape such as \\ud800 without its other half."""
    if b"\\u" not in raw:
        return False
    try:
        text = json.dumps(json.loads(raw, parse_constant=_no_constant), ensure_ascii=False)
        return any("\ud800" <= letter <= "\udfff" for letter in text)
    except (ValueError, RecursionError):
        return False


def _no_constant(word: str) -> None:
    raise ValueError(word)


def decode_items(items: Iterable[bytes], context: Context, config: Config) -> Iterator[Message | Outcome]:
    """Items -> messages, numbered in order; an item that cannot be taken gives an Outcome 'rejected' instead."""
    index = 0
    for item in items:
        for message in _decode_safely(item, context, config):
            message.index = index
            index += 1
            yield message


def _decode_safely(raw: bytes, context: Context, config: Config) -> Sequence[Message | Outcome]:
    """Our own mistake in an item refuses that item, and holds up no other."""
    try:
        return _decode_item(raw, context, config)
    except Exception as error:
        log.exception("apply: an item that cannot be decoded: %.200r", raw)
        refusal = Refused("internal-error", f"{type(error).__name__}: {error}")
        return (_rejected(context.type, context.regression, refusal),)


ZERO = b"\\u0000"  # where this does not occur, no text holds U+0000


def _decode_item(raw: bytes, context: Context, config: Config) -> Sequence[Message | Outcome]:
    tree: Any = None
    kind: str | None = context.type
    regression: Any = context.regression
    try:
        tree = _decoded(raw)
        if isinstance(tree, list):
            return _decode_elements(tree, context, config)
        kind, regression, body, path, warnings = _told_apart(tree, context)
        _check_regression_name(regression)
        _check_body(kind, body, path)
        if kind in SINGLE or kind is None:
            return _decode_batch(raw, body, kind, regression, path, config)
        _check_size(raw, config)
        if ZERO in raw:
            _walk(tree, "$", 1)
        return (_message(kind, regression, body, path, warnings),)
    except Refused as refusal:
        return (_rejected(kind, regression, _deeper_reason(tree, "$", refusal)),)


def _decode_elements(tree: list[Any], context: Context, config: Config) -> list[Message | Outcome]:
    """An array where one message was expected, such as a line of NDJSON: each element for itself."""
    decoded: list[Message | Outcome] = []
    for item in tree:
        if isinstance(item, list):
            refusal = Refused("wrong-type", "a message is an object, not an array in an array", "$")
            decoded.append(_rejected(context.type, context.regression, _deeper_reason(item, "$", refusal)))
        else:
            decoded += _decode_item(encode_json(item), context, config)
    return decoded


def _check_size(raw: bytes, config: Config) -> None:
    size = len(raw.strip())
    if size > config.message_kib * 1024:
        raise Refused("too-large", f"{size} bytes; [limits] message_kib = {config.message_kib} are accepted")


def _decode_batch(
    raw: bytes, body: Any, batch: str | None, regression: str, path: str, config: Config
) -> list[Message | Outcome]:
    """The jobs of an array, each a message of the batch's type; without one, each says its type by its result."""
    if not isinstance(body, list):
        raise Refused("wrong-type", f"{batch} takes an array of job objects", path)
    decoded: list[Message | Outcome] = []
    is_large, has_zero = len(raw) > config.message_kib * 1024, ZERO in raw
    for offset, job in enumerate(body):
        place = f"{path}[{offset}]"
        kind = SINGLE[batch] if batch else None
        try:
            kind = kind or _type_by_result(job, place)
            if is_large:
                _check_size(encode_json(job), config)
            if has_zero:
                _walk(job, place, _depth(place))
            decoded.append(_message(kind, regression, job, place, []))
        except Refused as refusal:
            decoded.append(_rejected(kind, regression, _deeper_reason(job, place, refusal)))
    return decoded


def _rejected(kind: str | None, regression: object, refusal: Refused) -> Outcome:
    named = regression if isinstance(regression, str) else None
    return Outcome(0, kind, named, "rejected", refusal.reason, refusal.path, refusal.detail)


def _deeper_reason(tree: Any, path: str, refusal: Refused) -> Refused:
    """A message that nests too deeply often has a wrong type too; then the depth is what its publisher must know."""
    try:
        _walk(tree, path, _depth(path))
    except Refused as deeper:
        return deeper
    return refusal


def _depth(path: str) -> int:
    """The level of nesting that a JSONPath of names and numbers leads to; 1 is the message itself."""
    return 1 + path.count(".") + path.count("[")


def _walk(value: Any, path: str, depth: int) -> None:
    """Check a part of a message that no type describes: texts, integers, depth."""
    if isinstance(value, str):
        if "\0" in value:
            raise Refused("bad-text", "U+0000 in a text", path)
    elif isinstance(value, bool):
        return
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise Refused("bad-number", "an integer beyond 64 bits", path)
    elif isinstance(value, float):
        if math.isinf(value):
            raise Refused("bad-number", "a number beyond a double", path)
    elif isinstance(value, dict | list):
        if depth > DEEPEST:
            raise Refused("too-deep", f"nested deeper than {DEEPEST} levels", path)
        if isinstance(value, list):
            for number, element in enumerate(value):
                _walk(element, f"{path}[{number}]", depth + 1)
        else:
            for key, element in value.items():
                _walk(key, path, depth + 1)
                _walk(element, f"{path}.{key}", depth + 1)


def _told_apart(tree: Any, context: Context) -> tuple[str | None, Any, Any, str, list[str]]:
    """Envelope or bare body? -> type, regression (unchecked), body or None, JSONPath of the body, warnings.

    There is no type where the body is an array of jobs that each say theirs."""
    if context.type is not None and (context.bare or tree is None):
        return context.type, context.regression, tree, "$", []
    if not isinstance(tree, dict):
        raise Refused("wrong-type", f"a message is an object, not {_json_type(tree)}", "$")
    if "body" in tree or tree.get("type") in TYPES:
        return _envelope(tree, context)
    kind = context.type or _type_by_result(tree, "$")
    body = {key: value for key, value in tree.items() if key != "regression"}
    said, regression = tree.get("regression"), context.regression
    warnings = []
    if regression is None:
        regression = said
    elif said is not None and said != regression:
        warnings.append(
            f"regression {said!r} in the body is not {regression!r}, which its place says; the place counts"
        )
    return kind, regression, body, "$", warnings


def _envelope(tree: dict[str, Any], context: Context) -> tuple[str | None, Any, Any, str, list[str]]:
    body, kind, regression = tree.get("body"), tree.get("type"), tree.get("regression")
    kind = context.type if kind is None else kind
    regression = context.regression if regression is None else regression
    if kind is None and isinstance(body, dict):
        kind = _type_by_result(body, "$")
    if kind not in TYPES and not (kind is None and isinstance(body, list) and body):
        raise Refused("unknown-type", f"type {kind!r} is not one of {', '.join(TYPES)}", "$.type")
    return kind, regression, body, "$.body", []


def _type_by_result(body: Any, path: str) -> str:
    if isinstance(body, dict) and not body.keys().isdisjoint(("category", "uniqueid", "result")):
        return JOB_LIVE if body.get("result") == "live" else JOB_FINISH
    raise Refused("unknown-type", f"nothing says the message type; it is one of {', '.join(TYPES)}", path)


CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def _check_regression_name(name: Any) -> None:
    if name is None:
        raise Refused("no-regression", "nothing says which regression this is about", "$.regression")
    if not isinstance(name, str):
        raise Refused("bad-regression", f"a regression name is text, not {_json_type(name)}", "$.regression")
    if not 0 < len(name) <= NAME_LENGTH or CONTROL_CHARACTER.search(name):
        raise Refused("bad-regression", REASONS["bad-regression"] + f"; this has {len(name)}", "$.regression")


def _check_body(kind: str | None, body: Any, path: str) -> None:
    """A regression may have nothing more to say; a job always has."""
    if body is None and kind not in (REGR_START, REGR_UPDATE, REGR_FINISH):
        raise Refused("missing-field", "a message about jobs needs a body", path)


def _json_type(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _message(kind: str, regression: str, body: Any, path: str, warnings: list[str]) -> Message:
    if kind in (JOB_LIVE, JOB_FINISH):
        return _job_message(kind, regression, body, path, warnings)
    return _regression_message(kind, regression, body, path, warnings)


LEAP_SECOND = re.compile(r":60(?:\.\d+)?(?=[Zz+-])")


def without_leap_second(text: str) -> str:
    """A time in RFC 3339 whose second is 60, which no datetime can be, as the last millisecond of its minute."""
    return LEAP_SECOND.sub(":59.999", text)


def _typed(body: Any, kind: Any, path: str) -> dict[str, Any]:
    """Check a body against its declared fields. Raises Refused with the path of the wrong one.

    Leap seconds, which are rare, are looked for, and mended, only where it fails. Times of the year 1, by which
    publishers written in Go say "not set", are taken out of the body too."""
    try:
        typed: dict[str, Any] = msgspec.convert(body, kind)
    except msgspec.ValidationError:
        typed = fitting(_without_leap_seconds(body), kind, path)
    for field in TIMES.intersection(typed):
        if typed[field] > LATEST:
            raise Refused("bad-time", "in UTC the year has five digits", f"{path}.{field}")
        if typed[field].year == 1:
            del typed[field], body[field]
    return typed


def _without_leap_seconds(body: Any) -> Any:
    """The same body, mended in place."""
    if isinstance(body, dict):
        times = {field: body[field] for field in TIMES.intersection(body) if isinstance(body[field], str)}
        body |= {field: without_leap_second(text) for field, text in times.items()}
    return body


def fitting(value: Any, kind: Any, path: str) -> Any:
    """A decoded value as the kind it must be of. Raises Refused with the place, the reason and what is expected."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise misfit(value, kind, path) or Refused("wrong-type", str(error), path) from None


def misfit(value: Any, kind: Any, path: str) -> Refused | None:
    """Which part of a value is not of the declared kind, and why: the first one in the order of the value. None if all
    of it fits. The kinds are those of the declared fields; a whole check costs much more than `msgspec.convert`, so it
    is made only where that has failed."""
    parts = _parts(value, kind)
    if parts is None:
        return None if _fits(value, kind) else _why_not(value, kind, path)
    found = (misfit(part, part_kind, f"{path}{step}") for step, part, part_kind in parts)
    return next(filter(None, found), None)


def _parts(value: Any, kind: Any) -> list[tuple[str, Any, Any]] | None:
    """The parts of a value with their steps in a JSONPath and their kinds; None if it is to be looked at as a whole."""
    outer, inner = get_origin(kind), get_args(kind)
    if isinstance(value, dict) and outer is dict:
        return [(f".{name}", part, inner[1]) for name, part in value.items()]
    if isinstance(value, dict) and is_typeddict(kind):
        known = _kinds_of(kind)
        return [(f".{name}", part, known[name]) for name, part in value.items() if name in known]
    if isinstance(value, list) and outer is list:
        return [(f"[{place}]", part, inner[0]) for place, part in enumerate(value)]
    if isinstance(value, list) and outer is tuple and len(value) == len(inner):
        return [(f"[{place}]", *pair) for place, pair in enumerate(zip(value, inner, strict=True))]
    return None


@functools.cache
def _kinds_of(body: Any) -> dict[str, Any]:
    """The declared fields of a body, and their kinds."""
    return get_type_hints(body, include_extras=True)


def _fits(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def _why_not(value: Any, kind: Any, path: str) -> Refused:
    if kind == Time and isinstance(value, str):
        return Refused("bad-time", f"{value[:100]!r} is not a time in RFC 3339 with a zone", path)
    is_integer = get_origin(kind) is Annotated and get_args(kind)[0] is int
    if is_integer and isinstance(value, int) and not isinstance(value, bool):
        return Refused("bad-number", "an integer out of range", path)
    return Refused("wrong-type", f"must be {_kind_in_words(kind)}, not {_json_type(value)}", path)


def _kind_in_words(kind: Any) -> str:
    named = {str: "a text", bool: "true or false", int: "a whole number", float: "a number", datetime: "a time as text"}
    if get_origin(kind) is Annotated:
        return _kind_in_words(get_args(kind)[0])
    if isinstance(kind, types.UnionType):
        return " or ".join(_kind_in_words(part) for part in get_args(kind))
    if get_origin(kind) is tuple:
        return f"an array of {len(get_args(kind))} texts"
    return named.get(kind) or ("an array" if get_origin(kind) is list else "an object")


def _unknown(body: dict[str, Any], known: frozenset[str], path: str) -> dict[str, Any]:
    """The fields that nobody declared. They are kept as they are, within the limits on text, numbers and depth."""
    if body.keys() <= known:
        return {}
    unknown = {field: value for field, value in body.items() if field not in known}
    for field, value in unknown.items():
        _walk(value, f"{path}.{field}", _depth(path) + 1)
    return unknown


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def _microseconds(when: datetime) -> int:
    """Microseconds since 1970."""
    return (when - EPOCH) // MICROSECOND


def _milliseconds(when: datetime) -> int:
    return _microseconds(when) // 1000


def _job_message(kind: str, regression: str, body: Any, path: str, warnings: list[str]) -> Message:
    typed = _typed(body, JobBody, path)
    result = _job_result(typed, kind, path)
    values = {field: value for field, value in typed.items() if field in PLAIN_COLUMNS}
    extra = _unknown(body, JOB_FIELDS, path)
    for field in EXTRA_FIELDS.intersection(typed):
        _walk(body[field], f"{path}.{field}", _depth(path) + 1)
        extra[field] = body[field]
    start = _microseconds(typed["start_time"]) if "start_time" in typed else None
    if start is not None:
        values["start_at"] = start // 1000
    if "finish_time" in typed:
        values["finish_at"] = _milliseconds(typed["finish_time"])
    if "seed" in typed:
        _walk(typed["seed"], f"{path}.seed", _depth(path) + 1)
        values["seed"] = str(typed["seed"])
    for field in MAYBE_EMPTY:
        if field in typed:
            values[field] = typed[field] or None
    metadata = dict(typed.get("metadata", ()))
    if result == LIVE and not OF_VERDICT.isdisjoint(values):
        values = {field: value for field, value in values.items() if field not in OF_VERDICT}
    _check_durations(typed, values, path)
    key = _job_key(typed, values, start, path)
    warnings = [*warnings, *_doubts(typed, result)]
    return Message(0, kind, regression, values, extra, metadata, key, result, None, warnings, typed.get("log"))


def _job_result(typed: dict[str, Any], kind: str, path: str) -> int:
    for field in ("category", "result"):
        if not typed.get(field):
            raise Refused("missing-field", f"a job needs a {field}", f"{path}.{field}")
    if typed["result"] not in RESULTS:
        accepted = ", ".join(RESULTS)
        raise Refused("bad-result", f"result {typed['result']!r} is not one of {accepted}", f"{path}.result")
    result = RESULTS.index(typed["result"])
    if (result == LIVE) != (kind == JOB_LIVE):
        raise Refused("result-mismatch", f"result {typed['result']!r} does not go with {kind}", f"{path}.result")
    return result


def _job_key(typed: dict[str, Any], values: dict[str, Any], start: int | None, path: str) -> str | bytes:
    """The identity of a job inside its regression: text for a uniqueid, else a digest of five fields, of which "" says
    no more than one that is left out: publishers written in Go send either.

    The two can never collide, because the database keeps text and bytes apart."""
    if typed.get("uniqueid"):
        return str(typed["uniqueid"])
    if start is None:
        raise Refused("missing-field", "a job needs a uniqueid, or else a start_time", f"{path}.uniqueid")
    five = [start, *(values.get(field) or None for field in ("category", "jobdir", "seed", "config"))]
    return hashlib.blake2b(msgspec.json.encode(five), digest_size=16).digest()


def _check_durations(typed: dict[str, Any], values: dict[str, Any], path: str) -> None:
    for field in DURATIONS:
        if field in typed and not 0 <= typed[field] <= LONGEST_MS:
            raise Refused("bad-duration", f"{typed[field]} ms is below 0 or above 24 days", f"{path}.{field}")
    start, finish = values.get("start_at"), values.get("finish_at")
    if start is not None and finish is not None and "runtime_ms" not in typed and not 0 <= finish - start <= LONGEST_MS:
        detail = f"finish_time - start_time = {finish - start} ms is below 0 or above 24 days"
        raise Refused("bad-duration", detail, f"{path}.finish_time")


def _doubts(typed: dict[str, Any], result: int) -> list[str]:
    """Warnings about what a job message says, or leaves out."""
    if result == LIVE:
        return [f"{field} is not taken from a live message" for field in NOT_OF_LIVE if typed.get(field)]
    told = _missed(typed, result)
    cycles = typed.get("cycles", 0)
    if cycles != counted_cycles(cycles):
        told.append(f"cycles {cycles} count as {counted_cycles(cycles)} in sums")
    return told


def counted_cycles(cycles: int | None) -> int:
    """The cycles of a job as sums count them."""
    return min(max(cycles or 0, 0), MOST_CYCLES)


def _missed(typed: dict[str, Any], result: int) -> list[str]:
    expected = () if result == SKIP else EXPECTED_OF_FINISH
    missed = [f"missing {field}" for field in expected if field not in typed]
    if result == FAIL and not typed.get("fail_message") and not typed.get("bucket"):
        missed.append("missing fail_message")
    return missed


def _regression_message(kind: str, regression: str, body: Any, path: str, warnings: list[str]) -> Message:
    warnings = list(warnings)
    if body is None:
        body = {}
        if kind != REGR_FINISH:
            warnings.append("missing body")
    typed = _typed(body, RegressionBody, path)
    _unknown(body, REGRESSION_FIELDS, path)
    values: dict[str, Any] = {
        column: typed[field]
        for field, column in (
            ("component", "component"),
            ("project", "project"),
            ("model_branch", "branch"),
            ("tag", "tag"),
            ("submitted", "submitted"),
            ("running", "running"),
        )
        if field in typed
    }
    if "starttime" in typed:
        values["starttime_at"] = _milliseconds(typed["starttime"])
    if "time_limit_hours" in typed:
        values["time_limit_ms"] = _hours(typed["time_limit_hours"], f"{path}.time_limit_hours")
    if typed.get("name", regression) != regression:
        warnings.append(f"name {typed['name']!r} in the body is not {regression!r}; the envelope counts")
    if kind == REGR_START:
        warnings += [f"missing {field}" for field in EXPECTED_OF_START if field not in typed]
    metadata = dict(typed.get("custom_metadata", ()))
    fields = {field: value for field, value in body.items() if field not in ("custom_metadata", "pending")}
    return Message(0, kind, regression, values, fields, metadata, pending=typed.get("pending"), warnings=warnings)


def _hours(hours: float, path: str) -> int | None:
    """Hours to milliseconds; 0 takes a limit away. Raises Refused for a limit below 0 or beyond a century."""
    if not 0 <= hours <= 876_000:
        raise Refused("bad-duration", f"{hours} hours is below 0 or above a century", path)
    return round(hours * HOUR_MS) or None


# ======================================================================================================================
# 5  Rules (facts -> decision · pure: no SQL, no clock, no files)
# ======================================================================================================================
#
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

# How a regression ended -> the reason of the jobs that it leaves behind, and the event that tells so.
LEFT_BEHIND = {
    "finish": ("missing", "job.missing"),
    "timeout": ("timeout", "job.timed_out"),
    "time-limit": ("timeout", "job.timed_out"),
    "tank": ("tanked", "job.tanked"),
}

JOB_LIMIT_SIGNATURE = "Job Time Limit"  # unless livetimeoutsignature is set
TANKED_SIGNATURE = "Tanked"


def regression_state(ended: str | None, ending: str | None, tanked_at: int | None) -> str:
    """Where a regression stands for the tables above."""
    if tanked_at is not None:
        return TANKED
    return OPEN if ended is None and ending is None else OVER


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


# ======================================================================================================================
# 6  Rows (tables -> fields, what they count for, the statements that write them; logs)
# ======================================================================================================================


class Moment(NamedTuple):
    """Now, twice: the wall clock in ms since 1970 for what people read, the uptime clock for every time limit."""

    now: int
    tick: int


class Counters(msgspec.Struct):
    """The one row of table daemon."""

    epoch: str
    tick: int
    seq: int
    last_job_id: int
    last_receipt_id: int
    events_from_seq: int


class Regression(msgspec.Struct):
    """A row of table regression, in the order of its columns."""

    id: int
    name: str
    series: str | None
    number: int | None
    component: str | None
    project: str | None
    branch: str | None
    tag: str | None
    submitted: int | None
    running: int | None
    starttime_at: int | None
    time_limit_ms: int | None
    fields: str
    ended: str | None
    ending: str | None
    tanked_at: int | None
    tank_reason: str | None
    created_at: int
    ended_at: int | None
    last_activity_at: int
    active_tick: int
    first_tick: int
    limit_tick: int | None
    progress_seq: int | None
    first_failure: int
    new_signatures: int
    n_pass: int
    n_fail: int
    n_skip: int
    n_live: int
    n_migrated: int
    sum_compute_ms: int
    sum_runtime_ms: int
    sum_cycles: int
    sum_cycle_compute_ms: int
    version: int


class Job(msgspec.Struct):
    """A row of table job, in the order of its columns."""

    id: int
    regression_id: int
    key: str | bytes
    result: int
    state: str
    reason: str | None
    category: str
    signature_id: int | None
    test_id: int | None
    name: str | None
    phase: str | None
    host: str | None
    config: str | None
    seed: str | None
    build: str | None
    testgroup: str | None
    jobdir: str | None
    start_at: int | None
    finish_at: int | None
    verdict_start_at: int | None
    compute_ms: int | None
    runtime_ms: int | None
    cycles: int | None
    exit_code: int | None
    fail_message: str | None
    bucket: str | None
    metadata: str | None
    extra: str | None
    submitted_at: int
    running_at: int | None
    done_at: int | None
    seen_at: int
    seen_tick: int
    running_tick: int | None
    time_limit_ms: int | None
    extended_ms: int | None
    limit_tick: int | None
    progress_seq: int | None
    version: int


def limit_of(job: Job) -> int | None:
    """The time limit that holds, in ms since the job began to run."""
    return answers.limit_that_holds(job.time_limit_ms, job.extended_ms)


def counted_runtime(job: Job) -> int | None:
    """The runtime that counts: as published, else finish - start, else compute time."""
    if job.runtime_ms is not None:
        return job.runtime_ms
    if job.finish_at is not None and job.start_at is not None and job.finish_at >= job.start_at:
        return job.finish_at - job.start_at
    return job.compute_ms


class Tally(NamedTuple):
    """What one job adds to the counters of its regression."""

    n_pass: int = 0
    n_fail: int = 0
    n_skip: int = 0
    n_live: int = 0
    n_migrated: int = 0
    sum_compute_ms: int = 0
    sum_runtime_ms: int = 0
    sum_cycles: int = 0
    sum_cycle_compute_ms: int = 0


NOTHING = Tally()
OF_LIVE, OF_LOST, OF_LIMITED = Tally(n_live=1), Tally(n_fail=1, n_migrated=1), Tally(n_fail=1)


def tally(job: Job) -> Tally:
    """Live jobs add nothing to statistics, nor do verdicts that are not their publisher's."""
    if job.state == ALIVE:
        return OF_LIVE
    if job.state != DONE:
        return OF_LIMITED if job.state == LIMITED else OF_LOST
    result, compute = job.result, job.compute_ms or 0
    return Tally(
        result == PASS,
        result == FAIL,
        result == SKIP,
        0,
        0,
        compute,
        counted_runtime(job) or 0,
        counted_cycles(job.cycles),
        compute if job.cycles is not None else 0,
    )


JOB_COLUMNS = ", ".join(Job.__struct_fields__)
REGRESSION_COLUMNS = ", ".join(Regression.__struct_fields__)

BLANK_JOB = Job(
    **dict.fromkeys(Job.__struct_fields__) | {"result": LIVE, "state": ALIVE}  # type: ignore[arg-type]
)

copied: Callable[[Job], Job] = Job.__copy__  # type: ignore[attr-defined]  # five times as quick as copy.copy

# What messages say of a job; a re-run clears it all before it writes its own.
SAID = tuple(
    "reason name phase host config seed build testgroup jobdir start_at finish_at compute_ms runtime_ms cycles "
    "exit_code fail_message bucket metadata extra time_limit_ms".split()
)


what_it_runs = operator.itemgetter(*map(Job.__struct_fields__.index, ("category", "name", "config", "seed")))


def differing(row: Iterable[Any], stored: Iterable[Any]) -> bytes:
    """Which columns of two rows differ: a byte each, 1 if so."""
    return bytes(map(operator.ne, row, stored))


@functools.lru_cache(maxsize=512)
def writing(table: str, names: tuple[str, ...], marked: bytes, is_new: bool) -> str:
    """The statement that writes the marked columns of a row: half as many cost half as much."""
    columns = list(itertools.compress(names, marked))
    if is_new:
        return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' for _ in columns)})"
    return f"UPDATE {table} SET {', '.join(f'{name} = ?' for name in columns)} WHERE id = ?"


UPDATE_COUNTERS = "UPDATE daemon SET tick = ?, seq = ?, last_job_id = ?, last_receipt_id = ?, events_from_seq = ?"
FIND_JOB = f"SELECT {JOB_COLUMNS} FROM job WHERE regression_id = ? AND key = ?"
FIND_JOBS = f"""
    SELECT {", ".join(f"j.{name}" for name in Job.__struct_fields__)} FROM json_each(?) AS wanted
    JOIN job AS j ON j.regression_id = wanted.value ->> 0 AND j.key = wanted.value ->> 1
"""
FIND_REGRESSION = f"SELECT {REGRESSION_COLUMNS} FROM regression WHERE name = ?"
INSERT_REGRESSION = """
    INSERT INTO regression
        (name, series, number, fields, created_at, last_activity_at, active_tick, first_tick, version)
    VALUES (?, ?, ?, '{}', ?, ?, ?, ?, ?)
"""
FIND_SIGNATURE = "SELECT id FROM signature WHERE category = ? AND title = ?"
INSERT_SIGNATURE = """
    INSERT INTO signature (category, title, first_seen_at, first_regression_id, last_seen_at) VALUES (?, ?, ?, ?, ?)
"""
FIND_TEST = "SELECT id FROM test WHERE key = ?"
INSERT_TEST = "INSERT INTO test (key, title) VALUES (?, ?) RETURNING id"
TEST_TITLE_LENGTH = 500
INSERT_SIGHTING = """
    INSERT INTO sighting VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET last_seen_at = excluded.last_seen_at
"""
INSERT_EVENT = """
    INSERT INTO event (seq, at, type, regression_id, job_id, result, origin, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
INSERT_RECEIPT = """
    INSERT INTO receipt (id, name, received_at, applied, duplicate, ignored, rejected, details)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""


def view_row(conn: sqlite3.Connection, sql: str, *parameters: Any) -> Row:
    """The one row of a SELECT, by column name."""
    cursor = conn.execute(sql, parameters)
    return dict(zip((column[0] for column in cursor.description), cursor.fetchone(), strict=True))


def to_json(value: Any) -> str:
    """A value as compact JSON text, as it stands in JSON columns."""
    return encode_json(value).decode()


LOG_SIZE_MOST = 16_000_000  # characters of one job's log; what it had before goes, as for [limits] log_lines


class LogGap(ValueError):
    """Lines whose offset lies beyond the end of a log: some before them are missing."""


class LogComplete(ValueError):
    """Lines for the log of a job that has its verdict, which no line can follow."""


# Logs. Lines lie in a file of their own, so that the database stays small and quick to copy. Two files cannot be
# committed as one, so one of them decides: the database, where table log says which lines a log has. The file of lines
# is committed first. What the database tells of is therefore always there; and what lies outside of that was written
# by a transaction that was never committed (killed, disk full) or is no longer wanted. No reader sees it, and the next
# lines of the log take its place: so a delivery that is taken again after a failure adds its lines once.
#
# For the same reason what the database may still tell of is not deleted. Lines that are too many go when the next ones
# come (so those that come twice in one transaction may take some along although it fails: the oldest, as ever). A log
# that no job has any more, because its job was pruned or run again, is marked, and its lines are deleted by a later
# transaction. That a rollback gives the number of a log to another one is no matter: a log begins by deleting what lies
# under its number.


PRAGMAS = """
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;            -- what was answered or cleared away survives a power cut
    PRAGMA wal_autocheckpoint = 4000;     -- pages, 16 MB
    PRAGMA journal_size_limit = 67108864;
    PRAGMA cache_size = -16384;           -- KiB
    PRAGMA temp_store = MEMORY;
    PRAGMA busy_timeout = 5000;
"""


class LogBook:
    """Lines of jobs' output, by the number of their log. Writer's thread only."""

    SCHEMA = """
        CREATE TABLE IF NOT EXISTS log_line (
            log INTEGER, number INTEGER, at INTEGER NOT NULL, message TEXT NOT NULL, PRIMARY KEY (log, number)
        ) STRICT, WITHOUT ROWID;
    """

    def __init__(self, path: Path | str) -> None:
        self.conn = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.conn.executescript(PRAGMAS + self.SCHEMA)

    def write(self, log: int, lines: Iterable[tuple[int, str]], now: int) -> None:
        """Add lines, each with its offset."""
        self._begin()
        self.conn.executemany(
            "INSERT INTO log_line VALUES (?, ?, ?, ?)", ((log, number, now, text) for number, text in lines)
        )

    def lengths(self, log: int, new: dict[int, str]) -> Iterator[tuple[int, int]]:
        """(offset, characters) of all lines, and of new ones by their offset, from the oldest on."""
        yield from self.conn.execute(
            "SELECT number, length(message) FROM log_line WHERE log = ? ORDER BY number", (log,)
        )
        yield from ((number, len(text)) for number, text in new.items())

    def cut(self, log: int, first: int, following: int) -> None:
        """Leave no lines but those from `first` up to, and without, `following`."""
        self._begin()
        self.conn.execute("DELETE FROM log_line WHERE log = ? AND number < ?", (log, first))
        self.conn.execute("DELETE FROM log_line WHERE log = ? AND number >= ?", (log, following))

    def forget(self, log: int) -> None:
        """Delete all lines of a log."""
        self.cut(log, 0, 0)

    def _begin(self) -> None:
        if not self.conn.in_transaction:
            self.conn.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        if self.conn.in_transaction:
            self.conn.execute("COMMIT")

    def rollback(self) -> None:
        if self.conn.in_transaction:
            self.conn.execute("ROLLBACK")


# ======================================================================================================================
# 7  Batches (connection + moment -> rows in memory -> rows and events written · plain SQL, no asyncio)
# ======================================================================================================================
#
# A Batch is what one transaction knows. It loads the rows that its messages speak of, lets the rules change them in
# memory, and writes them back in write(): jobs, counters, events. Nothing of it outlives the transaction, so a rollback
# leaves no trace in memory either.

KNOWN_MOST = 1000  # regressions, and tests


class Known:
    """What is remembered of the database from one transaction to the next, which nobody but the writer changes."""

    def __init__(self) -> None:
        self.regressions: dict[str, tuple[Any, ...]] = {}  # name -> row
        self.tests: dict[tuple[str, str], int] = {}  # category, title -> id

    def learn(self, more: Known) -> None:
        """Take over what a transaction has found and written; once it is committed, not before."""
        if len(self.regressions) + len(more.regressions) > KNOWN_MOST:
            self.regressions.clear()
        if len(self.tests) + len(more.tests) > KNOWN_MOST:
            self.tests.clear()
        self.regressions.update(more.regressions)
        self.tests.update(more.tests)


class Batch:
    """The rows that one transaction touches. Made and used by the writer only."""

    def __init__(
        self,
        conn: sqlite3.Connection,
        config: Config,
        moment: Moment,
        logbook: LogBook,
        known: Known | None = None,
    ) -> None:
        self.conn = conn
        self.known, self.learned = known or Known(), Known()
        self.logbook = logbook
        self.config = config
        self.moment = moment
        self.origin = "daemon"
        self.left_of_slice = SLICE_JOBS
        row = conn.execute(f"SELECT {', '.join(Counters.__struct_fields__)} FROM daemon").fetchone()
        self.counters = Counters(*row)
        self.counters.tick = max(self.counters.tick, moment.tick)
        self.signatures: dict[tuple[str, str], int] = {}
        self.sightings: set[tuple[int, str]] = set()
        self.logged: set[int] = set()  # jobs that lines were written for
        self.forget()

    def forget(self) -> None:
        """Drop all rows that are not written yet."""
        self.regressions: dict[str, Regression] = {}
        self.stored_regressions: dict[int, tuple[Any, ...]] = {}  # rows as the database has them
        self.jobs: dict[tuple[int, str | bytes], Job] = {}
        self.absent: set[tuple[int, str | bytes]] = set()  # looked for and not found
        self.stored_jobs: dict[int, tuple[Any, ...]] = {}
        self.touched: dict[int, Job] = {}
        self.counted: dict[int, Tally] = {}  # what of a job is in the counters of its regression
        self.events: dict[int, tuple[Any, ...]] = {}
        self.replaced: list[int] = []
        self.failed: set[int] = set()  # regressions of which a job has failed
        self.signatures.clear()
        self.sightings.clear()

    def unlearn(self) -> None:
        """Forget all, and believe nothing but the database: part of the transaction was rolled back."""
        self.forget()
        self.known, self.learned = Known(), Known()

    # Rows, loaded once and kept.

    def regression(self, name: str) -> Regression:
        """The regression of that name; made, live, at the first message that names it."""
        if self._known_regression(name):
            return self.regressions[name]
        now, tick = self.moment
        series, number = split_series(name, self.config.seriesseparator)
        self.conn.execute(INSERT_REGRESSION, (name, series, number, now, now, tick, tick, self.counters.seq))
        self._known_regression(name)
        self.tell("regression.started", self.regressions[name])
        return self.regressions[name]

    def _known_regression(self, name: str) -> bool:
        """Is there a regression of that name? If so, it is loaded."""
        if name not in self.regressions:
            row = self.learned.regressions.get(name) or self.known.regressions.get(name)
            row = row or self.conn.execute(FIND_REGRESSION, (name,)).fetchone()
            if row is None:
                return False
            self.regressions[name] = Regression(*row)
            self.stored_regressions[self.regressions[name].id] = row
        return True

    def preload(self, messages: Iterable[Message]) -> None:
        """Load the jobs that messages speak of with one query, which costs half of one for each.

        Only texts can be handed over in JSON; a job without a uniqueid is looked up when its turn comes."""
        wanted: dict[int, set[str]] = {}
        for message in messages:
            if isinstance(message.key, str) and message.key and self._known_regression(message.regression):
                wanted.setdefault(self.regressions[message.regression].id, set()).add(message.key)
        keys = [(number, key) for number, texts in wanted.items() for key in texts]
        if keys:
            self.absent.update(keys)
            for row in self.conn.execute(FIND_JOBS, (to_json(keys),)):
                job = self.loaded(row)
                self.absent.discard((job.regression_id, job.key))

    def job(self, regression: Regression, key: str | bytes) -> Job | None:
        """The job of that key, or None."""
        known = self.jobs.get((regression.id, key))
        if known is not None or (regression.id, key) in self.absent:
            return known
        row = self.conn.execute(FIND_JOB, (regression.id, key)).fetchone()
        return None if row is None else self.loaded(row)

    def loaded(self, row: tuple[Any, ...]) -> Job:
        """Take a row that was read by whatever query into the batch, unless it is there already."""
        job = Job(*row)
        known = self.jobs.setdefault((job.regression_id, job.key), job)
        if known is job:
            self.stored_jobs[job.id] = row
            self.counted[job.id] = tally(job)
        return known

    def load_jobs(self, where: str, *parameters: Any) -> list[Job]:
        """Jobs by a condition on their stored rows; call it only when no job has unwritten changes."""
        rows = self.conn.execute(f"SELECT {JOB_COLUMNS} FROM job WHERE {where}", parameters)
        return [self.loaded(row) for row in rows]

    def load_slice(self, where: str, *parameters: Any) -> list[Job]:
        """The same for jobs that are to be given up: no more in all than one transaction may take at a time."""
        jobs = self.load_jobs(f"{where} ORDER BY id LIMIT ?", *parameters, self.left_of_slice)
        self.left_of_slice -= len(jobs)
        return jobs

    def new_job(self, regression: Regression, message: Message) -> Job:
        """An empty live row under a new id."""
        self.counters.last_job_id += 1
        job = copied(BLANK_JOB)
        job.id, job.regression_id, job.key = self.counters.last_job_id, regression.id, message.key
        job.seen_at, job.seen_tick = self.moment
        job.submitted_at = job.seen_at
        self.jobs[regression.id, message.key] = self.touched[job.id] = job
        return job

    def touch(self, job: Job) -> None:
        """Note that a row must be written."""
        self.touched[job.id] = job

    def signature(self, regression: Regression, category: str, title: str, *, ours: bool = False) -> int:
        """The id of a signature; after 25 brand-new ones in one regression, that of the overflow. Notes where it was
        seen."""
        known = self.signatures.get((category, title))
        if known is not None:
            self.sightings.add((known, regression.series or regression.name))
            return known
        row = self.conn.execute(FIND_SIGNATURE, (category, title)).fetchone()
        if row is None and not ours and regression.new_signatures >= signatures.OVERFLOW_AFTER:
            return self.signature(regression, category, signatures.OVERFLOW_TITLE, ours=True)
        now = self.moment.now
        if row is None:
            regression.new_signatures += not ours
            row = self.conn.execute(
                INSERT_SIGNATURE + " RETURNING id", (category, title, now, regression.id, now)
            ).fetchone()
        else:
            self.conn.execute("UPDATE signature SET last_seen_at = ? WHERE id = ?", (now, row[0]))
        self.signatures[category, title] = int(row[0])
        self.sightings.add((int(row[0]), regression.series or regression.name))
        return int(row[0])

    def test(self, job: Job) -> int | None:
        """The id of the test that a job is a run of, made at first sight; None for a job without name and config."""
        title = test_of(job.name, job.config, job.seed)
        if title is None:
            return None
        test = (job.category, title)
        known = self.learned.tests.get(test) or self.known.tests.get(test)
        if known is None:
            key = hashlib.blake2b(encode_json([job.category, title]), digest_size=16).digest()
            row = self.conn.execute(FIND_TEST, (key,)).fetchone()
            row = row or self.conn.execute(INSERT_TEST, (key, title[:TEST_TITLE_LENGTH])).fetchone()
            known = self.learned.tests[test] = int(row[0])
        return known

    # What happened.

    def tell(self, kind: str, regression: Regression, job: Job | None = None, **data: Any) -> int:
        """Write an event and let it number the change: the row's `version` is the `seq` of its last event."""
        self.counters.seq += 1
        seq = self.counters.seq
        regression.version = seq
        if job is not None:
            job.version = seq
            if job.phase is not None:
                data.setdefault("phase", job.phase)
            if job.reason is not None:
                data.setdefault("reason", job.reason)
        told = to_json(data) if data else None
        whose, result = (None, None) if job is None else (job.id, job.result)
        self.events[seq] = (seq, self.moment.now, kind, regression.id, whose, result, self.origin, told)
        return seq

    def forget_progress(self, row: Job | Regression) -> None:
        """Delete a row's event that told progress and nothing else, because a newer one takes its place."""
        if row.progress_seq is not None and self.events.pop(row.progress_seq, None) is None:
            self.replaced.append(row.progress_seq)

    def append_lines(self, job: int, offset: int | None, lines: Sequence[str]) -> None:
        """Add lines to a job's log; those that overlap what is there are left out. Only the newest are kept.

        Raises LogGap if they do not follow what is there."""
        columns = "id, first_offset, next_offset, size"
        row = self.conn.execute(f"SELECT {columns} FROM log WHERE job_id = ?", (job,)).fetchone()
        log, first, following, size = row or (0, 0, 0, 0)
        begin = following if offset is None else offset
        if begin > following:
            raise LogGap(f"offset {begin} leaves a gap: the next line of the log has offset {following}")
        new = dict(enumerate(lines[following - begin :], following))
        if not new:
            return
        log = log or self.begin_log(job, 0)
        self.logged.add(job)
        self.logbook.cut(log, first, following)
        after, size = following + len(new), size + sum(map(len, new.values()))
        for number, length in self.logbook.lengths(log, new):
            if after - number <= self.config.log_lines and size <= LOG_SIZE_MOST:
                break
            first, size = number + 1, size - length
        self.logbook.write(log, ((number, text) for number, text in new.items() if number >= first), self.moment.now)
        changed = "UPDATE log SET first_offset = ?, next_offset = ?, size = ? WHERE id = ?"
        self.conn.execute(changed, (first, after, size, log))

    def begin_log(self, job: int, offset: int) -> int:
        """Give a job that has no log an empty one, whose first line will have that offset. -> its number."""
        insert = "INSERT INTO log (job_id, first_offset, next_offset, size) VALUES (?, ?, ?, 0) RETURNING id"
        (log,) = self.conn.execute(insert, (job, offset, offset)).fetchone()
        self.logbook.forget(log)
        return int(log)

    def leave_log(self, job: int) -> None:
        """Take a job's log away from it; forget_logs() deletes the lines."""
        self.conn.execute("UPDATE log SET job_id = NULL WHERE job_id = ?", (job,))

    # Writing it all.

    def write(self) -> None:
        """Write all changed rows and what happened, and drop them from memory."""
        self.save_jobs()
        for regression in self.regressions.values():
            self._save_regression(regression)
        if self.replaced:
            self.conn.executemany("DELETE FROM event WHERE seq = ?", ((seq,) for seq in self.replaced))
        if self.events:
            self.conn.executemany(INSERT_EVENT, self.events.values())
        if self.sightings:
            now = self.moment.now
            self.conn.executemany(INSERT_SIGHTING, ((*sighting, now) for sighting in self.sightings))
        self.forget()

    def close(self) -> None:
        """Write the daemon's own row: the last thing of a transaction."""
        counters = msgspec.structs.astuple(self.counters)
        self.conn.execute(UPDATE_COUNTERS, counters[1:])

    def _save_regression(self, regression: Regression) -> None:
        row, stored = msgspec.structs.astuple(regression), self.stored_regressions[regression.id]
        changed = differing(row, stored)
        if any(changed):
            update = writing("regression", Regression.__struct_fields__, changed, False)
            self.conn.execute(update, (*itertools.compress(row, changed), regression.id))
        self.learned.regressions[regression.name] = row

    def save_jobs(self) -> None:
        """Write what changed of the jobs, and add it to the counters of their regressions."""
        self._count_jobs()
        written: dict[tuple[bool, bytes], list[tuple[Any, ...]]] = {}
        for job in self.touched.values():
            stored = self.stored_jobs.get(job.id)
            if stored is None or what_it_runs(stored) != (job.category, job.name, job.config, job.seed):
                job.test_id = self.test(job)
            row = msgspec.structs.astuple(job)
            changed = differing(row, itertools.repeat(None) if stored is None else stored)
            tail = () if stored is None else (job.id,)
            written.setdefault((stored is None, changed), []).append((*itertools.compress(row, changed), *tail))
            self.stored_jobs[job.id] = row
        for (is_new, changed), rows in written.items():
            if any(changed):
                self.conn.executemany(writing("job", Job.__struct_fields__, changed, is_new), rows)
        self.touched.clear()

    def _count_jobs(self) -> None:
        sums: dict[int, Iterable[int]] = {}
        for job in self.touched.values():
            after, before = tally(job), self.counted.get(job.id, NOTHING)
            if after is not before:
                total = sums.get(job.regression_id, NOTHING)
                sums[job.regression_id] = list(map(operator.add, total, map(operator.sub, after, before)))
                self.counted[job.id] = after
        for regression in self.regressions.values():
            for field, number in zip(Tally._fields, sums.get(regression.id, ()), strict=False):
                setattr(regression, field, getattr(regression, field) + number)


# ======================================================================================================================
# 8  Effects of messages (batch + message -> changed rows and an outcome · no SQL of its own)
# ======================================================================================================================


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
        elif column in TIME_COLUMNS:
            changed[TIME_COLUMNS[column]] = [utc(old), utc(new)]
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
    _give_up(batch, regression, job, reason, event, title, why_ended(batch.config, regression, how), **data)


def limit_job(batch: Batch, regression: Regression, job: Job) -> None:
    """Give a live job the verdict of its own time limit."""
    title = batch.config.livetimeoutsignature or JOB_LIMIT_SIGNATURE
    job.state = LIMITED
    why = f"ran longer than its time limit of {in_words(limit_of(job) or 0)}"
    _give_up(batch, regression, job, "time-limit", "job.timed_out", title, why)


def _give_up(
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
        return f"no message about the regression for {config.autotimeouthours:g} h (autotimeouthours)"
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


DERIVED = ("starttime_at", "time_limit_ms", "branch")  # told by the fields that they are made from


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


# ======================================================================================================================
# 9  Effects of people and time, and whole deliveries (batch -> changed rows, receipts · plain SQL)
# ======================================================================================================================


# What people do by hand.


def by_hand(batch: Batch, peer: str, fn: Callable[..., T], *args: Any) -> T:
    """A change that somebody asked for over HTTP."""
    batch.origin = f"http:{peer}"
    return fn(batch, *args)


def regression_by_id(batch: Batch, regression_id: int) -> Regression:
    """Load a regression by its id. Raises LookupError."""
    row = batch.conn.execute("SELECT name FROM regression WHERE id = ?", (regression_id,)).fetchone()
    if row is None:
        raise LookupError(f"no regression {regression_id}")
    return batch.regression(str(row[0]))


def tank_regression(batch: Batch, regression_id: int, reason: str) -> None:
    """Give a regression up: hide it, and make its live jobs fails."""
    regression = regression_by_id(batch, regression_id)
    if regression.tanked_at is not None:
        return
    if regression.ending is not None:
        complete_end(batch, regression)
    regression.tanked_at, regression.tank_reason = batch.moment.now, reason or None
    regression.ending = "tank"
    batch.tell("regression.tanked", regression, reason=reason)


def untank_regression(batch: Batch, regression_id: int) -> None:
    """Show a regression again, and bring its tanked jobs back: live, or missing if it is over by now."""
    regression = regression_by_id(batch, regression_id)
    if regression.tanked_at is None:
        return
    regression.tanked_at = regression.tank_reason = regression.ending = None
    regression.last_activity_at, regression.active_tick = batch.moment
    batch.tell("regression.untanked", regression)
    revive_all(batch, regression, TANKED, "untanked")


class Gone(LookupError):
    """A job is not there any more: it was pruned, at a time in ms since 1970."""

    def __str__(self) -> str:
        job_id, pruned_at = self.args
        return f"job {job_id} was live without news for long and was pruned at {utc(pruned_at)}"


def job_by_id(batch: Batch, job_id: int) -> Job:
    """Load a job that was there when its change was asked for. Raises Gone."""
    jobs = batch.load_jobs("id = ?", job_id)
    if jobs:
        return jobs[0]
    pruned = batch.conn.execute("SELECT id, pruned_at FROM pruned_job WHERE id = ?", (job_id,)).fetchone()
    raise Gone(*pruned) if pruned else LookupError(f"no job {job_id}")


def add_lines(batch: Batch, job_id: int, offset: int | None, lines: Sequence[str]) -> None:
    """Add lines to a job's log by themselves, without a message; they are a sign of life.

    Raises Gone, LogGap, or LogComplete."""
    job = job_by_id(batch, job_id)
    if job.state == DONE:
        raise LogComplete(f"job {job_id} has its verdict; its log is complete")
    batch.append_lines(job_id, offset, lines)
    if job.state == ALIVE:
        heard_of(batch, regression_by_id(batch, job.regression_id).name)
        job.seen_at, job.seen_tick = batch.moment
        batch.touch(job)


def tank_job(batch: Batch, job_id: int, reason: str) -> None:
    """Give one live job up. Raises Gone, or ValueError for a job that is not live."""
    job = job_by_id(batch, job_id)
    if job.state == TANKED:
        return
    if job.state != ALIVE:
        raise ValueError(f"job {job_id} is not live, but {RESULTS[job.result]}")
    regression = regression_by_id(batch, job.regression_id)
    job.state = TANKED
    why = f"tanked: {reason or 'no reason given'}"
    _give_up(batch, regression, job, "tanked", "job.tanked", TANKED_SIGNATURE, why)


def extend_job(batch: Batch, job_id: int, by_ms: int | None, until: int | None) -> None:
    """Move the time limit of a live job, or of one that its limit ended, which lives again. Raises NotExtended,
    or Gone."""
    job = job_by_id(batch, job_id)
    regression = regression_by_id(batch, job.regression_id)
    where = regression_state(regression.ended, regression.ending, regression.tanked_at)
    if job.state not in (ALIVE, LIMITED):
        raise NotExtended("not-live", f"job {job_id} is not live, but {RESULTS[job.result]}")
    if job.state == LIMITED and where != OPEN:
        raise NotExtended("not-live", f"job {job_id} ran into its time limit, and its regression is {where} by now")
    old = limit_of(job)
    new = extended_limit(old, job.running_tick, *batch.moment, by_ms, until)
    job.extended_ms = new - (job.time_limit_ms or 0)
    if job.state == LIMITED:
        revive(batch, regression, job, None, description="its time limit was moved")
        job.seen_tick = batch.moment.tick
    job.limit_tick = limit_ends(job)
    batch.touch(job)
    said = f"until {utc(until)}" if by_ms is None else f"by {in_words(by_ms)}"
    changed = {"time_limit_ms": [old, new]}
    batch.tell("job.extended", regression, job, changed=changed, description=f"time limit moved {said}")


class KeyReused(ValueError):
    """An Idempotency-Key came with another request than the first time."""


def once(batch: Batch, key: str, asked: str, do: Callable[..., str], *args: Any) -> str:
    """Do something and give its answer; under the same key a second time, give the answer of the first time.

    Without a key it is done each time. Raises KeyReused if something else was asked for under the key."""
    known = batch.conn.execute("SELECT asked, answer FROM idempotency WHERE key = ?", (key,)).fetchone()
    if known is not None and known[0] != asked:
        raise KeyReused("the Idempotency-Key was used for another request; each request takes a new one")
    if known is not None:
        return str(known[1])
    answer = do(batch, *args)
    if key:
        batch.conn.execute("INSERT INTO idempotency VALUES (?, ?, ?, ?)", (key, asked, answer, batch.moment.now))
    return answer


# What the clock does.


def expire(batch: Batch) -> bool:
    """Act on every time limit that is over, and go on with what is not done yet. -> True if there is more to do.

    Each call handles at most a slice of jobs, of all regressions together, so that messages are not held up."""
    conn, tick, config = batch.conn, batch.moment.tick, batch.config
    batch.origin = "daemon:timeout"
    for name, how in _overdue_regressions(conn, tick, config):
        end(batch, batch.regression(name), how)
    for (name,) in conn.execute(f"SELECT name FROM regression WHERE {_unfinished_ends(config)} ORDER BY id"):
        batch.regression(name)
    late = batch.load_slice("result = 0 AND limit_tick <= ?", tick)
    for job in late:
        limit_job(batch, regression_by_id(batch, job.regression_id), job)
    flush(batch)
    more = conn.execute(f"SELECT 1 FROM regression WHERE {_unfinished_ends(config)}").fetchone() is not None
    return more or len(late) == SLICE_JOBS


def _unfinished_ends(config: Config) -> str:
    """The condition for regressions whose end has jobs left to migrate; as the index regression_ending has it."""
    left = "(ending IS NOT NULL OR (ended IS NOT NULL AND n_live > 0))"
    return left if config.livetimeoutsignature else f"{left} AND ending IS NOT NULL"


def _overdue_regressions(conn: sqlite3.Connection, tick: int, config: Config) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    live = "FROM regression WHERE ended IS NULL AND tanked_at IS NULL AND ending IS NULL"
    if config.autotimeouthours:
        silent = tick - round(config.autotimeouthours * HOUR_MS)
        found += [
            (name, "timeout")
            for (name,) in conn.execute(f"SELECT name {live} AND active_tick <= ? ORDER BY id", (silent,))
        ]
    limit = conn.execute(f"SELECT name {live} AND limit_tick <= ? ORDER BY id", (tick,))
    return found + [(name, "time-limit") for (name,) in limit]


def anything_due(conn: sqlite3.Connection, config: Config, tick: int) -> bool:
    """Is a time limit over, or an end not done yet? A few look-ups in partial indexes."""
    row = conn.execute(
        """
        SELECT EXISTS (SELECT 1 FROM job WHERE result = 0 AND limit_tick <= ?)
            OR EXISTS (SELECT 1 FROM regression WHERE """
        + _unfinished_ends(config)
        + ")",
        (tick,),
    ).fetchone()
    return bool(row[0]) or bool(_overdue_regressions(conn, tick, config))


TICK_SAVED_MS, TICK_SAVED_RARELY_MS = 600, 10_000


def is_tick_old(conn: sqlite3.Connection, config: Config, tick: int) -> bool:
    """Is it time to save the uptime? Each transaction does; between them no more than a second of it, of two looks at
    the deadlines, may be lost by a kill as long as a time limit runs, else ten."""
    sql = """
        SELECT ? - tick >= iif(
            EXISTS (SELECT 1 FROM job WHERE result = 0 AND limit_tick IS NOT NULL)
            OR EXISTS (SELECT 1 FROM regression
                WHERE ended IS NULL AND tanked_at IS NULL AND (limit_tick IS NOT NULL OR ?)), ?, ?) FROM daemon
    """
    found = conn.execute(sql, (tick, config.autotimeouthours > 0, TICK_SAVED_MS, TICK_SAVED_RARELY_MS))
    return bool(found.fetchone()[0])


def prune_jobs(batch: Batch) -> bool:
    """Delete live jobs without news for prunelivedays, leaving a tombstone and an event. -> True if there are more."""
    if not batch.config.prunelivedays:
        return False
    batch.origin = "daemon:prune"
    since = batch.moment.tick - round(batch.config.prunelivedays * DAY_MS)
    where = "result = 0 AND seen_tick <= ? AND regression_id IN (SELECT id FROM regression WHERE n_live > 0)"
    jobs = batch.load_slice(where, since)
    for job in jobs:
        regression = regression_by_id(batch, job.regression_id)
        why = f"live without news for {batch.config.prunelivedays:g} days; last sign of life {utc(job.seen_at)}"
        batch.tell("job.pruned", regression, job, description=why)
        regression.n_live -= 1
        batch.conn.execute("INSERT INTO pruned_job VALUES (?, ?, ?)", (job.id, regression.id, batch.moment.now))
        batch.conn.execute("DELETE FROM job WHERE id = ?", (job.id,))
        batch.leave_log(job.id)
    flush(batch)
    return len(jobs) == SLICE_JOBS


def forget_logs(batch: Batch) -> bool:
    """Delete the lines of logs that no job has any more, some logs at a time. -> True if there are more.

    The lines go first, see LogBook: after a crash the log is still there to be forgotten."""
    logs = batch.conn.execute("SELECT id FROM log WHERE job_id IS NULL ORDER BY id LIMIT ?", (SLICE_LOGS,)).fetchall()
    for (log,) in logs:
        batch.logbook.forget(log)
    batch.conn.executemany("DELETE FROM log WHERE id = ?", logs)
    return len(logs) == SLICE_LOGS


def prune_records(batch: Batch) -> bool:
    """Forget old receipts and let old events leave the feed, a slice at a time. -> True if there is more to do.

    Events of an existing job or regression that tell a change of state stay for its history; only updates go."""
    conn, now, config = batch.conn, batch.moment.now, batch.config
    gone = conn.execute(
        "DELETE FROM receipt WHERE id IN (SELECT id FROM receipt WHERE received_at < ? ORDER BY id LIMIT ?)",
        (now - round(config.keep_receipts_days * DAY_MS), PRUNE_ROWS),
    ).rowcount
    conn.execute("DELETE FROM idempotency WHERE at < ?", (now - round(config.keep_receipts_days * DAY_MS),))
    before = now - round(config.keep_events_days * DAY_MS)
    rows = conn.execute(
        "SELECT seq, at FROM event WHERE seq > ? ORDER BY seq LIMIT ?", (batch.counters.events_from_seq, PRUNE_ROWS)
    ).fetchall()
    old = [seq for seq, at in rows if at < before]
    if old:
        conn.execute(
            """
            DELETE FROM event WHERE seq > ? AND seq <= ? AND (type IN ('job.updated', 'regression.updated')
                OR job_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM job WHERE job.id = event.job_id))
            """,
            (batch.counters.events_from_seq, old[-1]),
        )
        batch.counters.events_from_seq = old[-1]
    flush(batch)
    return gone == PRUNE_ROWS or len(old) == PRUNE_ROWS


# Deliveries.


DECODED_FROM, DECODED_TO = 1 << 14, 1 << 20  # bytes; messages take eight times the memory of their text


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


def decode_ahead(delivery: Delivery, config: Config) -> None:
    """Decode a request of many messages beside the writer, which then need not do it; but not one that is so long that
    its messages would fill the memory. Small requests and spool files are left to the writer: to answer the ones and to
    read the others is work enough here."""
    if delivery.weight() <= BATCH_MESSAGES and delivery.size() <= DECODED_TO:
        delivery.messages = list(decode_items(delivery.items, delivery.context, config))
        delivery.items = []


GRAVITY = ("rejected", "ignored", "duplicate", "applied")


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
    settled: Sequence[int] = ()

    def weight(self) -> int:
        """How many messages it holds, as far as that is known."""
        return sum(delivery.weight() for delivery in self.deliveries)


def apply_submissions(
    batch: Batch, submissions: Sequence[Submission], *, careful: bool = False
) -> list[tuple[list[Receipt], int]]:
    """Apply deliveries, write their receipts, and note the spool files that may be cleared away once this is committed.

    -> for each submission its receipts in order, and the id of the note (0 if there were no files)."""
    deliveries = [delivery for submission in submissions for delivery in submission.deliveries]
    receipts = iter(apply_deliveries(batch, deliveries, careful=careful))
    told = []
    for submission in submissions:
        own = list(itertools.islice(receipts, len(submission.deliveries)))
        told.append((own, _note_claims(batch, submission.deliveries, own)))
        batch.conn.executemany("DELETE FROM settling WHERE id = ?", ((number,) for number in submission.settled))
    return told


def apply_deliveries(batch: Batch, deliveries: Sequence[Delivery], *, careful: bool = False) -> list[Receipt]:
    """Apply deliveries and write their receipts. -> receipts in order.

    `careful` takes one message at a time and refuses the one that raises, which is how a batch is done that failed."""
    told: list[list[Outcome]] = [[] for _ in deliveries]
    messages = (
        (outcomes, delivery, message)
        for outcomes, delivery in zip(told, deliveries, strict=True)
        for message in _messages_of(delivery, batch.config)
    )
    while chunk := list(itertools.islice(messages, 1 if careful else BATCH_MESSAGES)):
        if careful:
            _apply_carefully(batch, *chunk[0])
            continue
        batch.preload(message for _, _, message in chunk if isinstance(message, Message))
        for outcomes, delivery, message in chunk:
            batch.origin = delivery.origin
            outcomes.append(message if isinstance(message, Outcome) else apply_message(batch, message))
        flush(batch)
    receipts = [_receipt(batch, delivery, outcomes) for delivery, outcomes in zip(deliveries, told, strict=True)]
    batch.conn.executemany(INSERT_RECEIPT, map(_receipt_row, receipts))
    return receipts


def _messages_of(delivery: Delivery, config: Config) -> Iterator[Message | Outcome]:
    if delivery.refusal is not None:
        return iter([delivery.refusal])
    if delivery.messages is not None:
        return iter(delivery.messages)
    return decode_items(delivery.items, delivery.context, config)


def _apply_carefully(batch: Batch, outcomes: list[Outcome], delivery: Delivery, message: Message | Outcome) -> None:
    if isinstance(message, Outcome):
        outcomes.append(message)
        return
    batch.origin = delivery.origin
    batch.conn.execute("SAVEPOINT message")
    try:
        outcome = apply_message(batch, message)
        flush(batch)
    except Exception as error:
        if is_storage_trouble(error):
            raise
        batch.conn.execute("ROLLBACK TO message")
        batch.unlearn()
        log.exception("apply: message %d of %s", message.index, delivery.name)
        detail = f"{type(error).__name__}: {error}"
        outcome = Outcome(message.index, message.type, message.regression, "rejected", "internal-error", None, detail)
    batch.conn.execute("RELEASE message")
    outcomes.append(outcome)


def is_storage_trouble(error: BaseException) -> bool:
    """Is it the disk that failed, and not a message? Then nothing is refused; the batch waits and is tried again."""
    return isinstance(error, sqlite3.OperationalError) and getattr(error, "sqlite_errorcode", 0) & 0xFF in (
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
    )


@contextlib.contextmanager
def telling_storage_trouble() -> Iterator[None]:
    """While this is entered, trouble with the disk is raised as StorageError."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if is_storage_trouble(error):
            raise StorageError(str(error)) from error
        raise


def _receipt(batch: Batch, delivery: Delivery, outcomes: list[Outcome]) -> Receipt:
    batch.counters.last_receipt_id += 1
    counts = dict.fromkeys(answers.OUTCOMES, 0)
    for outcome in outcomes:
        counts[outcome.outcome] += 1
    receipt = Receipt(batch.counters.last_receipt_id, delivery.name, batch.moment.now, **counts, details=outcomes)
    if len(outcomes) > DETAILS_KEPT:
        receipt.details = receipt.notable()
    return receipt


def _receipt_row(receipt: Receipt) -> tuple[Any, ...]:
    notable = receipt.notable()
    *numbers, _ = msgspec.structs.astuple(receipt)
    return (*numbers, to_json(notable) if notable else None)


def _note_claims(batch: Batch, deliveries: Sequence[Delivery], receipts: Sequence[Receipt]) -> int:
    files = [
        (*delivery.claim, receipt.id if receipt.rejected else 0)
        for delivery, receipt in zip(deliveries, receipts, strict=True)
        if delivery.claim is not None
    ]
    if not files:
        return 0
    row = batch.conn.execute("INSERT INTO settling (files) VALUES (?) RETURNING id", (to_json(files),)).fetchone()
    return int(row[0])


# ======================================================================================================================
# 10  Writer (questions -> transactions -> answers · a process of its own, with the only connection that writes)
# ======================================================================================================================
#
# The daemon is two processes, because one interpreter runs Python on one core at a time. The writer owns the one
# connection that writes, and it alone checkpoints; the daemon proper does all the rest. Work goes over a line to the
# writer as a function that gets a Batch and runs inside BEGIN IMMEDIATE … COMMIT; when that is durable, what it
# returned comes back, in the order of asking. If one process dies, the other ends, and the service manager starts both
# afresh.

LOCK_PATIENCE_S = 2.0  # the writer of a daemon that was killed may still be finishing its last transaction


def beside(name: str) -> Path:
    """A file that belongs to the program: beside this file in a checkout, in the installed data otherwise."""
    here = Path(__file__).resolve().parent / name
    return here if here.exists() else Path(sysconfig.get_path("data")) / "share" / "simscoped" / name


def open_database(path: Path) -> sqlite3.Connection:
    """Open the database for writing, made anew if there is none.

    Raises SimscopedError for a file that is not ours or is from another version, NotNow if it cannot be opened."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        conn = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        identity = check_database(conn, path)
        conn.executescript(PRAGMAS)
        if identity is None:
            _make_database(conn)
    except (sqlite3.Error, OSError) as error:
        is_foreign = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB
        refusal = SimscopedError if is_foreign else NotNow
        raise refusal(f"{path}: cannot be opened as a database: {error}") from None
    return conn


def open_logbook(path: Path) -> LogBook:
    """Open the file of the logs, made anew if there is none. Raises NotNow."""
    try:
        return LogBook(path)
    except sqlite3.Error as error:
        raise NotNow(f"{path}: cannot be opened for the logs of jobs: {error}") from None


def check_database(conn: sqlite3.Connection, path: Path) -> int | None:
    """The schema version of a database of ours, None for an empty file. Raises SimscopedError for any other."""
    application, version = (conn.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    if application == 0 and conn.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0:
        return None
    if application != APPLICATION_ID:
        raise SimscopedError(f"{path}: is a database of another program (application_id {application:#x}); left alone")
    if version != SCHEMA_VERSION:
        raise SimscopedError(
            f"{path}: has schema version {version}; this simscoped {__version__} works with version {SCHEMA_VERSION}. "
            "CHANGELOG.md tells which release reads it; start with another [server] db to go on meanwhile"
        )
    return int(version)


def _make_database(conn: sqlite3.Connection) -> None:
    """All in one transaction: a crash leaves an empty file, which is made anew at the next start.

    The numbers of changes begin at the time in ms since 1970: so a reader's place in a database that was here before
    lies below all that there is, and is known to be foreign."""
    schema = beside("schema.sql").read_text(encoding="utf-8")
    seq = int(time.time() * 1000)
    first = f"INSERT INTO daemon VALUES (1, '{secrets.token_hex(4)}', 0, {seq}, 0, 0, {seq});"
    conn.executescript(f"BEGIN;\n{schema}\n{first}\nCOMMIT;")


def read_only(path: Path) -> str:
    """The address of a database for a connection that cannot write."""
    return f"file:{urllib.parse.quote(str(path))}?mode=ro"


class Clock:
    """The wall clock, and the uptime clock that goes on where the last run of the daemon stopped.

    The two are read as one, and tick together as long as they do so within a millisecond: what is due at a tick is due
    at the same time of day whenever one looks."""

    def __init__(self, tick: int = 0) -> None:
        self._tick_at_zero = tick - time.monotonic_ns() / 1e6
        self._apart: int | None = None  # wall clock minus uptime clock, ms

    def moment(self) -> Moment:
        wall = time.time_ns() / 1e6
        apart = wall - time.monotonic_ns() / 1e6 - self._tick_at_zero
        if self._apart is None or abs(apart - self._apart) > 1:
            self._apart = round(apart)
        return Moment(int(wall), int(wall) - self._apart)


class Question(NamedTuple):
    """What the writer is asked: a function that gets a Batch and writes, or one that gets the connection and looks."""

    writes: bool
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    named: dict[str, Any]

    def weight(self) -> int:
        """How many messages are submitted, if that is what is asked; they share a transaction with what else is."""
        if self.fn is not apply_submissions or self.named:
            return 0
        return sum(submission.weight() for submission in self.args[0])


class Answer(NamedTuple):
    """What comes back from the writer: an error, or what was returned, the number of the last change, and the jobs
    whose logs were written."""

    error: Exception | None
    result: Any
    seq: int
    logged: frozenset[int] = frozenset()


GOODBYE = Question(False, len, (), {})  # no answer is expected

FRAME_HEAD = struct.Struct("!Q")  # what goes over the line is pickled, behind its length in bytes


def framed(value: Any) -> bytes:
    """A value as it goes over the line between the two processes."""
    content = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    return FRAME_HEAD.pack(len(content)) + content


class Line:
    """The writer's end of the line."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._read = bytearray()

    def next(self) -> Any:
        """Wait for a value. Raises EOFError when the other side breaks off."""
        while len(self._read) < FRAME_HEAD.size or len(self._read) < self._length():
            try:
                more = self._end.recv(1 << 20)
            except ConnectionResetError:  # it was killed with an answer unread
                more = b""
            if not more:
                raise EOFError
            self._read += more
        length = self._length()
        value = pickle.loads(memoryview(self._read)[FRAME_HEAD.size : length])  # noqa: S301 - from our own process
        del self._read[:length]
        return value

    def _length(self) -> int:
        """Of the frame that has begun to come, with its head."""
        return FRAME_HEAD.size + int(FRAME_HEAD.unpack_from(self._read)[0])

    def has_more(self) -> bool:
        """Is there more to read without waiting long?"""
        return bool(self._read) or bool(select.select([self._end], [], [], 0)[0])

    def tell(self, values: Iterable[Any]) -> None:
        """Send values. That nobody listens any more is no matter."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._end.sendall(b"".join(map(framed, values)))


def portable(error: Exception) -> Exception:
    """An error that can be sent, with the traceback of this side in a note."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}").with_traceback(error.__traceback__)
    error.add_note("".join(traceback.format_exception(error)))
    return error


class Writer:
    """The process that writes: it does what it is asked, until it is told goodbye or the daemon is gone."""

    def __init__(self, config: Config, line: Line) -> None:
        self.config = config
        self._line = line
        self._next: Question | None = None
        self._known = Known()

    def run(self) -> None:
        """Open the database, say how it is, then answer question after question. Raises EOFError if the daemon is gone;
        then nothing is tidied up, so a daemon that was killed leaves what any kill leaves."""
        try:
            self._conn = open_database(self.config.db)
            self._logbook = open_logbook(Path(f"{self.config.db}.logs"))
        except SimscopedError as error:
            self._line.tell([Answer(error, None, 0)])
            return
        epoch, tick, self._seq = self._conn.execute("SELECT epoch, tick, seq FROM daemon").fetchone()
        self.clock = Clock(tick)
        self._line.tell([Answer(None, (epoch, self.clock), self._seq)])
        while questions := self._asked():
            self._line.tell(self._answered(questions))
        self._logbook.conn.close()
        self._conn.close()

    def _asked(self) -> list[Question]:
        """The next question, with all submissions that wait behind it if it is one: what came while the last batch was
        being committed makes the next one (group commit). Empty at the goodbye."""
        first = self._next or self._line.next()
        self._next = None
        if first == GOODBYE:
            return []
        group, weight = [first], first.weight()
        while 0 < weight < BATCH_MESSAGES and self._line.has_more():
            following = self._line.next()
            more = following.weight()
            if not more:
                self._next = following
                break
            group.append(following)
            weight += more
        return group

    def _answered(self, questions: Sequence[Question]) -> list[Answer]:
        """The answers. If questions fail together, each is tried alone, so that none fails for another."""
        if len(questions) == 1:
            return [self._answer(questions[0])]
        together = Question(True, apply_submissions, ([one for asked in questions for one in asked.args[0]],), {})
        answer = self._answer(together)
        if answer.error is not None:
            return [self._answer(question) for question in questions]
        told = iter(answer.result)
        return [answer._replace(result=list(itertools.islice(told, len(asked.args[0])))) for asked in questions]

    def _answer(self, asked: Question) -> Answer:
        """Do what is asked. An error goes back as it is, with the traceback of this side in a note."""
        try:
            with telling_storage_trouble():
                if asked.writes:
                    return self._transaction(asked.fn, asked.args, asked.named)
                return Answer(None, asked.fn(self._conn, *asked.args, **asked.named), self._seq)
        except Exception as error:
            return Answer(portable(error), None, self._seq)

    def _transaction(self, fn: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Answer:
        try:
            self._conn.execute("BEGIN IMMEDIATE")
            batch = Batch(self._conn, self.config, self.clock.moment(), self._logbook, self._known)
            result = fn(batch, *args, **named)
            flush(batch)
            batch.close()
            self._logbook.commit()
            passing("before-commit")
            self._conn.execute("COMMIT")
        except BaseException:
            self._logbook.rollback()
            if self._conn.in_transaction:
                self._conn.execute("ROLLBACK")
            raise
        passing("after-commit")
        self._seq = batch.counters.seq
        self._known = batch.known
        self._known.learn(batch.learned)
        return Answer(None, result, self._seq, frozenset(batch.logged))


def lock_file(path: Path, refusal: str, patience_s: float = 0.0) -> None:
    """Take a lock that the process, and those it forks, have to their end. Raises NotNow with the sentence given if
    another has it, and goes on having it for so long."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
    except OSError as error:
        raise NotNow(f"{path}: cannot be opened: {error}") from None
    end = time.monotonic() + patience_s
    while True:
        try:
            return fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= end:
                os.close(held)
                raise NotNow(f"{refusal} (lock {path})") from None
        time.sleep(0.02)


class WriterProcess(NamedTuple):
    """The writer as the daemon sees it: the line to it, and its process."""

    line: socket.socket
    pid: int


def start_writer(config: Config) -> WriterProcess:
    """Lock the database and fork the writer; to be called before there is a loop or a thread. Raises NotNow."""
    lock_file(Path(f"{config.db}.lock"), f"{config.db}: another simscoped works on it", LOCK_PATIENCE_S)
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid:
        theirs.close()
        return WriterProcess(ours, pid)
    status = 1
    try:
        ours.close()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)  # it ends when the daemon hangs up
        Writer(config, Line(theirs)).run()
        status = 0
    except EOFError:
        pass
    except BaseException:
        log.exception("store: the writer failed")
    finally:
        os._exit(status)


# ======================================================================================================================
# 11  Store (functions -> results of the writer; SELECTs -> rows, on connections that cannot write)
# ======================================================================================================================

READERS = 3
WRITER_LOST = "the process that writes the database is gone"
READ_MOST_S = 5.0  # a reader that asks for more gets nothing: there are few connections, and others wait


class Bell:
    """Wakes everybody who waits for the next commit. Event loop only."""

    def __init__(self) -> None:
        self._rung: asyncio.Future[None] | None = None

    def ring(self) -> None:
        if self._rung is not None and not self._rung.done():
            self._rung.set_result(None)
        self._rung = None

    def listen(self) -> asyncio.Future[None]:
        """The next ring. Listen first, look second, wait third: then no ring is missed."""
        if self._rung is None:
            self._rung = asyncio.get_running_loop().create_future()
        return self._rung


class Bells:
    """A bell for each subject: what happens to others costs those who wait for news of one nothing. Event loop only."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, set[asyncio.Future[None]]] = {}

    @contextlib.contextmanager
    def listen(self, *subjects: Hashable) -> Iterator[asyncio.Future[None]]:
        """The next ring for any of some subjects. Listen first, look second, wait third."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for subject in subjects:
            self._waiting.setdefault(subject, set()).add(future)
        try:
            yield future
        finally:
            for subject in subjects:
                self._waiting[subject].discard(future)
                if not self._waiting[subject]:
                    del self._waiting[subject]

    def ring(self, subjects: Set[Hashable]) -> None:
        for subject in subjects & self._waiting.keys():
            for future in self._waiting[subject]:
                if not future.done():
                    future.set_result(None)

    def ring_all(self) -> None:
        self.ring(self._waiting.keys())


async def cancel(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for its end, however it ends."""
    task.cancel()
    await asyncio.wait([task])


async def heard(rung: asyncio.Future[None], seconds: float) -> bool:
    """Wait for a ring. -> False if it did not come in time."""
    done, _ = await asyncio.wait([rung], timeout=seconds)
    return bool(done)


class Asked(NamedTuple):
    """Where an answer of the writer goes, and whether it means that something was written."""

    writes: bool
    answer: asyncio.Future[Any]


class ReadTooLong(Exception):
    """A SELECT that took longer than READ_MOST_S was given up."""


class Patience:
    """Gives up what a reader's connection does for too long, or for nobody: SQLite asks it every so many steps of its
    machine."""

    STEPS = 10_000  # about a third of a millisecond

    def __init__(self) -> None:
        self.ends = math.inf

    def is_over(self) -> bool:
        return time.monotonic() > self.ends

    async def until(self, rows: Awaitable[Iterable[sqlite3.Row]]) -> list[sqlite3.Row]:
        """What a SELECT finds. It runs in a thread, so a caller who is cancelled ends it and waits until it has ended:
        nobody else may have the connection before. Raises ReadTooLong."""
        self.ends = time.monotonic() + READ_MOST_S
        finding = asyncio.ensure_future(rows)
        try:
            await asyncio.wait([finding])
            return list(finding.result())
        except asyncio.CancelledError:
            self.ends = -math.inf
            while not finding.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([finding])
            finding.exception()
            raise
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                raise ReadTooLong(f"no answer within {READ_MOST_S:g} s") from None
            raise


Readers = asyncio.Queue[tuple[aiosqlite.Connection, Patience]]  # those that nobody has


class Store:
    """The database: change() writes, read() reads."""

    def __init__(self, config: Config, writer: WriterProcess) -> None:
        self.config = config
        self.committed = Bell()
        self.bells = Bells()  # of logs, by the id of their job, and of what the feed tells of
        self.trouble: str | None = None  # why the writer could not use the database, until it has written again
        self.seq = 0
        self._writer = writer
        self._asked: deque[Asked] = deque()
        self._readers: Readers = asyncio.Queue()
        self._log_readers: Readers = asyncio.Queue()  # one, for the file of lines
        self._searches = asyncio.Semaphore(READERS - 1)
        self._all_readers: list[aiosqlite.Connection] = []
        self._closing = False

    async def open(self) -> None:
        """Open, or make, the database. Raises SimscopedError."""
        self._hear, self._say = await asyncio.open_connection(sock=self._writer.line)
        try:
            said = await self._heard()
        except asyncio.IncompleteReadError:
            raise NotNow(WRITER_LOST) from None
        if said.error is not None:
            raise said.error
        self.epoch: str
        self.clock: Clock
        (self.epoch, self.clock), self.seq = said.result, said.seq
        self.listener = asyncio.create_task(self._listen(), name="writer")
        for _ in range(READERS):
            reader = await self._open_reader(self.config.db, self._readers)
            await reader.create_function("matches", 2, patterns.matches, deterministic=True)
        await self._open_reader(Path(f"{self.config.db}.logs"), self._log_readers)

    async def _heard(self) -> Answer:
        """The writer's next answer. Raises IncompleteReadError when it has hung up."""
        (length,) = FRAME_HEAD.unpack(await self._hear.readexactly(FRAME_HEAD.size))
        answer: Answer = pickle.loads(await self._hear.readexactly(length))  # noqa: S301 - from our own process
        return answer

    async def _listen(self) -> None:
        """Hand each answer to whoever asked, until the writer hangs up; which it must not do by itself."""
        try:
            while True:
                said = await self._heard()
                self._hand_over(said, self._asked.popleft())
        except (asyncio.IncompleteReadError, ConnectionError):
            for asked in self._asked:
                if not asked.answer.done():
                    asked.answer.set_exception(StorageError(WRITER_LOST))
        if not self._closing:
            raise NotNow(WRITER_LOST)

    def _hand_over(self, said: Answer, asked: Asked) -> None:
        self.seq = said.seq
        if not asked.answer.done():
            if said.error is None:
                asked.answer.set_result(said.result)
            else:
                asked.answer.set_exception(said.error)
        if asked.writes and said.error is None:
            self.committed.ring()
            self.bells.ring(said.logged)

    async def _open_reader(self, path: Path, readers: Readers) -> aiosqlite.Connection:
        """Open one more connection to a database for those that read it."""
        reader, patience = await aiosqlite.connect(read_only(path), uri=True, isolation_level=None), Patience()
        reader.row_factory = sqlite3.Row
        await reader.execute("PRAGMA query_only = 1")
        await reader.execute("PRAGMA cache_size = -4096")
        await reader.set_progress_handler(patience.is_over, Patience.STEPS)
        self._all_readers.append(reader)
        readers.put_nowait((reader, patience))
        return reader

    async def read_log(self, job: int, offset: int, limit: int) -> tuple[int, int, list[tuple[int, int, str]]]:
        """Lines of a job's log: the first offset that is kept, the next to come, and (offset, at, message) from
        `offset` on.

        The database is asked first what lines there are: these are in the other file already. Some may have made room
        for newer ones since; so one statement finds the first that is left, and the lines behind it. Raises as read()
        does."""
        row = await self.read("SELECT id, first_offset, next_offset FROM log WHERE job_id = ?", (job,))
        if not row:
            return 0, 0, []
        log, first, following = row[0].values()
        found = "SELECT number, at, message FROM log_line WHERE log = ? AND number >= ? AND number < ? ORDER BY number"
        sql = f"SELECT * FROM ({found} LIMIT 1) UNION ALL SELECT * FROM ({found} LIMIT ?)"
        asked = (log, first, following, log, max(offset, first), following, limit)
        lines = [tuple(line) for line in await self._found(self._log_readers, sql, asked)]
        return lines[0][0] if lines else following, following, lines[1:]

    async def close(self) -> None:
        """Finish what is being written, note the uptime, close all connections, see the writer out."""
        for reader in self._all_readers:
            await reader.close()
        if hasattr(self, "listener"):
            with contextlib.suppress(StorageError):
                await self.change(save_tick)
            self._closing = True
            self._say.write(framed(GOODBYE))
        self._writer.line.close() if not hasattr(self, "_say") else self._say.close()
        await asyncio.to_thread(os.waitpid, self._writer.pid, 0)

    async def change(self, fn: Callable[Concatenate[Batch, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run fn(batch, …) in one transaction in the writer, and answer when it is durable. What goes there and comes
        back is pickled, so `fn` is a function of a module.

        Raises StorageError if the disk does not let us, whatever fn raises otherwise; then nothing is changed."""
        result: T = await self._ask(True, fn, args, kwargs)
        if self.trouble is not None:
            log.warning("store: can use the database again")
            self.trouble = None
        return result

    async def look(self, fn: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run fn(connection, …) in the writer without a transaction, for a look that must cost nothing. Raises as
        change() does."""
        found: T = await self._ask(False, fn, args, kwargs)
        return found

    async def _ask(self, writes: bool, fn: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        try:
            return await self._answer_to(Question(writes, fn, args, named))
        except StorageError as error:
            if self.trouble is None:
                log.error("store: cannot %s: %s", "write" if writes else "look", error)
            self.trouble = str(error)
            raise

    async def _answer_to(self, question: Question) -> Any:
        if self.listener.done():
            raise StorageError(WRITER_LOST)
        asked = Asked(question.writes, asyncio.get_running_loop().create_future())
        self._say.write(framed(question))
        self._asked.append(asked)
        return await asked.answer

    async def read(
        self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = (), *, search: bool = False
    ) -> list[dict[str, Any]]:
        """The rows of one SELECT by column name, from a reader's connection. A `search` is one that may take long: some
        wait for others, so that a reader is left for what is quick.

        Raises ReadTooLong, or StorageError if the disk does not let us."""
        async with self._searches if search else contextlib.nullcontext():
            rows = await self._found(self._readers, sql, parameters)
        names = rows[0].keys() if rows else ()
        return [dict(zip(names, row, strict=True)) for row in rows]

    async def _found(
        self, readers: Readers, sql: str, parameters: Sequence[Any] | Mapping[str, Any]
    ) -> list[sqlite3.Row]:
        reader, patience = await readers.get()
        try:
            with telling_storage_trouble():
                return await patience.until(reader.execute_fetchall(sql, parameters))
        finally:
            readers.put_nowait((reader, patience))

    async def read_surely(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """The same for a part of the daemon that must not end: it is tried again until it succeeds."""
        while True:
            try:
                return await self.read(sql, parameters)
            except (ReadTooLong, StorageError) as error:
                log.warning("store: cannot read, trying again: %s", error)
                await asyncio.sleep(1)


def save_tick(batch: Batch) -> None:
    """Nothing to write but the uptime, which every Batch writes."""


# ======================================================================================================================
# 12  Intake (deliveries from all doors -> batches -> receipts · no SQL, no files)
# ======================================================================================================================


class Intake:
    """Takes submissions from all doors and answers each with its receipts. Owned by the event loop.

    There is no timer: what comes while one batch is being committed waits with the writer, and makes the next one."""

    WAITING = 64  # submissions; a door that finds the queue full waits, and so does whoever stands before it
    UNDER_WAY = 4  # groups with the writer: it always has one ready, and what comes after them grows together here

    def __init__(self, store: Store) -> None:
        self.store = store
        self.counts = dict.fromkeys(answers.OUTCOMES, 0)
        self._queue: asyncio.Queue[Waiting] = asyncio.Queue(self.WAITING)
        self._room = asyncio.Semaphore(self.UNDER_WAY)
        self._under_way: set[asyncio.Task[None]] = set()

    async def submit(self, deliveries: list[Delivery], settled: Sequence[int] = ()) -> tuple[list[Receipt], int]:
        """Have deliveries applied. Answers after the commit, with the receipts and the id of the note about files.

        Raises StorageError if the disk does not let us; nothing is applied then."""
        answer: asyncio.Future[tuple[list[Receipt], int]] = asyncio.get_running_loop().create_future()
        await self._queue.put(Waiting(Submission(deliveries, list(settled)), answer))
        return await answer

    async def run(self) -> None:
        """Hand what is submitted to the writer, group by group, for ever."""
        while True:
            await self._room.acquire()
            group = [await self._queue.get()]
            await asyncio.sleep(0)  # whoever is ready to submit joins
            weight = group[0].submission.weight()
            while not self._queue.empty() and weight < BATCH_MESSAGES:
                group.append(self._queue.get_nowait())
                weight += group[-1].submission.weight()
            task = asyncio.create_task(self._apply(group))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def drain(self) -> None:
        """Wait until all that was submitted is answered."""
        await self._queue.join()

    async def _apply(self, group: Sequence[Waiting]) -> None:
        try:
            told = await self._apply_somehow([waiting.submission for waiting in group])
        except Exception as error:
            self._fail(group, error)
        else:
            for waiting, answer in zip(group, told, strict=True):
                self._count(answer[0])
                if not waiting.answer.done():
                    waiting.answer.set_result(answer)
        self._room.release()
        for _ in group:
            self._queue.task_done()

    async def _apply_somehow(self, submissions: list[Submission]) -> list[tuple[list[Receipt], int]]:
        """All at once; if that fails, one message after the other, so that the bad one alone is refused."""
        try:
            return await self.store.change(apply_submissions, submissions)
        except StorageError:
            raise
        except Exception:
            log.exception("intake: a batch failed; its messages are taken one by one")
        return await self.store.change(apply_submissions, submissions, careful=True)

    def _fail(self, group: Sequence[Waiting], error: Exception) -> None:
        for waiting in group:
            if not waiting.answer.done():
                waiting.answer.set_exception(error)
        if not isinstance(error, StorageError):
            log.error("intake: a batch failed as a whole", exc_info=error)

    def _count(self, receipts: Iterable[Receipt]) -> None:
        for receipt in receipts:
            for outcome in self.counts:
                self.counts[outcome] += getattr(receipt, outcome)


class Waiting(NamedTuple):
    """A submission, and where it waits for the answer."""

    submission: Submission
    answer: asyncio.Future[tuple[list[Receipt], int]]


# ======================================================================================================================
# 13  Spool folder (files -> deliveries; verdicts -> files cleared away · plain file operations)
# ======================================================================================================================
#
# A file moves SPOOL -> .work/N (claimed: nobody can change it under its name) -> gone, .done or .bad:
#
#   scan    lists the oldest files that look complete; it is the truth, file-system events only make it come sooner
#   take    reads each of a chunk of them, and renames it into a new folder .work/N, which keeps its path
#   submit  applies them; the transaction notes the claimed files as settling
#   settle  removes, keeps or puts aside each file; the note is deleted with a later batch
#
# A file is read where it lies, and claimed when it is whole; one that looks cut short is not touched until it changed
# and rested for REST_MS: then it is read again; or was seen unchanged for settle_ms: then it is taken as it is.
#
# Crash before the commit: the files lie in .work and are read at the next start. Crash after it: the note names them,
# and they are settled unread. So every file takes effect exactly once. The notes of a batch may only be deleted when
# the removal of its files is on disk too; a sync of .work once a second sees to that.

CHUNK_FILES = 1000
CHUNK_BYTES = 16 << 20
SCAN_FILES = 50_000  # listed at once, oldest first: 16 MB at most, whatever lies in the spool
EMPTY_FOLDER_S = 3600.0
REST_MS = 250  # for which a file that looked cut short must be unchanged before it is read again
FOLDERS_DEEP = 256  # the regression of a file that lies deeper would have a name that is too long
PATH_BYTES = 4000  # of 4095 that the system allows: the same file's path below .work, .bad and .done is longer
REASON = ".reason.json"
NAME_BYTES = 255 - len(REASON)  # of 255 that the system allows: so the name of the file with the reasons fits too
ABOUT_A_NAME = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EEXIST)  # troubles of one file, not of the disk

NOT_TAKEN = {stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a folder named like a message"}
NAMED_TYPE = re.compile(rf"({'|'.join(TYPES)})(?![a-z])")
MESSAGE_SUFFIXES = (".json", ".ndjson", ".jsonl")
LINES_SUFFIXES = (".ndjson", ".jsonl")
UNFINISHED_SUFFIXES = (".tmp", ".part", "~")


class Found(NamedTuple):
    """A file to take: when it was last changed, and its path below the spool (or below .work, if it lies there)."""

    mtime_ns: int
    path: str


class Read(NamedTuple):
    """What was read, and which file that was."""

    inode: int
    mtime_ns: int
    size: int
    content: bytes | Refused


class SpoolFolder:
    """The folder that publishers drop files into. Its operations block, and run one by one, in threads."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.root = str(config.spool_dir)
        self.work = f"{self.root}/.work"
        self.longest = PATH_BYTES - len(os.fsencode(f"{self.root}/"))  # path below the spool that is taken, in bytes
        self.backlog = 0  # files seen by the last scan and not claimed yet
        self.oldest_ns: int | None = None
        self._skipped: dict[str, str] = {}  # path -> why it was not taken by the last sweep
        self._skipping: dict[str, str] = {}  # the same, of the sweep under way
        self._waiting: dict[int, tuple[int, int, float]] = {}  # inode -> mtime, size, seen so since (monotonic)
        self._waited: dict[int, tuple[int, int, float]] = {}  # the same, of the sweep before
        self._cut_short: dict[int, tuple[int, int]] = {}  # inode -> mtime, size when it was read and looked cut short
        self._scanned = 0.0  # when the last scan began (monotonic)
        self._number = 0  # of the newest folder below .work
        self._made: set[str] = set()  # folders in it

    def not_taken(self) -> dict[str, str]:
        """Files that are not taken, and why: of the last sweep, and of the one under way."""
        return {**self._skipped, **self._skipping}

    def swept(self) -> None:
        """A sweep is over, so what it did not take is all that is not taken."""
        self._skipped = self._skipping

    def waits_since(self) -> float:
        """Of the files that have not settled yet: since when the one that waits longest is unchanged (monotonic).
        Infinity if there are none. One that had settled at the last scan is taken, or cannot be."""
        settled = self._scanned - self.config.settle_ms / 1000
        return min((since for *_, since in self._waiting.values() if since > settled), default=math.inf)

    # Scanning.

    def scan(self) -> list[Found]:
        """The oldest files that are ready to be taken, at most SCAN_FILES, in order of modification time."""
        self._skipping = {}
        os.makedirs(self.work, exist_ok=True)
        self._scanned = time.monotonic()
        self._waited, self._waiting = self._waiting, {}
        self._cut_short = {inode: seen for inode, seen in self._cut_short.items() if inode in self._waited}
        count = 0
        oldest: int | None = None
        ready: list[Found] = []
        for path, status in self._files(self.root, ""):
            count += 1
            oldest = status.st_mtime_ns if oldest is None else min(oldest, status.st_mtime_ns)
            if self._must_wait(path, status):
                continue
            ready.append(Found(status.st_mtime_ns, path))
            if len(ready) >= 2 * SCAN_FILES:
                ready = sorted(ready)[:SCAN_FILES]
        self.backlog, self.oldest_ns = count, oldest
        ready.sort()
        return ready[:SCAN_FILES]

    def _files(self, folder: str, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
        """All files below a folder that are named like messages."""
        empty = True
        with os.scandir(folder) as entries:
            for entry in entries:
                empty = False
                name = entry.name
                if name.startswith(".") or name.endswith(UNFINISHED_SUFFIXES):
                    continue
                if name.endswith(MESSAGE_SUFFIXES) or _is_odd(entry):
                    status = self._status(entry, prefix + name)
                    if status is not None:
                        yield prefix + name, status
                elif entry.is_dir():
                    yield from self._folder_files(f"{folder}/{name}", f"{prefix}{name}/")
        if empty and prefix:
            self._remove_if_old(folder)

    def _skip(self, path: str, why: str) -> None:
        """Note a file that is not taken; the first time it is told in the log."""
        self._skipping[path] = why
        if path not in self._skipped:
            log.warning("spool: not taken: %s: %s", path.encode("utf-8", "backslashreplace").decode(), why)

    def _folder_files(self, folder: str, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
        if prefix.count("/") > FOLDERS_DEEP:
            self._skip(prefix, f"lies more than {FOLDERS_DEEP} folders deep")
            return
        try:
            yield from self._files(folder, prefix)
        except OSError as error:
            self._skip(prefix, f"cannot be listed: {error.strerror}")

    def _status(self, entry: os.DirEntry[str], path: str) -> os.stat_result | None:
        """What the file system says of a file; None for one that is gone by now, or is not to be taken."""
        try:
            if len(path.encode()) > self.longest:
                self._skip(path, f"its path is longer than {PATH_BYTES} bytes")
                return None
            status = entry.stat(follow_symlinks=False)
        except UnicodeEncodeError:
            self._skip(path, "its name is not UTF-8")
            return None
        except FileNotFoundError:
            return None
        if stat.S_ISREG(status.st_mode):
            return status
        self._skip(path, NOT_TAKEN.get(stat.S_IFMT(status.st_mode), "not a regular file"))
        return None

    def _must_wait(self, path: str, status: os.stat_result) -> bool:
        """Is a file to be left alone for now? One that looks whole also when it is cut short is, until it has settled;
        one that was read and looked cut short is, until it has settled, or changed and rested."""
        inode, mtime_ns, size = status.st_ino, status.st_mtime_ns, status.st_size
        read = self._cut_short.get(inode)
        if size == 0 or path.endswith(LINES_SUFFIXES) or read == (mtime_ns, size):
            return not self._has_settled(inode, mtime_ns, size)
        return read is not None and self._unchanged_ms(inode, mtime_ns, size) < min(REST_MS, self.config.settle_ms)

    def _has_settled(self, inode: int, mtime_ns: int, size: int) -> bool:
        """Was a file that may still be being written seen unchanged for settle_ms?"""
        return self._unchanged_ms(inode, mtime_ns, size) >= self.config.settle_ms

    def _unchanged_ms(self, inode: int, mtime_ns: int, size: int) -> float:
        """How long a file was seen like this, by our own clock."""
        now = time.monotonic()
        seen = self._waiting.get(inode) or self._waited.get(inode)
        if seen is None or seen[:2] != (mtime_ns, size):
            seen = (mtime_ns, size, now)
        self._waiting[inode] = seen
        return (now - seen[2]) * 1000

    def _remove_if_old(self, folder: str) -> None:
        with contextlib.suppress(OSError):
            if time.time() - os.stat(folder).st_mtime > EMPTY_FOLDER_S:
                os.rmdir(folder)

    # Claiming and reading.

    def take(self, found: Sequence[Found]) -> tuple[list[Delivery], Sequence[Found]]:
        """Read files where they lie, and claim those that are whole into a new folder below .work, as many as fit into
        memory at once. -> deliveries, and the files that are left."""
        self._number += 1
        base = f"{self.work}/{self._number}"
        os.makedirs(base, exist_ok=True)
        self._made = {base}
        deliveries, left = as_many_as_fit(found, self._take_whole)
        if not deliveries:
            remove_empty(base)
        return deliveries, left

    def take_claimed(self, found: Sequence[Found]) -> tuple[list[Delivery], Sequence[Found]]:
        """The same with files that lie below .work already."""
        deliveries, left = as_many_as_fit(found, lambda item: self._take_again(item.path))
        self._remove_folders(item.path for item in found)
        return deliveries, left

    def _take_whole(self, found: Found) -> Delivery | None:
        """Read a file, and claim it; None if it is gone, or stays. What lies below .work then must be what was read:
        where its publisher has used the name again meanwhile, it is read there."""
        read = self._opened(f"{self.root}/{found.path}")
        delivery = self._delivery(found.path, read)
        if self._is_cut_short(delivery, read):
            return None
        work = self._claim(found.path)
        if work is None:
            return None
        if not _is_as_read(f"{self.work}/{work}", read):
            return self._take_again(work)
        return self._claimed(delivery, work, read)

    def _take_again(self, work: str) -> Delivery:
        """Read a file below .work."""
        read = self._opened(f"{self.work}/{work}")
        return self._claimed(self._delivery(work.partition("/")[2], read), work, read)

    def _claimed(self, delivery: Delivery, work: str, read: Read) -> Delivery:
        delivery.claim = (work, read.inode, read.mtime_ns)
        self._waiting.pop(read.inode, None)
        self._cut_short.pop(read.inode, None)
        return delivery

    def _is_cut_short(self, delivery: Delivery, read: Read) -> bool:
        """Is a file to be left alone until it has changed, or settled?"""
        if delivery.refusal is None or delivery.refusal.reason not in ("bad-json", "bad-text"):
            return False
        if self._has_settled(read.inode, read.mtime_ns, read.size):
            return False
        self._cut_short[read.inode] = read.mtime_ns, read.size
        return True

    def _claim(self, path: str) -> str | None:
        """Rename a file into the newest folder below .work. -> its path below .work; None if it is gone or stays."""
        work = f"{self._number}/{path}"
        target = f"{self.work}/{work}"
        folder = target.rpartition("/")[0]
        try:
            if folder not in self._made:
                os.makedirs(folder, exist_ok=True)
                self._made.add(folder)
            os.rename(f"{self.root}/{path}", target)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._skip(path, f"cannot be moved into .work: {error.strerror}")
            return None
        return work

    def _opened(self, path: str) -> Read:
        """Read a file, and learn which one it is by what was opened."""
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                status = os.fstat(handle)
                return Read(status.st_ino, status.st_mtime_ns, status.st_size, self._content(handle, status.st_size))
            finally:
                os.close(handle)
        except OSError as error:
            return Read(0, 0, 0, Refused("unreadable", error.strerror or str(error)))

    def _content(self, handle: int, size: int) -> bytes | Refused:
        if size <= self.config.body_mib << 20:
            return _read_all(handle, size)
        return Refused("too-large", f"{size} bytes; [limits] body_mib = {self.config.body_mib} are accepted")

    def _delivery(self, name: str, read: Read) -> Delivery:
        context = context_of_file(name)
        delivery = Delivery(name, f"spool:{name}", [], context)
        try:
            if isinstance(read.content, Refused):
                raise read.content
            delivery.items = items_of(read.content, context, lines=name.endswith(LINES_SUFFIXES))
        except Refused as refusal:
            delivery.refusal = _rejected(context.type, context.regression, refusal)
        return delivery

    # Settling.

    def settle(self, verdicts: Sequence[tuple[str, Sequence[Any]]]) -> None:
        """Clear claimed files away whose effect is committed: (path below .work, what was refused of it)."""
        for place, (work, refused) in enumerate(verdicts):
            if place == len(verdicts) // 2:
                passing("half-settled")
            try:
                self._clear_away(work, refused)
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.errno not in ABOUT_A_NAME:
                    raise
                log.error("spool: left in .work until the next start: %s: %s", work, error.strerror)
        self._remove_folders(work for work, _ in verdicts)

    def _remove_folders(self, works: Iterable[str]) -> None:
        """Remove the folders below .work that paths lead through, where nothing lies in them any more."""
        for base in {work.partition("/")[0] for work in works}:
            remove_empty(f"{self.work}/{base}")

    def _clear_away(self, work: str, refused: Sequence[Any]) -> None:
        name = work.partition("/")[2]
        if refused:
            self._put_aside(work, name, refused)
        elif self.config.done == "keep":
            day = time.strftime("%Y-%m-%d")
            move(f"{self.work}/{work}", free_name(f"{self.root}/.done/{day}/{name}"))
        else:
            os.unlink(f"{self.work}/{work}")

    def _put_aside(self, work: str, name: str, refused: Sequence[Any]) -> None:
        """Move a refused file to .bad, with the reasons beside it (written first, so that none is without)."""
        target = free_name(f"{self.root}/.bad/{name}")
        first = refused[0]
        why = {
            "name": name,
            "refused_at": utc(time.time_ns() // 1_000_000),
            **{key: first.get(key) for key in ("reason", "path", "detail", "index")},
            "messages": refused,
        }
        os.makedirs(os.path.dirname(target), exist_ok=True)
        try:
            with open(target + REASON, "w", encoding="utf-8") as file:
                json.dump(why, file, ensure_ascii=False, indent=2)
            os.rename(f"{self.work}/{work}", target)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(target + REASON)
            raise
        place = f" at {first['path']}" if first.get("path") else ""
        log.warning("spool: refused: %s: %s%s: %s", name, first.get("reason"), place, first.get("detail"))

    def left_over(self) -> list[Found]:
        """Files in the work folder of an earlier run, oldest first."""
        self._number = 1 + max((int(name) for name in os.listdir(self.work) if name.isdecimal()), default=0)
        skip = len(self.work) + 1
        paths = [f"{folder}/{name}"[skip:] for folder, _, names in os.walk(self.work) for name in names]
        left = [found for path in paths if (found := self._left(path)) is not None]
        for name in os.listdir(self.work):
            remove_empty(f"{self.work}/{name}")
        return sorted(left)

    def _left(self, path: str) -> Found | None:
        """A file below .work that is to be taken; None for one that is not."""
        number, _, name = path.partition("/")
        work = path if number.isdecimal() and name else self._take_in(path)
        return None if work is None else Found(os.lstat(f"{self.work}/{work}").st_mtime_ns, work)

    def _take_in(self, path: str) -> str | None:
        """Move a message that somebody else put into .work to where claimed files lie. -> its path there."""
        if not path.endswith(MESSAGE_SUFFIXES) or os.path.basename(path).startswith(".") or not is_utf8(path):
            return None
        work = f"{self._number}/{path}"
        try:
            move(f"{self.work}/{path}", f"{self.work}/{work}")
        except OSError as error:
            log.warning("spool: left in .work: %s: %s", path, error.strerror)
            return None
        return work


def _is_odd(entry: os.DirEntry[str]) -> bool:
    """Is it neither a file nor a folder, or its name not UTF-8? That is told, whatever the name ends in."""
    is_plain = entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)
    return not (is_plain and is_utf8(entry.name))


def is_utf8(name: str) -> bool:
    """Is a name in the file system text?"""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_all(handle: int, size: int) -> bytes:
    """A file's content; one read is enough unless it grows meanwhile."""
    content = os.read(handle, size + 1)
    while len(content) > size and (more := os.read(handle, 1 << 20)):
        content += more
    return content


def as_many_as_fit(
    found: Sequence[Found], take: Callable[[Found], Delivery | None]
) -> tuple[list[Delivery], Sequence[Found]]:
    """Take files until a chunk is full. -> deliveries, and the files that are left."""
    deliveries: list[Delivery] = []
    size = 0
    for place, item in enumerate(found):
        if place == CHUNK_FILES or size > CHUNK_BYTES:
            return deliveries, found[place:]
        delivery = take(item)
        if delivery is not None:
            deliveries.append(delivery)
            size += delivery.size()
    return deliveries, []


def _is_as_read(path: str, read: Read) -> bool:
    """Is a file that was renamed still the very one that was read?"""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return False
    return (status.st_ino, status.st_mtime_ns, status.st_size) == (read.inode, read.mtime_ns, read.size)


def _is_file(path: str, inode: int, mtime_ns: int) -> bool:
    """Is it still the very file that was claimed?"""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return False
    return (status.st_ino, status.st_mtime_ns) == (inode, mtime_ns)


def context_of_file(name: str) -> Context:
    """What the path of a file below the spool says about its messages."""
    folder, _, base = name.rpartition("/")
    typed = NAMED_TYPE.match(base)
    kind = SINGLE.get(typed[1], typed[1]) if typed else None
    return Context(kind, folder or None)


def items_of(raw: bytes, context: Context, *, lines: bool) -> list[bytes]:
    """The items of a delivery. An empty one stands for a regr-finish without a body, where that is the type."""
    if not raw.strip() and context.type == REGR_FINISH:
        return [b"null"]
    return split_items(raw, lines=lines)


def move(source: str, target: str) -> None:
    os.makedirs(os.path.dirname(target), exist_ok=True)
    os.rename(source, target)


def free_name(path: str) -> str:
    """The path itself, or, where that is not free, with ~2, ~3 … before its suffix; its name cut to NAME_BYTES. As the
    names before a taken one are taken as a rule, few of many are looked at."""
    folder, name = os.path.split(path)
    stem, suffix = os.path.splitext(name)

    def numbered(number: int) -> str:
        ending = f"~{number}{suffix}" if number > 1 else suffix
        return f"{folder}/{_beginning(stem, NAME_BYTES - len(os.fsencode(ending)))}{ending}"

    most = 1
    while not _is_free(numbered(most)):
        most *= 2
    least = most // 2 + 1
    return numbered(least + bisect.bisect_left(range(least, most), True, key=lambda number: _is_free(numbered(number))))


def _beginning(text: str, most: int) -> str:
    """At most so many bytes of a text, in whole characters."""
    return os.fsencode(text)[:most].decode(errors="ignore")


def _is_free(path: str) -> bool:
    """Does nothing lie there, nor the reasons of a file of that name, nor the file whose reasons would lie there?"""
    return not any(map(os.path.lexists, (path, path + REASON, path.removesuffix(REASON))))


def is_reason(path: str) -> bool:
    """Does a file in .bad tell reasons? One that was refused and is only named so has its own reasons beside it."""
    return path.endswith(REASON) and not os.path.lexists(path + REASON)


def remove_empty(folder: str) -> None:
    """Remove a folder and the folders below it, as far as they are empty."""
    for path, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(path)


def sync_folder(folder: str) -> None:
    """Have the names in a folder, and what was removed before, written to disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# ======================================================================================================================
# 14  Spool (sweeps -> chunks -> intake -> settled · asyncio, no SQL)
# ======================================================================================================================

CHUNKS_UNDER_WAY = 2  # one with the writer, one ready for it; so the writer never waits for a reader
AWAKE_S = 0.010  # between two scans while files keep coming
AWAKE_FOR_S = 1.0  # after the last file
START_PATIENCE_S = 3.0  # deadlines do not wait at the start for files that change later than this after it


class Spool:
    """Takes what comes into the folder. One task runs it; the folder's operations run in threads, one by one."""

    def __init__(self, config: Config, intake: Intake) -> None:
        self.config = config
        self.intake = intake
        self.folder = SpoolFolder(config)
        self.drained = asyncio.Event()  # all that lay here at the start is taken
        self.trouble: str | None = None
        self._under_way: deque[asyncio.Task[None]] = deque()  # chunks that are being applied and settled
        self._settling = asyncio.Lock()  # one chunk after the other: two could find the same name free
        self._unsynced: list[int] = []  # notes of batches whose files are cleared away, but perhaps not on disk
        self._settled: list[int] = []  # notes of batches of whose files that is on disk
        self._watched = True
        self._synced = 0.0  # when .work was synced last (monotonic)
        self._listed = 0.0  # when the folder was first listed (monotonic)

    async def run(self, settling: Sequence[tuple[int, str]], details: Callable[[int], Awaitable[list[Any]]]) -> None:
        """Take what comes, for ever. `settling` are the notes that a crash left; `details` looks up a receipt's."""
        try:
            await self._take(await self._left_over(settling, details), self.folder.take_claimed)
            await self._follow()
        finally:
            for chunk in self._under_way:
                chunk.cancel()

    async def _follow(self) -> None:
        news = time.monotonic()
        while True:
            taken = await self._sweep()
            if taken:
                news = time.monotonic()
            if taken >= CHUNK_FILES:
                continue
            if time.monotonic() - news < AWAKE_FOR_S:
                await asyncio.sleep(AWAKE_S)
            else:
                await self._sleep_until_news()
                news = time.monotonic()

    def _note_drained(self, found: int) -> None:
        """What lay here at the start is taken, but for files that are still being written."""
        if found < SCAN_FILES and self.folder.waits_since() > self._listed + START_PATIENCE_S:
            self.drained.set()

    async def _sweep(self) -> int:
        """Scan once and take all that is found. -> how many files. Where the disk does not let us, wait a second."""
        try:
            found = await asyncio.to_thread(self.folder.scan)
            self._listed = self._listed or time.monotonic()
            taken = await self._take(found, self.folder.take)
            await self._see_through(0)
            self.trouble = None
            self.folder.swept()
            self._note_drained(len(found))
        except OSError as error:
            await self._wait_for_better("the folder cannot be worked on", error)
            return 0
        return taken

    async def _take(
        self, found: Sequence[Found], take: Callable[[Sequence[Found]], tuple[list[Delivery], Sequence[Found]]]
    ) -> int:
        """Take, apply and settle files, chunk by chunk. -> how many."""
        taken = 0
        while found:
            await self._sync()
            deliveries, found = await asyncio.to_thread(take, found)
            taken += await self._apply(deliveries)
        return taken

    async def _apply(self, deliveries: list[Delivery]) -> int:
        """Have deliveries applied and their files cleared away, beside the reading of the chunks that come next.
        -> how many."""
        self.folder.backlog = max(self.folder.backlog - len(deliveries), 0)
        if deliveries:
            settled, self._settled = self._settled, []
            self._under_way.append(asyncio.create_task(self._apply_and_settle(deliveries, settled)))
        await self._see_through(CHUNKS_UNDER_WAY)
        return len(deliveries)

    async def _see_through(self, most: int) -> None:
        """Wait until no more than `most` chunks are under way."""
        while len(self._under_way) > most:
            await self._under_way[0]
            self._under_way.popleft()

    async def _apply_and_settle(self, deliveries: list[Delivery], settled: list[int]) -> None:
        """While the disk is full, deliveries wait here, claimed."""
        while True:
            try:
                receipts, note = await self.intake.submit(deliveries, settled)
                break
            except StorageError:
                await asyncio.sleep(1)
        verdicts = [
            (delivery.claim[0], receipt.refused())
            for delivery, receipt in zip(deliveries, receipts, strict=True)
            if delivery.claim is not None
        ]
        await self._settle(verdicts)
        self._unsynced.append(note)

    async def _settle(self, verdicts: Sequence[tuple[str, Sequence[Any]]]) -> None:
        while True:
            try:
                async with self._settling:
                    await asyncio.to_thread(self.folder.settle, verdicts)
                return
            except OSError as error:
                await self._wait_for_better("files cannot be cleared away", error)

    async def _wait_for_better(self, what: str, error: OSError) -> None:
        if self.trouble is None:
            log.error("spool: %s: %s", what, error)
        self.trouble = f"{what}: {error}"
        await asyncio.sleep(1)

    async def _sync(self) -> None:
        """Once a second, have the removal of files brought to disk, so that their notes can be deleted. This may
        fail, so it is asked for while no deliveries are in hand."""
        if not self._unsynced or time.monotonic() - self._synced < 1:
            return
        notes = list(self._unsynced)
        await asyncio.to_thread(sync_folder, self.folder.work)
        self._synced = time.monotonic()
        del self._unsynced[: len(notes)]
        self._settled += notes

    async def _sleep_until_news(self) -> None:
        """Sleep until a file-system event or poll_ms, whichever is first. The watch is set before the last look, so
        that a file which arrives between the two is not missed; a file system without events is polled."""
        stop = threading.Event()
        event = asyncio.create_task(self._next_event(stop))
        try:
            await asyncio.sleep(0)
            while not await self._sweep() and not event.done():
                patience = [self.config.poll_ms]
                patience += [self.config.settle_ms, 500] if self.folder.waits_since() < math.inf else []
                await asyncio.wait([event], timeout=max(min(patience), 10) / 1000)
        finally:
            stop.set()
            await cancel(event)

    async def _next_event(self, stop: threading.Event) -> None:
        """Return at the next file-system event; never, where there are none to be had."""
        watch = awatch(
            self.folder.root, stop_event=stop, watch_filter=self._is_news, step=10, debounce=20, rust_timeout=500
        )
        try:
            async for _ in watch:
                return
        except OSError as error:
            if self._watched:
                log.warning("spool: no file-system events, listed every %d ms: %s", self.config.poll_ms, error)
            self._watched = False
            await asyncio.Event().wait()

    def _is_news(self, change: object, path: str) -> bool:
        """Not what we do ourselves, in the folders whose names begin with a dot."""
        return "/." not in path[len(self.folder.root) :]

    async def _left_over(
        self, settling: Sequence[tuple[int, str]], details: Callable[[int], Awaitable[list[Any]]]
    ) -> list[Found]:
        """After a start: settle what was committed. -> what was claimed but not committed. Where the disk does not let
        us, try again."""
        while True:
            try:
                await self._settle_noted([files for _, files in settling], details)
                await self._forget_notes([number for number, _ in settling])
                left = await asyncio.to_thread(self.folder.left_over)
                break
            except OSError as error:
                await self._wait_for_better("the folder cannot be worked on", error)
        if left or settling:
            log.info(
                "spool: after the last run: %d batches to settle, %d claimed files to take", len(settling), len(left)
            )
        return left

    async def _settle_noted(self, noted: Sequence[str], details: Callable[[int], Awaitable[list[Any]]]) -> None:
        await asyncio.to_thread(os.makedirs, self.folder.work, exist_ok=True)
        for files in noted:
            verdicts = [
                (work, await details(receipt) if receipt else [])
                for work, inode, mtime_ns, receipt in decode_json(files)
                if _is_file(f"{self.folder.work}/{work}", inode, mtime_ns)
            ]
            await self._settle(verdicts)
        await asyncio.to_thread(sync_folder, self.folder.work)

    async def _forget_notes(self, notes: list[int]) -> None:
        """Delete notes before their paths are used again: a new file could be taken for the one that was settled."""
        while notes:
            try:
                await self.intake.submit([], notes)
                return
            except StorageError:
                await asyncio.sleep(1)


# ======================================================================================================================
# 15  Events out (committed events -> streams · writes nothing)
# ======================================================================================================================

FRAMES_KEPT = 6000
BEHIND_MOST = 5000  # a reader that is further behind than this starts anew
FEED_TICK_S = 0.05  # all that happens in one tick is one write per reader
HEARTBEAT_S = 15  # a comment this often keeps proxies from closing an idle stream

EVENTS = """
    SELECT e.seq, e.at, e.type, e.regression_id, r.name AS regression, e.job_id, e.result, e.origin, e.data
    FROM event AS e JOIN regression AS r ON r.id = e.regression_id
"""

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


class Frame(NamedTuple):
    """An event, encoded once for all streams."""

    seq: int
    type: str
    regression_id: int
    job_id: int | None
    text: bytes


class Wanted(NamedTuple):
    """Which events a reader wants; None for all."""

    types: tuple[str, ...] | None = None
    regression_id: int | None = None
    job_id: int | None = None

    def fits(self, frame: Frame) -> bool:
        return (
            (self.regression_id is None or frame.regression_id == self.regression_id)
            and (self.job_id is None or frame.job_id == self.job_id)
            and (self.types is None or any(_type_fits(frame.type, wanted) for wanted in self.types))
        )

    def condition(self) -> queries.Condition:
        """The same as SQL."""
        tests, parameters = ["1"], []
        for column, value in (("e.regression_id", self.regression_id), ("e.job_id", self.job_id)):
            if value is not None:
                tests.append(f"{column} = ?")
                parameters.append(value)
        if self.types is not None:
            tests.append("(" + " OR ".join(["0", *("e.type GLOB ?" for _ in self.types)]) + ")")
            parameters += self.types  # type: ignore[arg-type]
        return queries.Condition(" AND ".join(tests), tuple(parameters))


def _type_fits(kind: str, wanted: str) -> bool:
    return kind.startswith(wanted[:-1]) if wanted.endswith("*") else kind == wanted


EVERYTHING = Wanted()


class Subject(NamedTuple):
    """What somebody waits for news of: a job, a regression with all its jobs, or (`own`) the regression itself."""

    regression_id: int
    job_id: int | None = None
    own: bool = False


class Feed:
    """The newest events in memory, from which all streams are served: each event is read and encoded once.

    It follows the event table only while somebody listens; the first listener after a pause has it catch up."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.news = Bell()
        self.last = 0
        self.closed = False
        self.streams = 0
        self._listeners = 0
        self._loading = asyncio.Lock()
        self._frames: deque[Frame] = deque(maxlen=FRAMES_KEPT)
        self.oldest = 0  # the feed begins behind this number
        self._complete = False  # no event behind it is older than the frames
        self._joined: tuple[int, bytes] | None = None  # the last text for all events, and the cursor it is behind

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """While this is entered, `last` and `behind` are up to date, and `news` and the bells of subjects ring."""
        async with self._loading:
            if self._listeners == 0:
                await self._catch_up()
            self._listeners += 1
        try:
            yield
        finally:
            self._listeners -= 1

    async def run(self) -> None:
        """Follow the event table, for ever."""
        while True:
            rung = self.store.committed.listen()
            if self._listeners == 0 or await self._read_on(self.store.read_surely) == 0:
                await heard(rung, 3600)
            await asyncio.sleep(FEED_TICK_S)

    async def _catch_up(self) -> None:
        """Read what is missing, or all anew; run() sees to what is committed while this is done."""
        if self._frames and self.store.seq - self.last <= BEHIND_MOST:
            await self._read_on(self.store.read)
        else:
            await self._load()
        self.store.committed.ring()

    async def _load(self) -> None:
        (daemon,) = await self.store.read("SELECT events_from_seq FROM daemon")
        self.oldest = daemon["events_from_seq"]
        newest = f"{EVENTS} WHERE e.seq > ? ORDER BY e.seq DESC LIMIT ?"
        rows = await self.store.read(newest, (self.oldest, FRAMES_KEPT))
        self._frames = deque((_frame(row) for row in reversed(rows)), FRAMES_KEPT)
        self._complete = len(rows) < FRAMES_KEPT
        self._joined = None
        self.last = rows[0]["seq"] if rows else self.oldest

    async def _read_on(self, read: Callable[..., Awaitable[list[Row]]]) -> int:
        """Take in what follows, as far as it was not taken in meanwhile. -> how many events were read."""
        following, last = f"{EVENTS} WHERE e.seq > ? ORDER BY e.seq LIMIT ?", self.last
        rows = await read(following, (last, BEHIND_MOST))
        new = [_frame(row) for row in rows if last <= self.last < row["seq"]]
        if new:
            self._complete = self._complete and len(self._frames) + len(new) <= FRAMES_KEPT
            self._frames.extend(new)
            self.last = new[-1].seq
            self._joined = None
            self.store.bells.ring(_subjects_of(new))
            self.news.ring()
        return len(rows)

    def close(self) -> None:
        """Tell all streams to end."""
        self.closed = True
        self.news.ring()
        self.store.bells.ring_all()

    def behind(self, cursor: int) -> list[Frame] | None:
        """The events after a cursor; None if it is too old, or of the future, so that the reader must start anew."""
        if not self.oldest <= cursor <= self.last:
            return None
        newer = list(itertools.takewhile(lambda frame: frame.seq > cursor, reversed(self._frames)))
        if len(newer) > BEHIND_MOST or (len(newer) == len(self._frames) and not self._complete):
            return None
        return newer[::-1]

    def text(self, cursor: int, wanted: Wanted, *, coalesced: bool) -> bytes | None:
        """What a stream sends to a reader who has all up to `cursor`; None for "start anew"."""
        plain = wanted == EVERYTHING and not coalesced
        if plain and self._joined is not None and self._joined[0] == cursor:
            return self._joined[1]
        frames = self.behind(cursor)
        if frames is None:
            return None
        frames = [frame for frame in frames if wanted.fits(frame)]
        if coalesced:
            newest = {(frame.regression_id, frame.job_id): frame for frame in frames}
            frames = sorted(newest.values())
        text = b"".join(frame.text for frame in frames)
        if plain:
            self._joined = cursor, text
        return text

    async def brings(self, wanted: Wanted, cursor: int, seconds: float) -> bool:
        """Wait for a wanted event behind a cursor; only while `listening`. -> False if none came in time."""
        end = time.monotonic() + seconds
        while not self.closed:
            rung = self.news.listen()
            if cursor < self.last:
                frames = self.behind(cursor)
                if frames is None or any(map(wanted.fits, frames)):
                    return True
                cursor = self.last
            if not await heard(rung, end - time.monotonic()):
                break
        return False


def _subjects_of(frames: Iterable[Frame]) -> set[Subject]:
    """Whom events concern."""
    subjects = set()
    for frame in frames:
        whose = Subject(frame.regression_id)
        subjects |= {whose, whose._replace(job_id=frame.job_id) if frame.job_id else whose._replace(own=True)}
    return subjects


def _frame(row: dict[str, Any]) -> Frame:
    text = b"id: %d\ndata: %b\n\n" % (row["seq"], encode_json(answers.event_object(row)))
    return Frame(row["seq"], row["type"], row["regression_id"], row["job_id"], text)


# ======================================================================================================================
# 16  Deadlines (clock -> verdicts and pruning)
# ======================================================================================================================

LOOK_S = 0.5  # a limit is acted on within a second
HOUSEKEEPING_S = 3600.0


async def watch_deadlines(store: Store, spool: Spool) -> None:
    """Act on time limits, for ever, once the spool that waited at the start is drained. Saves the uptime as it goes."""
    await spool.drained.wait()
    chores = [
        Chore(prune_interval(store.config), lambda: until_done(store, prune_jobs)),
        Chore(HOUSEKEEPING_S, lambda: keep_house(store)),
    ]
    while True:
        try:
            if await store.look(anything_due, store.config, store.clock.moment().tick):
                await until_done(store, expire)
            if await store.look(is_tick_old, store.config, store.clock.moment().tick):
                await store.change(save_tick)
            for chore in chores:
                await chore.do_if_due()
        except StorageError:
            await asyncio.sleep(1)
        await asyncio.sleep(LOOK_S)


class Chore:
    """Something to be done every so many seconds; never, if that is infinite."""

    def __init__(self, every_s: float, do: Callable[[], Awaitable[None]]) -> None:
        self.every_s = every_s
        self.do = do
        self.done = -math.inf if every_s < math.inf else math.inf

    async def do_if_due(self) -> None:
        if time.monotonic() - self.done >= self.every_s:
            self.done = time.monotonic()
            await self.do()


def prune_interval(config: Config) -> float:
    """Seconds between two looks for jobs to prune, which go through all live jobs: a hundredth of the limit, and a
    minute at most."""
    days = config.prunelivedays
    return min(60.0, max(LOOK_S, days * DAY_MS / 1000 / 100)) if days else math.inf


async def until_done(store: Store, slice_of: Callable[[Batch], bool]) -> None:
    """Do long work in slices, each a transaction, so that messages are taken in between."""
    more = True
    while more:
        more = await store.change(slice_of)


async def keep_house(store: Store) -> None:
    """Forget what is older than the configuration says, receipts, events, kept files, and logs that no job has."""
    await until_done(store, prune_records)
    await until_done(store, forget_logs)
    await asyncio.to_thread(remove_old_days, f"{store.config.spool_dir}/.done", store.config.keep_done_days)


def remove_old_days(folder: str, days: float) -> None:
    """Remove the folders of kept files whose day, YYYY-MM-DD, is longer ago than `days`, as far as that can be done."""
    first = time.strftime("%Y-%m-%d", time.localtime(time.time() - days * 86400))
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if re.fullmatch(r"\d{4}-\d\d-\d\d", name) and name < first:
                shutil.rmtree(f"{folder}/{name}", ignore_errors=True)


# ======================================================================================================================
# 17  HTTP manners (who may ask, what parameters mean, how errors look)
# ======================================================================================================================

API = answers.API
STREAMS_MOST = 2000
STREAM_HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
SERIES_MOST = 100  # named in one request
USUAL_FOR_S = 60.0  # how long jobs of a test take is looked up again after this
USUAL_MOST = 20_000  # tests of which that is kept
SLOW_FOR_S = 5.0  # how many jobs of a regression are slow is counted again after this
SLOW_MOST = 5_000  # regressions of which that is kept
SLOW_PATIENCE_S = 0.1  # an answer waits no longer for it
FILE_THREADS = 8  # that look at declared files at a time
JSON_TYPE = "application/json"
PROBLEM_TYPE = "application/problem+json"

# The page may load its own files and talk to its own daemon, nothing else; and nobody may frame it.
PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

REGRESSION = f"SELECT {queries.REGRESSIONS.columns} FROM {queries.REGRESSIONS.source}"
JOB = "SELECT j.* FROM jobs AS j"


class Problem(Exception):
    """A request that cannot be answered as wished: becomes application/problem+json (RFC 9457)."""

    def __init__(self, status: int, reason: str, detail: str, **members: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.headers: dict[str, str] = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
        title = HTTPStatus(status).phrase
        detail = detail.encode("utf-8", "backslashreplace").decode()  # what a peer sent need not be text
        said = {"type": f"urn:simscoped:{reason}", "title": title, "status": status, "detail": detail, "reason": reason}
        self.body: dict[str, Any] = {**members, **said}

    def response(self) -> web.Response:
        return json_response(self.body, self.status, PROBLEM_TYPE, self.headers)


def problem_of(request: web.Request, error: Exception) -> Problem:
    """What an error is told as; our own mistakes leave a traceback in the log."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, queries.BadQuery):
        return Problem(400, "bad-query", str(error), path=error.name)
    if isinstance(error, Gone):
        return Problem(410, "pruned", str(error))
    if isinstance(error, ReadTooLong):
        detail = f"{error}; ask for less: one regression, a narrower filter, a shorter time"
        return Problem(422 if request.query else 503, "too-expensive", detail)
    if isinstance(error, web.RequestPayloadError):
        return Problem(400, "unreadable", f"the body is not what its headers say: {error}")
    if isinstance(error, StorageError):
        return Problem(507, "storage", f"the database cannot be used just now: {error}")
    if isinstance(error, web.HTTPException):
        reason = {404: "not-found", 405: "method-not-allowed", 413: "too-large"}.get(error.status, "http")
        refusal = Problem(error.status, reason, f"{request.method} {request.path}: {error.reason}")
        refusal.headers |= {name: value for name, value in error.headers.items() if name == "Allow"}
        return refusal
    log.error("http: %s %s", request.method, request.path, exc_info=error)
    return Problem(500, "internal-error", "our own mistake; the traceback is in the daemon's log")


def json_response(
    value: Any, status: int = 200, kind: str = JSON_TYPE, headers: Mapping[str, str] | None = None
) -> web.Response:
    return web.Response(body=encode_json(value), status=status, content_type=kind, headers=headers)


def receipt_object(receipt: Receipt) -> dict[str, Any]:
    """A receipt in the answer to a POST: with all messages, if they are few."""
    return answers.receipt_object(msgspec.structs.asdict(receipt), receipt.details)


def was_read(delivery: Delivery, receipt: Receipt) -> bool:
    """False if a delivery is not JSON, as a whole or in each of its lines: where text is refused in JSON, its path is
    told. What is in one whose address says no type is no matter."""
    if delivery.refusal is not None:
        return delivery.refusal.reason == "unknown-type"
    return receipt.messages > receipt.rejected or any(
        told.path or told.reason not in ("bad-json", "bad-text") for told in receipt.details
    )


def has_tag(request: web.Request, tag: str) -> bool:
    """Does the reader have what this ETag stands for? If-None-Match names it among others, weak or not, or is "*"."""
    known = [part.strip().removeprefix("W/") for part in request.headers.get("If-None-Match", "").split(",")]
    return tag in known or "*" in known


def peer_of(request: web.Request) -> str:
    """Who asks, as receipts and histories tell it."""
    return request.remote or "unknown"


def job_number(text: str) -> int:
    """The id of a job from an address. Raises Problem 404 for anything that is none."""
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Problem(404, "no-such-job", f"there is no job {text!r}: a job is known by its integer id")
    return int(text)


def wait_seconds(request: web.Request) -> float:
    """How long a reader wants to wait: wait=SECONDS, at most 60, or Prefer: wait=SECONDS (RFC 7240); not for HEAD."""
    if request.method == "HEAD":
        return 0.0
    said = request.query.get("wait")
    if said is None:
        preferred = re.search(r"\bwait=(\d{1,9})\b", request.headers.get("Prefer", ""))
        said = preferred[1] if preferred else "0"
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", said):
        raise queries.BadQuery("wait", said, f"a number of seconds; more than {WAIT_MOST_S} count as {WAIT_MOST_S}")
    return min(float(said), WAIT_MOST_S)


def numbered_page(request: web.Request, usual: int) -> tuple[int, int]:
    """after=NUMBER and limit=N of a list whose cursor is a number. Raises BadQuery."""
    after = queries.whole_number("after", request.query.get("after") or "0")
    return after, queries.whole_number("limit", request.query.get("limit") or str(usual), 1, queries.LIMIT_MOST)


def _job_is_done(row: Row) -> bool:
    return bool(row["result"] != LIVE)


def _regression_is_done(row: Row) -> bool:
    return bool(row["status"] != "live")


async def said_reason(request: web.Request) -> str:
    """The reason in the body {"reason": TEXT} of a request; the body may be missing."""
    raw = await request.read()
    if not raw.strip():
        return ""
    try:
        reason = msgspec.json.decode(raw, type=dict[str, Any]).get("reason", "")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, "bad-json", f'the body is not an object such as {{"reason": "…"}}: {error}') from None
    if not isinstance(reason, str):
        raise Problem(400, "wrong-type", "reason is a text", path="$.reason")
    if "\0" in reason:
        raise Problem(400, "bad-text", "U+0000 in a text", path="$.reason")
    return reason


def moment_said(request: web.Request, name: str, default: int) -> int:
    """A parameter that is a time, in ms since 1970. Raises BadQuery."""
    said = request.query.get(name)
    if not said:
        return default
    try:
        return _milliseconds(msgspec.convert(without_leap_second(said), Time))
    except msgspec.ValidationError:
        raise queries.BadQuery(name, said, "a time with a zone, such as 2030-01-01T00:00:00Z") from None


def job_filter(request: web.Request) -> Iterator[queries.Condition]:
    """The condition in filter=…, if there is one. Raises Problem 422 that names the place of what is wrong."""
    said = request.query.get("filter")
    if said and said.strip():
        try:
            yield queries.Condition(*filters.condition(said, patterns.compiled))
        except filters.BadFilter as error:
            detail = f"{error} (at character {error.position + 1} of {said!r})"
            raise Problem(422, "bad-filter", detail, path="filter", position=error.position) from None


def is_search(request: web.Request, listing: queries.Listing, fixed: Collection[queries.Condition]) -> bool:
    """May it take long to find a page of a list? If texts are looked through, or all jobs, be it of one regression."""
    said = request.query.keys() - {"limit", "after"}
    return listing is queries.HOSTS or bool(said & {"filter", "q"} if fixed else said)


class Extension(TypedDict, total=False):
    """The body of a request that moves a time limit: by so many milliseconds, or until a moment."""

    by_ms: Annotated[int, Meta(gt=0, le=LONGEST_MS)] | None
    until: Time | None


async def said_extension(request: web.Request) -> Extension:
    """What is asked for. Raises Problem 400 for what is not JSON, 422 for what is not an extension."""
    form = 'the body is {"by_ms": 600000} or {"until": "2030-01-01T00:00:00Z"}'
    try:
        text = (await request.read()).decode()
        said = msgspec.json.decode(without_leap_second(text))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, "bad-json", f"{form}: {error}") from None
    try:
        extension: Extension = fitting(said, Extension, "$")
    except Refused as refusal:
        raise Problem(422, "bad-extension", f"{refusal.detail}; {form}", path=refusal.path) from None
    given = [name for name, value in extension.items() if value is not None]
    if len(given) != 1 or len(said.keys() - {"by_ms", "until"}):
        raise Problem(422, "bad-extension", f"either by_ms or until is needed, and nothing else; {form}", path="$")
    return extension


def check_text(request: web.Request) -> None:
    """Raises Problem 400 for an address that is not UTF-8: what cannot be read in it must not be taken for U+FFFD."""
    try:
        urllib.parse.unquote_to_bytes(request.raw_path.encode("utf-8", "surrogateescape")).decode()
    except UnicodeDecodeError as error:
        raise Problem(400, "bad-text", f"the address is not UTF-8: {error.reason}") from None


def idempotency_key(request: web.Request) -> str:
    """The Idempotency-Key of a request; empty if there is none. Raises Problem for one that cannot be kept."""
    key = request.headers.get("Idempotency-Key", "")
    if len(key) > 255 or not key.isprintable():
        raise Problem(422, "bad-idempotency-key", "an Idempotency-Key is 1 to 255 printable characters")
    return key


def host_name(host: str) -> str:
    """The name in a Host header, without port and brackets, in lower case."""
    found = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(:\d*)?", host)
    return found[1].strip("[]").casefold() if found else ""


def is_address(name: str) -> bool:
    """True for a literal address: nobody can point a name of theirs at us with it."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def own_hosts(config: Config) -> set[str]:
    """The names under which this daemon may be asked. Waits for the answer of a name server."""
    names = {"localhost", config.host, socket.gethostname(), socket.getfqdn(), *config.allowed_hosts}
    names.add(urllib.parse.urlsplit(config.public_url).hostname or "")
    return {name.casefold() for name in names if name}


def message_schemas() -> dict[str, Any]:
    """JSON Schema of the message bodies, from the types that check them."""
    _, schemas = msgspec.json.schema_components([JobBody, RegressionBody], ref_template="#/components/schemas/{name}")
    return schemas


def static_files(prefix: str) -> Iterator[tuple[str, tuple[bytes, str, str]]]:
    """The files of the page: name -> (content, type, ETag). The page learns its path prefix from {{ROOT}}."""
    for path in sorted(beside("static").iterdir()):
        kind = CONTENT_TYPES.get(path.suffix)
        if kind is None:
            continue
        body = path.read_bytes()
        if path.suffix == ".html":
            body = body.replace(b"{{ROOT}}", f"{prefix}/".encode())
        tag = hashlib.sha256(body).hexdigest()[:16]
        yield path.name, (body, kind, f'"{tag}"')


def extended(
    batch: Batch, job_id: int, by_ms: int | None, until: int | None, seen: answers.Viewpoint, usual: Any
) -> str:
    """Move a job's time limit. -> the job as it is then, as JSON. Raises as extend_job() does."""
    extend_job(batch, job_id, by_ms, until)
    flush(batch)
    return to_json(answers.job_object(view_row(batch.conn, f"{JOB} WHERE j.id = ?", job_id), seen, usual))


# ======================================================================================================================
# 18  HTTP answers (requests -> receipts, JSON, streams, the page)
# ======================================================================================================================

NDJSON_TYPES = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines")


class Api:
    """The handlers. Each takes a request and gives a response or raises Problem."""

    def __init__(
        self, config: Config, hosts: Collection[str], store: Store, intake: Intake, feed: Feed, spool: Spool
    ) -> None:
        self.config = config
        self.hosts = hosts
        self.store = store
        self.intake = intake
        self.feed = feed
        self.spool = spool
        public = urllib.parse.urlsplit(config.public_url)
        self.origin = f"{public.scheme}://{public.netloc}".lower() if public.netloc else None
        self.prefix = public.path.rstrip("/")
        self.base = config.public_url.rstrip("/") if config.public_url else ""
        self.files = dict(static_files(self.prefix))
        self.started = time.monotonic()
        self.usual: dict[int, tuple[float, answers.Usual | None]] = {}  # test -> known until, what it takes
        self.slow: dict[int, tuple[float, int]] = {}  # live regression -> known until, how many of its jobs are slow
        self._counting: asyncio.Task[None] | None = None
        self.digests: dict[tuple[int, ...], bytes] = {}  # device, inode, size and mtime of a file -> SHA-256
        self.file_threads = asyncio.Semaphore(FILE_THREADS)

    # Who may ask: no foreign origin, no foreign host name, writes only with the token.

    def admit(self, request: web.Request) -> None:
        """Raises Problem for a request that must not be served."""
        host = request.headers.get("Host", "")
        if not self._is_own(host):
            raise Problem(403, "foreign-host", f"Host {host!r} is not this daemon's; see [server] allowed_hosts")
        origin = request.headers.get("Origin")
        if origin is not None and not self._is_own_origin(origin.lower(), host.lower()):
            raise Problem(403, "foreign-origin", f"requests from pages of {origin!r} are refused")
        if request.method not in ("GET", "HEAD") and self.config.token and not self._has_token(request):
            raise Problem(401, "token", "this needs the header Authorization: Bearer TOKEN with [server] token")

    def _is_own_origin(self, origin: str, host: str) -> bool:
        return origin in (self.origin, f"http://{host}", f"https://{host}")

    def _has_token(self, request: web.Request) -> bool:
        said = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        scheme, _, token = said.partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(token.lstrip(b" "), self.config.token.encode())

    @functools.lru_cache(maxsize=64)  # noqa: B019 - one Api lives as long as the process
    def _is_own(self, host: str) -> bool:
        """Is this the name, or an address, of this daemon in a Host header?"""
        name = host_name(host)
        return name in self.hosts or is_address(name)

    # Messages in.

    async def publish(self, request: web.Request) -> web.Response:
        kind = request.match_info["type"]
        context = Context(SINGLE.get(kind, kind), request.query.get("regression"), bare=True)
        return await self._take(request, context)

    async def messages(self, request: web.Request) -> web.Response:
        return await self._take(request, Context(None, request.query.get("regression")))

    async def _take(self, request: web.Request, context: Context) -> web.Response:
        peer = peer_of(request)
        delivery = Delivery(peer, f"http:{peer}", [], context)
        try:
            raw, lines = await self._body(request), request.content_type in NDJSON_TYPES
            if context.type not in (None, *TYPES):
                raise Refused("unknown-type", f"type {context.type!r} is not one of {', '.join(TYPES)}")
            if len(raw) >= DECODED_FROM:
                await asyncio.to_thread(self._read_ahead, delivery, raw, lines)
            else:
                delivery.items = items_of(raw, context, lines=lines)
        except Refused as refused:
            delivery.refusal = _rejected(context.type, context.regression, refused)
        (receipt,), _ = await self.intake.submit([delivery])
        told = receipt_object(receipt)
        if not receipt.rejected:
            return json_response(told)
        first = next(outcome for outcome in receipt.details if outcome.outcome == "rejected")
        status = 422 if was_read(delivery, receipt) else 413 if first.reason == "too-large" else 400
        raise Problem(
            status, first.reason or "", first.detail or "", **({"path": first.path} if first.path else {}), **told
        )

    async def _body(self, request: web.Request) -> bytes:
        """Raises Refused for a body that cannot be read."""
        try:
            return await request.read()
        except (web.RequestPayloadError, ValueError) as error:
            raise Refused("unreadable", f"the body is not what its headers say: {error}") from None
        except web.HTTPRequestEntityTooLarge:
            detail = f"the request is larger than [limits] body_mib = {self.config.body_mib}"
            raise Refused("too-large", detail) from None

    def _read_ahead(self, delivery: Delivery, raw: bytes, lines: bool) -> None:
        """Cut a large request into its items, and decode them, in a thread: others are answered meanwhile."""
        delivery.items = items_of(raw, delivery.context, lines=lines)
        decode_ahead(delivery, self.config)

    # Lists and objects out.

    async def page_of(
        self, request: web.Request, listing: queries.Listing, *fixed: queries.Condition, limit: int | None = None
    ) -> tuple[list[Row], str | None]:
        """The rows of a page of a list, and the cursor of the next one. A `limit` given here is the only parameter."""
        now, _ = self.store.clock.moment()
        found = queries.page(listing, request.query if limit is None else {"limit": str(limit)}, *fixed, now=now)
        rows = await self.store.read(found.sql, found.parameters, search=is_search(request, listing, fixed))
        more = queries.cursor_behind(found, rows[found.limit - 1]) if len(rows) > found.limit else None
        return rows[: found.limit], more

    def listed(self, request: web.Request, items: list[Any], more: str | int | None) -> web.Response:
        """A page of a list, with a link to the next one."""
        return json_response({"items": items, "next": more}, headers=self.link_to(request, more))

    def link_to(self, request: web.Request, more: str | int | None) -> dict[str, str]:
        """The header that leads to the next page, if there is one."""
        return {"Link": f'<{self.base}{request.rel_url.update_query(after=more)}>; rel="next"'} if more else {}

    async def list_of(
        self,
        request: web.Request,
        listing: queries.Listing,
        show: Callable[[Row], Any],
        *fixed: queries.Condition,
        limit: int | None = None,
    ) -> web.Response:
        """The handler behind every list."""
        rows, more = await self.page_of(request, listing, *fixed, limit=limit)
        return self.listed(request, [show(row) for row in rows], more)

    async def regressions(self, request: web.Request) -> web.Response:
        wants_tanked = request.query.get("tanked") == "1" or "tanked" in request.query.get("status", "").split(",")
        shown = [] if wants_tanked else [queries.Condition("r.tanked_at IS NULL")]
        rows, more = await self.page_of(request, queries.REGRESSIONS, *shown)
        await self.count_slow(rows)
        return self.listed(request, list(map(self.seen_now(answers.regression_object), rows)), more)

    async def regression(self, request: web.Request) -> web.Response:
        """One regression. With wait=SECONDS it blocks until it is over (until=done) or has another version."""
        row = await self.regression_row(request)
        own = request.query.get("until") == "done" and not request.query.get("version")
        look = functools.partial(self.regression_now, row["id"])
        row = await self._awaited(request, row, Subject(row["id"], own=own), look, _regression_is_done)
        await self.count_slow([row])
        return self._versioned(request, row["version"], self.regression_object(row))

    async def count_slow(self, rows: Iterable[Row]) -> None:
        """Have it known how many jobs of live regressions are slow for their test, for the next viewpoint. That is
        counted now and then; where it takes long, answers go on showing what was known before, or none."""
        now = time.monotonic()
        live = (row["id"] for row in rows if row["status"] == "live" and row["n_live"])
        stale = [regression for regression in live if self.slow.get(regression, (0.0, 0))[0] < now]
        if stale and (self._counting is None or self._counting.done()):
            self._counting = asyncio.create_task(self._count_slow(stale))
        if stale and self._counting is not None:
            await asyncio.wait([self._counting], timeout=SLOW_PATIENCE_S)

    async def _count_slow(self, regressions: list[int]) -> None:
        with contextlib.suppress(ReadTooLong, StorageError):
            jobs = await self.store.read(figures.LONGEST_LIVE, (to_json(regressions),), search=True)
            usual = await self.usual_of_tests({job["test_id"] for job in jobs})
            now = self.store.clock.moment().now
            slow = Counter(
                job["regression_id"]
                for job in jobs
                if answers.is_slow(job["running_at"], usual.get(job["test_id"]), now)
            )
            if len(self.slow) > SLOW_MOST:
                self.slow.clear()
            until = time.monotonic() + SLOW_FOR_S
            self.slow.update((regression, (until, slow[regression])) for regression in regressions)

    async def regression_row(self, request: web.Request, ref: str | None = None) -> dict[str, Any]:
        """The regression that REF means: an id, SERIES/$ for the latest of a series that has runs, or a name."""
        ref = request.match_info["ref"] if ref is None else ref
        if ref.isascii() and ref.isdigit() and len(ref) < 19:
            rows = await self.store.read(f"{REGRESSION} WHERE r.id = ?", (int(ref),))
            if rows:
                return rows[0]
        rows, series = [], ref.removesuffix(f"{self.config.seriesseparator}$")
        if series != ref:
            latest = f"{REGRESSION} WHERE r.series = ? ORDER BY r.number DESC LIMIT 1"
            rows = await self.store.read(latest, (series,))
        rows = rows or await self.store.read(f"{REGRESSION} WHERE r.name = ?", (ref,))
        if not rows:
            raise Problem(404, "no-such-regression", f"there is no regression {ref!r}")
        return rows[0]

    async def regression_jobs(self, request: web.Request) -> web.Response:
        row = await self.regression_row(request)
        return await self._job_list(request, queries.Condition("j.regression_id = ?", (row["id"],)))

    async def _job_list(self, request: web.Request, *fixed: queries.Condition) -> web.Response:
        rows, more = await self.page_of(request, queries.JOBS, *fixed, *job_filter(request))
        usual, seen = await self.usual_of(rows), self.viewpoint()
        items = [answers.job_object(row, seen, usual.get(row["test_id"])) for row in rows]
        return self.listed(request, items, more)

    async def usual_of(self, rows: Iterable[Row]) -> dict[int, answers.Usual | None]:
        """How long jobs of a kind take, for the tests of the live jobs among some rows."""
        live = {row["test_id"] for row in rows if row["result"] == LIVE and row["test_id"] is not None}
        return await self.usual_of_tests(live) if live else {}

    async def usual_of_job(self, row: Row) -> answers.Usual | None:
        return (await self.usual_of([row])).get(row["test_id"])

    async def usual_of_tests(self, tests: Collection[int]) -> dict[int, answers.Usual | None]:
        """How long jobs of some tests take. It is looked up now and then: it changes slowly, and is asked for often."""
        now = time.monotonic()
        if len(self.usual) > USUAL_MOST:
            self.usual.clear()
        stale = [test for test in tests if self.usual.get(test, (0.0, None))[0] < now]
        for row in await self.store.read(figures.PASSES, (to_json(stale),)) if stale else ():
            self.usual[row["test_id"]] = (now + USUAL_FOR_S, answers.usual_of(decode_json(row["passes"])))
        return {test: self.usual[test][1] for test in tests if test in self.usual}

    async def regression_signatures(self, request: web.Request) -> web.Response:
        row = await self.regression_row(request)
        here = queries.Condition("g.regression_id = ?", (row["id"],))
        explain, overflow = signatures.explain, signatures.OVERFLOW_TITLE
        show = functools.partial(answers.signature_object, explain=explain, overflow=overflow)
        return await self.list_of(request, queries.SIGNATURES, show, here)

    async def jobs(self, request: web.Request) -> web.Response:
        fixed = []
        if request.query.get("regression"):
            row = await self.regression_row(request, request.query["regression"])
            fixed.append(queries.Condition("j.regression_id = ?", (row["id"],)))
        elif request.query.get("result") == "live":
            fixed.append(queries.WITH_LIVE_JOBS)
        return await self._job_list(request, *fixed)

    async def job_row(self, request: web.Request) -> dict[str, Any]:
        number = job_number(request.match_info["id"])
        rows = await self.store.read(f"{JOB} WHERE j.id = ?", (number,))
        if rows:
            return rows[0]
        pruned = await self.store.read("SELECT pruned_at FROM pruned_job WHERE id = ?", (number,))
        if pruned:
            raise Gone(number, pruned[0]["pruned_at"])
        raise Problem(404, "no-such-job", f"there is no job {number}")

    async def job(self, request: web.Request) -> web.Response:
        """One job. With wait=SECONDS it blocks until it is done (until=done) or has another version (version=N)."""
        row = await self._awaited_job(request)
        return self._versioned(request, row["version"], await self.job_shown(row))

    async def _awaited_job(self, request: web.Request) -> Row:
        row = await self.job_row(request)
        subject = Subject(row["regression_id"], row["id"])
        return await self._awaited(request, row, subject, functools.partial(self.job_row, request), _job_is_done)

    async def _awaited(
        self,
        request: web.Request,
        row: Row,
        subject: Subject,
        look: Callable[[], Awaitable[Row]],
        is_done: Callable[[Row], bool],
    ) -> Row:
        """The row as it is once what the request waits for has come, or its time is over: until=done, version=N."""
        wait = wait_seconds(request)
        until, version = request.query.get("until"), request.query.get("version")
        if until not in (None, "", "done"):
            raise queries.BadQuery("until", until, "done")
        known = queries.whole_number("version", version) if version else None
        if not wait or (known is None and not until):
            return row
        end = time.monotonic() + wait
        async with self.feed.listening():
            while True:
                with self.store.bells.listen(subject) as news:
                    row = await look()
                    reached = is_done(row) or (not until and row["version"] != known)
                    left = end - time.monotonic()
                    if reached or left <= 0 or self.feed.closed or not await heard(news, left):
                        return row

    async def job_status(self, request: web.Request) -> web.Response:
        row = await self._awaited_job(request)
        told = {
            "id": row["id"],
            "result": row["result_name"],
            "reason": row["reason"],
            "done": row["result"] != LIVE,
            "version": row["version"],
        }
        return self._versioned(request, row["version"], told)

    async def job_history(self, request: web.Request) -> web.Response:
        row = await self.job_row(request)
        return await self._history(request, queries.Condition("e.job_id = ?", (row["id"],)))

    async def regression_history(self, request: web.Request) -> web.Response:
        row = await self.regression_row(request)
        own = queries.Condition("e.regression_id = ? AND e.job_id IS NULL", (row["id"],))
        return await self._history(request, own)

    async def _history(self, request: web.Request, whose: queries.Condition) -> web.Response:
        """What happened to a job or a regression, oldest first; the cursor is the `seq` of the last entry."""
        after, limit = numbered_page(request, queries.LIMIT_MOST)
        sql = f"{EVENTS} WHERE {whose.sql} AND e.seq > ? ORDER BY e.seq LIMIT ?"
        rows = await self.store.read(sql, (*whose.parameters, after, limit + 1))
        items = [answers.history_object(event) for event in rows[:limit]]
        return self.listed(request, items, items[-1]["seq"] if len(rows) > limit else None)

    async def receipts(self, request: web.Request) -> web.Response:
        return await self.list_of(request, queries.RECEIPTS, answers.stored_receipt)

    async def receipt(self, request: web.Request) -> web.Response:
        number = queries.whole_number("id", request.match_info["id"])
        rows = await self.store.read("SELECT * FROM receipt WHERE id = ?", (number,))
        if not rows:
            days = f"{self.config.keep_receipts_days:g}"
            raise Problem(404, "no-such-receipt", f"there is no receipt {number}; receipts are kept for {days} days")
        return json_response(answers.stored_receipt(rows[0]))

    def _versioned(self, request: web.Request, version: int, value: Any) -> web.Response:
        """An object with its ETag, or 304 if the reader has this version."""
        return self._unchanged(request, version) or json_response(value, headers=self._tagged(version))

    async def versioned(self, request: web.Request, version: int, value: Callable[[], Awaitable[Any]]) -> web.Response:
        """The same for a value that is not made unless it is sent."""
        return self._unchanged(request, version) or json_response(await value(), headers=self._tagged(version))

    def _tagged(self, version: int) -> dict[str, str]:
        return {"ETag": f'"{self.store.epoch}-{version}"', "Cache-Control": "no-cache"}

    def _unchanged(self, request: web.Request, version: int) -> web.Response | None:
        """304 if the reader has this version, else None."""
        headers = self._tagged(version)
        return web.Response(status=304, headers=headers) if has_tag(request, headers["ETag"]) else None

    # What people do by hand.

    async def tank(self, request: web.Request) -> web.Response:
        row = await self.regression_row(request)
        await self.store.change(by_hand, peer_of(request), tank_regression, row["id"], await said_reason(request))
        return await self._shown(row["id"])

    async def untank(self, request: web.Request) -> web.Response:
        row = await self.regression_row(request)
        await self.store.change(by_hand, peer_of(request), untank_regression, row["id"])
        return await self._shown(row["id"])

    async def finish(self, request: web.Request) -> web.Response:
        row = await self.regression_row(request)
        peer = peer_of(request)
        context = Context(REGR_FINISH, row["name"], bare=True)
        await self.intake.submit([Delivery(peer, f"http:{peer}", [b"null"], context)])
        return await self._shown(row["id"])

    async def tank_job(self, request: web.Request) -> web.Response:
        row = await self.job_row(request)
        try:
            await self.store.change(by_hand, peer_of(request), tank_job, row["id"], await said_reason(request))
        except ValueError as error:
            raise Problem(409, "not-live", str(error)) from None
        return json_response(await self.job_shown(await self.job_row(request)))

    async def extend_job(self, request: web.Request) -> web.Response:
        """Move a live job's time limit. Under one Idempotency-Key it is done once, and answered alike each time."""
        row = await self.job_row(request)
        said, key = await said_extension(request), idempotency_key(request)
        by_ms, until = said.get("by_ms"), said.get("until")
        until_ms = None if until is None else _milliseconds(until)
        usual = await self.usual_of_job(row)

        asked = to_json(["extend", row["id"], by_ms, until_ms])
        try:
            doing = (row["id"], by_ms, until_ms, self.viewpoint(), usual)
            answer = await self.store.change(by_hand, peer_of(request), once, key, asked, extended, *doing)
        except NotExtended as error:
            status = 422 if error.reason == "bad-extension" else 409
            raise Problem(status, error.reason, str(error), **({"path": error.path} if error.path else {})) from None
        except KeyReused as error:
            raise Problem(422, "idempotency-key-reused", str(error)) from None
        return web.Response(body=answer.encode(), content_type=JSON_TYPE)

    async def regression_now(self, number: int) -> Row:
        return (await self.store.read(f"{REGRESSION} WHERE r.id = ?", (number,)))[0]

    async def _shown(self, number: int) -> web.Response:
        return json_response(self.regression_object(await self.regression_now(number)))

    # The daemon itself.

    async def about(self, request: web.Request) -> web.Response:
        now, _ = self.store.clock.moment()
        return json_response(
            {
                "name": "simscoped",
                "version": __version__,
                "epoch": self.store.epoch,
                "seq": self.store.seq,
                "now": utc(now),
                "live_enabled": self.config.enablelivejobs,
                "token_required": bool(self.config.token),
                "series_separator": self.config.seriesseparator,
            }
        )

    async def document(self, request: web.Request) -> web.Response:
        return json_response(openapi.document(__version__, self.base + API, message_schemas()))

    async def health(self, request: web.Request) -> web.Response:
        """200, or 503 with the reasons. A backlog in the spool is healthy."""
        reasons = [f"database: {self.store.trouble}"] if self.store.trouble else []
        reasons += [f"spool: {self.spool.trouble}"] if self.spool.trouble else []
        skipped = {path.encode("utf-8", "replace").decode(): why for path, why in self.spool.folder.not_taken().items()}
        told = {
            "status": "failing" if reasons else "ok",
            "reasons": reasons,
            "version": __version__,
            "spool": {"files": self.spool.folder.backlog, "skipped": skipped},
        }
        return json_response(told, 503 if reasons else 200)

    async def metrics(self, request: web.Request) -> web.Response:
        """What Prometheus reads. Labels are words from short lists, never names or ids."""
        (row,) = await self.store.read(
            "SELECT coalesce(sum(ended IS NULL AND tanked_at IS NULL), 0) AS regressions, "
            "coalesce(sum(n_live), 0) AS jobs FROM regression"
        )
        registry = prometheus_client.CollectorRegistry()
        messages = prometheus_client.Counter("simscoped_messages", "Messages taken", ["outcome"], registry=registry)
        for outcome, count in self.intake.counts.items():
            messages.labels(outcome).inc(count)
        oldest = self.spool.folder.oldest_ns
        gauges = {
            "simscoped_up_seconds": ("Time since the start", time.monotonic() - self.started),
            "simscoped_regressions_live": ("Regressions that are live", row["regressions"]),
            "simscoped_jobs_live": ("Jobs that are live", row["jobs"]),
            "simscoped_spool_files": ("Files seen by the last scan of the spool", self.spool.folder.backlog),
            "simscoped_spool_oldest_seconds": (
                "Age of the oldest of them",
                0 if oldest is None else max(0.0, time.time() - oldest / 1e9),
            ),
            "simscoped_spool_skipped_files": ("Files that are not taken", len(self.spool.folder.not_taken())),
            "simscoped_streams": ("Open streams of events and logs", self.feed.streams),
            "simscoped_event_seq": ("Number of the last change", self.store.seq),
            "simscoped_failing": ("1 while the database or the spool cannot be used", self._failing()),
        }
        for name, (text, value) in gauges.items():
            prometheus_client.Gauge(name, text, registry=registry).set(value)
        body = prometheus_client.generate_latest(registry)
        return web.Response(body=body, headers={"Content-Type": prometheus_client.CONTENT_TYPE_LATEST})

    def _failing(self) -> int:
        return int(bool(self.store.trouble or self.spool.trouble))

    async def page(self, request: web.Request) -> web.Response:
        return self._file(request, "index.html")

    def nothing_here(self, request: web.Request) -> web.Response | None:
        """The page for a browser that was led astray; it says so. None for others, and where programs ask."""
        if request.path.startswith("/api/") or "text/html" not in request.headers.get("Accept", ""):
            return None
        body, kind, _ = self.files["index.html"]
        return web.Response(body=body, status=404, headers=PAGE_HEADERS | {"Content-Type": kind})

    async def static(self, request: web.Request) -> web.Response:
        return self._file(request, request.match_info["name"])

    def _file(self, request: web.Request, name: str) -> web.Response:
        if name not in self.files:
            raise Problem(404, "not-found", f"there is no file {name!r}")
        body, kind, tag = self.files[name]
        headers = PAGE_HEADERS | {"ETag": tag}
        if has_tag(request, tag):
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, headers=headers | {"Content-Type": kind})

    # Rows as the API shows them, seen from now.

    def viewpoint(self) -> answers.Viewpoint:
        timeout, prune = round(self.config.autotimeouthours * HOUR_MS), round(self.config.prunelivedays * DAY_MS)
        return answers.Viewpoint(*self.store.clock.moment(), timeout, prune, self.base, self.slow)

    def seen_now(self, show: Callable[[Row, answers.Viewpoint], dict[str, Any]]) -> Callable[[Row], dict[str, Any]]:
        """A function that shows rows as they are seen at one moment: this one."""
        seen = self.viewpoint()
        return lambda row: show(row, seen)

    def regression_object(self, row: dict[str, Any]) -> dict[str, Any]:
        return self.seen_now(answers.regression_object)(row)

    async def job_shown(self, row: Row) -> dict[str, Any]:
        return answers.job_object(row, self.viewpoint(), await self.usual_of_job(row))


API_KEY = web.AppKey("api", Api)


# ======================================================================================================================
# 19  HTTP logs, files and events (requests -> lines, contents, streams)
# ======================================================================================================================
#
# A handler here, and in the next section, is a function of the Api and the request.

LOG_LIMIT_MOST = 10_000  # lines in one answer
DIGESTS_MOST = 1000  # files of which the SHA-256 is kept

Handler = Callable[[Api, web.Request], Awaitable[web.StreamResponse]]
HANDLERS: dict[str, Handler] = {}  # by the names that openapi.ROUTES has; the others are methods of the Api


def handler(answer: Handler) -> Handler:
    """Enter a function as the handler of its name."""
    HANDLERS[answer.__name__] = answer
    return answer


def log_offset(request: web.Request) -> int:
    """The offset from which a log is wanted: Last-Event-ID of a stream that is resumed, else offset=N, else 0."""
    resumed = request.headers.get("Last-Event-ID", "")
    if resumed.isascii() and resumed.isdigit() and len(resumed) < 16:
        return int(resumed) + 1
    said = request.query.get("offset") or "0"
    if not (said.isascii() and said.isdigit() and len(said) < 16):
        raise Problem(422, "log-offset-out-of-range", f"offset={said} is not a line's number, 0 or more", path="offset")
    return int(said)


@contextlib.asynccontextmanager
async def event_stream(api: Api, request: web.Request) -> AsyncIterator[web.StreamResponse]:
    """A stream (SSE) that is yet to begin. While this is entered it counts among the open ones, and the feed is
    followed. What goes wrong once it has begun is told as its last event; that its reader leaves is nothing wrong."""
    if api.feed.streams >= STREAMS_MOST:
        raise Problem(503, "too-many-streams", f"{STREAMS_MOST} streams are open; try again later")
    response = web.StreamResponse(headers=STREAM_HEADERS)
    api.feed.streams += 1
    try:
        async with api.feed.listening():
            yield response
    except ConnectionError:
        pass
    except Exception as error:
        if not response.prepared:
            raise
        problem = encode_json(problem_of(request, error).body)
        with contextlib.suppress(ConnectionError):
            await response.write(b"event: problem\ndata: %b\n\n" % problem)
    finally:
        api.feed.streams -= 1


@handler
async def job_logs(api: Api, request: web.Request) -> web.StreamResponse:
    """A page of a job's log; with wait=SECONDS it blocks at the end of a running job's log, and as an event stream
    it follows until the log is complete."""
    row = await api.job_row(request)
    offset = log_offset(request)
    limit = queries.whole_number("limit", request.query.get("limit") or "500", 1, LOG_LIMIT_MOST)
    if "text/event-stream" in request.headers.get("Accept", "") and request.method != "HEAD":
        return await _follow_log(api, request, row, offset)
    wait = wait_seconds(request)
    if not wait:
        return json_response(await _log_page(api, row, offset, limit))
    end = time.monotonic() + wait
    async with api.feed.listening():
        while True:
            with api.store.bells.listen(*_bells_of_log(row)) as news:
                told = await _log_page(api, await api.job_row(request), offset, limit)
                left = end - time.monotonic()
                if told["lines"] or told["complete"] or left <= 0 or api.feed.closed or not await heard(news, left):
                    return json_response(told)


def _bells_of_log(row: Row) -> tuple[Hashable, ...]:
    """What a job's log may go on or end with: its lines, and what happens to the job."""
    return row["id"], Subject(row["regression_id"], row["id"])


async def _log_page(api: Api, row: dict[str, Any], offset: int, limit: int) -> dict[str, Any]:
    first, following, lines = await api.store.read_log(row["id"], offset, limit)
    if offset > following:
        detail = f"offset {offset} lies beyond the log, whose next line will have offset {following}"
        raise Problem(422, "log-offset-out-of-range", detail, path="offset", next_offset=following)
    end = lines[-1][0] + 1 if len(lines) == limit else following
    return {
        "first_offset": first,
        "next_offset": end,
        "complete": row["state"] == DONE and end == following,
        "lines": [{"offset": number, "at": utc(at), "message": text} for number, at, text in lines],
    }


async def _follow_log(api: Api, request: web.Request, row: Row, offset: int) -> web.StreamResponse:
    """Lines as they come (SSE), until the log is complete."""
    async with event_stream(api, request) as response:
        told, quiet_since = {"complete": False}, time.monotonic()
        while not told["complete"] and not api.feed.closed:
            with api.store.bells.listen(*_bells_of_log(row)) as news:
                told = await _log_page(api, await api.job_row(request), offset, LOG_LIMIT_MOST)
                if not response.prepared:
                    await response.prepare(request)
                frames, offset = _log_frames(told), told["next_offset"]
                if not frames and time.monotonic() - quiet_since >= HEARTBEAT_S:
                    frames = b": alive\n\n"
                if frames:
                    await response.write(frames)
                    quiet_since = time.monotonic()
                if not told["lines"] and not told["complete"]:
                    await heard(news, quiet_since + HEARTBEAT_S - time.monotonic())
    return response


def _log_frames(told: Row) -> bytes:
    """A page of a log as it is streamed."""
    frames = [b"id: %d\ndata: %b\n\n" % (line["offset"], encode_json(line)) for line in told["lines"]]
    if told["complete"]:
        frames.append(b"event: complete\ndata: %b\n\n" % encode_json({"next_offset": told["next_offset"]}))
    return b"".join(frames)


async def said_lines(request: web.Request) -> LogLines:
    """The lines in the body of a request. Raises Problem 400 for what is no JSON, 422 for what are no lines."""
    form = 'the body is like {"offset": 0, "lines": ["…"]}'
    try:
        said = msgspec.json.decode(await request.read())
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, "bad-json", f"{form}: {error}") from None
    try:
        lines: LogLines = fitting(said, LogLines, "$")
    except Refused as refusal:
        raise Problem(422, "wrong-type", f"{refusal.detail}; {form}", path=refusal.path) from None
    if "lines" not in lines:
        raise Problem(422, "missing-field", f"lines are missing; {form}", path="$.lines")
    return lines


@handler
async def append_logs(api: Api, request: web.Request) -> web.Response:
    """Add lines to a running job's log. A given offset makes it harmless to send the same again, even when the job has
    its verdict. U+0000 becomes U+FFFD: a simulator's output is kept, whatever it is."""
    row = await api.job_row(request)
    said = await said_lines(request)
    begin, lines = said.get("offset"), [line.replace("\0", "\ufffd") for line in said["lines"]]
    complete = None
    try:
        await api.store.change(add_lines, row["id"], begin, lines)
    except LogGap as gap:
        raise Problem(409, "log-gap", str(gap), path="$.offset") from None
    except LogComplete as refusal:
        complete = str(refusal)
    first, following, _ = await api.store.read_log(row["id"], 0, 1)
    if complete and (begin is None or begin + len(lines) > following):
        raise Problem(409, "log-complete", complete)
    return json_response({"first_offset": first, "next_offset": following, "complete": complete is not None})


@handler
async def job_files(api: Api, request: web.Request) -> web.Response:
    """The files that a job declares; with kind=KIND those of one kind. The cursor is the number of those before."""
    job = answers.job_object(await api.job_row(request), api.viewpoint())
    kind = request.query.get("kind")
    after, limit = numbered_page(request, queries.LIMIT_MOST)
    wanted = [file for file in job["files"] if kind in (None, "", file.get("kind"))]
    shown = await with_files(api, look_at_files, job, wanted[after : after + limit])
    return api.listed(request, shown, after + limit if after + limit < len(wanted) else None)


async def with_files(api: Api, look: Callable[Concatenate[Api, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
    """look(api, …) at declared files, which may lie on a disk that hangs: in one of few threads that nothing else uses,
    and for which a stop does not wait. The thread stays taken when the request has been given up."""
    return await asyncio.shield(asyncio.create_task(_in_thread(api.file_threads, lambda: look(api, *args, **kwargs))))


async def _in_thread(room: asyncio.Semaphore, look: Callable[[], T]) -> T:
    found: concurrent.futures.Future[T] = concurrent.futures.Future()

    def find() -> None:
        try:
            found.set_result(look())
        except BaseException as error:
            found.set_exception(error)

    async with room:
        found.set_running_or_notify_cancel()
        threading.Thread(target=find, daemon=True).start()
        return await asyncio.wrap_future(found)


HASHED_BYTES = 8 << 20  # of one list of files


def look_at_files(api: Api, job: Row, files: list[Row]) -> list[Row]:
    """Declared files as they are shown. Those that are served have a link to their content and, where the job does not
    tell them, the size and the SHA-256 that they have: the SHA-256 only once the job is done, and of no more than a
    bounded number of bytes."""
    shown, left = [], HASHED_BYTES if job["done"] else -1
    for file in files:
        told, links = {name: value for name, value in file.items() if value is not None}, {}
        with contextlib.suppress(Problem, OSError), _opened(api.config, job, told.get("path", "")) as opened:
            size, links = os.fstat(opened.fileno()).st_size, _content_link(job, told)
            told = {"size": size, **told}
            if "sha256" not in told and size <= left:
                told["sha256"] = sha256_of(api, opened).hex()
                left -= size
        shown.append({**file, **told, "_links": links})
    return shown


def _content_link(job: Row, file: Row) -> Row:
    if not all(isinstance(file.get(part), str) for part in ("kind", "name")):
        return {}
    place = "/".join(urllib.parse.quote(file[part], safe="") for part in ("kind", "name"))
    return {"content": {"href": f"{job['_links']['files']['href']}/{place}"}}


def sha256_of(api: Api, file: io.FileIO) -> bytes:
    """The SHA-256 of an open file, computed again only when the file has changed."""
    said = os.fstat(file.fileno())
    state = (said.st_dev, said.st_ino, said.st_size, said.st_mtime_ns)
    digest = api.digests.get(state)
    if digest is None:
        digest = hashlib.file_digest(file, "sha256").digest()
        if len(api.digests) >= DIGESTS_MOST:
            api.digests.clear()
        api.digests[state] = digest
    return digest


BYTE_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII | re.IGNORECASE)
PRECONDITIONS = ("If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since")


class FileContent(web.FileResponse):
    """An open file, or a part of it; whatever lies under its name by now, and never a compressed one beside it, whose
    SHA-256 would be another."""

    def __init__(self, file: io.FileIO, headers: Mapping[str, str], part: str | None) -> None:
        super().__init__(f"/proc/self/fd/{file.fileno()}", headers=headers)
        self.file = file
        self.asked = {"Range": part} if part else {}

    async def prepare(self, request: web.BaseRequest) -> Any:
        for name in PRECONDITIONS:
            if name in request.headers:
                self.asked[name] = request.headers[name].encode("utf-8", "replace").decode()
        with self.file:
            return await super().prepare(request.clone(headers=self.asked))


def part_wanted(request: web.Request, file: os.stat_result) -> str | None:
    """The Range of a request for a file, where it counts: one range of bytes, of the file that If-Range means. Any
    other means the whole file (RFC 9110). Raises Problem 416 for a range that begins behind the end."""
    found = BYTE_RANGE.fullmatch(request.headers.get("Range", ""))
    known = (None, f'"{file.st_mtime_ns:x}-{file.st_size:x}"', formatdate(math.ceil(file.st_mtime), usegmt=True))
    if found is None or request.method != "GET" or request.headers.get("If-Range") not in known:
        return None
    first, last = found.groups()
    if not (first or last) or (first and last and int(last) < int(first)):
        return None
    if (int(first) if first else file.st_size - min(int(last), file.st_size)) >= file.st_size:
        refusal = Problem(416, "range-not-satisfiable", f"{found[0]} lies beyond the {file.st_size} bytes of the file")
        refusal.headers["Content-Range"] = f"bytes */{file.st_size}"
        raise refusal
    return found[0]


@handler
async def job_file(api: Api, request: web.Request) -> web.StreamResponse:
    """A file's content, from below [server] file_roots only, with its SHA-256."""
    job = answers.job_object(await api.job_row(request), api.viewpoint())
    kind, name = request.match_info["kind"], request.match_info["name"]
    declared = [file for file in job["files"] if (file.get("kind"), file.get("name")) == (kind, name)]
    if not declared or not declared[0].get("path"):
        raise Problem(404, "no-such-file", f"job {job['id']} declares no file {name!r} of kind {kind!r}")
    file, digest = await with_files(api, _content, job, declared[0]["path"])
    shown = urllib.parse.quote(name.rpartition("/")[2], safe="")
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{shown}",
        "Content-Type": "application/octet-stream",
        "Repr-Digest": f"sha-256=:{base64.b64encode(digest).decode()}:",
        "X-Content-Type-Options": "nosniff",
    }
    return FileContent(file, headers, part_wanted(request, os.fstat(file.fileno())))


def _real_path(config: Config, job: dict[str, Any], declared: str) -> Path:
    """Where a declared file really lies. Raises Problem unless that is below a root, and none of our own files."""
    path = Path(job["jobdir"] or "/", declared)
    real = Path(os.path.realpath(path))
    roots = [Path(os.path.realpath(root)) for root in config.file_roots]
    own = [Path(os.path.realpath(place)) for place in (config.path, config.spool_dir)]
    database = os.path.realpath(config.db)
    is_own = any(real.is_relative_to(place) for place in own) or str(real).startswith(database)
    if is_own or not any(real.is_relative_to(root) for root in roots):
        raise Problem(403, "outside-roots", f"{declared!r} does not lie below one of [server] file_roots")
    if not os.path.isfile(real):
        raise Problem(404, "no-such-file", f"{declared!r} is not there, or not a regular file")
    return real


def _opened(config: Config, job: dict[str, Any], declared: str) -> io.FileIO:
    """A declared file, opened. Raises Problem as _real_path does, also if the path leads elsewhere by now."""
    real = _real_path(config, job, declared)
    with contextlib.ExitStack() as unless_good:
        try:
            file = unless_good.enter_context(io.FileIO(os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)))
            place = os.readlink(f"/proc/self/fd/{file.fileno()}")
        except OSError as error:
            raise _unreadable(declared, error) from None
        if place != str(real) or not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise Problem(404, "no-such-file", f"{declared!r} was replaced while it was being opened")
        unless_good.pop_all()
    return file


def _unreadable(declared: str, error: OSError) -> Problem:
    return Problem(404, "no-such-file", f"{declared!r} cannot be read: {error.strerror}")


def _content(api: Api, job: Row, declared: str) -> tuple[io.FileIO, bytes]:
    """A declared file, opened, and its SHA-256. Raises Problem as _opened does."""
    file = _opened(api.config, job, declared)
    try:
        return file, sha256_of(api, file)
    except OSError as error:
        file.close()
        raise _unreadable(declared, error) from None


async def _wanted(api: Api, request: web.Request) -> Wanted:
    types: tuple[str, ...] | None = None
    if request.query.get("types") not in (None, "", "*"):
        named = request.query["types"].split(",")
        types = tuple(kind for name in named for kind in types_named(name))
        for kind in types:
            if kind not in EVENT_TYPES and kind not in FAMILIES:
                raise queries.BadQuery("types", kind, f"one or more of {', '.join((*FAMILIES, *EVENT_TYPES))}")
    regression = job = None
    if request.query.get("regression"):
        regression = (await api.regression_row(request, request.query["regression"]))["id"]
    if request.query.get("job"):
        job = job_number(request.query["job"])
    return Wanted(types, regression, job)


@handler
async def events(api: Api, request: web.Request) -> web.Response:
    """Events after a cursor, oldest first; with wait=SECONDS it blocks while there is none."""
    wanted = await _wanted(api, request)
    end = time.monotonic() + wait_seconds(request)
    after, limit = numbered_page(request, queries.LIMIT_DEFAULT)
    told = await _events_after(api, request, wanted, after, limit)
    if not told["items"] and end > time.monotonic():
        async with api.feed.listening():
            in_time = True
            while in_time and not told["items"]:
                in_time = await api.feed.brings(wanted, told["next"], end - time.monotonic())
                told = await _events_after(api, request, wanted, told["next"], limit)
    more = told["next"] if told["next"] < told["newest"] else None
    return json_response(told, headers=api.link_to(request, more))


async def _events_after(api: Api, request: web.Request, wanted: Wanted, after: int, limit: int) -> dict[str, Any]:
    (row,) = await api.store.read("SELECT seq, events_from_seq FROM daemon")
    newest, oldest = row["seq"], row["events_from_seq"]
    epoch = request.query.get("epoch")
    if (after and not oldest <= after <= newest) or (epoch and epoch != api.store.epoch):
        raise Problem(
            410,
            "cursor-expired",
            f"the cursor {after} is not among the events kept; read the state anew and go on from `newest`",
            oldest=oldest,
            newest=newest,
            epoch=api.store.epoch,
        )
    test, begin = wanted.condition(), max(after, oldest)
    rows = await api.store.read(
        f"{EVENTS} WHERE e.seq > ? AND e.seq <= ? AND {test.sql} ORDER BY e.seq LIMIT ?",
        (begin, newest, *test.parameters, limit + 1),
        search=wanted != EVERYTHING and newest - begin > BEHIND_MOST,
    )
    return {
        "items": [answers.event_object(event) for event in rows[:limit]],
        "next": rows[limit - 1]["seq"] if len(rows) > limit else newest,
        "oldest": oldest,
        "newest": newest,
        "epoch": api.store.epoch,
    }


@handler
async def stream(api: Api, request: web.Request) -> web.StreamResponse:
    """Events as they come (SSE). Resumes behind Last-Event-ID, or after=SEQ; without either it begins now."""
    wanted = await _wanted(api, request)
    tick = queries.whole_number("coalesce", request.query.get("coalesce") or "0", 0, 10_000) / 1000
    cursor = _cursor(api, request)
    epoch = request.query.get("epoch")
    async with event_stream(api, request) as response:
        if epoch and epoch != api.store.epoch:
            cursor = api.feed.last + 1
        elif cursor == 0:
            cursor = api.feed.oldest
        await response.prepare(request)
        await response.write(b"retry: 3000\n: epoch %b\n\n" % api.store.epoch.encode())
        await _follow(api, response, wanted, api.feed.last if cursor is None else cursor, tick)
    return response


def _cursor(api: Api, request: web.Request) -> int | None:
    """Where a stream is to go on; None for now. A browser that resumes with what is no number is told to start
    anew: it would never come back from an error."""
    resumed = request.headers.get("Last-Event-ID")
    if resumed:
        return int(resumed) if resumed.isascii() and resumed.isdigit() and len(resumed) < 19 else -1
    after = request.query.get("after")
    return queries.whole_number("after", after) if after else None


async def _follow(api: Api, response: web.StreamResponse, wanted: Wanted, cursor: int, tick: float) -> None:
    quiet_since = time.monotonic()
    while not api.feed.closed:
        rung = api.feed.news.listen()
        last = api.feed.last
        text = api.feed.text(cursor, wanted, coalesced=tick > 0)
        cursor = last
        if text is None:
            reset = encode_json({"reason": "cursor-expired", "epoch": api.store.epoch, "newest": last})
            text = b"id: %d\nevent: reset\ndata: %b\n\n" % (last, reset)
        if not text and time.monotonic() - quiet_since >= HEARTBEAT_S:
            text = b"id: %d\n: alive\n\n" % cursor
        if text:
            await response.write(text)
            quiet_since = time.monotonic()
        if await heard(rung, quiet_since + HEARTBEAT_S - time.monotonic()) and tick:
            await asyncio.sleep(tick)


# ======================================================================================================================
# 20  HTTP figures (requests -> strips, lanes, charts, comparisons, badges)
# ======================================================================================================================
#
# What the page's pictures are drawn from, each in one request and of bounded size; figures.py has the SQL and the
# shapes.


@handler
async def series_strips(api: Api, request: web.Request) -> web.Response:
    """The newest runs of the series that are named (series=A&series=B), or of all."""
    names = request.query.getall("series", [])
    if len(names) > SERIES_MOST:
        raise queries.BadQuery("series", f"({len(names)} of them)", f"at most {SERIES_MOST} names in one request")
    if not names:
        return await api.list_of(request, queries.SERIES, figures.series_object)
    named = queries.Condition(f"s.series IN ({', '.join('?' for _ in names)})", tuple(names))
    return await api.list_of(request, queries.SERIES, figures.series_object, named, limit=SERIES_MOST)


@handler
async def regression_hosts(api: Api, request: web.Request) -> web.Response:
    row = await api.regression_row(request)
    here = queries.Condition("h.regression_id = ?", (row["id"],))
    return await api.list_of(request, queries.HOSTS, answers.host_object, here)


@handler
async def regression_timeline(api: Api, request: web.Request) -> web.Response:
    """Which job ran where and when; of too many, the shortest passes are left out."""
    row = await api.regression_row(request)
    most = queries.whole_number("most", request.query.get("most") or str(figures.LANES_DEFAULT), 1, figures.LANES_MOST)
    now, _ = api.store.clock.moment()
    wanted = {"regression": row["id"], "now": now, "most": most}
    wanted |= {"since": moment_said(request, "from", 0), "until": moment_said(request, "to", 2**62)}

    async def told() -> dict[str, Any]:
        lanes = figures.timeline_object(await api.store.read(figures.TIMELINE, wanted, search=True), now)
        return lanes | {name: utc(lanes[name]) for name in ("from", "to", "now")}

    return await api.versioned(request, row["version"], told)


@handler
async def regression_charts(api: Api, request: web.Request) -> web.Response:
    """Finished jobs over time, runtimes, and runtime against cycles."""
    row = await api.regression_row(request)
    return await api.versioned(request, row["version"], functools.partial(_charts, api, row["id"]))


async def _charts(api: Api, regression: int) -> dict[str, Any]:
    here = {"regression": regression}
    find = functools.partial(api.store.read, search=True)
    (span,) = await find(figures.SPAN, here)
    first, last = span["first"], span["last"]
    step = figures.step_of(last - first) if span["jobs"] else figures.STEPS_MS[0]
    edges = figures.edges_between(span["least"], span["most"])
    finished = await find(figures.FINISHED, here | {"first": first, "last": last, "step": step})
    runtimes = await find(figures.RUNTIMES.format(place=figures.class_of("took", edges)), here)
    points = await find(figures.POINTS, here | figures.shares(span["pass_points"], span["fail_points"]))
    told = figures.finished_object(finished, first, last, step)
    return {
        "jobs": span["jobs"],
        "left_out": span["left_out"],
        "finished": told | {"from": utc(first)},
        "runtime": figures.histogram(runtimes, edges),
        "cycles": figures.points_object(points, span["pass_points"] + span["fail_points"]),
    }


@handler
async def regression_diff(api: Api, request: web.Request) -> web.Response:
    """Jobs of two regressions, matched by config or by test; without `base`, against the one before in the series."""
    here = await api.regression_row(request)
    there = await _base_of(api, request, here)
    slower = queries.whole_number("slower", request.query.get("slower") or str(figures.SLOWER_DEFAULT), 1, 10_000)
    limit = queries.whole_number("limit", request.query.get("limit") or str(figures.DIFF_MOST), 0, figures.DIFF_MOST)
    by = request.query.get("by") or "config"
    if by not in figures.DIFF_BY:
        raise queries.BadQuery("by", by, "one of " + ", ".join(figures.DIFF_BY))
    wanted = {"here": here["id"], "there": there["id"], "slower": slower, "limit": limit}

    async def told() -> dict[str, Any]:
        names = {"regression": here["name"], "base": there["name"]}
        return {**names, "regression_id": here["id"], "base_id": there["id"], **await _differ(api, by, wanted)}

    return await api.versioned(request, max(here["version"], there["version"]), told)


async def _differ(api: Api, by: str, wanted: dict[str, int]) -> dict[str, Any]:
    """What differs. `by` "auto" is by config, or by test where few configs were run before and more of the tests."""
    overflow = {"overflow": signatures.OVERFLOW_TITLE}
    found = await api.store.read(figures.DIFF_SIGNATURES, wanted | overflow, search=True)

    async def matched_by(what: str) -> dict[str, Any]:
        rows = await api.store.read(figures.DIFF[what], wanted, search=True)
        return figures.diff_object(what, rows, found, wanted["limit"])

    differ = await matched_by("test" if by == "test" else "config")
    if by != "auto" or figures.share_matched(differ) >= figures.MATCHED_ENOUGH:
        return differ
    return max(differ, await matched_by("test"), key=figures.share_matched)


async def _base_of(api: Api, request: web.Request, here: Row) -> Row:
    if request.query.get("base"):
        return await api.regression_row(request, request.query["base"])
    before = f"{REGRESSION} WHERE r.series = ? AND r.number < ? ORDER BY r.number DESC LIMIT 1"
    rows = await api.store.read(before, (here["series"], here["number"]))
    if not rows:
        raise Problem(404, "no-base", f"{here['name']!r} has no earlier run in its series; name one with base=REF")
    return rows[0]


@handler
async def job_earlier(api: Api, request: web.Request) -> web.Response:
    """What became of a job's test in earlier regressions: of its series, or of all if it belongs to none."""
    job = await api.job_row(request)
    limit = queries.whole_number("limit", request.query.get("limit") or str(figures.RUNS_SHOWN), 1, queries.LIMIT_MOST)
    own = await api.regression_now(job["regression_id"])
    wanted = {"test": job["test_id"], "seed": job["seed"], "limit": limit}
    if own["series"] is None:
        rows = await api.store.read(figures.EARLIER, wanted | {"regression": own["id"]})
    else:
        place = {"series": own["series"], "number": own["number"]}
        rows = await api.store.read(figures.EARLIER_IN_SERIES, wanted | place)
    shown = await api.store.read(figures.EARLIER_JOBS, (to_json([row["job"] for row in rows]),))
    jobs = {row["id"]: row for row in shown}
    items = [figures.earlier_object(row, jobs[row["job"]], job["seed"]) for row in rows]
    usual = None if job["test_id"] is None else (await api.usual_of_tests([job["test_id"]])).get(job["test_id"])
    told = {
        "test": job["test"],
        "usual_ms": usual.median_ms if usual else None,
        "slow_after_ms": usual.slow_after_ms if usual else None,
        "items": [{**item, "finished_at": utc(item["finished_at"])} for item in items],
        "next": None,
    }
    return json_response(told)


async def show_badge(api: Api, request: web.Request) -> web.Response:
    """The pass rate of a series' latest run as an image, for pages elsewhere."""
    name = request.match_info["series"]
    latest = f"{REGRESSION} WHERE r.series = ? AND r.tanked_at IS NULL ORDER BY r.number DESC LIMIT 1"
    rows = await api.store.read(latest, (name,))
    image = figures.badge(name, *figures.verdict_of(rows[0] if rows else None)).encode()
    tag = f'"{hashlib.sha256(image).hexdigest()[:16]}"'
    headers = {"ETag": tag, "Cache-Control": "max-age=30", "X-Content-Type-Options": "nosniff"}
    headers |= {"Content-Security-Policy": "default-src 'none'"}
    if rows and has_tag(request, tag):
        return web.Response(status=304, headers=headers)
    return web.Response(body=image, status=200 if rows else 404, headers=headers, content_type="image/svg+xml")


# ======================================================================================================================
# 21  HTTP application (addresses -> handlers; errors -> problems)
# ======================================================================================================================


@web.middleware
async def problems(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Any:
    """Check who asks, then answer; every error becomes problem+json, and our own mistakes a traceback in the log."""
    try:
        request.config_dict[API_KEY].admit(request)
        check_text(request)
        return await handler(request)
    except (asyncio.CancelledError, ConnectionError):
        raise
    except Exception as error:
        if isinstance(error, web.HTTPException) and error.status < 400:
            raise
        page = request.config_dict[API_KEY].nothing_here(request) if isinstance(error, web.HTTPNotFound) else None
        return page or problem_of(request, error).response()


def is_our_mistake(record: logging.LogRecord) -> bool:
    """A filter of what aiohttp logs: a request that is not HTTP is its sender's mistake, who gets 400 for it."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError | web.RequestPayloadError)


def knowing(route: openapi.Route, answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Any:
    """A handler that refuses parameters which it does not know: a misspelt filter would let everything through."""
    known = [said["name"] for said in route.parameters if said["in"] == "query"]

    async def handle(request: web.Request) -> web.StreamResponse:
        for name in request.query:
            if name not in known:
                detail = f"there is no parameter {name!r} here; accepted: {', '.join(known) or 'none'}"
                raise Problem(400, "bad-query", detail, path=name)
        return await answer(request)

    return handle


def make_app(api: Api) -> web.Application:
    """The web application. Streams end when it shuts down."""
    app = web.Application(middlewares=[problems], client_max_size=api.config.body_mib << 20)
    app[API_KEY] = api
    for route in openapi.ROUTES:
        answer = HANDLERS.get(route.handler)
        bound = knowing(route, functools.partial(answer, api) if answer else getattr(api, route.handler))
        app.router.add_route(route.method, API + route.path, bound)
        if route.method == "GET" and route.answer != "EventStream":
            app.router.add_route("HEAD", API + route.path, bound)
    app.router.add_get("/healthz", api.health)
    app.router.add_get("/metrics", api.metrics)
    app.router.add_get("/badge/{series:.+}.svg", functools.partial(show_badge, api))
    app.router.add_get("/static/{name}", api.static)
    for path in ("/", "/r/{name:.+}", "/j/{id}"):
        app.router.add_get(path, api.page)

    async def end_streams(_: web.Application) -> None:
        api.feed.close()

    app.on_shutdown.append(end_streams)
    return app


# ======================================================================================================================
# 22  Service and commands (configuration -> running daemon)
# ======================================================================================================================


def notify(state: str) -> None:
    """Tell the service manager (sd_notify); nothing if there is none."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.sendto(state.encode(), address)


def _turns(conn: sqlite3.Connection) -> None:
    """Does nothing: that it is done is what counts."""


async def feed_watchdog(store: Store) -> None:
    """Tell the service manager that both the event loop and the writer still turn, twice per watchdog period."""
    period = int(os.environ.get("WATCHDOG_USEC", "0")) / 1e6
    while period:
        await store.look(_turns)
        notify("WATCHDOG=1")
        await asyncio.sleep(period / 2)


class Daemon:
    """All parts of a running daemon, started in order and stopped in reverse."""

    def __init__(self, config: Config, writer: WriterProcess, hosts: Collection[str]) -> None:
        self.config = config
        self.hosts = hosts
        self.store = Store(config, writer)
        self.intake = Intake(self.store)
        self.feed = Feed(self.store)
        self.spool = Spool(config, self.intake)
        self.stopping = asyncio.Event()
        self.failed = False
        self.address = ""
        self._parts = contextlib.AsyncExitStack()

    async def start(self) -> None:
        """Start everything; when this returns, requests are answered and the spool is being read."""
        folder = self.config.spool_dir
        lock_file(folder / ".work" / ".lock", f"{folder}: another simscoped reads this spool")
        self._parts.push_async_callback(self.store.close)
        await self.store.open()
        self.store.listener.add_done_callback(self._ended)
        self._begin("feed", self.feed.run())
        self._begin("intake", self.intake.run())
        self._parts.push_async_callback(self.intake.drain)
        self._begin("watchdog", feed_watchdog(self.store))
        self._begin("deadlines", watch_deadlines(self.store, self.spool))
        settling = await self.store.read("SELECT id, files FROM settling ORDER BY id")
        self._begin("spool", self.spool.run([(row["id"], row["files"]) for row in settling], self._refused_of))
        await self._listen()

    async def stop(self) -> None:
        """Stop in under a second: end the streams, take no more files, answer what was taken, close the database."""
        await self._parts.aclose()

    def _begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._ended)
        self._parts.push_async_callback(cancel, task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A part that ends by an error takes the daemon down: the service manager starts it afresh."""
        if not task.cancelled() and task.exception() is not None:
            log.critical("service: %s failed", task.get_name(), exc_info=task.exception())
            self.failed = True
            self.stopping.set()

    async def _refused_of(self, receipt: int) -> list[Any]:
        """What a receipt says was refused; the reasons of a file that is settled after a crash."""
        rows = await self.store.read_surely("SELECT details FROM receipt WHERE id = ?", (receipt,))
        details = decode_json(rows[0]["details"] or "[]") if rows else []
        return [told for told in details if told["outcome"] == "rejected"] or [{"reason": "unknown"}]

    async def _listen(self) -> None:
        api = Api(self.config, self.hosts, self.store, self.intake, self.feed, self.spool)
        runner = web.AppRunner(make_app(api), handler_cancellation=True, access_log=None, shutdown_timeout=0.3)
        await runner.setup()
        self._parts.push_async_callback(runner.cleanup)
        try:
            await web.TCPSite(runner, self.config.host or None, self.config.port).start()
        except OSError as error:
            detail = f"{self.config.place('listen')}: [server] listen = {self.config.listen}: {error.strerror or error}"
            raise NotNow(f"{detail}; SIMSCOPE_LISTEN=ADDRESS:PORT takes another") from None
        host, port = runner.addresses[0][:2]
        self.address = f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def spare_the_collector() -> None:
    """Look for garbage in cycles less often: a batch makes some ten thousand objects, none of them in a cycle, and
    looking through them again and again took a quarter of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def serve(config: Config) -> int:
    """Run the daemon in its two processes. -> exit code."""
    spare_the_collector()
    return asyncio.run(run_daemon(config, start_writer(config), own_hosts(config)))


async def run_daemon(config: Config, writer: WriterProcess, hosts: Collection[str]) -> int:
    """Run the daemon until SIGTERM or SIGINT. -> exit code."""
    daemon = Daemon(config, writer, hosts)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, daemon.stopping.set)
    for doubt in doubts_about(config):
        log.warning("config: %s", doubt)
    try:
        await daemon.start()
        log.info("service: simscoped %s on %s", __version__, daemon.address)
        log.info("service: spool %s, database %s, SQLite %s", config.spool_dir, config.db, sqlite3.sqlite_version)
        notify(f"READY=1\nSTATUS=page at {daemon.address}")
        await daemon.stopping.wait()
        notify("STOPPING=1")
        log.info("service: stopping")
    finally:
        await daemon.stop()
    log.info("service: stopped")
    return 1 if daemon.failed else 0


def requeue(config: Config, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Put refused files back into the spool: all, or those named (file name or path, also that of the reasons).
    -> the paths that they have there, and the names that fit none."""
    bad = os.path.realpath(config.spool_dir / ".bad")
    below = [f"{folder}/{file}"[len(bad) + 1 :] for folder, _, files in os.walk(bad) for file in files]
    refused = sorted(path for path in below if not is_reason(f"{bad}/{path}"))
    known = {*refused, *map(os.path.basename, refused)}
    meant = {name: _refused_name(bad, name, known) for name in names}
    back = []
    for path in refused:
        if not names or {path, os.path.basename(path)}.intersection(meant.values()):
            target = free_name(f"{config.spool_dir}/{path}")
            move(f"{bad}/{path}", target)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{bad}/{path}{REASON}")
            back.append(os.path.relpath(target, config.spool_dir))
    remove_empty(bad)
    return back, [name for name, told in meant.items() if told not in known]


def _refused_name(bad: str, name: str, known: Collection[str]) -> str:
    """What somebody says of a refused file, as it is known: a path into .bad becomes one below it."""
    told = os.path.realpath(name).removeprefix(f"{bad}/")
    told = name if os.path.isabs(told) else told
    return told if told in known else told.removesuffix(REASON)


def take_snapshot(config: Config, target: Path) -> list[Path]:
    """Write a consistent copy of the database, for reading elsewhere, and one of its logs. -> their names.

    The logs come second, and hold at least the lines that the copy of the database speaks of, but for those that made
    room for newer ones meanwhile. Raises SimscopedError."""
    copies = [target, Path(f"{target}.logs")]
    parts = [Path(f"{copy}.part") for copy in copies]
    for copy in copies:
        if os.path.lexists(copy):
            raise SimscopedError(f"{copy}: is there already; a snapshot overwrites nothing")
    try:
        with contextlib.closing(_open_to_read(config)) as database:
            _copy_whole(database, parts[0])
        with contextlib.closing(sqlite3.connect(read_only(Path(f"{config.db}.logs")), uri=True)) as logs:
            _copy_whole(logs, parts[1])
        for part, copy in reversed([*zip(parts, copies, strict=True)]):
            part.rename(copy)
    except (sqlite3.Error, OSError) as error:
        raise NotNow(f"{target}: the snapshot cannot be written: {error}") from None
    finally:
        for part in parts:
            with contextlib.suppress(OSError):
                part.unlink()
    return copies


def _copy_whole(source: sqlite3.Connection, part: Path) -> None:
    """Copy a database into one file, in place of what an interrupted snapshot left there."""
    part.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(part)) as copy:
        source.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")


def _open_to_read(config: Config) -> sqlite3.Connection:
    try:
        conn = sqlite3.connect(read_only(config.db), uri=True)
        conn.row_factory = sqlite3.Row
        if check_database(conn, config.db) is None:
            raise SimscopedError(f"{config.db}: is empty; no daemon has used it yet")
    except sqlite3.Error as error:
        raise SimscopedError(f"{config.db}: cannot be read: {error}") from None
    return conn


def print_receipts(config: Config, name: str) -> int:
    """Print the newest receipt of a delivery as JSON. -> 1 if something was refused or there is none, else 0."""
    found = queries.RECEIPTS.filters["name"]("name", name)
    with contextlib.closing(_open_to_read(config)) as conn:
        sql = f"SELECT * FROM receipt WHERE {found.sql} ORDER BY id DESC LIMIT 1"
        row = conn.execute(sql, found.parameters).fetchone()
    if row is None:
        print(f"no receipt for {name!r}: not taken yet, or longer ago than receipts are kept", file=sys.stderr)
        return 1
    print(json.dumps(answers.stored_receipt(row), ensure_ascii=False, indent=2))
    return 1 if row["rejected"] else 0


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--config",
        type=Path,
        default=argparse.SUPPRESS,
        metavar="FILE",
        help="configuration (default: simscope.config)",
    )
    parser = argparse.ArgumentParser("simscoped", parents=[shared], description="Watch simulation regressions live.")
    parser.add_argument("--version", action="version", version=f"simscoped {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("serve", parents=[shared], help="run the daemon (also without a command)")
    commands.add_parser("check-config", parents=[shared], help="say what is wrong with the configuration, and where")
    again = commands.add_parser("requeue", parents=[shared], help="put refused files back into the spool")
    again.add_argument("names", nargs="*", metavar="NAME", help="path of a refused file, or its name; without any: all")
    copy = commands.add_parser("snapshot", parents=[shared], help="write a consistent copy: FILE and FILE.logs")
    copy.add_argument("file", type=Path, metavar="FILE")
    told = commands.add_parser("receipt", parents=[shared], help="tell what became of a delivery")
    told.add_argument("name", metavar="NAME", help="path below the spool, or file name, or the peer of a request")
    return parser.parse_args(argv)


def run_command(options: argparse.Namespace, config: Config) -> int:
    """Do what the command line says. -> exit code."""
    if options.command == "check-config":
        for doubt in doubts_about(config):
            print(f"{config_path(options)}: {doubt}")
        print(
            f"{config_path(options)}: good; listens on {config.listen}, spool {config.spool_dir}, database {config.db}"
        )
        return 0
    if options.command == "requeue":
        back, unknown = requeue(config, options.names)
        print("\n".join(back) if back else "nothing to put back")
        for name in unknown:
            print(f"simscoped: no refused file is named {name!r}", file=sys.stderr)
        return 1 if unknown else 0
    if options.command == "snapshot":
        print(*take_snapshot(config, options.file), sep="\n")
        return 0
    if options.command == "receipt":
        return print_receipts(config, options.name)
    return serve(config)


def config_path(options: argparse.Namespace) -> Path:
    return getattr(options, "config", Path("simscope.config"))


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. -> exit code: 0 done, 1 the answer is no or it cannot be done now, 2 usage or configuration."""
    options = parse_arguments(argv)
    form = "%(levelname)s %(message)s" if "JOURNAL_STREAM" in os.environ else "%(asctime)s %(levelname)s %(message)s"
    logging.basicConfig(level=logging.INFO, format=form, stream=sys.stderr)
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    logging.getLogger("aiohttp.server").addFilter(is_our_mistake)
    try:
        return run_command(options, load_config(config_path(options), os.environ))
    except (SimscopedError, ConfigError) as error:
        print(f"simscoped: {error}", file=sys.stderr)
        return error.code if isinstance(error, SimscopedError) else 2


if __name__ == "__main__":
    sys.exit(main())
