"""The spool folder: files come in, deliveries go out; verdicts come in, files are cleared away. Plain file operations.

A file moves SPOOL -> .work/N (claimed: nobody can change it under its name) -> gone, .done or .bad:

  scan    lists the oldest files that look complete; it is the truth, file-system events only make it come sooner
  take    reads each of a chunk of them, and renames it into a new folder .work/N, which keeps its path
  submit  applies them; the transaction notes the claimed files
  clear   removes, keeps or puts aside each file; the note is deleted with a later batch

A file is read where it lies, and claimed when it is whole; one that looks cut short is not touched until it changed
and rested for REST_MS: then it is read again; or was seen unchanged for settle_ms: then it is taken as it is.

Crash before the commit: the files lie in .work and are read at the next start. Crash after it: the note names them,
and they are cleared away unread. So every file takes effect exactly once. The notes of a batch may only be deleted when
the removal of its files is on disk too; a sync of .work once a second sees to that.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from simscope_server.crashpoints import passing
from simscope_server.messages.decoding import items_of, rejected
from simscope_server.messages.protocol import SINGLE, TYPES, Context, Delivery, Refused, log
from simscope_server.messages.times import utc
from simscope_server.settings import Config

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
        return Refused("too-large", f"{size} bytes; [limits] body_mib = {self.config.body_mib} allows fewer")

    def _delivery(self, name: str, read: Read) -> Delivery:
        context = context_of_file(name)
        delivery = Delivery(name, f"spool:{name}", [], context)
        try:
            if isinstance(read.content, Refused):
                raise read.content
            delivery.items = items_of(read.content, context, lines=name.endswith(LINES_SUFFIXES))
        except Refused as refusal:
            delivery.refusal = rejected(context.type, context.regression, refusal)
        return delivery

    # Clearing away.

    def clear_away(self, verdicts: Sequence[tuple[str, Sequence[Any]]]) -> None:
        """Clear claimed files away whose effect is committed: (path below .work, what was refused of it)."""
        for place, (work, refused) in enumerate(verdicts):
            if place == len(verdicts) // 2:
                passing("half-cleared")
            try:
                self._clear(work, refused)
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

    def _clear(self, work: str, refused: Sequence[Any]) -> None:
        name = work.partition("/")[2]
        if refused:
            self._put_aside(work, name, refused)
        elif self.config.done == "keep":
            day = time.strftime("%Y-%m-%d")
            source = f"{self.work}/{work}"
            move(source, free_path(source, f"{self.root}/.done/{day}/{name}"))
        else:
            os.unlink(f"{self.work}/{work}")

    def _put_aside(self, work: str, name: str, refused: Sequence[Any]) -> None:
        """Move a refused file to .bad, with the reasons beside it (written first, so that none is without)."""
        source = f"{self.work}/{work}"
        target = free_path(source, f"{self.root}/.bad/{name}")
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
            os.rename(source, target)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(target + REASON)
            raise
        place = f" at {first['path']}" if first.get("path") else ""
        log.warning("spool: refused: %s: %s%s: %s", name, first.get("reason"), place, first.get("detail"))

    # What an earlier run left.

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


def is_file(path: str, inode: int, mtime_ns: int) -> bool:
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


def move(source: str, target: str) -> None:
    os.makedirs(os.path.dirname(target), exist_ok=True)
    os.rename(source, target)


def free_path(source: str, target: str) -> str:
    """Where a file can be moved to: `target`, its name cut to NAME_BYTES; where that is taken, with ~INODE before its
    suffix, a number that no other file has (again, should somebody have put another file there)."""
    folder, name = os.path.split(target)
    stem, ending = os.path.splitext(name)
    while not _is_free(path := f"{folder}/{_beginning(stem, NAME_BYTES - len(os.fsencode(ending)))}{ending}"):
        ending = f"~{os.lstat(source).st_ino}{ending}"
    return path


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
