"""Change one spot of the program and run its tests: what no test notices may be untested, or not needed.

usage: python bench/mutants.py [--seed 1] [--count 20] [--wing WING] [--only FILE] [--wide] [--jobs 1]
                               [--list] [--json FILE] [--deselect TEST]

A mutant is the checkout with one change out of `mutations.py`. For each, the tracked files are copied to a throw-away
folder, the change is made there, and the tests of its room run there up to the first that fails: the mutant is killed.
One that takes three times as long as usual, and half a minute, has timed out, which is as good. What passes all of them
survives. With --wide, survivors face all tests. Before that the same tests must pass in an unchanged copy. Needs Linux.

A test that fails must fail again, alone or with all others. On a busy machine it may still be for want of time, and the
mutant killed in error: look which test it was.

The kind of change is drawn first, a rare one more often than its number would have it, then the place. The same seed,
options and tree give the same mutants.

--list prints what would be tried, and tries nothing
--only takes a file of the table below, and can be given several times
--deselect leaves out a test that fails without a mutant; a pytest node id, can be given several times

Exit status: 0 all are killed, 1 some survived, 2 nothing could be tried, 130 interrupted.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import fnmatch
import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mutations import Change, javascript_changes, optional_parameters, python_changes, still_python

ROOT = Path(__file__).resolve().parent.parent


class Room(NamedTuple):
    """Files, as a pattern, and where below tests/ the tests are that know them best, quick ones first."""

    files: str
    wing: str
    tests: tuple[str, ...]


# The first row whose pattern fits a file is its own; "*" fits "/" too.
ROOMS = (
    Room("simscope_server/messages/*.py", "messages", ("messages",)),
    Room("simscope_server/ledger/*.py", "ledger", ("ledger",)),
    Room("simscope_server/reading/*.py", "reading", ("reading",)),
    Room(
        "simscope_server/doors/*.py",
        "doors",
        ("doors", *(f"service/test_{name}.py" for name in ("requeue", "deadlines", "crash"))),
    ),
    Room("simscope_server/api/*.py", "api", ("api",)),
    Room("simscope_server/*.py", "service", ("service",)),
    Room("simscoped.py", "service", ("service",)),
    Room("simscope*.py", "client", ("client",)),
    Room("static/*.js", "page", ("page",)),
)
SLOWER = 3  # than usual, and
SPARE_S = 30  # more: a mutant hangs
OUTCOMES = ("killed", "timed out", "survived")
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Mutant(NamedTuple):
    room: Room
    file: str
    line: int
    source: str  # the line as it is without the change
    change: Change


class Stage(NamedTuple):
    """Some tests, as a command that is run in a copy of the checkout."""

    name: str
    command: tuple[str, ...]
    places: tuple[str, ...]  # folders, files or tests: the last arguments
    failed: str  # a pattern of the output; its group is the name of a test that failed

    def only(self, test: str) -> Stage:
        """One test by its pytest id, or everything where it is something else."""
        return self._replace(places=(test,)) if "::" in test else self


class Verdict(NamedTuple):
    outcome: str  # one of OUTCOMES
    by: str  # the test that failed, or the tests that took too long
    seconds: float


class Stopped(Exception):
    """The run is interrupted; no further test is to be started."""


def main() -> int:
    chosen = options()
    mutants = pick(chosen)
    if chosen.list:
        for mutant in mutants:
            print(f"{told(mutant)}  [{mutant.change.kind}]")
        return 0
    for number in ENDING:
        signal.signal(number, interrupt)
    with tempfile.TemporaryDirectory(prefix="mutants-", ignore_cleanup_errors=True) as name:
        return Trial(chosen, Path(name)).run(mutants)


def interrupt(number: int, frame: object) -> None:
    """The first interrupt ends the run in order; others change nothing."""
    for ending in ENDING:
        signal.signal(ending, signal.SIG_IGN)
    raise KeyboardInterrupt


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--wing", choices=sorted({room.wing for room in ROOMS}))
    parser.add_argument("--only", metavar="FILE", action="append", default=[])
    parser.add_argument("--wide", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--json", metavar="FILE", type=Path)
    parser.add_argument("--deselect", metavar="TEST", action="append", default=[])
    return parser.parse_args()


# Picking.


def pick(chosen: argparse.Namespace) -> list[Mutant]:
    """The mutants to try, in the order of the files."""
    texts = {file: (ROOT / file).read_text() for file in tracked() if rooms(file)}
    wanted = [file for file in texts if chosen.wing in (None, rooms(file)[0].wing) and file in (chosen.only or texts)]
    if not wanted or not set(chosen.only) <= set(texts):
        print(
            "mutants: there is no such file to change; ROOMS in bench/mutants.py tells which there are", file=sys.stderr
        )
        raise SystemExit(2)
    drawn = draw(all_changes(texts, wanted), texts, chosen.count, random.Random(chosen.seed))
    return [
        mutant_of(file, texts[file], change) for file, change in sorted(drawn, key=lambda one: (one[0], one[1][1:4]))
    ]


def all_changes(texts: dict[str, str], wanted: Sequence[str]) -> dict[str, list[tuple[str, Change]]]:
    """{kind: [(file, change)]} of the wanted files."""
    optional = optional_parameters(text for file, text in texts.items() if file.endswith(".py"))
    found: dict[str, list[tuple[str, Change]]] = {}
    for file in wanted:
        text = texts[file]
        for change in python_changes(text, optional) if file.endswith(".py") else javascript_changes(text):
            found.setdefault(change.kind, []).append((file, change))
    return found


def draw(
    found: dict[str, list[tuple[str, Change]]], texts: dict[str, str], count: int, chance: random.Random
) -> list[tuple[str, Change]]:
    """A kind by lot, and of it a change by lot, again and again. What would not be valid Python is passed over."""
    left = {kind: chance.sample(found[kind], len(found[kind])) for kind in sorted(found)}
    drawn: list[tuple[str, Change]] = []
    while left and len(drawn) < count:
        kind = chance.choices([*left], [math.sqrt(len(changes)) for changes in left.values()])[0]
        file, change = left[kind].pop()
        if not left[kind]:
            del left[kind]
        if not file.endswith(".py") or still_python(change.made(texts[file])):
            drawn.append((file, change))
    return drawn


def mutant_of(file: str, text: str, change: Change) -> Mutant:
    line = text.count("\n", 0, change.start)
    return Mutant(rooms(file)[0], file, line + 1, text.split("\n")[line].strip(), change)


def rooms(file: str) -> list[Room]:
    """The room of a file, and others whose pattern fits it too; none, if it is not changed at all."""
    return [room for room in ROOMS if fnmatch.fnmatchcase(file, room.files)]


def tracked() -> list[str]:
    """The tracked files of the checkout that exist, in the order of their names."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return sorted(file for file in listed.split("\0") if file and (ROOT / file).is_file())


