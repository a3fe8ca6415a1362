#!/usr/bin/env python3
"""simscope: tell simscoped about simulation jobs, and watch them.

One file, standard library only, Python 3.8 or newer, Linux or another Unix. Copy it to the hosts of the farm and run
it, or import it: `from simscope import Client`.

COMMANDS THAT PUBLISH

  simscope.py publish TYPE --regression NAME [FILE...|-]
      sends messages. TYPE is regr-start, regr-update, regr-finish, job-live, job-finish, batch-job-live or
      batch-job-finish. A FILE holds one JSON object, or for the batch types an array of them; a file named
      *.ndjson or *.jsonl holds one object per line. "-" is the standard input, which is also read when no file is
      named and it is no terminal. regr-finish needs no body. All files are checked before the first one is sent.

  simscope.py run --regression NAME [options] -- COMMAND...
      runs COMMAND as one job: publishes job-live, lets the output through, looks for failures in it, publishes
      job-finish, and ends with COMMAND's own exit code (128 + n if signal n killed it, 127 not found, 126 not
      runnable).

  simscope-tunnel --config=FILE --publish TYPE --regression=NAME FILE
      the form of the original tool, for scripts that have it already; simscope.py understands it too.

COMMANDS THAT WATCH

  jobs, regressions                 lists, newest first (of regressions the live ones first)
  job ID, regression NAME           all that is known of one
  status REF, history REF           its result in a word; what happened to it
  wait REF... [--timeout TIME]      until all are over; the exit code is the worst verdict
  logs ID [--follow]                its log
  files ID, download ID NAME        its files; a download is checked by its SHA-256 and never overwrites
  extend ID TIME|--until TIME       moves its time limit
  watch NAME                        a live view of a regression, until it is over
  completion bash|zsh|fish          prints completions for a shell

  A REF that is a number is a job's id; anything else is a regression's name, or SERIES/$ for the latest of a series.
  They print tables or lines for people; on a terminal wait and watch draw in place, elsewhere they print a line when
  something has changed. --json prints the daemon's own objects, one a line. What jobs have written is shown without
  control characters and escape sequences. An outage or a restart of the daemon does not end wait, watch and logs
  --follow, once it has answered.

THE PYTHON CLIENT

  client = Client("http://tracker:8040")
  job = client.wait(1234, timeout=3600)         a frozen snapshot: job.result, job.done, job.fail_message, job.raw
  for job in client.as_completed(client.jobs(100, regression="nightly/$", result="live")): ...
  for line in client.iter_logs(job, follow=True): print(line.message)
  docs/client.md tells it all. Every error is a SimscopeError, and the builtin one that fits it.

WHERE MESSAGES GO, AND WHO IS ASKED

  To a spool folder (--spool DIR, SIMSCOPE_SPOOL, key spool): one file per message, written under a name that
  begins with a dot, synced, and renamed, so the daemon never sees half a message. Needs no network, and works
  while the daemon is down. The daemon must be able to read what your umask makes. A file of many bodies becomes
  spool files of up to 100 envelopes.
  To a server (--server URL, SIMSCOPE_SERVER, key server): POST, answered with a receipt once it is durable.
  Proxies named in the environment are not used.
  An option beats the environment, the environment beats the file named by --config; where one place names both a
  spool and a server, the spool is taken. The token (--token, SIMSCOPE_TOKEN, key token) is looked up in the same
  order; other users can see options in the process list, so prefer the environment or the file.
  Watching asks the server in the same order; where none is named, http://127.0.0.1:8040.

WHAT run DOES TO THE COMMAND

  Standard input is passed on. Standard output and standard error come through unchanged and as soon as they are
  written; each keeps its place and, where both go to the same place, their order. They are pipes to the command,
  no terminal, so a program that buffers pipes may want `stdbuf -oL`. SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1
  and SIGUSR2 are passed on; Ctrl-C at a terminal reaches the command by itself. After one of the first four the
  finish says reason "killed".
  When the command is over but a background process of it still holds the output open, run waits until that has
  been silent for 1 s (30 s at most).
  The job fails on a non-zero exit code or on a line that looks like a failure (section 9 lists the patterns,
  --help the options to change them): simulators often exit 0 after an error.
  The output is also sent to the daemon as the job's log, in parcels every 2 to 10 s and the last lines with the
  finish (--no-stream: not at all). What is too much is left out, older lines first, and a line says how much: at
  most 2,000 lines or 128 KiB go at once, 512 KiB wait in memory. Only the log is cut, never the output itself.
  The job-live is repeated every 60 s as a sign of life (--heartbeat), and tells the ids of Slurm, LSF, SGE or PBS.
  Nothing else is measured or sent.
  The command finds in its environment SIMSCOPE_REGRESSION, SIMSCOPE_UNIQUEID and SIMSCOPE_RESULTS_FILE. It may
  write a JSON object to that file: result, fail_message, cycles, metadata (object or list of pairs), files,
  results (any text), env, and any field of its own; they go into the finish. Its result counts only for the
  worse: fail beats skip beats pass, and a fail_message without a result is a fail. Any other text in the file is the
  job's results as it stands.
  Nothing that happens to the tracker (folder missing, server down or slow, wrong token) touches the command:
  there is one warning on standard error, and the messages are kept in the backlog. A server that does not answer
  holds up the end of the run by 5 s at most.

FILES

  Configuration (--config): lines of key = "value"; # comments, [section] lines, single-quoted and bare values are
  allowed. Keys are server, spool and token; others cause a warning. A relative spool is relative to the file.
  Backlog: $SIMSCOPE_BACKLOG, else $XDG_STATE_HOME/simscope/backlog, else ~/.local/state/simscope/backlog. Holds
  what run could not send, each message with its destination (without the token). The next publish or run that
  reaches that destination sends up to 50 of them, oldest first. What the server refuses for good goes to the
  folder bad in it.

ENVIRONMENT

  SIMSCOPE_SPOOL, SIMSCOPE_SERVER, SIMSCOPE_TOKEN, SIMSCOPE_BACKLOG as above; SIMSCOPE_REGRESSION is used where
  --regression is not given to publish and run, so that a command under run can publish about its own regression.
  NO_COLOR switches colours off.

EXIT CODES (of everything but run with a command that was started)

  0 done; what was waited for has passed or is complete
  1 a message is refused, by the server or because it is none; what was waited for has a fail
  2 wrong usage or configuration, an input file that is missing; no such job or regression
  3 the daemon cannot be reached
  4 what was waited for is aborted, tanked or pruned
  5 wait --timeout ran out
  130 Ctrl-C
  A wrong token is configuration: 2. A message that was ignored (say, live jobs are switched off) is no error: 0.

SECTIONS, in the order data flows

  What goes out:     1 limits and errors   2 text, JSON, times   3 messages   4 configuration file
  5 files that appear at once   6 HTTP   7 destinations   8 backlog   9 failures in the output
  10 what the host knows   11 the output as log lines   12 running the command   13 results and verdict
  14 reporting beside the run
  What comes back:   15 snapshots   16 asking   17 a window on a log   18 the client
  For people:        19 lines for a terminal   20 commands that publish   21 commands that watch
  22 command line   23 completion   24 entry points
"""

from __future__ import annotations

__version__ = "0.1.0"

import argparse
import collections
import contextlib
import dataclasses
import errno
import functools
import itertools
import json
import os
import re
import sys
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from datetime import datetime, timedelta
    from pathlib import Path
    from typing import Any, BinaryIO, Callable, Iterable, Iterator, Mapping, Sequence, TypeVar, Union

    T = TypeVar("T")

# ----------------------------------------------------------------------------------------------------------------------
# 1 Limits and errors
# ----------------------------------------------------------------------------------------------------------------------

EXIT_OK = 0
EXIT_NO = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_ABORTED = 4
EXIT_TIMEOUT = 5

NAME_CHARACTERS = 512  # longest regression name
PARCEL_MESSAGES = 100  # bodies sent together; receipts list every message of up to this many
PARCEL_CHARACTERS = 8 * 1024 * 1024
ANSWER_BYTES = 64 * 1024 * 1024  # longest answer read from a server
DURATION_MS = 24 * 24 * 3600 * 1000  # the daemon refuses longer durations
LINE_BYTES = 64 * 1024  # a longer line of output is looked at only so far
READ_BYTES = 64 * 1024
TAIL_LINES = 20  # last lines of the output shown with a failure that no line explains
TAIL_CHARACTERS = 500  # of each
FAIL_CHARACTERS = 4000  # of the first failing line
RESULTS_BYTES = 256 * 1024  # largest results file; with it the finish stays below the daemon's limit
SILENCE_SECONDS = 1.0  # wait this long for output after the command is over
LINGER_SECONDS = 30.0  # and this long in all
LOG_SECONDS = 2.0  # between two parcels of log lines; each parcel makes it a tenth longer, a full one twice as long,
LOG_SECONDS_MOST = 10.0  # up to this: a farm full of chatty jobs must not be a burden to the daemon
LOG_LINES = 2000  # of one parcel
LOG_PARCEL = 128 * 1024  # characters of one parcel, as JSON
LOG_LINE = 2000  # characters of one line
LOG_WAITING = 512 * 1024  # bytes of output that wait for the next parcel; the oldest go
BACKLOG_PER_CALL = 50  # messages sent again by one call
BACKLOG_SECONDS = 5.0  # time spent on it
BACKLOG_FILES = 100000  # more are not kept
FINISH_SECONDS = 5.0  # most that the end of a run waits for a server that does not answer
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


class SimscopeError(Exception):
    """The root of all errors of this file. A command ends with its sentence and `exit_code`, without a trace.

    `problem` is what the server answered (the members of RFC 9457: type, title, status, detail, reason …) and `status`
    the number of that answer; both are None where it answered nothing. Each error is also the builtin one that a
    Python programmer would catch.
    """

    exit_code = EXIT_NO
    status: int | None = None

    def __init__(self, text: str, problem: Any = None) -> None:
        super().__init__(text)
        self.problem = problem


class Refused(SimscopeError, ValueError):
    """The server read the request and said no (400, 422)."""


class Conflict(Refused):
    """What is asked does not fit the state of the thing (409): to extend a job that is done, say."""


class NotFound(Refused, LookupError):
    """There is no such thing (404)."""

    exit_code = EXIT_USAGE


class Pruned(NotFound):
    """The job was live without news for so long that the server has deleted it (410)."""

    exit_code = EXIT_ABORTED


class CursorExpired(Refused, LookupError):
    """The events after this cursor are not kept any more (410): read the state anew, and go on from now."""


class UsageError(SimscopeError, ValueError):
    """Wrong options, arguments, configuration or input; sending it again will not help."""

    exit_code = EXIT_USAGE


class WrongInput(UsageError):
    """A file holds no message: no JSON, or none that fits the type. Nothing was sent."""

    exit_code = EXIT_NO


class NotAllowed(UsageError, PermissionError):
    """The token is missing or wrong (401), or the server does not do this for anybody (403)."""


class WrongQuery(UsageError, Refused):
    """The server does not understand a filter, an order or another parameter (400, 422); it says which it accepts."""


class WrongType(UsageError, TypeError):
    """An argument is of a type that is not taken here."""


class CannotWrite(UsageError, OSError):
    """A file, a folder or the standard output takes nothing: no right to it, no such folder, no room …"""


class AlreadyThere(UsageError, FileExistsError):
    """A download would overwrite a file."""


class Unreachable(SimscopeError, ConnectionError):
    """The daemon cannot be reached now, or cannot answer now (5xx); trying later may help.

    `retry_after` is the number of seconds that it asks for, 0 if it does not.
    """

    exit_code = EXIT_UNREACHABLE
    retry_after = 0.0


class WaitTimeout(SimscopeError, TimeoutError):
    """The time that was given for waiting is over; `snapshot` is how it looked last (None if nothing was seen), of
    several `snapshots` are those that are not over."""

    exit_code = EXIT_TIMEOUT
    snapshot: Job | Regression | None = None
    snapshots: tuple[Job | Regression, ...] = ()


class NotPassed(SimscopeError):
    """What was waited for with `check=True` is over and not good; `snapshot` is the job or the regression."""

    snapshot: Job | Regression | None = None


class ChecksumMismatch(SimscopeError, ValueError):
    """A download is not what its SHA-256 says."""


def complain(text: str, program: str = "simscope") -> None:
    """Write one line to standard error. Goes past sys.stderr, whose lock a thread may hold while the process ends."""
    with contextlib.suppress(OSError):
        os.write(2, f"{program}: {text}\n".encode("utf-8", "backslashreplace"))


def warn(text: str) -> None:
    complain("warning: " + text)


def reason_of(error: BaseException) -> str:
    """What went wrong, without the number and the file name that OSError puts into its text."""
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()


# ----------------------------------------------------------------------------------------------------------------------
# 2 Text, JSON, times
# ----------------------------------------------------------------------------------------------------------------------

JSON_DEPTH = 24  # deeper values are sent as text; the daemon's limit for a whole message is 32
_JSON_STRING = r'"(?:[^"\\]|\\.)*"'
_SURROGATES = re.compile("[\ud800-\udfff]")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|)")
_UNIT_MS = {"ms": 1, "": 1000, "s": 1000, "m": 60 * 1000, "h": 3600 * 1000, "d": 24 * 3600 * 1000}


class _NotJson(ValueError):
    """A number that Python reads and JSON does not have."""


def _no_constant(token: str) -> None:
    raise _NotJson(token)


def _finite(token: str) -> float:
    number = float(token)
    if number in (float("inf"), float("-inf")):
        raise _NotJson(token)
    return number


def parse_json(text: str, where: str, first_line: int = 1) -> Any:
    """Return the value of `text`; raise UsageError naming file, line and column (both from 1) where it is not JSON."""
    try:
        return json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        position, problem = error.pos, error.msg
    except _NotJson as error:
        found = re.finditer(_JSON_STRING + "|(" + re.escape(str(error)) + ")", text, re.DOTALL)
        position = next((match.start() for match in found if match.group(1)), 0)
        problem = f"{error} is not a JSON number"
    except RecursionError:
        position, problem = 0, "nested too deep"
    except ValueError as error:  # an integer of thousands of digits
        position, problem = 0, str(error)
    line = text.count("\n", 0, position)
    column = position - (text.rfind("\n", 0, position) + 1) + 1
    raise UsageError(f"{where}: line {first_line + line}, column {column}: {problem}")


