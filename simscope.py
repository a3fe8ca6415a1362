#!/usr/bin/env python3
"""simscope: tell simscoped about simulation jobs, and watch them.

Standard library only, Python 3.8 or newer, Linux or another Unix. This one file is all that the hosts of the farm need:
copy it there and run it. Watching needs simscope_client.py beside it, which is loaded when it is used.

COMMANDS THAT PUBLISH

  simscope.py publish TYPE --regression NAME [FILE...|-]
      sends messages. TYPE is regr-start, regr-update, regr-finish, job-live, job-finish, batch-job-live or
      batch-job-finish. A FILE holds one JSON object, or for the batch types an array of them; a file named
      *.ndjson or *.jsonl holds one object per line. "-" is the standard input, which is also read when no file is
      named and it is not a terminal. regr-finish needs no body. All files are checked before the first one is sent.

  simscope.py run --regression NAME [options] -- COMMAND...
      runs COMMAND as one job: publishes job-live, lets the output through, looks for failures in it, publishes
      job-finish, and ends with COMMAND's own exit code (128 + n if signal n killed it, 127 not found, 126 not
      runnable).

  simscope-tunnel --config=FILE --publish TYPE --regression=NAME FILE
      the form of the original tool, for scripts that have it already; simscope.py understands it too.

  simscope.py completion bash|zsh|fish
      prints completions for a shell: of the commands below too, where the file that they need is there.

COMMANDS THAT WATCH, with simscope_client.py beside this file

  jobs, regressions                 lists, newest first (of regressions the live ones first)
  job ID, regression NAME           all that is known of one
  status REF, history REF           its result in a word; what happened to it
  wait REF... [--timeout TIME]      until all are over; the exit code is the worst verdict
  logs ID [--follow]                its log
  files ID, download ID NAME        its files; a download is checked by its SHA-256 and never overwrites
  extend ID TIME|--until TIME       moves its time limit
  watch NAME                        a live view of a regression, until it is over

  A REF that is a number is a job's id; anything else is a regression's name, or SERIES/$ for the latest of a series.
  They print tables or lines for people; on a terminal wait and watch draw in place, elsewhere they print a line when
  something has changed. --json prints the daemon's own objects, one a line. What jobs have written is shown without
  control characters and escape sequences. An outage or a restart of the daemon does not end wait, watch and logs
  --follow, once it has answered.

THE PYTHON CLIENT, also with simscope_client.py beside this file

  from simscope import Client; docs/client.md tells it all.

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
  not a terminal, so a program that buffers pipes may want `stdbuf -oL`. SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1
  and SIGUSR2 are passed on; Ctrl-C at a terminal reaches the command by itself. After one of the first four the
  finish says reason "killed".
  When the command is over but a background process of it still holds the output open, run waits until that has
  been silent for 1s (30s at most).
  The job fails on a non-zero exit code or on a line that looks like a failure (section 9 lists the patterns,
  --help the options to change them): simulators often exit 0 after an error.
  The output is also sent to the daemon as the job's log, in parcels every 2s to 10s and the last lines with the
  finish (--no-stream: not at all). What is too much is left out, older lines first, and a line says how much: at
  most 2,000 lines or 128 KiB go at once, 512 KiB wait in memory. Only the log is cut, never the output itself.
  The job-live is repeated every 60s as a sign of life (--heartbeat), and tells the ids of Slurm, LSF, SGE or PBS.
  Nothing else is measured or sent.
  The command finds in its environment SIMSCOPE_REGRESSION, SIMSCOPE_UNIQUEID and SIMSCOPE_RESULTS_FILE. It may
  write a JSON object to that file: result, fail_message, cycles, metadata (object or list of pairs), files,
  results (any text), env, and any field of its own; they go into the finish. Its result counts only for the
  worse: fail beats skip beats pass, and a fail_message without a result is a fail. Any other text in the file is the
  job's results as it stands.
  Nothing that happens to the tracker (folder missing, server down or slow, wrong token) touches the command:
  there is one warning on standard error, and the messages are kept in the backlog. A server that does not answer
  holds up the end of the run by 5s at most.

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
  1 a message is refused, by the server or because it is not valid; what was waited for has a fail
  2 wrong usage or configuration, an input file that is missing; no such job or regression
  3 the daemon cannot be reached
  4 what was waited for is aborted, tanked or pruned
  5 wait --timeout has passed
  130 Ctrl-C
  A wrong token is configuration: 2. A message that was ignored (say, live jobs are switched off) is not an error: 0.

SECTIONS, in the order data flows

  What goes out:     1 limits and errors   2 text, JSON, times   3 messages   4 configuration file
  5 files that appear at once   6 HTTP   7 destinations   8 backlog   9 failures in the output
  10 what the host knows   11 the output as log lines   12 running the command   13 results and verdict
  14 reporting beside the run
  For people:        15 commands that publish   16 the other file   17 command line   18 completion
  19 the entry points
"""