# Trying.


class Trial:
    """Tries mutants, each in a copy below `folder`, and tells what became of them."""

    def __init__(self, chosen: argparse.Namespace, folder: Path) -> None:
        self.chosen = chosen
        self.folder = folder
        self.unchanged = folder / "unchanged"
        for file in tracked():
            (self.unchanged / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, self.unchanged / file)
        self.limits: dict[Stage, float] = {}
        self.verdicts: dict[Mutant, Verdict] = {}
        self.stopped = threading.Event()

    def run(self, mutants: Sequence[Mutant]) -> int:
        """-> exit status."""
        code = 130
        try:
            if wrong := self.wrong_without_mutant(mutants):
                print(f"mutants: {wrong}", file=sys.stderr)
                return 2
            self.try_all(mutants)
            code = int(any(verdict.outcome == "survived" for verdict in self.verdicts.values()))
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
        finally:
            end_all(self.folder)
        report(self.verdicts, self.chosen.seed, self.chosen.json)
        return code

    def wrong_without_mutant(self, mutants: Sequence[Mutant]) -> str:
        """Run all tests that mutants will face on an unchanged copy, and note how long each stage may take.

        -> what is wrong, "" if nothing is.
        """
        with self.copy() as copy:
            assert_imports_the(copy)
            for stage in dict.fromkeys(stage for mutant in mutants for stage in self.stages(mutant.room)):
                verdict = self.surely(stage, copy, None)
                print(f"without a mutant: {stage.name} in {verdict.seconds:.0f} s", flush=True)
                if verdict.outcome != "survived":
                    return f"fails without a mutant: {verdict.by}\n{(copy / 'output').read_text()[-3000:]}"
                self.limits[stage] = verdict.seconds * SLOWER + SPARE_S
        return ""

    def try_all(self, mutants: Sequence[Mutant]) -> None:
        with concurrent.futures.ThreadPoolExecutor(self.chosen.jobs) as pool:
            tasks = {pool.submit(self.try_one, mutant): mutant for mutant in mutants}
            try:
                for task in concurrent.futures.as_completed(tasks):
                    self.verdicts[tasks[task]] = task.result()
                    tell(tasks[task], task.result())
            except BaseException:
                self.stopped.set()
                pool.shutdown(wait=False, cancel_futures=True)
                while not all(task.done() for task in tasks):
                    end_all(self.folder)
                    time.sleep(0.1)
                raise

    def try_one(self, mutant: Mutant) -> Verdict:
        begun = time.monotonic()
        with self.copy() as copy:
            file = copy / "tree" / mutant.file
            file.write_text(mutant.change.made(file.read_text()))
            for stage in self.stages(mutant.room):
                verdict = self.surely(stage, copy, self.limits[stage])
                if verdict.outcome != "survived":
                    break
        return verdict._replace(seconds=round(time.monotonic() - begun, 1))

    def stages(self, room: Room) -> list[Stage]:
        """What mutants of a room face, one after the other."""
        stages = [self.pytest(*(f"tests/{place}" for place in room.tests))]
        if room.wing == "page":
            stages.insert(0, self.node())
        if self.chosen.wide:
            stages.append(self.pytest("tests"))
        return stages

    def node(self) -> Stage:
        files = sorted(self.unchanged.glob("tests/page/*.test.mjs"))
        places = tuple(str(file.relative_to(self.unchanged)) for file in files)
        return Stage(
            "tests/page/*.test.mjs", ("node", "--test", "--test-reporter=tap"), places, r"^ *not ok \d+ - (.*)$"
        )

    def pytest(self, *places: str) -> Stage:
        quiet = ("-x", "-q", "-p", "no:cacheprovider", f"--hypothesis-seed={self.chosen.seed}")
        deselected = (f"--deselect={test}" for test in self.chosen.deselect)
        command = (sys.executable, "-m", "pytest", *quiet, *deselected)
        return Stage(" ".join(places), command, places, r"^(?:FAILED|ERROR) (\S[^\[\n]*?(?:\[.*?\])?)(?: - .*)?$")

    @contextlib.contextmanager
    def copy(self) -> Iterator[Path]:
        """A folder with a fresh copy of the checkout in `tree` and room for temporary files in `tmp`."""
        with tempfile.TemporaryDirectory(prefix="", dir=self.folder, ignore_cleanup_errors=True) as name:
            copy = Path(name)
            (copy / "tmp").mkdir()
            shutil.copytree(self.unchanged, copy / "tree")
            yield copy

    def surely(self, stage: Stage, copy: Path, limit: float | None) -> Verdict:
        """Run tests in a copy. Where one fails and then, alone, passes, it may be unreliable: all are run once more."""
        verdict = self.face(stage, copy, limit)
        if verdict.outcome == "killed" and self.face(stage.only(verdict.by), copy, limit).outcome == "survived":
            return self.face(stage, copy, limit)
        return verdict

    def face(self, stage: Stage, copy: Path, limit: float | None) -> Verdict:
        """Run tests in a copy, once. "survived" is that all of them passed."""
        if self.stopped.is_set():
            raise Stopped
        begun = time.monotonic()
        output = copy / "output"
        with output.open("wb") as out:
            process = subprocess.Popen(
                [*stage.command, *stage.places],
                cwd=copy / "tree",
                env=environment(copy),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        try:
            code: int | None = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            end_all(copy)
            process.wait()
        return verdict_of(code, stage, output.read_text(errors="replace"), time.monotonic() - begun)


def verdict_of(code: int | None, stage: Stage, output: str, seconds: float) -> Verdict:
    if code == 0:
        return Verdict("survived", "", seconds)
    if code is None:
        return Verdict("timed out", stage.name, seconds)
    failed = re.search(stage.failed, output, re.MULTILINE)
    lines = output.strip().splitlines() or [f"exit status {code}"]
    return Verdict("killed", failed[1] if failed else lines[-1], seconds)


def assert_imports_the(copy: Path) -> None:
    """The virtual environment may have the checkout installed; what is imported must be the copy all the same."""
    modules = {file.split("/")[0].removesuffix(".py") for file in tracked() if file.endswith(".py") and rooms(file)}
    code = "import importlib, sys\nfor name in sys.argv[1:]: print(importlib.import_module(name).__file__)"
    command = [sys.executable, "-c", code, *modules]
    ran = subprocess.run(command, cwd=copy, env=environment(copy), capture_output=True, text=True, check=True)
    places = [Path(line).resolve() for line in ran.stdout.splitlines()]
    assert len(places) == len(modules) and all(place.is_relative_to(copy.resolve()) for place in places), places


def environment(copy: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(copy / "tree"), "TMPDIR": str(copy / "tmp")}


def end_all(folder: Path) -> None:
    """Kill all processes whose TMPDIR is below a folder of ours: tests, and the daemons and browsers they started."""
    mark = f"TMPDIR={folder}/".encode()
    while found := [*_marked(mark)]:
        for number in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        time.sleep(0.02)


def _marked(mark: bytes) -> Iterator[int]:
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if any(part.startswith(mark) for part in path.read_bytes().split(b"\0")):
                yield int(path.parent.name)


# Telling.


def tell(mutant: Mutant, verdict: Verdict) -> None:
    by = f" by {verdict.by}" if verdict.by else ""
    print(f"{told(mutant)}\n    {verdict.outcome}{by} ({verdict.seconds:.0f} s)", flush=True)


def report(verdicts: dict[Mutant, Verdict], seed: int, path: Path | None) -> None:
    """Print how many mutants met which end, and the survivors again; write everything as JSON where a path is given."""
    survivors = [mutant for mutant, verdict in verdicts.items() if verdict.outcome == "survived"]
    counts = {outcome: sum(verdict.outcome == outcome for verdict in verdicts.values()) for outcome in OUTCOMES}
    print(f"{len(verdicts)} mutants of seed {seed}: " + ", ".join(f"{n} {outcome}" for outcome, n in counts.items()))
    for mutant in survivors:
        print(f"  survived: {told(mutant)}")
    if path:
        mutants = [as_json(mutant) | verdict._asdict() for mutant, verdict in verdicts.items()]
        path.write_text(json.dumps({"seed": seed, **counts, "mutants": mutants}, indent=1) + "\n")


def as_json(mutant: Mutant) -> dict[str, str | int]:
    kind, _, _, new, change = mutant.change
    return {"file": mutant.file, "line": mutant.line, "kind": kind, "change": change, "new": new}


def told(mutant: Mutant) -> str:
    return f"{mutant.file}:{mutant.line}  {mutant.change.told}  in: {mutant.source}"


if __name__ == "__main__":
    sys.exit(main())