def decode_utf8(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        raise UsageError(f"{where}: line {line}, column {column}: not UTF-8 text") from error


def compact(value: Any) -> str:
    """Return `value` as one line of pure ASCII JSON."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def clean_text(text: str) -> str:
    """Return `text` as the daemon accepts it: no U+0000, and no half characters from file names that are not UTF-8."""
    return _SURROGATES.sub("\ufffd", text.replace("\0", ""))


def for_address(value: T) -> T:
    """Return what is to be part of an address; raise UsageError for half characters, which cannot be."""
    if _SURROGATES.search(str(value)):
        raise UsageError(f"{value!r} is not UTF-8 text")
    return value


def clean(value: Any, depth: int = 0) -> Any:
    """Return a JSON value with all texts clean, 64-bit integers, and nothing nested deeper than the daemon accepts."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    if isinstance(value, (dict, list)) and depth >= JSON_DEPTH:
        return clean_text(compact(value))
    if isinstance(value, dict):
        return {clean_text(str(key)): clean(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [clean(item, depth + 1) for item in value]
    return value


# What a terminal takes for an order: sequences that begin with ESC (CSI, OSC, DCS, PM, APC, SOS, and those of two
# characters), all other control characters but the tab, those of 8 bits too, and the signs that turn the direction.
_ORDERS = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[ -/]*[0-Z\\^-~])"
)
_CONTROLS = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text: str) -> str:
    """Return one line of `text` as it may be shown on a terminal, whoever wrote it: nothing in it gives orders."""
    return _CONTROLS.sub("", _ORDERS.sub("", text) if "\x1b" in text else text)


def as_text(value: Any) -> str:
    """Return any JSON value as text: strings as they are, everything else as JSON writes it."""
    return value if isinstance(value, str) else compact(value)