from __future__ import annotations

__version__ = "0.2.0"

import argparse
import collections
import contextlib
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
    from typing import Any, BinaryIO, Callable, Iterator, Mapping, Sequence, TypeVar

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
    """There is no such job, regression or file (404)."""

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
    """A file does not hold a message: it is not JSON, or does not fit the type. Nothing was sent."""

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


class ClientMissing(UsageError, ImportError):
    """What is asked for is in simscope_client.py, and that file is not here, or is of another version."""


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
_SURROGATES = "[\ud800-\udfff]"
_DURATION = r"(\d+(?:\.\d+)?)(ms|s|m|h|d|)"
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
    return re.sub(_SURROGATES, "\ufffd", text.replace("\0", ""))


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
_ORDERS = r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[ -/]*[0-Z\\^-~])"
_CONTROLS = "[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"


def plain(text: str) -> str:
    """Return one line of `text` as it may be shown on a terminal, whoever wrote it: nothing in it gives orders."""
    return re.sub(_CONTROLS, "", re.sub(_ORDERS, "", text) if "\x1b" in text else text)


def as_text(value: Any) -> str:
    """Return any JSON value as text: strings as they are, everything else as JSON writes it."""
    return value if isinstance(value, str) else compact(value)


def rfc3339(seconds: float) -> str:
    """Return seconds since 1970 as RFC 3339 in UTC with milliseconds."""
    whole, milli = divmod(int(seconds * 1000), 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{milli:03d}Z"


def duration_ms(text: str) -> int:
    """Read 90, 90s, 15m, 1.5h, 1h30m, 250ms or 2d as milliseconds; a bare number is seconds."""
    parts = re.findall(_DURATION, text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration (accepted: 90, 90s, 15m, 1h30m, 250ms, 2d)")
    total = round(sum(float(number) * _UNIT_MS[unit] for number, unit in parts))
    if total > DURATION_MS:
        raise argparse.ArgumentTypeError(f"{text!r} is longer than 24 days")
    return total


def seconds_said(text: str) -> float:
    """Return a text as a number of seconds, or -1 if it is not one."""
    try:
        seconds = float(text)
    except ValueError:
        return -1.0
    return seconds if seconds < 1e6 else -1.0


def positive_seconds(text: str) -> float:
    seconds = seconds_said(text)
    if seconds <= 0:
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0, not {text!r}")
    return seconds


def seconds_or_never(text: str) -> float:
    seconds = seconds_said(text)
    if seconds < 0:
        raise argparse.ArgumentTypeError(f"must be a number of seconds, 0 or more (0: never), not {text!r}")
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
        raise UsageError("the regression is not named: give --regression NAME, or set SIMSCOPE_REGRESSION")
    if len(name) > NAME_CHARACTERS:
        raise UsageError(f"the regression name has {len(name)} characters (accepted: 1 to {NAME_CHARACTERS})")
    if re.search("[\x00-\x1f\x7f-\x9f]", name):
        raise UsageError(f"the regression name {name!r} contains a control character")
    if re.search(_SURROGATES, name):
        raise UsageError(f"the regression name {name!r} is not UTF-8 text")
    return name


def read_file(path: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {reason_of(error)}") from error


def read_standard_input() -> bytes:
    if sys.stdin is None:
        raise UsageError("the standard input is closed")
    try:
        return sys.stdin.buffer.read()
    except OSError as error:
        raise UsageError(f"the standard input cannot be read: {reason_of(error)}") from error


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
        raise UsageError(f"{where}: this is an envelope already, for it has a body; give the bare body")


def json_kind(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def read_messages(kind: str, regression: str, name: str) -> list[Message]:
    """Return the messages in one file ("-": standard input); raise UsageError if it cannot be read, and WrongInput,
    naming file, line and column, if it holds something else."""
    where = "the standard input" if name == "-" else name
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
        raise UsageError(f"{where} is empty; {kind} needs a body")
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
_SECTION_LINE = r"\[[^\[\]]+\]\s*(?:#.*)?$"
_KEY_LINE = r"([A-Za-z0-9_.-]+)\s*=\s*(.*)$"
_DOUBLE_QUOTED = r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?$'
_SINGLE_QUOTED = r"'([^']*)'\s*(?:#.*)?$"
_ESCAPES = {"n": "\n", "t": "\t"}


def read_value(text: str) -> str | None:
    """Return the value right of the equals sign, or None if it is broken."""
    if text.startswith('"'):
        quoted = re.match(_DOUBLE_QUOTED, text)
        return quoted and re.sub(r"\\(.)", lambda m: _ESCAPES.get(m.group(1), m.group(1)), quoted.group(1))
    if text.startswith("'"):
        quoted = re.match(_SINGLE_QUOTED, text)
        return quoted and quoted.group(1)
    return re.split(r"(?:^|\s)#", text, maxsplit=1)[0].strip()


def read_setting(line: str, where: str) -> tuple[str, str] | None:
    """Return (key, value) of one line, None for a blank, comment or section line; raise UsageError for a broken one."""
    if not line or line.startswith("#") or re.match(_SECTION_LINE, line):
        return None
    found = re.match(_KEY_LINE, line)
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
        warn(f"{path}: not used here: {', '.join(unknown)} (used: {', '.join(SETTINGS)})")
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
    """Put a rename on disk. The file is there already, so a file system that cannot do this does no harm."""
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
            raise UsageError(f"{url!r} is not the address of a server: {error} ({accepted})") from error
        extra = parts.query or parts.fragment or parts.username is not None
        if parts.scheme not in ("http", "https") or not parts.hostname or extra or not re.fullmatch("[!-~]+", url):
            raise UsageError(f"{url!r} is not the address of a server ({accepted})")
        if not re.fullmatch("[!-~]*", token):
            raise UsageError("the token contains a blank, a control character, or a character that is not ASCII")
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
        raise Unreachable(f"the server {address.url} closed the connection in the middle of its reply")
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
    return UsageError(text + ", which is not a reply of simscoped; is this its address?")


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
            return f"{start} is not writable: {reason_of(error)}"
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
            raise UsageError(
                f"the server {self.address.url} answered without a receipt; is this the address of simscoped?"
            )
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
            lost = f"{message.kind} for {message.regression} is lost"
            warn(f"{lost}, for the backlog {self.folder} cannot take it: {reason_of(error)}")
            return None

    def _ready(self, name: str) -> str:
        if self.folder is None:
            raise OSError("there is no home directory")
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        folder = os.path.join(self.folder, name) if name else self.folder
        os.makedirs(folder, mode=0o700, exist_ok=True)
        if len(os.listdir(folder)) >= BACKLOG_FILES:
            raise OSError(f"it holds {BACKLOG_FILES:,} messages already")
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
            warn(f"the backlog file {path} cannot be read; it is moved to the folder bad")
            self._move_to_bad(path)
            return 0
        if key != destination.key:
            return 0
        try:
            destination.deliver([message])
        except Refused as error:
            kept = f"{message.kind} for {message.regression}, kept earlier"
            warn(f"{kept}, was refused: {error}; it is moved to the folder bad")
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
_HARMLESS = r"[#*\s]*(?:UVM_INFO|UVM_WARNING|%Warning|Warning|WARNING|Note|NOTE|Info|INFO)\b"


class Scanner:
    """Looks through output as it comes; memory is bounded by LINE_BYTES per stream.

    `failure` is the first failing line or "", `passed` whether a line matched one of the pass patterns.
    """

    def __init__(
        self, own: Sequence[str] = (), passing: Sequence[str] = (), ignored: Sequence[str] = (), defaults: bool = True
    ) -> None:
        self._fails = [(hints, text) for hints, text, _ in FAIL_PATTERNS] if defaults else []
        self._own = own
        self._passing = passing
        self._ignored = ignored
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

    def _fails_by(self, line: str, active: Sequence[str]) -> bool:
        line = re.sub(_ORDERS, "", line[:LINE_BYTES]) if "\x1b" in line else line[:LINE_BYTES]
        if self._matches(self._own, line):
            failing = True
        else:
            failing = bool(active) and not re.match(_HARMLESS, line) and self._matches(active, line)
        return failing and not self._matches(self._ignored, line)

    @staticmethod
    def _matches(patterns: Sequence[str], line: str) -> bool:
        return any(re.search(pattern, line) for pattern in patterns)

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
_SEED = (
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
    found = re.search(_SEED, command_line)
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
            warn(f"there is no results file, for {root} cannot be written: {reason_of(error)}")

    def read(self) -> dict[str, Any]:
        """Return the object that the command wrote; any other text as its results; {} for nothing but blanks, and,
        with a warning, for what cannot be read."""
        if not self.path or not os.path.lexists(self.path):
            return {}
        try:
            if not os.path.isfile(self.path):
                raise UsageError("it is not an ordinary file")
            with open(self.path, "rb") as stream:
                data = stream.read(RESULTS_BYTES + 1)
            if len(data) > RESULTS_BYTES:
                raise UsageError(f"it is larger than {RESULTS_BYTES // 1024} KiB")
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
    """Return the JSON object in a text; any other text, but for blanks, is the job's results as it is."""
    try:
        found = parse_json(text, "the results file")
        if isinstance(found, dict):
            return found
    except UsageError as error:
        if text.lstrip().startswith("{"):
            warn(f"{error}; it is taken as plain text")
    if len(compact(text)) > 2 * RESULTS_BYTES:
        warn("the results file is not used: it is not text")
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
        timeout: float,
    ) -> None:
        """`heartbeat` (0: none) and `timeout` (how long the end of the run may wait for the finish) are seconds."""
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
        self._timeout = timeout
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
            self._timeout = 0

    def finish(self, body: Mapping[str, Any], keep_first: bool) -> None:
        """Send the finish, or keep it if that outlasts our timeout; `keep_first` if we may be killed meanwhile."""
        last = self._lines.last() if self._lines is not None else None
        self._finish = self._message("job-finish", body if last is None else {**body, "log": last})
        if keep_first:
            self._keep_finish()
        self._ended.set()
        if not self._settled.wait(self._timeout):
            self._trouble(f"the {self._destination.key} does not answer", "the finish", self._keep_finish())
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
            self._trouble(explain(error), "what cannot be sent", self._keep_live())
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
# 15 Commands that publish: options in, exit code out
# ----------------------------------------------------------------------------------------------------------------------


def emit(text: str) -> bool:
    """Write a line to standard output; return False if the reader has gone away, which is not an error."""
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

    command_line = " ".join(map(shlex.quote, command))
    extid, pairs = batch_job(environ)
    body = {
        "category": options.category,
        "uniqueid": options.uniqueid or random_uuid(),
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


def random_uuid() -> str:
    """Return what uuid.uuid4() makes, without loading that module, which costs a start some milliseconds."""
    number = int.from_bytes(os.urandom(16), "big") & ~(0xF << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62
    digits = f"{number:032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


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
    timeout = min(options.timeout + 2, FINISH_SECONDS)
    reporter = Reporter(destination, backlog, regression, live, lines, options.heartbeat, timeout)
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
# 16 The other file: what watches, loaded when it is used
# ----------------------------------------------------------------------------------------------------------------------

# The watching commands and the Python client are in simscope_client.py, which is loaded when one of them is used: hosts
# of the farm need neither. It imports this module as "simscope", also where this file runs as a script, whose module is
# called "__main__": without the entry in sys.modules there would be two copies of this file, and an error raised by one
# would not be caught by the other.

CLIENT_NAMES = (
    *"Client Job JobStatus JobFile FileHash Regression HistoryEntry Event EVENT_TYPES Progress Signature".split(),
    *"LogLine LogBuffer".split(),
)
if TYPE_CHECKING:
    from simscope_client import EVENT_TYPES as EVENT_TYPES
    from simscope_client import Client as Client
    from simscope_client import Event as Event
    from simscope_client import FileHash as FileHash
    from simscope_client import HistoryEntry as HistoryEntry
    from simscope_client import Job as Job
    from simscope_client import JobFile as JobFile
    from simscope_client import JobStatus as JobStatus
    from simscope_client import LogBuffer as LogBuffer
    from simscope_client import LogLine as LogLine
    from simscope_client import Progress as Progress
    from simscope_client import Regression as Regression
    from simscope_client import Signature as Signature


def client_module(wanted: str) -> Any:
    """Return the module simscope_client, beside this file or installed; raise ClientMissing for what is wanted."""
    sys.modules.setdefault("simscope", sys.modules[__name__])
    folder = os.path.dirname(os.path.realpath(__file__))
    if folder not in sys.path:  # as under python -I
        sys.path.append(folder)
    try:
        import simscope_client
    except ModuleNotFoundError as error:
        if error.name != "simscope_client":
            raise
        raise ClientMissing(f"{wanted} needs the file simscope_client.py: copy it to {folder}") from None
    except ImportError as error:
        raise ClientMissing(
            f"{wanted} needs simscope.py and simscope_client.py of the same version: copy both to {folder} ({error})"
        ) from error
    return simscope_client


def __getattr__(name: str) -> Any:
    """Return a name of the Python client, so that `from simscope import Client` works."""
    if name not in CLIENT_NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(client_module(name), name)


# ----------------------------------------------------------------------------------------------------------------------
# 17 Command line
# ----------------------------------------------------------------------------------------------------------------------

_EXIT_CODES = """exit codes:
  0 done; passed; complete   1 a message is refused; a fail   2 wrong usage or configuration; no such file or job
  3 the daemon cannot be reached   4 aborted, tanked or pruned   5 the timeout has passed   130 Ctrl-C
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


def regular_expression(text: str) -> str:
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a regular expression: {error}") from error
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
        "--timeout",
        metavar="SECONDS",
        type=positive_seconds,
        default=10.0,
        help="timeout of a request to the server (10)",
    )


def add_publish_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="*", help="JSON, or NDJSON if named so; - is the standard input")
    parser.add_argument("--json", action="store_true", help="print receipts, one per line")
    add_destination_options(parser)


def add_run_options(parser: argparse.ArgumentParser) -> None:
    add_destination_options(parser)
    job = parser.add_argument_group("about the job")
    job.add_argument("--category", default="sim", help="kind of job (sim)")
    job.add_argument("--name", help="the name that people read")
    job.add_argument("--uniqueid", metavar="ID", help="identity in the regression (a random UUID)")
    job.add_argument(
        "--job-config", metavar="TEXT", help="what is run, for comparison with other runs (the command line)"
    )
    job.add_argument(
        "--seed",
        metavar="N",
        help="seed of the run (guessed from +seed=N, -seed N, --seed=N, +ntb_random_seed=N, -sv_seed N)",
    )
    job.add_argument("--build", metavar="TEXT", help="configuration of the build")
    job.add_argument("--testgroup", metavar="TEXT", help="group of tests that it belongs to")
    job.add_argument("--jobdir", metavar="DIR", help="run folder or URL (the current folder)")
    about = "a fact about the job; may be given several times"
    job.add_argument("--metadata", metavar="NAME=VALUE", type=name_and_value, action="append", default=[], help=about)
    job.add_argument(
        "--time-limit", metavar="TIME", type=duration_ms, help="such as 15m; the daemon applies it, run kills nothing"
    )
    look = parser.add_argument_group("what fails the job (besides a non-zero exit code)")
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
        "--heartbeat",
        metavar="SECONDS",
        type=seconds_or_never,
        default=60.0,
        help="repeat job-live this often (60); 0: never",
    )


def help_width() -> int:
    """Return how wide a help text may be: as COLUMNS says, or the terminal, or 80, less a margin."""
    columns = os.environ.get("COLUMNS", "")
    try:
        return (int(columns) if re.fullmatch("[1-9][0-9]*", columns) else os.get_terminal_size(1).columns or 80) - 2
    except OSError:
        return 78


def new_parser(keeping: str = "Description", **more: Any) -> argparse.ArgumentParser:
    """Return a parser whose help keeps the lines of its description, or of all "Text", as they are.

    argparse makes a formatter for each argument, and each would look for the width with shutil, a module that nothing
    else needs here.
    """
    kind = getattr(argparse, f"Raw{keeping}HelpFormatter")
    width = help_width()
    form = functools.partial(kind, width=width)
    parser = argparse.ArgumentParser(allow_abbrev=False, formatter_class=form, **more)
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


# What each command does, as help lists them.
COMMANDS = {
    "publish": "send messages",
    "run": "run a command as a job",
    "jobs": "list jobs, newest first",
    "job": "show a job",
    "regressions": "list regressions, live ones first",
    "regression": "show a regression",
    "status": "print the result of a job or the status of a regression",
    "history": "list what happened to a job or a regression",
    "wait": "wait until jobs or regressions are over; the exit code is the worst verdict",
    "logs": "print a job's log",
    "files": "list the files that a job declares",
    "download": "fetch a file of a job from below the daemon's file_roots; checks its SHA-256, never overwrites",
    "extend": "move a job's time limit",
    "watch": "show a regression live until it is over",
    "completion": "print completions for a shell",
}
# How those of this file are called with their arguments, and what makes their parsers.
_OWN: dict[str, tuple[Callable[[Sequence[str]], int], Callable[[], argparse.ArgumentParser]]] = {
    "publish": (publish_main, publish_parser),
    "run": (run_main, run_parser),
    "completion": (completion_main, completion_parser),
}


def call_command(name: str, arguments: Sequence[str]) -> int:
    """Call a command, return its exit code; raise ClientMissing where the file that it is in is missing."""
    if name in _OWN:
        return _OWN[name][0](arguments)
    code: int = client_module(name).watch_main(name, arguments)
    return code


def parser_of(name: str) -> argparse.ArgumentParser:
    """Return the parser of a command; raise ClientMissing where the file that it is in is missing."""
    if name in _OWN:
        return _OWN[name][1]()
    parser: argparse.ArgumentParser = client_module(name).watch_parser(name)
    return parser


# ----------------------------------------------------------------------------------------------------------------------
# 18 Completion: the parsers of all commands in, a script for a shell out
# ----------------------------------------------------------------------------------------------------------------------

_FOLDERS = ("DIR",)
_FILES = ("FILE", "FILE", "DEST")
_PROGRAMS = ("simscope", "simscope.py")


def offered() -> dict[str, str]:
    """Return what each command does, without those of a file that is missing."""
    try:
        client_module("completion")
    except ClientMissing:
        return {name: about for name, about in COMMANDS.items() if name in _OWN}
    return COMMANDS


def completable(name: str) -> Iterator[tuple[list[str], str, str, Sequence[str], bool]]:
    """Yield (names, help, metavar, choices, repeats) of each argument of a command; names are empty for a positional
    one, the metavar is empty for a flag."""
    words = {} if name in _OWN else client_module(name).words_of(name)
    for action in parser_of(name)._actions:
        metavar = "" if action.nargs == 0 else str(action.metavar or action.dest.upper())
        choices = list(action.choices or words.get(tuple(action.option_strings), ()))
        about, repeats = (action.help or "").replace("%%", "%"), action.nargs in ("*", "+")
        yield list(action.option_strings), about, metavar, choices, repeats


def shell_word(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def bash_completion() -> str:
    """Return a function for bash: the command first, then its options, what they take, and its choices."""
    values, words = [], []
    for name in offered():
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
        commands=" ".join(offered()), values="\n".join(values), words="\n".join(words), programs=" ".join(_PROGRAMS)
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
    for name in offered():
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
    commands = "\n        ".join(shell_word(f"{name}:{about}") for name, about in offered().items())
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
        for name, about in offered().items():
            lines.append(f"{first} -f -a {name} -d {_fish_word(about)}")
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


SHELLS = {"bash": bash_completion, "zsh": zsh_completion, "fish": fish_completion}


# ----------------------------------------------------------------------------------------------------------------------
# 19 The entry points
# ----------------------------------------------------------------------------------------------------------------------


def main_parser() -> argparse.ArgumentParser:
    about = "Tell simscoped about simulation jobs, and watch them."
    parser = new_parser("Text", prog="simscope", description=about, epilog=_EXIT_CODES)
    parser.add_argument("--version", action="version", version="simscope " + __version__)
    about = "\n".join(f"{name:<12} {about}" for name, about in COMMANDS.items())
    parser.add_argument("command", metavar="COMMAND", choices=tuple(COMMANDS), help=about)
    return parser


def choose_command(arguments: Sequence[str]) -> int:
    """Call the command that is named first, with what follows."""
    if arguments and arguments[0] in COMMANDS:
        return call_command(arguments[0], arguments[1:])
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