def rfc3339(seconds: float) -> str:
    """Return seconds since 1970 as RFC 3339 in UTC with milliseconds."""
    whole, milli = divmod(int(seconds * 1000), 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{milli:03d}Z"


def parse_time(text: str) -> datetime:
    """Return a time of the server as an aware datetime in UTC."""
    from datetime import datetime

    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def duration_ms(text: str) -> int:
    """Read 90, 90s, 15m, 1.5h, 1h30m, 250ms or 2d as milliseconds; a bare number is seconds."""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration (accepted: 90, 90s, 15m, 1h30m, 250ms, 2d)")
    total = round(sum(float(number) * _UNIT_MS[unit] for number, unit in parts))
    if total > DURATION_MS:
        raise argparse.ArgumentTypeError(f"{text!r} is longer than 24 days")
    return total


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
    raise argparse.ArgumentTypeError(f"{text!r} is no time (accepted: 18:30 of here, or 2030-01-01T18:30:00Z)")


def seconds_said(text: str) -> float:
    """Read a number of seconds; what is none is below 0."""
    try:
        seconds = float(text)
    except ValueError:
        return -1.0
    return seconds if seconds < 1e6 else -1.0


def positive_seconds(text: str) -> float:
    seconds = seconds_said(text)
    if seconds <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return seconds


def seconds_or_never(text: str) -> float:
    seconds = seconds_said(text)
    if seconds < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds, 0 or more (0: never)")
    return seconds


# ----------------------------------------------------------------------------------------------------------------------
# 3 Messages: a type, a regression, a body
# ----------------------------------------------------------------------------------------------------------------------

TYPES = (
    "regr-start",
    "regr-update",
    "regr-finish",
    "job-live",
    "job-finish",
    "batch-job-live",
    "batch-job-finish",
)


class Message:
    """One message; `body` is JSON text, or None for a regr-finish without one; `source` names it for people."""

    def __init__(self, kind: str, regression: str, body: str | None, source: str) -> None:
        self.kind = kind
        self.regression = regression
        self.body = body
        self.source = source

    def envelope(self) -> str:
        """Return the message as JSON text that stands on its own."""
        start = f'{{"type":{compact(self.kind)},"regression":{compact(self.regression)}'
        return start + ("}" if self.body is None else f',"body":{self.body}}}')


def check_regression(name: str | None) -> str:
    """Return `name` if it may name a regression, else raise UsageError."""
    if not name:
        raise UsageError("no regression: give --regression NAME (or SIMSCOPE_REGRESSION)")
    if len(name) > NAME_CHARACTERS:
        raise UsageError(f"the regression name has {len(name)} characters (accepted: 1 to {NAME_CHARACTERS})")
    if re.search("[\x00-\x1f\x7f-\x9f]", name):
        raise UsageError(f"the regression name {name!r} has a control character in it")
    if _SURROGATES.search(name):
        raise UsageError(f"the regression name {name!r} is not UTF-8 text")
    return name


def read_file(path: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {reason_of(error)}") from error


def read_standard_input() -> bytes:
    if sys.stdin is None:
        raise UsageError("standard input: is closed")
    try:
        return sys.stdin.buffer.read()
    except OSError as error:
        raise UsageError(f"standard input: cannot be read: {reason_of(error)}") from error


def parse_lines(text: str, where: str) -> list[tuple[str, Any]]:
    """Return (place, value) of each line that is not blank."""
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            found.append((f"{where}: line {number}", parse_json(line, where, number)))
    return found


def parse_source(text: str, name: str, where: str) -> tuple[list[tuple[str, Any]], bool]:
    """Return (place, value) of each value in a file, and whether there is one per line."""
    if name.lower().endswith((".ndjson", ".jsonl")):
        return parse_lines(text, where), True
    try:
        return [(where, parse_json(text, where))], False
    except UsageError as error:
        if name == "-" and "Extra data" in str(error):  # a second value: lines, then
            return parse_lines(text, where), True
        raise


def check_body(kind: str, value: Any, where: str) -> None:
    """Raise UsageError if `value` cannot be the body of a message of this kind."""
    if kind.startswith("batch-"):
        if not isinstance(value, list):
            raise UsageError(f"{where}: {kind} takes an array of job objects, not {json_kind(value)}")
        for index, item in enumerate(value):
            check_object(kind, item, f"{where}: item {index}")
        return
    check_object(kind, value, where)


def check_object(kind: str, value: Any, where: str) -> None:
    if isinstance(value, list) and kind.startswith("job-"):
        raise UsageError(f"{where}: {kind} takes one object, not an array (batch-{kind} takes an array)")
    if not isinstance(value, dict):
        raise UsageError(f"{where}: {kind} takes an object, not {json_kind(value)}")
    if "body" in value:
        raise UsageError(f"{where}: this is an envelope already (it has a body); give the bare body")


def json_kind(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def read_messages(kind: str, regression: str, name: str) -> list[Message]:
    """Return the messages in one file ("-": standard input); raise UsageError if it cannot be read, and WrongInput,
    naming file, line and column, if it holds something else."""
    where = "standard input" if name == "-" else name
    data = read_standard_input() if name == "-" else read_file(name)
    try:
        return messages_in(kind, regression, data, name, where)
    except UsageError as error:
        raise WrongInput(str(error)) from error


def messages_in(kind: str, regression: str, data: bytes, name: str, where: str) -> list[Message]:
    text = decode_utf8(data, where)
    if not text.strip():
        if kind == "regr-finish":
            return [Message(kind, regression, None, where)]
        raise UsageError(f"{where}: is empty; {kind} needs a body")
    found, lines = parse_source(text, name, where)
    if lines and kind.startswith("batch-"):
        for place, item in found:
            check_object(kind, item, place)
        found = [(where, [item for _, item in found])]
    for place, value in found:
        check_body(kind, value, place)
    return [Message(kind, regression, compact(value), place) for place, value in found]


def parcels(messages: list[Message]) -> Iterator[list[Message]]:
    """Cut a list of messages into lists that are sent together."""
    parcel: list[Message] = []
    size = 0
    for message in messages:
        weight = len(message.body or "")
        if parcel and (len(parcel) >= PARCEL_MESSAGES or size + weight > PARCEL_CHARACTERS):
            yield parcel
            parcel, size = [], 0
        parcel.append(message)
        size += weight
    if parcel:
        yield parcel


# ----------------------------------------------------------------------------------------------------------------------
# 4 Configuration file: key = "value" lines
# ----------------------------------------------------------------------------------------------------------------------

SETTINGS = ("server", "spool", "token")
_SECTION_LINE = re.compile(r"\[[^\[\]]+\]\s*(?:#.*)?$")
_KEY_LINE = re.compile(r"([A-Za-z0-9_.-]+)\s*=\s*(.*)$")
_DOUBLE_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?$')
_SINGLE_QUOTED = re.compile(r"'([^']*)'\s*(?:#.*)?$")
_ESCAPES = {"n": "\n", "t": "\t"}


def read_value(text: str) -> str | None:
    """Return the value right of the equals sign, or None if it is broken."""
    if text.startswith('"'):
        quoted = _DOUBLE_QUOTED.match(text)
        return quoted and re.sub(r"\\(.)", lambda m: _ESCAPES.get(m.group(1), m.group(1)), quoted.group(1))
    if text.startswith("'"):
        quoted = _SINGLE_QUOTED.match(text)
        return quoted and quoted.group(1)
    return re.split(r"(?:^|\s)#", text, maxsplit=1)[0].strip()


def read_setting(line: str, where: str) -> tuple[str, str] | None:
    """Return (key, value) of one line, None for a blank, comment or section line; raise UsageError for a broken one."""
    if not line or line.startswith("#") or _SECTION_LINE.match(line):
        return None
    found = _KEY_LINE.match(line)
    value = read_value(found.group(2)) if found else None
    if not found or value is None:
        raise UsageError(f'{where}: cannot read {line!r} (accepted: key = "value", # comment, [section])')
    return found.group(1), value


def read_config(path: str) -> dict[str, str]:
    """Return server, spool and token of a configuration file; raise UsageError naming file and line."""
    values: dict[str, str] = {}
    unknown = []
    text = decode_utf8(read_file(path), path)
    for number, line in enumerate(text.splitlines(), 1):
        where = f"{path}: line {number}"
        setting = read_setting(line.strip(), where)
        if setting is None:
            continue
        key, value = setting
        if key not in SETTINGS:
            unknown.append(f"{key} (line {number})")
        elif key in values:
            raise UsageError(f"{where}: {key} is set twice")
        else:
            values[key] = value
    if unknown:
        warn(f"{path}: not used here: {', '.join(unknown)} (known: {', '.join(SETTINGS)})")
    if values.get("spool"):
        folder = os.path.dirname(os.path.abspath(path))
        values["spool"] = os.path.join(folder, os.path.expanduser(values["spool"]))
    return values


# ----------------------------------------------------------------------------------------------------------------------
# 5 Files that appear at once: written under a dot name, synced, renamed
# ----------------------------------------------------------------------------------------------------------------------

_counter = itertools.count()


def unique_name() -> str:
    """Return a name that sorts by time and that no other publisher uses: time, host, process, counter, chance."""
    now = time.time_ns()
    when = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now // 10**9)) + f".{now % 10**9:09d}"
    host = re.sub("[^A-Za-z0-9-]", "-", os.uname().nodename.split(".")[0])[:63] or "host"
    return f"{when}-{host}-{os.getpid()}-{next(_counter)}-{os.urandom(4).hex()}"


def write_file(folder: str, name: str, text: str, mode: int = 0o666) -> str:
    """Make FOLDER/NAME appear with `text` in it, on disk; return its path. Raises OSError and leaves nothing behind."""
    temporary, final = os.path.join(folder, "." + name), os.path.join(folder, name)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(descriptor, "wb") as stream:
            stream.write(text.encode("utf-8"))
            stream.flush()
            os.fsync(stream.fileno())
        os.rename(temporary, final)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(folder)
    return final


def sync_folder(folder: str) -> None:
    """Put a rename on disk. The file is there already, so a file system that cannot do this is no error."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# ----------------------------------------------------------------------------------------------------------------------
# 6 HTTP: one request, one answer; every failure becomes one of the three errors
# ----------------------------------------------------------------------------------------------------------------------

API = "/api/v1"
DEFAULT_SERVER = "http://127.0.0.1:8040"  # where the daemon listens if nothing else is configured
_ASK_AGAIN = (408, 425, 429)  # "later", said with a number of the 400s
_NOT_THIS_MESSAGE = (403, 407, 421)  # the proxy or the address is wrong, or nobody may


class Address:
    """Where a server listens: scheme, host, port, path before the API; token (may be empty); timeout in seconds."""

    def __init__(self, url: str, token: str, timeout: float) -> None:
        from urllib.parse import urlsplit

        accepted = "accepted: http://HOST:PORT or https://HOST[:PORT][/PATH]"
        try:
            parts = urlsplit(url)
            self.port = parts.port
        except ValueError as error:
            raise UsageError(f"the server {url!r} is no address: {error} ({accepted})") from error
        extra = parts.query or parts.fragment or parts.username is not None
        if parts.scheme not in ("http", "https") or not parts.hostname or extra or not re.fullmatch("[!-~]+", url):
            raise UsageError(f"the server {url!r} is no address ({accepted})")
        if not re.fullmatch("[!-~]*", token):
            raise UsageError("the token has a blank, a control or a non-ASCII character in it")
        self.url = url.rstrip("/")
        self.secure = parts.scheme == "https"
        self.host = parts.hostname
        self.prefix = parts.path.rstrip("/")
        self.token = token
        self.timeout = timeout

    def connection(self) -> Any:
        import http.client

        kind = http.client.HTTPSConnection if self.secure else http.client.HTTPConnection
        return kind(self.host, self.port, timeout=self.timeout)


def request(address: Address, method: str, path: str, text: str | None = None) -> Any:
    """Send `text` (JSON) on a connection of its own and return the JSON value answered; raise as `ask` does."""
    connection = address.connection()
    try:
        return ask(address, connection, method, path, text)
    finally:
        connection.close()


def ask(address: Address, connection: Any, method: str, path: str, text: str | None = None, **headers: str) -> Any:
    """Send `text` (JSON) and return the JSON value answered; raise Refused, UsageError or Unreachable."""
    answer = open_answer(address, connection, method, path, text, **headers)
    with reaching(address):
        content = answer.read(ANSWER_BYTES)
    document = answer_document(content)
    if document is None and answer.length and len(content) < ANSWER_BYTES:
        raise Unreachable(f"the server {address.url} broke off in the middle of its answer")
    if document is None:
        raise refusal(address, answer, None)
    return document


def open_answer(
    address: Address, connection: Any, method: str, path: str, text: str | None = None, **headers: str
) -> Any:
    """Send a request and return its answer, the content not read yet, if it is a good one; else raise as `ask` does."""
    sent = {"Accept": "application/json", "User-Agent": "simscope/" + __version__}
    if text is not None:
        sent["Content-Type"] = "application/json"
    if address.token:
        sent["Authorization"] = "Bearer " + address.token
    sent.update((name.replace("_", "-"), value) for name, value in headers.items())
    data = b"" if text is None and method == "POST" else text.encode("utf-8") if text is not None else None
    with reaching(address):
        send(connection, method, address.prefix + API + path, data, sent)
        answer = connection.getresponse()
        if not 200 <= answer.status < 300:
            raise refusal(address, answer, answer_document(answer.read(ANSWER_BYTES)))
    return answer


@contextlib.contextmanager
def reaching(address: Address) -> Iterator[None]:
    """Turn what may happen to a connection into Unreachable."""
    import http.client

    try:
        yield
    except SimscopeError:
        raise
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        hint = "; --server or SIMSCOPE_SERVER names another" if address.url == DEFAULT_SERVER else ""
        raise Unreachable(f"the server {address.url} cannot be reached: {reason_of(error)}{hint}") from error


def send(connection: Any, method: str, path: str, data: bytes | None, headers: Mapping[str, str]) -> None:
    try:
        connection.request(method, path, body=data, headers=headers)
    except (BrokenPipeError, ConnectionResetError):
        if connection.sock is None:
            raise
        # The server stopped reading (too large, say): its answer may be waiting and tells why.


def answer_document(content: bytes) -> Any:
    try:
        return json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):
        return None


def refusal(address: Address, answer: Any, document: Any) -> SimscopeError:
    """Return the error that stands for an answer which is not a good one."""
    error = _refusal(address, answer.status, answer.getheader("Content-Type") or "", document)
    error.status, error.problem = answer.status, document
    if isinstance(error, Unreachable) and re.fullmatch("[0-9]{1,4}", answer.getheader("Retry-After") or ""):
        error.retry_after = float(answer.getheader("Retry-After"))
    return error


def _refusal(address: Address, status: int, kind: str, document: Any) -> SimscopeError:
    text = f"the server {address.url} answered {status}" + problem_text(document)
    if status == 401:
        about_token = "the token was not accepted" if address.token else "the token is not set"
        return NotAllowed(re.sub(r" \(token\)$", "", text) + "; " + about_token)
    if status >= 500 or status in _ASK_AGAIN:
        return Unreachable(text)
    if status in _NOT_THIS_MESSAGE:
        return NotAllowed(text)
    if status >= 400 and kind.startswith("application/problem+json"):
        reason = str(document.get("reason")) if isinstance(document, dict) else ""
        if reason in ("bad-query", "bad-filter"):
            return WrongQuery(text)
        gone = CursorExpired if reason.startswith("cursor") else Pruned
        return {404: NotFound, 409: Conflict, 410: gone, 412: Conflict}.get(status, Refused)(text)
    if status == 413:
        return Refused(text + ": the message is too large")
    return UsageError(text + ", not what simscoped answers; is this its address?")


def problem_text(document: Any) -> str:
    """Return ": title: detail (reason)" as far as a problem document has them."""
    if not isinstance(document, dict):
        return ""
    parts = [str(document[key]) for key in ("title", "detail") if document.get(key)]
    text = ": ".join(["", *parts])
    return text + (f" ({document['reason']})" if document.get("reason") else "")


# ----------------------------------------------------------------------------------------------------------------------
# 7 Destinations: a spool folder or a server
# ----------------------------------------------------------------------------------------------------------------------


class Spool:
    """A folder that the daemon reads."""

    def __init__(self, folder: str) -> None:
        self.folder = os.path.abspath(folder)
        self.key = "spool " + self.folder

    def deliver(self, messages: Sequence[Message]) -> dict[str, Any]:
        """Put one file with all `messages` into the folder; return its name. Raises Unreachable."""
        envelopes = [message.envelope() for message in messages]
        text = envelopes[0] if len(envelopes) == 1 else "[" + ",\n".join(envelopes) + "]"
        name = unique_name() + ".json"
        try:
            path = write_file(self.folder, name, text + "\n")
        except OSError as error:
            raise Unreachable(self.explain(error)) from error
        return {"name": name, "spooled": path, "messages": len(messages)}

    def explain(self, error: OSError) -> str:
        start = f"the spool folder {self.folder}"
        if error.errno == errno.ENOENT:
            return f"{start} does not exist; start the daemon that owns it, or name another folder"
        if error.errno == errno.ENOTDIR:
            return f"{start} is not a folder"
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return f"{start} is not writable for you: {reason_of(error)}"
        return f"{start} cannot be written: {reason_of(error)}"


class Server:
    """A daemon that listens."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.key = "server " + address.url

    def deliver(self, messages: Sequence[Message]) -> dict[str, Any]:
        """Post all `messages` in one request; return the receipt. Raises Refused, UsageError or Unreachable."""
        if len(messages) == 1:
            from urllib.parse import quote

            message = messages[0]
            path = f"/publish/{message.kind}?regression={quote(message.regression, safe='')}"
            receipt = request(self.address, "POST", path, message.body)
        else:
            text = "[" + ",".join(message.envelope() for message in messages) + "]"
            receipt = request(self.address, "POST", "/messages", text)
        if not isinstance(receipt, dict) or "applied" not in receipt:
            raise UsageError(f"the server {self.address.url} answered without a receipt; is this simscoped's address?")
        return receipt


def choose_destination(options: Any, environ: Mapping[str, str]) -> Spool | Server:
    """Return where messages go: option, environment, file, in this order; the spool where one place names both."""
    config = read_config(options.config) if options.config else {}
    places: list[Mapping[str, str | None]] = [
        {key: getattr(options, key) for key in SETTINGS},
        {key: environ.get("SIMSCOPE_" + key.upper()) for key in SETTINGS},
        config,
    ]
    token = next((place["token"] for place in places if place.get("token")), None)
    for place in places:
        if place.get("spool"):
            return Spool(str(place["spool"]))
        if place.get("server"):
            return Server(Address(str(place["server"]), (token or "").strip(), options.timeout))
    raise UsageError(
        "nowhere to send to: give --spool DIR or --server URL, set SIMSCOPE_SPOOL or SIMSCOPE_SERVER,"
        " or name a file with --config that has spool or server"
    )


def receipt_lines(document: Any, messages: Sequence[Message]) -> list[str]:
    """Return a line for each message that a receipt calls rejected or ignored."""
    if not isinstance(document, dict):
        return []
    details = [item for item in document.get("details") or [] if isinstance(item, dict)]
    lines = [receipt_line(item, messages) for item in details if item.get("outcome") in ("rejected", "ignored")]
    counts = [document.get(key) for key in ("rejected", "ignored")]
    hidden = sum(count for count in counts if isinstance(count, int)) - len(lines)
    if hidden > 0:
        lines.append(f"{hidden} more were rejected or ignored, see the receipt {document.get('id')}")
    return lines


def receipt_line(item: Mapping[str, Any], messages: Sequence[Message]) -> str:
    index = item.get("index")
    place = messages[0].source
    if isinstance(index, int) and len(messages) > 1 and index < len(messages):
        place = messages[index].source
    elif messages[0].kind.startswith("batch-") and index is not None:
        place += f": item {index}"
    kind, regression = item.get("type") or messages[0].kind, item.get("regression") or messages[0].regression
    line = f"{place}: {kind} for {regression} was {item['outcome']}: {item.get('reason') or 'no reason given'}"
    if item.get("path"):
        line += " at " + (re.sub(r"^\$\.body\b", "$", item["path"]) if len(messages) > 1 else item["path"])
    return line + (f": {item['detail']}" if item.get("detail") else "")


# ----------------------------------------------------------------------------------------------------------------------
# 8 Backlog: what could not be sent, kept for the next call
# ----------------------------------------------------------------------------------------------------------------------


def backlog_folder(environ: Mapping[str, str]) -> str | None:
    """Return the folder, or None where there is no home to put it."""
    if environ.get("SIMSCOPE_BACKLOG"):
        return os.path.abspath(environ["SIMSCOPE_BACKLOG"])
    state = environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(state):
        state = os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(state, "simscope", "backlog") if os.path.isabs(state) else None


def destination_mark(key: str) -> str:
    import binascii

    return f"{binascii.crc32(key.encode('utf-8', 'surrogateescape')):08x}"


def read_kept(path: str) -> tuple[Message, str]:
    """Return a kept message and the key of its destination; raise OSError, ValueError or KeyError if it is broken."""
    with open(path, "rb") as stream:
        kept = json.loads(stream.read().decode("utf-8"))
    if not isinstance(kept, dict) or kept["type"] not in TYPES or not isinstance(kept["regression"], str):
        raise ValueError("not a kept message")
    body = None if kept["body"] is None else compact(kept["body"])
    return Message(kept["type"], kept["regression"], body, path), kept["to"]


@contextlib.contextmanager
def folder_lock(folder: str) -> Iterator[bool]:
    """Yield whether this process may send the backlog now. Where locks do not work it may: repeats do no harm."""
    import fcntl

    try:
        descriptor = os.open(os.path.join(folder, ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            yield error.errno not in (errno.EAGAIN, errno.EACCES)
        else:
            yield True
    finally:
        os.close(descriptor)


class Backlog:
    """A folder of messages, each with its destination. Names sort by age and end in a mark of the destination."""

    def __init__(self, folder: str | None) -> None:
        self.folder = folder

    def keep(self, key: str, message: Message, bad: str | None = None) -> str | None:
        """Keep a message for the destination `key` (in the folder bad with the reason, if refused for good).

        Returns the path, or None, with a warning, where it cannot be kept.
        """
        kept = {"to": key, "kept_at": rfc3339(time.time()), "type": message.kind, "regression": message.regression}
        if bad is not None:
            kept["refused"] = bad
        text = compact(kept)[:-1] + f',"body":{message.body or "null"}}}\n'
        try:
            folder = self._ready("bad" if bad is not None else "")
            return write_file(folder, f"{unique_name()}.{destination_mark(key)}.json", text, 0o600)
        except OSError as error:
            warn(f"{message.kind} for {message.regression} is lost; the backlog {self.folder}: {reason_of(error)}")
            return None

    def _ready(self, name: str) -> str:
        if self.folder is None:
            raise OSError("there is no home directory")
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        folder = os.path.join(self.folder, name) if name else self.folder
        os.makedirs(folder, mode=0o700, exist_ok=True)
        if len(os.listdir(folder)) >= BACKLOG_FILES:
            raise OSError(f"there are {BACKLOG_FILES} messages in it already")
        return folder

    def forget(self, path: str | None) -> None:
        if path is not None:
            with contextlib.suppress(OSError):
                os.unlink(path)

    def waiting(self, key: str) -> list[str]:
        """Return the paths kept for a destination, oldest first."""
        ending = f".{destination_mark(key)}.json"
        try:
            names = os.listdir(self.folder) if self.folder else []
        except OSError:
            names = []
        found = sorted(name for name in names if name.endswith(ending) and not name.startswith("."))
        return [os.path.join(str(self.folder), name) for name in found]

    def resend(self, destination: Spool | Server, stop: Callable[[], bool] = lambda: False) -> int:
        """Send what waits for `destination`: a bounded number, for a bounded time, until `stop()`; return how many."""
        if not self.waiting(destination.key):
            return 0
        until, sent = time.monotonic() + BACKLOG_SECONDS, 0
        with folder_lock(str(self.folder)) as mine:
            for path in self.waiting(destination.key)[:BACKLOG_PER_CALL] if mine else []:
                if stop() or time.monotonic() > until:
                    break
                try:
                    sent += self._resend_one(destination, path)
                except SimscopeError:
                    break  # out of reach again, or the token is wrong: they wait for the next call
        return sent

    def _resend_one(self, destination: Spool | Server, path: str) -> int:
        try:
            message, key = read_kept(path)
        except FileNotFoundError:
            return 0
        except (OSError, ValueError, KeyError, RecursionError):
            warn(f"the backlog file {path} cannot be read; moved to bad")
            self._move_to_bad(path)
            return 0
        if key != destination.key:
            return 0
        try:
            destination.deliver([message])
        except Refused as error:
            warn(f"{message.kind} for {message.regression}, kept earlier, was refused: {error}; moved to bad")
            if self.keep(key, message, bad=str(error)) is not None:
                self.forget(path)
            return 0
        self.forget(path)
        return 1

    def _move_to_bad(self, path: str) -> None:
        with contextlib.suppress(OSError):
            os.rename(path, os.path.join(self._ready("bad"), os.path.basename(path)))


# ----------------------------------------------------------------------------------------------------------------------
# 9 Failures in the output: lines in, the first failing one out
# ----------------------------------------------------------------------------------------------------------------------

# Each row: texts of which one must be in the line (a cheap test first), the expression, who prints it. A false alarm
# costs trust and a miss costs a bug, so the expressions want the form of a message, not just the word "error". What may
# repeat beside something like it is bounded: a line of blanks must not take hours.
_START = (  # the "# " of Questa, the "KERNEL: " of Riviera, the "[100] " of Verilator, a time of day
    r"^[#*\s]{0,16}(?:KERNEL: )?"
    r"(?:\[[^\]]{1,40}\]\s{0,16}|(?:\d{4}-\d\d-\d\d[T ])?\d\d:\d\d:\d\d\S{0,12}\s{1,16})?"
)
# No summary: a number alone, or in front of another one. One that counts 0 may also say what of, and why.
_COUNT = r"(?!\s{0,20}(?:counts?\s{0,20})?[:=|-]?\s{0,20}%s)"
_NO_COUNT = _COUNT % r"\d{1,20}\s{0,20}(?:errors?\s{0,20})?(?:$|[,;|]?\s{0,20}UVM_)"
_NOT_0 = _COUNT % r"0{1,20}\s{0,20}(?:$|[,;(|#]|of\b|errors?\b|UVM_)"
_DEATHS = ("Aborted", "Bus error", "Illegal instruction", "Floating point exception")
FAIL_PATTERNS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        ("UVM_ERROR", "UVM_FATAL"),
        _START
        + r"UVM_(?:ERROR|FATAL)(?=[\s:(\[@])(?!\s{0,20}$)"
        + _NO_COUNT
        + _NOT_0
        + r"(?!\s{1,20}(?:severity|counts?|reports?|messages?|(?:is |are )?(?:demoted|disabled|enabled))\b)",
        "UVM; the reports, not the summary that counts them",
    ),
    (("ERROR: ", "FATAL: "), r"^[#\s]*(?:ERROR|FATAL): \S+:\d+:", "Icarus $error and $fatal"),
    (("FATAL:",), _START + r"FATAL:(?!\s{0,20}none\s*$)" + _NOT_0 + r"\s{0,20}\S", "$fatal, hand-written test benches"),
    (("%Error", "%Fatal"), _START + r"%(?:Error|Fatal)\b" + _NOT_0, "Verilator"),
    (('Error: "', 'Fatal: "'), _START + r'(?:Error|Fatal): "[^"]*", \d+:', "VCS $error and $fatal"),
    (("Error-[",), r"^Error-\[[A-Z][\w-]*\]", "VCS compiler"),
    (
        ("** Error", "** Fatal", "** Failure"),
        r"^[#\s]{0,8}\*\* (?:Error|Fatal|Failure)(?=[\s:(])" + _NOT_0,
        "Questa; a failure is the gravest of VHDL",
    ),
    (
        ("Error: ", "Failure: "),
        r"^(?:# )?(?:ASSERT|RUNTIME|ELAB2|ELBREAD|VSIM|VCP) ?: (?:Fatal )?(?:Error|Failure):" + _NOT_0,
        "Aldec",
    ),
    (
        ("$error", "$fatal"),
        _START + r"(?:\S{1,400}:\d{1,9}: )?\$(?:error|fatal)(?: called\b|:" + _NOT_0 + ")",
        "hand-written test benches",
    ),
    (("*E,", "*F,", "*SE,"), r"^[#\s]*(?:\w+: )?\*S?[EF],[A-Za-z0-9]+", "Xcelium"),
    ((" error: ", " error\n", "syntax error"), r"^[^\s:]\S*:\d+:(?:\d+:)? (?:\w+ )?error(?::|$)", "compilers"),
    (("ERROR: [",), r"^(?:FATAL_)?ERROR: \[\w+ \d+-\d+\]", "Vivado"),
    (("failed at",), r'^"[^"]*", \d+: .{0,400}\bstarted at \S+ failed at', "VCS assertions"),
    (("Offending '",), r"^\s*Offending '", "VCS assertions"),
    (
        ("ssert", "SSERT"),
        r"(?i)^(?!\s{0,20}(?://|\++ ))(?!.{0,400}(?:\b(?:no|that|if|whether)(?: an?| any| the)? assert|"
        r"(?:\$(?:display|write|info|warning|error|fatal)|printf|uvm_\w{4,7}) ?\())"
        r".{0,400}?\bassert(?:ion)?\b(?!.{0,200}\b(?:0|no|none|not|never|without) (?:fail|violat))"
        r".{0,200}\b(?:failed|violated)\b(?!\s{0,20}[:=]?\s{0,20}(?:0|no|none)\b)(?! (?:count|as expected))",
        "assertions of Xcelium, Verilator, C and others, but not where their source is shown",
    ),
    (
        ("ssertion ", "SSERTION "),
        _START + r"(?:[\w.]{1,80}: )?(?i:assertion (?:failure|violation))(?:\s{0,20}$| (?:at|in|of|on)\b|:"
        r"(?!\s{0,20}(?:0|no|none)\b))",
        "hand-written test benches",
    ),
    (("AssertionError",), r"^(?:E\s{1,8})?(?:\w{1,80}\.){0,4}AssertionError(?::|\s*$)", "Python"),
    (("(assertion ",), r":\(assertion (?:error|failure)\):", "GHDL"),
    (
        ("Segmentation ",),
        r"\bSegmentation (?:fault|violation)\b(?! (?:handler|test|injection))",
        "a crash",
    ),
    (
        (*_DEATHS, "Killed"),
        rf"(?:: line \d{{1,9}}|^(?:/\S{{1,200}}/)?\w{{0,4}}sh):\s{{1,9}}\d{{1,9}} (?:{'|'.join(_DEATHS)}|Killed)\b"
        rf"|^(?:{'|'.join(_DEATHS)})\s*$",
        "a crash, as a shell tells it",
    ),
    (
        ("free", "alloc", "munmap_chunk", "corrupted", "smashing", "overflow"),
        r"^(?:\*\*\* .{1,400}: )?(?:double free or corruption|corrupted (?:size vs|double-linked|unsorted)"
        r"|(?:free|[cm]alloc|realloc|munmap_chunk|malloc_consolidate)\(\): .{0,60}"
        r"(?:invalid|corrupt|detected|mismatching))|^\*\*\* (?:stack smashing|buffer overflow) detected \*\*\*",
        "a crash that the C library has noticed",
    ),
    (("core dumped",), r"(?:^|[(,:]\s?)core dumped[).]{0,2}\s*$", "a crash"),
    (("terminate called",), r"^terminate called (?:after|without)\b", "a crash in C++"),
    (("unexpected termination",), r"^An unexpected termination has occurred", "a crash of VCS"),
    (
        ("nternal", "NTERNAL"),
        r"(?i)\binternal (?:\w+ )?error\b(?!\s{0,20}[:=]?\s{0,20}(?:0|no|none)\b)"
        r"(?=\s*$|\s*[:!.(\[,]|\s+-\s|\s+(?:in|at|while|occurred)\b)",
        "a crash of a simulator or compiler",
    ),
    (
        ("ut of memory",),
        r"(?:\bOut of memory\b|(?:^|[:*(]\s?)out of memory\b)(?! (?:bound|range|access|map|region|space|window|test))",
        "a crash",
    ),
    (("oom-kill", "oom_kill"), r"\boom[-_]kill event", "Slurm"),
    (
        ("cocotb.regression",),
        r"^.{0,100}?\bcocotb\.regression\b(?!.{0,400}\bpassed\b).{0,400}(?:\bfailed$|\bfailed: |\bTest Failed: )",
        "cocotb",
    ),
    (("TESTS=",), r"\*\* TESTS=\d+ PASS=\d+ FAIL=[1-9]", "cocotb summary"),
    (("FAILED",), r"^FAILED \S+::", "pytest"),
    (("TEST FAILED",), r"^[#*\s]*TEST FAILED\b(?!\s*[:=]\s*0\b)", "hand-written test benches"),
)
# Lines that say of themselves that they are no error.
_HARMLESS = re.compile(r"[#*\s]*(?:UVM_INFO|UVM_WARNING|%Warning|Warning|WARNING|Note|NOTE|Info|INFO)\b")


class Scanner:
    """Looks through output as it comes; memory is bounded by LINE_BYTES per stream.

    `failure` is the first failing line or "", `passed` whether a line matched one of the pass patterns.
    """

    def __init__(
        self, own: Sequence[str] = (), passing: Sequence[str] = (), ignored: Sequence[str] = (), defaults: bool = True
    ) -> None:
        rows = FAIL_PATTERNS if defaults else ()
        self._fails = [(hints, re.compile(text)) for hints, text, _ in rows]
        self._own = [re.compile(text) for text in own]
        self._passing = [re.compile(text) for text in passing]
        self._ignored = [re.compile(text) for text in ignored]
        self._rest: dict[int, bytes] = {}
        self._tail: collections.deque[str] = collections.deque(maxlen=TAIL_LINES)
        self.failure = ""
        self.passed = False

    def take(self, stream: int, data: bytes) -> None:
        """Look at the lines that `data` completes; the rest waits for the next call. A carriage return ends a line."""
        head, newline, last = data.replace(b"\r", b"\n").rpartition(b"\n")
        rest = self._rest.get(stream, b"")
        if newline:
            self._look((rest + head).decode("utf-8", "replace"))
            rest = b""
        self._rest[stream] = (rest + last)[:LINE_BYTES]

    def close(self) -> None:
        """Look at last lines that have no end."""
        for stream in list(self._rest):
            self._look(self._rest.pop(stream).decode("utf-8", "replace"))

    def tail(self) -> str:
        """Return the last lines of the output."""
        return "\n".join(plain(line).rstrip() for line in self._tail)

    def _look(self, block: str) -> None:
        lines = block.split("\n")
        self._tail.extend(line[:TAIL_CHARACTERS] for line in lines[-2 * TAIL_LINES :] if line.strip())
        if self._passing and not self.passed:
            self.passed = any(self._matches(self._passing, line) for line in lines)
        if self.failure:
            return
        block += "\n"
        active = [pattern for hints, pattern in self._fails if any(hint in block for hint in hints)]
        if not active and not self._own:
            return
        self.failure = next((self._shown(line) for line in lines if self._fails_by(line, active)), "")

    def _fails_by(self, line: str, active: Sequence[re.Pattern[str]]) -> bool:
        line = _ORDERS.sub("", line[:LINE_BYTES]) if "\x1b" in line else line[:LINE_BYTES]
        if self._matches(self._own, line):
            failing = True
        else:
            failing = bool(active) and not _HARMLESS.match(line) and self._matches(active, line)
        return failing and not self._matches(self._ignored, line)

    @staticmethod
    def _matches(patterns: Sequence[re.Pattern[str]], line: str) -> bool:
        return any(pattern.search(line) for pattern in patterns)

    @staticmethod
    def _shown(line: str) -> str:
        return plain(line).strip()[:FAIL_CHARACTERS] or "a failing line"


# ----------------------------------------------------------------------------------------------------------------------
# 10 What the host knows: user, batch system, seed
# ----------------------------------------------------------------------------------------------------------------------

# Each row: name, variable of the id, variables of which one must be there too (the id's own name is too common),
# array job, array index (PBS Pro and Torque differ), restarts, queue.
_SLURM = "SLURM_ARRAY_"
_SGE = ("SGE_TASK_ID", "SGE_ROOT", "SGE_O_HOST", "PE_HOSTFILE")
_BATCH_SYSTEMS = (
    ("slurm", "SLURM_JOB_ID", (), _SLURM + "JOB_ID", _SLURM + "TASK_ID", "SLURM_RESTART_COUNT", "SLURM_JOB_PARTITION"),
    ("lsf", "LSB_JOBID", (), "LSB_JOBID", "LSB_JOBINDEX", "LSB_RESTART", "LSB_QUEUE"),
    ("pbs", "PBS_JOBID", (), "", "PBS_ARRAY_INDEX PBS_ARRAYID", "", "PBS_QUEUE"),
    ("sge", "JOB_ID", _SGE, "JOB_ID", "SGE_TASK_ID", "RESTARTED", "QUEUE"),
)
_ARRAY_FORMS = {"slurm": "{}_{}", "lsf": "{}[{}]", "sge": "{}.{}"}
_SEED = re.compile(
    r"(?:^|[\s'\"])(?:\+ntb_random_seed=|\+seed=|\+verilator\+seed\+|--?(?:sv_?seed|seed)(?:=|\s+))"
    r"(0[xX][0-9a-fA-F]+|-?\d+)(?=$|[\s'\"])"
)


def batch_job(environ: Mapping[str, str]) -> tuple[str, list[list[str]]]:
    """Return the id in the batch system ("" outside of one) and metadata about it."""
    for system, variable, witnesses, array_job, array_index, restarts, queue in _BATCH_SYSTEMS:
        ident = environ.get(variable, "")
        if not ident or (witnesses and not any(environ.get(name) for name in witnesses)):
            continue
        index = next(filter(None, map(environ.get, array_index.split())), "")
        index = "" if index == "undefined" or (system == "lsf" and index == "0") else index
        restart = {"Y": "1", "N": ""}.get(environ.get(restarts, ""), environ.get(restarts, ""))
        pairs = [
            ["batch.system", system],
            ["batch.id", ident],
            ["batch.array_index", index],
            ["batch.restart", "" if restart == "0" else restart],
            ["batch.queue", environ.get(queue, "")],
        ]
        if index and system in _ARRAY_FORMS:
            ident = _ARRAY_FORMS[system].format(environ.get(array_job) or ident, index)
        return ident, [pair for pair in pairs if pair[1]]
    return "", []


def user_name() -> str:
    """Return the name of the user, or "" where nobody knows it (a container, say)."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return ""


def guess_seed(command_line: str) -> str:
    """Return the number after +seed=, -seed, +ntb_random_seed=, -sv_seed and their kin, or ""."""
    found = _SEED.search(command_line)
    return found.group(1) if found else ""


# ----------------------------------------------------------------------------------------------------------------------
# 11 The output as log lines: bytes in, parcels of lines out
# ----------------------------------------------------------------------------------------------------------------------

# The thread that passes the output on only appends to a queue of bounded size and never waits; the thread that reports
# makes lines of it when it is time for a parcel. What is too much is left out at the old end, and a line in its place
# tells how much. A parcel carries the number of its first line, so sending it again after a doubtful failure does no
# harm; it is therefore the same until it has arrived. Numbers count the lines of the log, not those of the output, so
# what is left out leaves no gap.


class LogLines:
    """The newest output of the command, cut into parcels {"offset", "lines"} for the job's log."""

    def __init__(self) -> None:
        self._queue = threading.Lock()  # over the next four; held for a moment only, by the thread of the output too
        self._chunks: collections.deque[tuple[int, bytes]] = collections.deque()
        self._bytes = 0
        self._left_out = 0  # lines, since the last parcel
        self._torn = False  # the first chunk need not begin with a line
        self._turn = threading.Lock()  # over the rest
        self._over = False
        self._rest: dict[int, bytes] = {}
        self._next = 0  # number of the next line
        self._parcel: dict[str, Any] | None = None
        self.pause = LOG_SECONDS

    def take(self, stream: int, data: bytes) -> None:
        """Queue what the command wrote."""
        with self._queue:
            self._chunks.append((stream, data))
            self._bytes += len(data)
            while self._bytes > LOG_WAITING:
                _, old = self._chunks.popleft()
                self._bytes -= len(old)
                self._left_out += old.count(b"\n")
                self._torn = True

    def parcel(self) -> dict[str, Any] | None:
        """Return what is to be sent now: the same until `arrived` is called; None if there is nothing."""
        with self._turn:
            if self._parcel is None and not self._over:
                lines, full = self._lines(last=False)
                self.pause = min(LOG_SECONDS_MOST, self.pause * (2 if full else 1.1)) if lines else self.pause
                self._parcel = {"offset": self._next, "lines": lines} if lines else None
            return self._parcel

    def arrived(self) -> None:
        """The parcel is where it belongs."""
        with self._turn:
            if self._parcel is not None:
                self._next += len(self._parcel["lines"])
                self._parcel = None

    def last(self) -> dict[str, Any] | None:
        """Return all that is not known to have arrived, the very last lines included, for the finish."""
        with self._turn:
            self._over = True
            waiting = self._parcel or {"offset": self._next, "lines": []}
            lines = waiting["lines"] + self._lines(last=True)[0]
            return {"offset": waiting["offset"], "lines": lines} if lines else None

    def _lines(self, last: bool) -> tuple[list[str], bool]:
        """Empty the queue; return its lines as far as they fit one parcel, and whether something was left out."""
        with self._queue:
            chunks, left_out, torn = self._chunks, self._left_out, self._torn
            self._chunks, self._bytes, self._left_out, self._torn = collections.deque(), 0, 0, False
        if torn:
            self._rest.clear()
        lines: list[bytes] = []
        for stream, data in chunks:
            *whole, rest = (self._rest.get(stream, b"") + data).split(b"\n")
            self._rest[stream] = rest[-LINE_BYTES:]
            lines += whole
        if last:
            lines += filter(None, self._rest.values())
        shown = newest_that_fit([log_line(line) for line in lines[-LOG_LINES:]])
        left_out += len(lines) - len(shown)
        return ([f"[simscope: {left_out} lines left out]"] if left_out else []) + shown, left_out > 0


def log_line(line: bytes) -> str:
    """Return a line of output as text; of what carriage returns overwrite, as progress bars do, only the end stays."""
    text = plain(line[-LINE_BYTES:].decode("utf-8", "replace").rstrip("\r").rpartition("\r")[2])
    return text if len(text) <= LOG_LINE else text[:LOG_LINE] + " …"


def newest_that_fit(lines: list[str]) -> list[str]:
    room = LOG_PARCEL
    for index in range(len(lines) - 1, -1, -1):
        room -= len(compact(lines[index])) + 1
        if room < 0:
            return lines[index + 1 :]
    return lines


# ----------------------------------------------------------------------------------------------------------------------
# 12 Running the command: bytes through, signals on, exit status back
# ----------------------------------------------------------------------------------------------------------------------

_STOPS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT")  # after one of these the job counts as killed
_FORWARDED = (*_STOPS, "SIGUSR1", "SIGUSR2")


class Ended:
    """How a command ended. `code` is what to exit with, `signal` what killed it (0: nothing), times in ms."""

    def __init__(self, code: int, signal: int = 0, stopped_by: int = 0, trouble: str = "") -> None:
        self.code = code
        self.signal = signal
        self.stopped_by = stopped_by  # the signal that told us to end while the command ran; 0: none
        self.trouble = trouble  # why it could not be started
        self.finished = 0.0  # seconds since 1970
        self.runtime_ms = self.compute_ms = 0


def signal_name(number: int) -> str:
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class Signals:
    """Passes signals on to the command, and wakes the reading loop through `wake_fd` when one arrives."""

    def __init__(self) -> None:
        import signal

        self._signal = signal
        self.child = 0
        self.stopped_by = 0
        self._early: list[int] = []
        self.wake_fd, self._write_fd = os.pipe()
        os.set_blocking(self.wake_fd, False)
        os.set_blocking(self._write_fd, False)
        signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        for name in _FORWARDED:
            number = getattr(signal, name)
            if signal.getsignal(number) != signal.SIG_IGN:  # ignored from outside (nohup, background): stays so
                signal.signal(number, self._arrived)

    def _arrived(self, number: int, frame: Any) -> None:
        if self.child < 0:
            return  # the command is over
        if self._signal.Signals(number).name in _STOPS and not self.stopped_by:
            self.stopped_by = number
        if self.child == 0:
            self._early.append(number)
        elif not self._typed(number):
            self._send(number)

    def _send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(self.child, number)

    def _typed(self, number: int) -> bool:
        """Say whether the signal comes from a key: then the terminal has sent it to the command as well."""
        if number not in (self._signal.SIGINT, self._signal.SIGQUIT):
            return False
        try:
            terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
        except OSError:
            return False
        try:
            return os.tcgetpgrp(terminal) == os.getpgrp()
        except OSError:
            return False
        finally:
            os.close(terminal)

    def started(self, child: int) -> None:
        """From here on signals go to the process `child`, those that came before included."""
        self.child = child
        for number in self._early:
            self._send(number)

    def over(self) -> None:
        """From here on signals have no addressee: the last messages are sent in peace, within bounded time."""
        self.child = -1

    def drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self.wake_fd, 512):
                pass


class Output:
    """Where the command's bytes go: our own standard output and error, the log file, the job's log, the scanner."""

    def __init__(self, scanner: Scanner, log: BinaryIO | None, lines: LogLines | None, quiet: bool) -> None:
        self.scanner = scanner
        self.log = log
        self.lines = lines
        self._through = {1: not quiet, 2: not quiet}
        self.together = quiet or os.path.samestat(os.fstat(1), os.fstat(2))  # one pipe keeps the order

    def take(self, stream: int, data: bytes) -> bool:
        """Pass `data` on; return False if nobody reads it any more, so that the command may learn of it."""
        wanted = True
        if self._through[stream]:
            try:
                write_all(stream, data)
            except BrokenPipeError:
                wanted = False
            except OSError as error:
                self._through[stream] = False
                warn(f"the command's output cannot be passed on any more: {reason_of(error)}")
        if self.log is not None:
            self._write_log(data)
        if self.lines is not None:
            self.lines.take(stream, data)
        self.scanner.take(stream, data)
        return wanted

    def _write_log(self, data: bytes) -> None:
        assert self.log is not None
        try:
            write_all(self.log.fileno(), data)
        except OSError as error:
            warn(f"the log file {self.log.name} is cut short: {reason_of(error)}")
            self.log = None


def write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:  # somebody made the terminal non-blocking
            import select

            select.select([], [descriptor], [])


def not_started(name: str, error: Exception) -> Ended:
    """Return the end of a command that never began, with the exit code that a shell would give."""
    if isinstance(error, FileNotFoundError):
        ended = Ended(127, trouble=f"command not found: {name}")
    else:
        ended = Ended(126, trouble=f"command cannot be run: {name}: {reason_of(error)}")
    complain(ended.trouble)
    return ended


def pump(process: subprocess.Popen[bytes], output: Output, signals: Signals) -> tuple[int, float, float]:
    """Pass the output on until its end and the command's.

    Returns the command's wait status, its CPU time in seconds, and when (by the monotonic clock) it was over.
    """
    import selectors

    status, cpu, over_at = -1, 0.0, 0.0
    with selectors.DefaultSelector() as selector:
        selector.register(signals.wake_fd, selectors.EVENT_READ, 0)
        for number, pipe in ((1, process.stdout), (2, process.stderr)):
            if pipe is not None:
                selector.register(pipe, selectors.EVENT_READ, number)
        while len(selector.get_map()) > 1:
            ready = selector.select(SILENCE_SECONDS if over_at else None)
            if over_at and (not ready or time.monotonic() > over_at + LINGER_SECONDS):
                break  # a process in the background holds the pipe
            for key, _ in ready:
                if key.data == 0:
                    signals.drain()
                elif not pass_on(key.fd, key.data, output):
                    selector.unregister(key.fileobj)
                    key.fileobj.close()  # type: ignore[union-attr]
            if not over_at:
                status, cpu = wait_for(process.pid, os.WNOHANG)
                over_at = time.monotonic() if status >= 0 else 0.0
                if over_at:
                    signals.over()
    if not over_at:
        status, cpu = wait_for(process.pid, 0)
        over_at = time.monotonic()
        signals.over()
    return status, cpu, over_at


def pass_on(descriptor: int, stream: int, output: Output) -> bool:
    """Pass on what can be read now; return False at the end of the stream or when nobody wants more."""
    data = os.read(descriptor, READ_BYTES)
    return bool(data) and output.take(stream, data)


def wait_for(child: int, how: int) -> tuple[int, float]:
    """Return (wait status, seconds of CPU time of the command and its children), or (-1, 0) while it runs."""
    found, status, usage = os.wait4(child, how)
    return (status, usage.ru_utime + usage.ru_stime) if found else (-1, 0.0)


def execute(command: Sequence[str], environ: Mapping[str, str], output: Output, signals: Signals) -> Ended:
    """Run `command` to its end and tell how it ended. Never raises for what the command does."""
    import subprocess

    clock = time.monotonic()
    stderr = subprocess.STDOUT if output.together else subprocess.PIPE
    try:
        process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=stderr, bufsize=0)
    except (OSError, ValueError) as error:
        signals.over()
        over_at = clock
        ended = not_started(command[0], error)
    else:
        signals.started(process.pid)
        status, cpu, over_at = pump(process, output, signals)
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        ended = Ended(128 + number if number else os.WEXITSTATUS(status), number)
        ended.compute_ms = int(cpu * 1000)
        process.returncode = ended.code  # it has been waited for
    output.scanner.close()
    ended.stopped_by = signals.stopped_by
    ended.finished = time.time() - (time.monotonic() - over_at)
    ended.runtime_ms = int((over_at - clock) * 1000)
    return ended


# ----------------------------------------------------------------------------------------------------------------------
# 13 Results and verdict: what the command wrote, how it ended, what its output said
# ----------------------------------------------------------------------------------------------------------------------

_OURS: tuple[str, ...] = ("category", "uniqueid", "start_time", "finish_time", "exit_code", "reason")
_OURS += ("type", "regression", "body")  # these would turn the body into something else
_UNFIT = ("progress", "log", "time_limit_ms")  # of no use in a finish, and a wrong form would get it refused
_TEXTS: tuple[str, ...] = ("bucket", "build", "config", "extid", "host", "jobdir", "name", "phase", "results")
_TEXTS += ("seed", "sourcecode", "testgroup", "username")


class ResultsFile:
    """A private place where the command may write a JSON object; `path` is "" if there is none."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        root = environ.get("TMPDIR") or "/tmp"  # noqa: S108  the folder made in it is new and private
        self._folder = os.path.join(root, f"simscope-{os.getpid()}-{os.urandom(6).hex()}")
        self.path = os.path.join(self._folder, "results.json")
        try:
            os.mkdir(self._folder, 0o700)
        except OSError as error:
            self.path = ""
            warn(f"no results file: {root}: {reason_of(error)}")

    def read(self) -> dict[str, Any]:
        """Return the object that the command wrote; any other text as its results; {} for nothing but blanks, and,
        with a warning, for what cannot be read."""
        if not self.path or not os.path.lexists(self.path):
            return {}
        try:
            if not os.path.isfile(self.path):
                raise UsageError("is no ordinary file")
            with open(self.path, "rb") as stream:
                data = stream.read(RESULTS_BYTES + 1)
            if len(data) > RESULTS_BYTES:
                raise UsageError(f"is larger than {RESULTS_BYTES // 1024} KiB")
        except (OSError, SimscopeError) as error:
            warn(f"the results file is not used: {reason_of(error) if isinstance(error, OSError) else error}")
            return {}
        return read_results(data.decode("utf-8-sig", "replace"))

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self.path)
        try:
            os.rmdir(self._folder)
        except OSError:  # the command left more in it, or there is none
            import shutil

            shutil.rmtree(self._folder, ignore_errors=True)


def read_results(text: str) -> dict[str, Any]:
    """Return the JSON object in a text; what is none, but for blanks, is the job's results, as it is."""
    try:
        found = parse_json(text, "the text")
        if isinstance(found, dict):
            return found
    except UsageError as error:
        if text.lstrip().startswith("{"):
            warn(f"the results file is taken as plain text: {error}")
    if len(compact(text)) > 2 * RESULTS_BYTES:
        warn("the results file is not used: is no text")
        return {}
    return {"results": text[:-1] if text.endswith("\n") else text} if text.strip() else {}


def as_count(value: Any) -> int:
    """Return a whole number of at least 0 that fits 64 bits, given as a number or as text; else raise ValueError."""
    number = int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,19}", value) else value
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 2**63:
        raise ValueError("a whole number of at least 0")
    return number


def as_duration(value: Any) -> int:
    number = as_count(value)
    if number > DURATION_MS:
        raise ValueError("milliseconds, at most 24 days")
    return number


def as_pairs(value: Any) -> list[list[str]]:
    """Return metadata, given as an object or a list of pairs, as a list of [name, text]; else raise ValueError."""
    items = list(value.items()) if isinstance(value, dict) else value
    if not isinstance(items, list) or not all(isinstance(item, (list, tuple)) and len(item) == 2 for item in items):
        raise ValueError("an object, or a list of [name, value]")
    return [[as_text(name), as_text(text)] for name, text in items]


def as_object_of_texts(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError("an object")
    return {name: as_text(text) for name, text in value.items()}


def as_files(value: Any) -> list[dict[str, Any]]:
    """Return a list of files, each given as a path or as {kind, name, path, size, sha256}; else raise ValueError."""
    if not isinstance(value, list):
        raise ValueError("a list of paths or of {kind, name, path}")
    return [as_file({"path": item} if isinstance(item, str) else item) for item in value]


def as_file(item: Any) -> dict[str, Any]:
    if not isinstance(item, dict) or not isinstance(item.get("path"), str):
        raise ValueError("a list of paths or of {kind, name, path}")
    entry = dict(item)
    entry["path"] = os.path.abspath(item["path"])
    entry["name"] = as_text(item.get("name") or os.path.basename(item["path"]))
    entry["kind"] = as_text(item.get("kind") or "file")
    if "size" in entry:
        entry["size"] = as_count(entry["size"])
    if "sha256" in entry:
        entry["sha256"] = as_text(entry["sha256"])
    return entry


_RESULT_FIELDS: dict[str, Callable[[Any], Any]] = {
    "cycles": as_count,
    "compute_ms": as_duration,
    "runtime_ms": as_duration,
    "metadata": as_pairs,
    "env": as_object_of_texts,
    "files": as_files,
}
_RESULT_FIELDS.update(dict.fromkeys(_TEXTS, as_text))


def merge_results(finish: dict[str, Any], found: Mapping[str, Any]) -> None:
    """Put what the command wrote into the finish. What the daemon would refuse is left out, with a warning."""
    for name, value in found.items():
        if name in ("result", "fail_message") or value is None:
            continue
        if name in _OURS or name in _UNFIT:
            warn(f"the results file may not set {name}")
            continue
        try:
            accepted = _RESULT_FIELDS[name](value) if name in _RESULT_FIELDS else value
        except ValueError as error:
            warn(f"the results file: {name} is {as_text(value)[:100]!r} (accepted: {error})")
            continue
        if name == "metadata":
            accepted = merge_pairs(finish.get(name, []), accepted)
        elif name == "files":
            accepted = finish.get(name, []) + accepted
        finish[name] = accepted


def merge_pairs(old: list[list[str]], new: list[list[str]]) -> list[list[str]]:
    """Return both lists as one, the later value where a name stands twice."""
    return [[name, value] for name, value in {**dict(old), **dict(new)}.items()]


def ending_text(ended: Ended) -> str:
    """Return in words how a command failed by its exit status, "" if it did not."""
    if ended.trouble:
        return ended.trouble
    if ended.signal or ended.stopped_by:
        return "killed by " + signal_name(ended.signal or ended.stopped_by)
    if 128 < ended.code < 128 + 65:  # what a shell says of a command that a signal killed
        return f"exit code {ended.code} ({signal_name(ended.code - 128)})"
    return f"exit code {ended.code}" if ended.code else ""


def verdict(ended: Ended, scanner: Scanner, found: Mapping[str, Any], wants_pass: bool) -> tuple[str, str]:
    """Return (result, fail_message): a failure by any of the signs is one, the clearest words for it win."""
    said = found.get("result")
    if said not in (None, "pass", "fail", "skip"):
        warn(f"the results file: result is {as_text(said)[:100]!r} (accepted: pass, fail, skip)")
        said = None
    words = as_text(found.get("fail_message") or "")
    ending = ending_text(ended)
    if not ending and wants_pass and not scanner.passed:
        ending = "no line matches a pass pattern"
    if not (ending or scanner.failure or said == "fail" or (words and said is None)):
        return ("skip" if said == "skip" else "pass"), ""
    if words or (scanner.failure and not (ending and scanner.failure in _DEATHS)):
        return "fail", words or scanner.failure
    return "fail", "\n".join(filter(None, [ending or "the results file says fail", scanner.tail()]))


def finish_body(
    live: Mapping[str, Any], ended: Ended, scanner: Scanner, found: Mapping[str, Any], wants_pass: bool
) -> dict[str, Any]:
    """Return the job-finish that ends the job-live `live`."""
    finish = dict(live)
    finish.update(
        finish_time=rfc3339(ended.finished),
        runtime_ms=min(ended.runtime_ms, DURATION_MS),
        compute_ms=min(ended.compute_ms, DURATION_MS),
        exit_code=ended.code,
    )
    merge_results(finish, found)
    finish["result"], finish["fail_message"] = verdict(ended, scanner, found, wants_pass)
    if ended.stopped_by or signal_name(ended.signal) in (*_STOPS, "SIGKILL"):
        finish["reason"] = "killed"
    cleaned: dict[str, Any] = clean(finish)
    return cleaned


# ----------------------------------------------------------------------------------------------------------------------
# 14 Reporting beside the run: a thread sends, the command never waits for it
# ----------------------------------------------------------------------------------------------------------------------


class Reporter:
    """Sends the live message, repeats it as a heartbeat and with new log lines, and sends the finish.

    What cannot be sent is kept in the backlog: the live message without lines, and the finish with the last lines.
    """

    def __init__(
        self,
        destination: Spool | Server,
        backlog: Backlog,
        regression: str,
        live: Mapping[str, Any],
        lines: LogLines | None,
        heartbeat: float,
        patience: float,
    ) -> None:
        """`heartbeat` (0: none) and `patience` (how long the end of the run may wait for the finish) are seconds."""
        self._destination = destination
        self._backlog = backlog
        self._regression = regression
        self._body = live
        self._live = self._message("job-live", live)
        self._finish: Message | None = None
        self._lines = lines
        self._streaming = lines is not None
        self._heartbeat = heartbeat
        self._looked_at = self._sent_at = 0.0  # when the output was looked at, and a live message sent
        self._patience = patience
        self._ended = threading.Event()  # the finish is there
        self._settled = threading.Event()  # the finish was sent, kept or refused
        self._lock = threading.Lock()  # over the next three
        self._sent = False
        self._kept_live: str | None = None
        self._kept_finish: str | None = None
        self._warned: set[str] = set()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def _message(self, kind: str, body: Mapping[str, Any]) -> Message:
        return Message(kind, self._regression, compact(body), "run")

    def start(self) -> None:
        try:
            self._thread.start()
        except RuntimeError as error:  # no more threads for this user: all the finish can do is wait for the next call
            warn(f"nothing is sent during the run: {error}")
            self._patience = 0

    def finish(self, body: Mapping[str, Any], keep_first: bool) -> None:
        """Send the finish, or keep it if that outlasts our patience; `keep_first` if we may be killed meanwhile."""
        last = self._lines.last() if self._lines is not None else None
        self._finish = self._message("job-finish", body if last is None else {**body, "log": last})
        self._ended.set()
        if keep_first:
            self._keep_finish()
        if not self._settled.wait(self._patience):
            self._trouble(f"{self._destination.key} does not answer", "the finish", self._keep_finish())
        elif self._thread.is_alive():
            self._thread.join(BACKLOG_SECONDS + 1)

    def _work(self) -> None:
        """Everything that may block, in the order of a job's life."""
        if self._send_live():
            self._resend(self._ended.is_set)  # for as long as this job has nothing to say
        while not self._ended.wait(self._idle()):
            self._looked_at = time.monotonic()
            beat = self._heartbeat and self._looked_at >= self._sent_at + self._heartbeat
            parcel = self._lines.parcel() if self._streaming and self._lines is not None else None
            if beat or parcel:
                self._send_live(parcel)
        if self._send_finish():
            self._resend(lambda: False)

    def _idle(self) -> float | None:
        """Return the seconds until the next heartbeat, or the next look at the output; None for ever."""
        due = [self._sent_at + self._heartbeat] if self._heartbeat else []
        if self._streaming and self._lines is not None:
            due.append(self._looked_at + self._lines.pause)
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _resend(self, stop: Callable[[], bool]) -> None:
        """Send what waits from earlier."""
        try:
            self._backlog.resend(self._destination, stop)
        except Exception as error:
            warn(f"the backlog was not sent: {error!r}")

    def _send_live(self, parcel: Mapping[str, Any] | None = None) -> bool:
        self._sent_at = time.monotonic()
        message = self._live if parcel is None else self._message("job-live", {**self._body, "log": parcel})
        try:
            self._deliver(message)
        except Refused as error:
            self._stop_live()  # nor will the next one be liked better
            lines = receipt_lines(error.problem, [message]) or [f"job-live was refused: {error}"]
            warn("; ".join(lines))
        except Exception as error:
            self._trouble(explain(error), "what this job has to say", self._keep_live())
        else:
            if parcel is not None and self._streaming and self._lines is not None:
                self._lines.arrived()
            return True
        return False

    def _stop_live(self) -> None:
        """Say no more until the finish, which tells the last lines."""
        self._heartbeat = 0.0
        self._streaming = False

    def _send_finish(self) -> bool:
        message = self._finish
        assert message is not None
        try:
            self._deliver(message)
        except Refused as error:
            lines = receipt_lines(error.problem, [message]) or [f"job-finish was refused: {error}"]
            kept = self._backlog.keep(self._destination.key, message, bad=str(error))
            warn("; ".join(lines) + ("; it is in the folder bad of the backlog" if kept else ""))
            self._forget()
        except Exception as error:
            self._trouble(explain(error), "the finish", self._keep_finish())
        else:
            self._forget()
        self._settled.set()
        return self._sent

    def _deliver(self, message: Message) -> None:
        receipt = self._destination.deliver([message])
        lines = receipt_lines(receipt, [message])
        for line in lines:
            self._warn_once(line, line)
        if lines:
            self._stop_live()  # ignored (live jobs are off, say), and so would be all others

    def _keep_live(self) -> bool:
        with self._lock:
            if self._kept_live is None:
                self._kept_live = self._backlog.keep(self._destination.key, self._live)
            return self._kept_live is not None

    def _keep_finish(self) -> bool:
        with self._lock:
            if not self._sent and self._kept_finish is None and self._finish is not None:
                self._kept_finish = self._backlog.keep(self._destination.key, self._finish)
            return self._sent or self._kept_finish is not None

    def _forget(self) -> None:
        """The finish has arrived: nothing of this job needs to be kept."""
        with self._lock:
            self._sent = True
            self._backlog.forget(self._kept_live)
            self._backlog.forget(self._kept_finish)

    def _trouble(self, why: str, what: str, kept: bool) -> None:
        self._warn_once("trouble", why + (f"; {what} is kept for the next call" if kept else ""))

    def _warn_once(self, about: str, text: str) -> None:
        if about not in self._warned:
            self._warned.add(about)
            warn(text)


def explain(error: Exception) -> str:
    """Return the sentence of one of our errors, and as much as possible of any other."""
    return str(error) if isinstance(error, SimscopeError) else repr(error)


# ----------------------------------------------------------------------------------------------------------------------
# 15 Snapshots: what the daemon answers, as values that do not change
# ----------------------------------------------------------------------------------------------------------------------

# A snapshot shows a thing as it was when it was asked for; ask again for how it is now. Fields are named as in the
# answers of the daemon; what a newer daemon tells besides is in `raw`. Times are aware datetimes in UTC, durations
# whole milliseconds. Two snapshots are equal if they agree in their texts, numbers and times.


def _part(read: Callable[[Any], Any], **default: Any) -> Any:
    """A field that is read from JSON by a function of its own, and that does not count when snapshots are compared."""
    return dataclasses.field(compare=False, repr=False, metadata={"read": read}, **default)


def _never(self: Any, *arguments: Any, **keywords: Any) -> Any:
    raise WrongType("a snapshot never changes; dict(…) and list(…) make copies that do")


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
        raise UsageError(f"the server answered what simscoped does not: {error!r}; is this its address?") from error


def snapshot(kind: type[T], document: Any, **more: Any) -> T:
    """Return a `kind` with the members of a JSON object that it has fields for, and with `more`.

    null and what is missing leave a field at its default. Raises UsageError for what is no object, or a wrong one.
    """
    if not isinstance(document, dict):
        raise UsageError(f"the server answered {json_kind(document)} instead of an object; is this simscoped?")
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
    """Return a file of a job's list; a hash that is none is left out."""
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


def is_number(value: Any, *kinds: type) -> bool:
    """Say whether a value is a number of one of these types; true and false are none."""
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
    raise error(f"{ref!r} is no job (accepted: a Job, or its id, a whole number)")


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
    raise error(f"{ref!r} is no regression (accepted: a Regression, its name, SERIES/$, or its id)")


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
    raise error(f"{name}={value!r} is not accepted; it takes a whole number of at least {least}, of up to 18 digits")


def check_seconds(name: str, value: Any, accepted: Callable[[float], bool], words: str) -> None:
    """Raise UsageError for a number of seconds that is not accepted, for any other type WrongType."""
    if not is_number(value, int, float) or not accepted(value):
        error = UsageError if is_number(value, int, float) else WrongType
        raise error(f"{name}={value!r} is not accepted; it takes {words}")


# ----------------------------------------------------------------------------------------------------------------------
# 16 Asking: connections that are kept, outages that are borne, streams that are taken up again
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
    """Raise UsageError for what is no time for waiting, which is None or a number of seconds."""
    if timeout is not None:
        check_seconds("timeout", timeout, lambda value: 0 <= value < 1e9, "seconds, 0 or more, or None")


def moment(timeout: float | None) -> float | None:
    """Return the moment of the monotonic clock that is `timeout` seconds away; None for None. Raises UsageError."""
    check_timeout(timeout)
    return None if timeout is None else time.monotonic() + timeout


def late(error: Unreachable) -> WaitTimeout:
    return WaitTimeout(f"the time that was given for waiting is over, and {error}")


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
            connection, used = self._connection(self.patience(wait))
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

    def patience(self, wait: float = 0.0) -> float:
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
        stream = Stream(self._caller.address, self._path(), self._caller.patience())
        self._caller.reached = True
        return stream

    def interrupt(self) -> None:
        """End the iteration, from whatever thread, also while the server is silent."""
        self.stop.set()
        if self._stream is not None:
            self._stream.interrupt()


# ----------------------------------------------------------------------------------------------------------------------
# 17 A window on a log
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
# 18 The client: what Python programs ask, wait for and follow
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
                raise WrongType(f"Client: {name} is a text (server: {DEFAULT_SERVER}), not {type(value).__name__}")
        check_seconds("timeout", timeout, lambda seconds: 0 < seconds < 1e6, "seconds above 0 and below a million")
        check_seconds("outage", outage, lambda seconds: seconds >= 0, "seconds, 0 or more")
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
        """Return a job as it is now. If there is none, raise NotFound, or return None with `missing_ok`."""
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
            raise UsageError("extend takes either by (a timedelta or seconds) or until (a datetime)")
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
        check_seconds("interval", interval, lambda value: value > 0, "seconds above 0")
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
                f"{refs!r} is not accepted; as_completed takes several jobs and regressions, such as a list"
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
                if strict or not isinstance(error.problem, dict):
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
            offset = max(offset, page["first_offset"]) if not lines else lines[-1].offset + 1
            if page["complete"] or (not follow and len(lines) < PAGE_LINES):
                return
            if follow and not lines and wait:
                if seconds_left(until) <= 0:
                    raise WaitTimeout(f"the log of job {number} is not complete in the time that was given")
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
            raise WrongType(f"on_update={on_update!r} is not accepted; it takes a function")
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
            raise WrongType(f"{file!r} is no file of a job (accepted: a JobFile, as files() gives them)")
        if hasattr(dest, "write"):
            self._fetch(file, functools.partial(write_to, dest))
            return None
        if not isinstance(dest, (str, bytes, os.PathLike)):
            raise WrongType(f"{dest!r} is not accepted; download takes a path or a binary stream")
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
            raise AlreadyThere(f"{path} is there already; a download never overwrites")
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
    when = f": {why}" if why is not None else " in the time that was given"
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
        raise WrongType(f"types={types!r} is not accepted; it takes a text, or a list of texts")
    return ",".join(several)


def check_event_types(named: str) -> None:
    """Raise UsageError for a type that begins as ours do and is none; families and foreign names are the server's."""
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
    words = "a timedelta or seconds, above 0 and at most 24 days"
    check_seconds("by", seconds, lambda value: 0 < value <= DURATION_MS / 1000, words)
    return max(1, round(float(seconds) * 1000))


def aware(when: Any) -> str:
    """Return an aware datetime as RFC 3339; raise UsageError for anything else."""
    if not hasattr(when, "utcoffset") or not hasattr(when, "timestamp"):
        raise WrongType(f"until={when!r} is not accepted; it takes a datetime with a zone")
    if when.utcoffset() is None:
        raise UsageError(f"until={when!r} is not accepted; it takes a datetime with a zone")
    return rfc3339(when.timestamp())


def safe_name(name: str) -> str:
    """Return a file name for a file of that name: what a job calls its files must not lead out of a folder."""
    base = os.path.basename(clean_text(name))
    if plain(base) != base or base in ("", ".", ".."):
        raise UsageError(f"{name!r} is no name for a file here; say where it shall go")
    return base


def write_to(stream: Any, data: bytes) -> None:
    """Write all to a stream of the caller's, which may take less at a time than it is given, and says so; raise
    CannotWrite or WrongType where it does not take the bytes."""
    try:
        while data:
            taken = stream.write(data)
            if is_number(taken, int) and taken <= 0:
                raise OSError("it takes nothing")
            data = data[taken:] if is_number(taken, int) else b""
    except TypeError as error:
        raise WrongType(f"{stream!r} is not accepted; download takes a path or a binary stream") from error
    except (OSError, ValueError) as error:  # full, read only, closed
        raise CannotWrite(f"the stream cannot be written: {reason_of(error)}") from error


def put_in_place(temporary: str, path: str) -> None:
    """Give a file its name, unless there is one of that name."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise AlreadyThere(f"{path} is there already; a download never overwrites") from None
    except OSError:  # a file system without links: the moment between the question and the rename has to be risked
        if os.path.lexists(path):
            raise AlreadyThere(f"{path} is there already; a download never overwrites") from None
        os.rename(temporary, path)


def check_digest(file: JobFile, digest: bytes, header: str) -> None:
    """Raise ChecksumMismatch unless a SHA-256 is what the server says and, if it does, what the job says."""
    import base64

    told = re.search(r"sha-256=:([A-Za-z0-9+/=]+):", header)
    if told and base64.b64decode(told.group(1)) != digest:
        raise ChecksumMismatch(f"{file.name} came over damaged: its SHA-256 is not what the server says")
    if file.hash is not None and file.hash.digest != digest:
        raise ChecksumMismatch(f"{file.name} is not the file that job {file.job_id} declared: its SHA-256 is another")


# ----------------------------------------------------------------------------------------------------------------------
# 19 For people: snapshots in, lines for a terminal out
# ----------------------------------------------------------------------------------------------------------------------

# All texts of jobs go through `plain`, here and nowhere else: what is written below this section is made of these
# lines, of JSON in ASCII, or of bytes that somebody asked for.

_COLOURS = {"pass": "32", "complete": "32", "fail": "31", "aborted": "31", "tanked": "35", "live": "36", "skip": "33"}


def emit(text: str) -> bool:
    """Write a line to standard output; a reader that has gone away is no error, but then return False."""
    check_output()
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except OSError as error:
        output_lost(error)
        return False
    except UnicodeEncodeError:  # a terminal that is not UTF-8
        return emit(text.encode("ascii", "replace").decode())
    return True


def check_output() -> None:
    """Raise CannotWrite where the program was started without a standard output."""
    if sys.stdout is None:
        raise CannotWrite("the standard output is closed")


def output_lost(error: OSError) -> None:
    """Let what is still written to standard output go nowhere; raise CannotWrite unless its reader has gone away."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if not isinstance(error, BrokenPipeError):
        raise CannotWrite(f"the standard output cannot be written: {reason_of(error)}") from error


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


def clock(ms: int | None) -> str:
    """Return milliseconds as M:SS or H:MM:SS, or as they are if they make no second."""
    if ms is None:
        return "-"
    if 0 <= ms < 1000:
        return f"{ms} ms"
    minutes, seconds = divmod(max(0, ms) // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


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
        return f"slow: {clock(job.raw['usual_ms'])} is usual"
    if job.done or job.progress is None:
        return ""
    of = f"/{job.progress.total:g}" if job.progress.total else ""
    return f"{job.progress.done:g}{of} {job.progress.unit or ''}".strip()


def jobs_table(jobs: Sequence[Job], width: int | None = None, *, of_one: bool = False) -> list[str]:
    """Return jobs as lines; `of_one` regression, which is then not told."""
    where = () if of_one else ("REGRESSION",)
    rows = [
        (
            *(job.id, job_state(job), clock(job.elapsed_ms), job.host, *((job.regression,) if where else ())),
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
    parts = [f"job {found.id}", job_state(found), clock(found.elapsed_ms), found.title, job_note(found)]
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
            value = clock(value) + (f" ({value} ms)" if value >= 1000 else "")
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
# 20 Commands that publish: options in, exit code out
# ----------------------------------------------------------------------------------------------------------------------


def publish_sources(kind: str, names: Sequence[str]) -> Sequence[str]:
    """Return the files to publish, none for a regr-finish without a body; raise UsageError if there is nothing."""
    if names or kind == "regr-finish":
        return names
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError(f"nothing to publish: {kind} needs a FILE, or - for the standard input")
    return ["-"]


def command_publish(options: Any) -> int:
    """Send the messages of all files; print what was refused or ignored; return the exit code."""
    regression = check_regression(options.regression or os.environ.get("SIMSCOPE_REGRESSION"))
    destination = choose_destination(options, os.environ)
    sources = publish_sources(options.type, options.files)
    files = [read_messages(options.type, regression, name) for name in sources]
    if not files:
        files = [[Message(options.type, regression, None, options.type)]]
    outcome, sent, total = EXIT_OK, 0, sum(map(len, files))
    for parcel in (parcel for messages in files for parcel in parcels(messages)):
        try:
            outcome = max(outcome, send_parcel(destination, parcel, options.json))
        except SimscopeError as error:
            missing = f"; {total - sent} of {total} messages not sent" if total > 1 else ""
            raise type(error)(str(error) + missing) from error
        sent += len(parcel)
    if outcome == EXIT_OK:
        Backlog(backlog_folder(os.environ)).resend(destination)
    return outcome


def send_parcel(destination: Spool | Server, parcel: Sequence[Message], as_json: bool) -> int:
    """Send messages together, report what the receipt says; return EXIT_OK or EXIT_NO."""
    outcome, document, lines = EXIT_OK, None, []
    try:
        document = destination.deliver(parcel)
        lines = receipt_lines(document, parcel)
        if document.get("rejected"):
            outcome = EXIT_NO
    except Refused as error:
        outcome, document = EXIT_NO, error.problem
        lines = receipt_lines(document, parcel) or [f"{parcel[0].source}: {error}"]
    for line in lines:
        complain(line)
    if as_json and document is not None:
        emit(compact(document))
    return outcome


def live_body(options: Any, command: Sequence[str], environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the job-live that says what is about to run."""
    import shlex
    import uuid

    command_line = " ".join(map(shlex.quote, command))
    extid, pairs = batch_job(environ)
    body = {
        "category": options.category,
        "uniqueid": options.uniqueid or str(uuid.uuid4()),
        "result": "live",
        "start_time": rfc3339(time.time()),
        "config": options.job_config or command_line,
        "seed": options.seed or guess_seed(command_line),
        "name": options.name,
        "build": options.build,
        "testgroup": options.testgroup,
        "jobdir": options.jobdir or current_folder(),
        "host": os.uname().nodename,
        "username": user_name(),
        "extid": extid,
        "time_limit_ms": options.time_limit,
        "metadata": merge_pairs(pairs, options.metadata),
        "rerun": command_line if options.job_config else None,  # else the config says it
    }
    cleaned: dict[str, Any] = clean({name: value for name, value in body.items() if value})
    return cleaned


def current_folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return ""


def open_log(path: str | None) -> BinaryIO | None:
    if path is None:
        return None
    try:
        return open(path, "wb", buffering=0)
    except OSError as error:
        raise UsageError(f"the log file {path} cannot be written: {reason_of(error)}") from error


def open_standard_streams() -> None:
    """Give the descriptors 0, 1 and 2 a meaning where they were closed, lest a pipe of ours takes their place."""
    while True:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor > 2:
            os.close(descriptor)
            return
        os.set_inheritable(descriptor, True)


def command_run(options: Any, command: Sequence[str]) -> int:
    """Run a command as a job; return the command's exit code, whatever becomes of the messages."""
    if not command:
        raise UsageError("no command: put -- and the command at the end")
    open_standard_streams()
    regression = check_regression(options.regression or os.environ.get("SIMSCOPE_REGRESSION"))
    destination = choose_destination(options, os.environ)
    log = open_log(options.log)
    scanner = Scanner(
        options.fail_pattern, options.pass_pattern, options.ignore_pattern, not options.no_default_patterns
    )
    signals = Signals()
    live = live_body(options, command, os.environ)
    results = ResultsFile(os.environ)
    backlog = Backlog(backlog_folder(os.environ))
    lines = None if options.no_stream else LogLines()
    patience = min(options.timeout + 2, FINISH_SECONDS)
    reporter = Reporter(destination, backlog, regression, live, lines, options.heartbeat, patience)
    reporter.start()
    environ = dict(os.environ, SIMSCOPE_REGRESSION=regression, SIMSCOPE_UNIQUEID=live["uniqueid"])
    if results.path:
        environ["SIMSCOPE_RESULTS_FILE"] = results.path
    ended = execute(command, environ, Output(scanner, log, lines, options.quiet), signals)
    try:
        if options.log:
            live["files"] = [log_entry(options.log)]
        finish = finish_body(live, ended, scanner, results.read(), bool(options.pass_pattern))
        reporter.finish(finish, keep_first=ended.stopped_by != 0)
    except Exception as error:
        warn(f"the finish was not published: {error!r}")
    finally:
        results.remove()
    return ended.code


def log_entry(path: str) -> dict[str, Any]:
    entry = as_file({"kind": "log", "path": path})
    with contextlib.suppress(OSError):
        entry["size"] = os.stat(path).st_size
    return entry


# ----------------------------------------------------------------------------------------------------------------------
# 21 Commands that watch: options in, exit code out
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
        return clock(value)
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
        raise UsageError(f"{options.name!r} is there in several kinds: choose with --kind {'|'.join(kinds)}")
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
    facts = [verdict_text(found), found.branch, f"running for {clock(found.elapsed_ms)}"]
    facts += [f"over at {brief(found.eta_at)}"] if found.eta_at else []
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
# 22 Command line
# ----------------------------------------------------------------------------------------------------------------------

_EXIT_CODES = """exit codes:
  0 done; passed; complete   1 a message is refused; a fail   2 wrong usage or configuration; no such file or thing
  3 the daemon cannot be reached   4 aborted, tanked or pruned   5 the time for waiting is over   130 Ctrl-C
  run ends with the exit code of its command

"simscope COMMAND --help" has examples; the top of simscope.py is the manual.
"""
_PUBLISH_EXAMPLES = """examples:
  simscope.py publish regr-start --regression myrun/123 --spool /farm/spool regr.json
  simscope.py publish job-finish --regression myrun/123 --server http://tracker:8040 a.json b.json
  make-results | simscope.py publish batch-job-finish --regression myrun/123 -
  simscope.py publish regr-finish --regression myrun/123
"""
_RUN_EXAMPLES = """examples:
  simscope.py run --regression myrun/123 -- ./simv +UVM_TESTNAME=smoke +ntb_random_seed=7
  simscope.py run --regression myrun/123 --category lint --name top --time-limit 15m -- make lint
  simscope.py run --regression myrun/123 --fail-pattern '^MISMATCH' --pass-pattern '^TEST PASSED' -- vvp test.vvp
"""
_TUNNEL_EXAMPLES = """example:
  simscope-tunnel --config=simscope-tunnel.conf --publish job-live --regression=myrun/123 job.json
"""


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
    "completion": ("bash", "zsh", "fish"),
}


def regular_expression(text: str) -> str:
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {error}") from error
    return text


def name_and_value(text: str) -> list[str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return [name, value]


def add_destination_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "where to send (an option beats the environment beats --config; spool beats server)"
    )
    group.add_argument("--regression", metavar="NAME", help="the regression, such as nightly/123 [SIMSCOPE_REGRESSION]")
    group.add_argument("--spool", metavar="DIR", help="folder that the daemon reads [SIMSCOPE_SPOOL]")
    group.add_argument("--server", metavar="URL", help="daemon, such as http://tracker:8040 [SIMSCOPE_SERVER]")
    group.add_argument("--token", metavar="T", help="for writing to the server [SIMSCOPE_TOKEN]")
    group.add_argument("--config", metavar="FILE", help='file of key = "value" lines: server, spool, token')
    group.add_argument(
        "--timeout", metavar="SECONDS", type=positive_seconds, default=10.0, help="patience with the server (10)"
    )


def add_server_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("whom to ask (an option beats the environment beats --config)")
    about = f"daemon, such as http://tracker:8040 [SIMSCOPE_SERVER] ({DEFAULT_SERVER})"
    group.add_argument("--server", metavar="URL", help=about)
    group.add_argument("--token", metavar="T", help="for extend [SIMSCOPE_TOKEN]")
    group.add_argument("--config", metavar="FILE", help='file of key = "value" lines: server, token')
    parser.add_argument("--json", action="store_true", help="print what the daemon says, one JSON object per line")


def add_publish_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="*", help="JSON, or NDJSON if named so; - is the standard input")
    parser.add_argument("--json", action="store_true", help="print receipts, one per line")
    add_destination_options(parser)


def add_run_options(parser: argparse.ArgumentParser) -> None:
    add_destination_options(parser)
    job = parser.add_argument_group("about the job")
    job.add_argument("--category", default="sim", help="kind of job (sim)")
    job.add_argument("--name", help="what people read")
    job.add_argument("--uniqueid", metavar="ID", help="identity in the regression (a random UUID)")
    job.add_argument(
        "--job-config", metavar="TEXT", help="what is run, for comparison with other runs (the command line)"
    )
    job.add_argument(
        "--seed", metavar="N", help="(guessed from +seed=N, -seed N, --seed=N, +ntb_random_seed=N, -sv_seed N)"
    )
    job.add_argument("--build", metavar="TEXT", help="configuration of the build")
    job.add_argument("--testgroup", metavar="TEXT")
    job.add_argument("--jobdir", metavar="DIR", help="run folder or URL (the current folder)")
    job.add_argument("--metadata", metavar="NAME=VALUE", type=name_and_value, action="append", default=[])
    job.add_argument(
        "--time-limit", metavar="TIME", type=duration_ms, help="such as 15m; judged by the daemon, run does not kill"
    )
    look = parser.add_argument_group("what fails (besides a non-zero exit code)")
    for name, text in (
        ("--fail-pattern", "a line with this fails the job, besides the default patterns"),
        ("--ignore-pattern", "a line with this does not fail the job"),
        ("--pass-pattern", "without a line with this the job fails; one of several is enough"),
    ):
        look.add_argument(name, metavar="RE", type=regular_expression, action="append", default=[], help=text)
    look.add_argument("--no-default-patterns", action="store_true", help="only --fail-pattern and the exit code")
    out = parser.add_argument_group("output and heartbeat")
    out.add_argument("--log", metavar="FILE", help="write the command's output to FILE too")
    out.add_argument("--quiet", action="store_true", help="do not pass the command's output on")
    out.add_argument("--no-stream", action="store_true", help="do not send the output to the daemon as the job's log")
    out.add_argument(
        "--heartbeat", metavar="SECONDS", type=seconds_or_never, default=60.0, help="repeat job-live (60); 0: never"
    )


def new_parser(**more: Any) -> argparse.ArgumentParser:
    more.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
    parser = argparse.ArgumentParser(allow_abbrev=False, **more)
    parser._negative_number_matcher = re.compile("-[0-9]")  # so that "-5m" is a wrong value, not a wrong option
    return parser


def publish_parser() -> argparse.ArgumentParser:
    parser = new_parser(prog="simscope publish", description="Send messages.", epilog=_PUBLISH_EXAMPLES)
    parser.add_argument("type", metavar="TYPE", choices=TYPES, help=", ".join(TYPES))
    add_publish_options(parser)
    return parser


def tunnel_parser() -> argparse.ArgumentParser:
    about = "The original publisher's command line."
    parser = new_parser(prog="simscope-tunnel", description=about, epilog=_TUNNEL_EXAMPLES)
    parser.add_argument("--version", action="version", version="simscope-tunnel " + __version__)
    parser.add_argument("--publish", dest="type", metavar="TYPE", choices=TYPES, required=True, help=", ".join(TYPES))
    add_publish_options(parser)
    return parser


def run_parser() -> argparse.ArgumentParser:
    usage = "simscope run --regression NAME [options] -- COMMAND..."
    parser = new_parser(prog="simscope run", usage=usage, description="Run a command as a job.", epilog=_RUN_EXAMPLES)
    add_run_options(parser)
    return parser


def publish_main(arguments: Sequence[str]) -> int:
    return command_publish(publish_parser().parse_intermixed_args(arguments))


def run_main(arguments: Sequence[str]) -> int:
    """Split off the command behind the first "--"."""
    cut = list(arguments).index("--") if "--" in arguments else len(arguments)
    return command_run(run_parser().parse_args(arguments[:cut]), arguments[cut + 1 :])


def positive(text: str) -> int:
    if not re.fullmatch("[0-9]{1,12}", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def number_from_0(text: str) -> int:
    if not re.fullmatch("[0-9]{1,12}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 0")
    return int(text)


def job_said(text: str) -> int:
    if not re.fullmatch("[0-9]{1,18}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no job's number")
    return int(text)


def positive_duration(text: str) -> int:
    ms = duration_ms(text)
    if ms < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration above 0")
    return ms


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
_WATCHING: dict[str, tuple[str, Callable[[Client, Any], int], Sequence[Any]]] = {
    "jobs": (
        "list jobs, newest first",
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
    "job": ("show a job", command_job, (_JOB,)),
    "regressions": (
        "list regressions, live ones first",
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
    "regression": ("show a regression", command_regression, (_NAME,)),
    "status": ("print the result of a job or the status of a regression", command_status, (_REF,)),
    "history": ("list what happened to a job or a regression", command_history, (_REF,)),
    "wait": (
        "wait until jobs or regressions are over; the exit code is the worst verdict",
        command_wait,
        (
            arg("refs", metavar="REF", nargs="+", help=_REF.keywords["help"]),
            arg(
                "--timeout", metavar="TIME", type=duration_ms, help="give up after this, such as 90s or 8h: exit code 5"
            ),
        ),
    ),
    "logs": (
        "print a job's log",
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
    "files": ("list the files that a job declares", command_files, (_JOB, _KIND)),
    "download": (
        "fetch a file of a job from below the daemon's file_roots; checks its SHA-256, never overwrites",
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
        "move a job's time limit",
        command_extend,
        (
            _JOB,
            arg("time", metavar="TIME", nargs="?", type=positive_duration, help="by how much: 90s, 30m, 1h30m, 2d"),
            arg("--until", metavar="TIME", type=moment_said, help="until when: 18:30 of here, or 2030-01-01T18:30:00Z"),
        ),
    ),
    "watch": (
        "show a regression live until it is over",
        command_watch,
        (_NAME, arg("--once", action="store_true", help="show it once, as it is now")),
    ),
}


def watch_parser(name: str) -> argparse.ArgumentParser:
    """Return the parser of a watching command."""
    about, _, arguments = _WATCHING[name]
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
        return _WATCHING[name][1](client, options)


def with_order_joined(arguments: Sequence[str]) -> list[str]:
    """Return arguments with "--sort -runtime" as one word: argparse takes what begins with - for an option."""
    joined: list[str] = []
    for word in arguments:
        if joined and joined[-1] == "--sort" and word.startswith("-"):
            joined[-1] += "=" + word
        else:
            joined.append(word)
    return joined


# Each command: what it does, how it is called with its arguments, its parser.
Command = collections.namedtuple("Command", "about call parser")
COMMANDS: dict[str, Any] = {
    "publish": Command("send messages", publish_main, publish_parser),
    "run": Command("run a command as a job", run_main, run_parser),
    **{
        name: Command(about, functools.partial(watch_main, name), functools.partial(watch_parser, name))
        for name, (about, _, _) in _WATCHING.items()
    },
}


# ----------------------------------------------------------------------------------------------------------------------
# 23 Completion: the parsers of all commands in, a script for a shell out
# ----------------------------------------------------------------------------------------------------------------------

_FOLDERS = ("DIR",)
_FILES = ("FILE", "FILE", "DEST")
_PROGRAMS = ("simscope", "simscope.py")


def completable(name: str) -> Iterator[tuple[list[str], str, str, Sequence[str], bool]]:
    """Yield (names, help, metavar, choices, repeats) of each argument of a command; names are empty for a positional
    one, the metavar is empty for a flag."""
    words = {one.names: one.words for one in _WATCHING[name][2]} if name in _WATCHING else {}
    for action in COMMANDS[name].parser()._actions:
        metavar = "" if action.nargs == 0 else str(action.metavar or action.dest.upper())
        choices = list(action.choices or words.get(tuple(action.option_strings), ()))
        about, repeats = (action.help or "").replace("%%", "%"), action.nargs in ("*", "+")
        yield list(action.option_strings), about, metavar, choices, repeats


def shell_word(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def bash_completion() -> str:
    """Return a function for bash: the command first, then its options, what they take, and its choices."""
    values, words = [], []
    for name in COMMANDS:
        own: list[str] = []
        fill = ""
        for options, _, metavar, choices, _ in completable(name):
            own += options or choices
            if options and metavar:
                how = f"words={shell_word(' '.join(choices))}" if choices else f"fill={_bash_files(metavar)}"
                values += [f"        {shell_word(f'{name} {option}')}) {how} ;;" for option in options]
            elif not options and not choices:
                fill = _bash_files(metavar) or fill
        words.append(f"        {name}) words={shell_word(' '.join(own))} fill={fill} ;;")
    return _BASH.format(
        commands=" ".join(COMMANDS), values="\n".join(values), words="\n".join(words), programs=" ".join(_PROGRAMS)
    )


def _bash_files(metavar: str) -> str:
    return "-d" if metavar in _FOLDERS else "-f" if metavar in _FILES else ""


_BASH = """# bash completion of simscope; made by "simscope completion bash"
_simscope() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} command=${{COMP_WORDS[1]}}
    local words= fill= IFS=$' \\t\\n'
    COMPREPLY=()
    if [[ $COMP_CWORD -eq 1 ]]; then
        COMPREPLY=($(compgen -W '--help --version {commands}' -- "$word"))
        return
    fi
    case "$command $before" in
{values}
        *) before= ;;
    esac
    if [[ -z $before ]]; then
        case "$command" in
{words}
        esac
    fi
    [[ -n $words ]] && COMPREPLY=($(compgen -W "$words" -- "$word"))
    if [[ -n $fill ]]; then
        local IFS=$'\\n'
        COMPREPLY+=($(compgen "$fill" -- "$word"))
        compopt -o filenames 2>/dev/null
    fi
}}
complete -F _simscope {programs}
"""


def zsh_completion() -> str:
    """Return a function for zsh, made of its own _describe and _arguments."""
    cases = []
    for name in COMMANDS:
        lines: list[str] = []
        place = 0
        for options, about, metavar, choices, repeats in completable(name):
            what = f"({' '.join(choices)})" if choices else _zsh_files(metavar)
            taken = f":{_zsh_text(metavar)}:{what}" if metavar else ""
            place += not options
            text = f"[{_zsh_text(about)}]"
            lines += [f"{option}{text}{taken}" for option in options] or [("*" if repeats else str(place)) + taken]
        specs = " \\\n            ".join(map(shell_word, lines))
        cases.append(f"        {name})\n            _arguments -s {specs} ;;")
    commands = "\n        ".join(shell_word(f"{name}:{command.about}") for name, command in COMMANDS.items())
    return _ZSH.format(commands=commands, cases="\n".join(cases), programs=" ".join(_PROGRAMS))


def _zsh_text(text: str) -> str:
    return re.sub(r"([\[\]:\\])", r"\\\1", text)


def _zsh_files(metavar: str) -> str:
    return "_files -/" if metavar in _FOLDERS else "_files" if metavar in _FILES else " "


_ZSH = """#compdef {programs}
# zsh completion of simscope; made by "simscope completion zsh"
_simscope() {{
    local -a commands
    commands=(
        {commands}
    )
    if (( CURRENT == 2 )); then
        [[ $PREFIX == -* ]] && compadd -- --help --version || _describe command commands
        return
    fi
    local command=$words[2]
    shift words
    (( CURRENT-- ))
    case $command in
{cases}
    esac
}}
if [[ $funcstack[1] == _simscope ]]; then
    _simscope "$@"
else
    compdef _simscope {programs}
fi
"""


def fish_completion() -> str:
    """Return the lines for fish: one for each command, and one for each option of it."""
    lines = ['# fish completion of simscope; made by "simscope completion fish"']
    for program in _PROGRAMS:
        first = f"complete -c {program} -n __fish_use_subcommand"
        lines.append(f"{first} -f -l version -d 'show the version'")
        for name, command in COMMANDS.items():
            lines.append(f"{first} -f -a {name} -d {_fish_word(command.about)}")
            start = f"complete -c {program} -n '__fish_seen_subcommand_from {name}'"
            lines += [start + _fish_argument(*argument) for argument in completable(name)]
    return "\n".join(lines)


def _fish_argument(options: Sequence[str], about: str, metavar: str, choices: Sequence[str], _: bool) -> str:
    names = "".join(f" -l {option[2:]}" if option.startswith("--") else f" -s {option[1:]}" for option in options)
    files = metavar in _FOLDERS + _FILES
    if not metavar:
        return f" -f{names} -d {_fish_word(about)}"
    values = (
        f" -a {_fish_word(' '.join(choices))}"
        if choices
        else " -a '(__fish_complete_directories)'" * (metavar in _FOLDERS)
    )
    needs = (" -r" + ("" if files else " -f")) if options else (" -F" if files else " -f")
    return f"{needs}{names}{values} -d {_fish_word(about)}"


def _fish_word(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def completion_parser() -> argparse.ArgumentParser:
    examples = (
        "examples:\n"
        '  eval "$(simscope completion bash)"                                  in ~/.bashrc\n'
        '  simscope completion zsh > "${fpath[1]}/_simscope"                   once\n'
        "  simscope completion fish > ~/.config/fish/completions/simscope.fish once\n"
    )
    about = "Print what a shell needs to complete commands and options."
    parser = new_parser(prog="simscope completion", description=about, epilog=examples)
    parser.add_argument("shell", metavar="SHELL", choices=tuple(SHELLS), help=", ".join(SHELLS))
    return parser


def completion_main(arguments: Sequence[str]) -> int:
    emit(SHELLS[completion_parser().parse_args(arguments).shell]().rstrip())
    return EXIT_OK


SHELLS = {"bash": bash_completion, "zsh": zsh_completion, "fish": fish_completion}
COMMANDS["completion"] = Command("print completions for a shell", completion_main, completion_parser)


# ----------------------------------------------------------------------------------------------------------------------
# 24 The entry points
# ----------------------------------------------------------------------------------------------------------------------


def main_parser() -> argparse.ArgumentParser:
    about = "Tell simscoped about simulation jobs, and watch them."
    form = argparse.RawTextHelpFormatter
    parser = new_parser(prog="simscope", description=about, epilog=_EXIT_CODES, formatter_class=form)
    parser.add_argument("--version", action="version", version="simscope " + __version__)
    about = "\n".join(f"{name:<12} {command.about}" for name, command in COMMANDS.items())
    parser.add_argument("command", metavar="COMMAND", choices=tuple(COMMANDS), help=about)
    return parser


def choose_command(arguments: Sequence[str]) -> int:
    """Call the command that is named first, with what follows."""
    if arguments and arguments[0] in COMMANDS:
        code: int = COMMANDS[arguments[0]].call(arguments[1:])
        return code
    main_parser().parse_args(arguments[:1])  # help, version, or what is wrong
    return EXIT_USAGE


def guarded(program: str, action: Callable[[], int]) -> int:
    """Run `action`; this is the one place where errors become exit codes."""
    try:
        return action()
    except SimscopeError as error:
        complain(f"error: {error}", program)
        return error.exit_code
    except OSError as error:  # the folder that we stand in was removed, say
        complain(f"error: {error}", program)
        return EXIT_USAGE
    except SystemExit as error:  # argparse has printed its say
        return error.code if isinstance(error.code, int) else EXIT_USAGE
    except KeyboardInterrupt:
        return 130


def is_tunnel_form(arguments: Sequence[str]) -> bool:
    """Say whether the options are the tunnel's: no command in front, and --publish among them."""
    options = any(item == "--publish" or item.startswith("--publish=") for item in arguments)
    return options and arguments[0].startswith("-")


def tunnel_main(argv: Sequence[str] | None = None) -> int:
    """Entry point of simscope-tunnel; `argv` is without the program's name."""
    arguments = sys.argv[1:] if argv is None else argv
    return guarded("simscope-tunnel", lambda: command_publish(tunnel_parser().parse_intermixed_args(arguments)))


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of simscope; `argv` is without the program's name."""
    arguments = sys.argv[1:] if argv is None else argv
    called = os.path.basename(sys.argv[0]) if argv is None and sys.argv else ""
    if called.startswith("simscope-tunnel") or is_tunnel_form(arguments):
        return tunnel_main(arguments)
    return guarded("simscope", lambda: choose_command(arguments))


if __name__ == "__main__":
    sys.exit(main())
