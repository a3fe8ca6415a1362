#!/usr/bin/env python3
"""regress.py - runs the FIFO testbench with many seeds and lets simscoped watch.

    python examples/fifo/regress.py --spool var/spool                         # 200 seeds, eight at a time
    python examples/fifo/regress.py --server http://127.0.0.1:8040 --seeds 16 --regression demo/1

What happens:

    compile       once, published as a job of category `compile`
    regr-start    with the number of jobs, the branch and version from git, the simulator
    jobs          each through `simscope.py run`, which publishes live and finish; never more than `--jobs` at once
    regr-update   how many run, at most once a second
    regr-finish   when the last one has ended
    summary       made from the log files, not from the daemon (verdicts.py), so that the two can be compared

A seed that hangs: the job tells the daemon its time limit, and the daemon passes the verdict (`time-limit`). A while
after the limit (`--grace`) the runner removes the whole job with SIGKILL, as a scheduler would, so nobody can send a
finish for it. The runner itself never says that a job has failed.

Simulator: Icarus Verilog if it is installed, else standin.py, the same bench in Python with the same outcomes; the
first line says which. The design is wrong on purpose, see the head of fifo.v: about one seed in six fails.

Files: OUTDIR/REGRESSION/seed-N.log, compile.log, and client.log (what simscope.py had to say). A regression that has
logs is not run again. simscope.py also sends each job's output to the daemon, while it runs, as the job's log.

Exit code: 0 the regression ran (failing seeds are expected), 1 it did not compile, 2 usage, or regr-start could not be
published, 130 interrupted (Ctrl-C: the running jobs are told to stop and the regression is finished, it reads
`aborted`). Once it has begun, a daemon in trouble does not stop it; simscope.py keeps what jobs have to say.
"""

from __future__ import annotations

import argparse
import contextlib
import getpass
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import verdicts

HERE = Path(__file__).resolve().parent
CLIENT = HERE.parents[1] / "simscope.py"
MOST_SEEDS = 100_000


# ---- what to run -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Simulator:
    """How to compile and how to run one seed; {folder} and {seed} are filled in."""

    name: str
    compile: tuple[str, ...]
    run: tuple[str, ...]


def icarus() -> Simulator:
    """Icarus Verilog; it compiles in this folder, so that messages name tb_fifo.v without a path."""
    compiler = ("iverilog", "-g2012", "-Wall", "-o", "{folder}/fifo.vvp", "tb_fifo.v", "fifo.v")
    return Simulator(icarus_version(), compiler, ("vvp", "-n", "{folder}/fifo.vvp", "+seed={seed}"))


def standin() -> Simulator:
    """The Python stand-in; there is nothing to compile."""
    script = (sys.executable, str(HERE / "standin.py"))
    return Simulator("standin.py (Python stand-in)", (*script, "+elaborate"), (*script, "+seed={seed}"))


def icarus_version() -> str:
    """The first line of `iverilog -V`, shortened."""
    answer = subprocess.run(["iverilog", "-V"], capture_output=True, text=True, check=False).stdout
    return " ".join(answer.split()[:4]) or "Icarus Verilog"


def choose_simulator(wanted: str) -> tuple[Simulator, str]:
    """The simulator and the runner's first line about it."""
    missing = [tool for tool in ("iverilog", "vvp") if not shutil.which(tool)]
    if wanted == "icarus" and missing:
        raise UsageError(
            f"--simulator icarus: {missing[0]} is not installed; accepted: icarus once it is, standin, auto"
        )
    if wanted == "standin" or missing:
        why = "Icarus Verilog is not installed" if missing else "--simulator standin"
        return standin(), f"simulator: standin.py, the same bench in Python ({why})"
    simulator = icarus()
    return simulator, f"simulator: {simulator.name}"


class UsageError(Exception):
    """Names the thing, its value and what is accepted."""


@dataclass(frozen=True)
class Plan:
    """Everything that a run needs to know."""

    regression: str
    folder: Path
    seeds: range
    jobs: int
    target: tuple[str, ...]  # --spool DIR or --server URL, for simscope.py
    simulator: Simulator
    pace: float
    time_limit: float
    grace: float
    page: str | None


# ---- talking to the daemon -------------------------------------------------------------------------------------------


@dataclass
class Publisher:
    """Publishes messages about the regression through simscope.py, one after the other."""

    plan: Plan
    complained: bool = False
    sending: subprocess.Popen | None = None
    sent_at: float = 0.0
    running: int = 0

    def publish(self, kind: str, body: dict[str, object]) -> bool:
        """Send a message and wait until it is out; did it get there?"""
        self.send(kind, body)
        return self.settle()

    def send(self, kind: str, body: dict[str, object]) -> None:
        """Send a message in the background, after the one before."""
        self.settle()
        command = [
            sys.executable,
            str(CLIENT),
            "publish",
            kind,
            "-",
            "--regression",
            self.plan.regression,
            *self.plan.target,
        ]
        with (self.plan.folder / "client.log").open("ab") as log:
            self.sending = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
            )
        self.sending.stdin.write(json.dumps(body).encode())
        self.sending.stdin.close()

    def settle(self) -> bool:
        """Wait for the message that is under way; did it get there?"""
        code = self.sending.wait() if self.sending else 0
        self.sending = None
        if code and not self.complained:
            self.complained = True
            print(f"regress.py: publishing failed, see {self.plan.folder / 'client.log'}", file=sys.stderr)
        return code == 0

    def update_running(self, running: int) -> None:
        """Tell how many run: if that has changed, if nothing is under way, at most once a second."""
        busy = self.sending is not None and self.sending.poll() is None
        if running == self.running or busy or time.monotonic() < self.sent_at + 1:
            return
        self.running, self.sent_at = running, time.monotonic()
        self.send("regr-update", {"running": running})


def regression_fields(plan: Plan) -> dict[str, object]:
    """The body of regr-start."""
    return {
        "name": plan.regression,
        "component": "fifo",
        "project": "simscoped-example",
        "starttime": now(),
        "submitted": len(plan.seeds) + 1,
        "running": 0,
        "command": shlex.join(sys.argv),
        "dir": str(plan.folder),
        "host": socket.gethostname(),
        "username": user_name(),
        "custom_metadata": [
            ["simulator", plan.simulator.name],
            ["seeds", f"{plan.seeds[0]}-{plan.seeds[-1]}"],
            ["pace", f"{plan.pace:g} cycles/s"],
        ],
        **git_fields(),
    }


def user_name() -> str:
    """Who runs this; a container need not know the name."""
    try:
        return getpass.getuser()
    except (KeyError, ImportError, OSError):
        return str(os.getuid())


def git_fields() -> dict[str, object]:
    """Branch, version and its time, as far as git knows them."""
    asked = {
        "model_branch": ["symbolic-ref", "--short", "-q", "HEAD"],
        "model_version": ["rev-parse", "-q", "--verify", "--short=12", "HEAD"],
        "model_timestamp": ["log", "-1", "--format=%cI"],
    }
    return {name: answer for name, question in asked.items() if (answer := git(question))}


def git(question: list[str]) -> str:
    """The answer of git, empty if it has none."""
    try:
        answer = subprocess.run(["git", "-C", str(HERE), *question], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


# ---- the jobs --------------------------------------------------------------------------------------------------------


def job_command(plan: Plan, category: str, name: str, options: list[str], command: list[str]) -> list[str]:
    """`simscope.py run` around a command, its output into the log file only."""
    about = ["--category", category, "--uniqueid", name, "--jobdir", str(plan.folder), "--build", plan.simulator.name]
    output = ["--log", str(plan.folder / f"{name}.log"), "--quiet"]
    where = ["--regression", plan.regression, *plan.target]
    return [sys.executable, str(CLIENT), "run", *where, *about, *options, *output, "--", *command]


def compile_command(plan: Plan) -> list[str]:
    """The compile job."""
    command = [part.format(folder=plan.folder) for part in plan.simulator.compile]
    return job_command(plan, "compile", "compile", ["--name", "compile", "--job-config", "compile"], command)


def seed_command(plan: Plan, seed: int) -> list[str]:
    """The job of one seed."""
    simulator = [part.format(folder=plan.folder, seed=seed) for part in plan.simulator.run]
    at_most = plan.time_limit + plan.grace + 60  # should the runner itself be killed
    wrapper = [sys.executable, str(HERE / "sim.py"), "--pace", f"{plan.pace:g}", "--at-most", f"{at_most:g}", "--"]
    options = ["--name", "fifo_random", "--seed", str(seed), "--job-config", f"fifo_random +seed={seed}"]
    options += ["--testgroup", "random", "--time-limit", f"{round(1000 * plan.time_limit)}ms"]
    return job_command(plan, "sim", f"seed-{seed}", options, wrapper + simulator)


def start(plan: Plan, command: list[str]) -> subprocess.Popen:
    """Start a job in a session of its own, so that all of it can be signalled at once."""
    with (plan.folder / "client.log").open("ab") as log:
        return subprocess.Popen(
            command, cwd=HERE, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )


def signal_all(process: subprocess.Popen, signum: int) -> None:
    """Signal the session of a job; it may just have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signum)


def compile_bench(plan: Plan) -> bool:
    """Run the compile job; did it succeed?"""
    return start(plan, compile_command(plan)).wait() == 0


@dataclass
class Farm:
    """The jobs that run now."""

    plan: Plan
    running: dict[int, tuple[subprocess.Popen, float]] = field(default_factory=dict)  # seed -> job, when to remove it
    done: int = 0

    def fill(self, waiting: Iterator[int]) -> None:
        """Start jobs until as many run as may, or none waits."""
        while len(self.running) < self.plan.jobs and (seed := next(waiting, None)) is not None:
            process = start(self.plan, seed_command(self.plan, seed))
            self.running[seed] = process, time.monotonic() + self.plan.time_limit + self.plan.grace

    def reap(self) -> None:
        """Forget the jobs that have ended, remove those that are long over their limit."""
        for seed, (process, remove_at) in list(self.running.items()):
            if process.poll() is not None:
                del self.running[seed]
                self.done += 1
            elif time.monotonic() > remove_at:
                signal_all(process, signal.SIGKILL)

    def stop(self) -> None:
        """Ctrl-C: ask all jobs to end, and see to it."""
        for process, _ in self.running.values():
            signal_all(process, signal.SIGTERM)
        patience = time.monotonic() + 5
        while self.running and time.monotonic() < patience:
            self.reap()
            time.sleep(0.05)
        for process, _ in self.running.values():
            signal_all(process, signal.SIGKILL)


def run_seeds(plan: Plan, publisher: Publisher, progress: Progress) -> None:
    """Run all seeds, keeping `--jobs` of them running."""
    farm, waiting = Farm(plan), iter(plan.seeds)
    try:
        farm.fill(waiting)
        while farm.running:
            publisher.update_running(len(farm.running))
            progress.show(farm.done, len(farm.running))
            time.sleep(0.03)
            farm.reap()
            farm.fill(waiting)
        progress.show(farm.done, 0)
    except BaseException:
        farm.stop()
        raise


# ---- what people see -------------------------------------------------------------------------------------------------


def say(text: str, end: str = "\n") -> None:
    """Print; a reader that has gone away (`| head`) must not stop a regression."""
    try:
        print(text, end=end, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@dataclass
class Progress:
    """A bar on a terminal, else a line per tenth."""

    total: int
    shown: tuple[int, int] = (-1, -1)
    terminal: bool = field(default_factory=sys.stdout.isatty)

    def show(self, done: int, running: int) -> None:
        """Show how far it is, if there is news."""
        tenth = 10 * done // self.total
        news = (done, running) if self.terminal else (tenth, 0)
        if news == self.shown:
            return
        self.shown = news
        text = f"{done}/{self.total} seeds done, {running} running"
        if self.terminal:
            filled = 40 * done // self.total
            say(f"\r[{'#' * filled}{'.' * (40 - filled)}] {text} ", end="\n" if done == self.total else "")
        else:
            say(f"{10 * tenth:3} %  {text}")


def page_address(plan: Plan) -> str | None:
    """Where the regression can be seen, if that can be known: --page, else the server that we publish to."""
    base = plan.page or (plan.target[1] if plan.target[0] == "--server" else None)
    return f"{base.rstrip('/')}/r/{quote(plan.regression, safe='')}" if base else None


def print_summary(plan: Plan, seconds: float) -> None:
    """How the seeds ended, by their log files."""
    found = verdicts.read(plan.folder)
    say(f"{plan.regression}: {len(found)} seeds with {plan.simulator.name} in {seconds:.0f} s, by their log files:")
    say("\n".join(verdicts.summary(found)))
    say(f"logs: {plan.folder}")
    if address := page_address(plan):
        say(f"page: {address}")


# ---- the whole -------------------------------------------------------------------------------------------------------


def run_regression(plan: Plan) -> int:
    """From regr-start to regr-finish; the exit code."""
    publisher, begun = Publisher(plan), time.monotonic()
    say(f"regression {plan.regression}: {len(plan.seeds)} seeds, {plan.jobs} at a time")
    if address := page_address(plan):
        say(f"watch it: {address}")
    if not publisher.publish("regr-start", regression_fields(plan)):
        print((plan.folder / "client.log").read_text().strip(), file=sys.stderr)
        return 2
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a script that put us in the background ignores SIGINT
        signal.signal(number, signal.default_int_handler)
    try:
        code = compile_and_run(plan, publisher)
    finally:
        publisher.publish("regr-finish", {"running": 0})
    if code == 0:
        print_summary(plan, time.monotonic() - begun)
    return code


def compile_and_run(plan: Plan, publisher: Publisher) -> int:
    """All the jobs; the exit code."""
    try:
        if compile_bench(plan):
            run_seeds(plan, publisher, Progress(len(plan.seeds)))
            return 0
    except KeyboardInterrupt:
        print("\nregress.py: interrupted", file=sys.stderr)
        return 130
    print(f"regress.py: it does not compile, see {plan.folder / 'compile.log'}", file=sys.stderr)
    return 1


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="regress.py", description="run the FIFO testbench with many seeds and let simscoped watch"
    )
    parser.add_argument("--regression", metavar="NAME", help="its name (default: the next free fifo/N)")
    parser.add_argument("--seeds", type=int, default=200, help="how many (default %(default)s)")
    parser.add_argument("--first-seed", type=int, default=1, metavar="N", help="the first one (default %(default)s)")
    parser.add_argument("--jobs", type=int, default=8, help="how many at a time (default %(default)s)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--spool", metavar="DIR", help="publish through a spool folder (or SIMSCOPE_SPOOL)")
    where.add_argument("--server", metavar="URL", help="publish over HTTP (or SIMSCOPE_SERVER)")
    parser.add_argument(
        "--simulator", choices=("auto", "icarus", "standin"), default="auto", help="default %(default)s"
    )
    parser.add_argument("--pace", type=float, default=5000, help="simulated cycles per second (default %(default)s)")
    parser.add_argument(
        "--time-limit", type=float, default=12, metavar="S", help="of a job, in seconds (default %(default)s)"
    )
    parser.add_argument(
        "--grace", type=float, default=3, metavar="S", help="then remove it after (default %(default)s)"
    )
    parser.add_argument("--outdir", type=Path, default=Path("var/demo"), help="for the logs (default %(default)s)")
    parser.add_argument("--page", metavar="URL", help="address of the daemon's page, to print where to look")
    return parser.parse_args(argv)


def check(args: argparse.Namespace) -> None:
    """Refuse what cannot work."""
    accepted = {
        "seeds": (1, MOST_SEEDS, "a whole number from 1 to 100000"),
        "first_seed": (0, 2**32 - MOST_SEEDS - 1, "a whole number from 0 to 4294867295"),
        "jobs": (1, 1000, "a whole number from 1 to 1000"),
        "pace": (1, 1_000_000, "1 to 1000000 cycles per second"),
        "time_limit": (0.1, 86400, "0.1 to 86400 seconds"),
        "grace": (0, 86400, "0 to 86400 seconds"),
    }
    for name, (least, most, words) in accepted.items():
        value = getattr(args, name)
        if not least <= value <= most:
            raise UsageError(f"--{name.replace('_', '-')} {value}: accepted: {words}")
    if args.spool and not Path(args.spool).is_dir():
        raise UsageError(f"--spool {args.spool}: no such folder; accepted: the one that the daemon reads")
    if not CLIENT.is_file():
        raise UsageError(f"{CLIENT}: the client is missing; accepted: a checkout with simscope.py at its top")


def target(args: argparse.Namespace) -> tuple[str, str]:
    """Where to publish, as options for simscope.py."""
    if args.server or args.spool:
        return ("--server", args.server) if args.server else ("--spool", str(Path(args.spool).resolve()))
    if server := os.environ.get("SIMSCOPE_SERVER"):
        return "--server", server
    if spool := os.environ.get("SIMSCOPE_SPOOL"):
        return "--spool", str(Path(spool).resolve())
    raise UsageError("where to publish? accepted: --spool DIR, --server URL, or SIMSCOPE_SPOOL or SIMSCOPE_SERVER")


def make_folder(outdir: Path, regression: str) -> Path:
    """The folder of a regression, below outdir and without logs of an earlier run."""
    parts = regression.split("/")
    if not regression.isprintable() or len(regression) > 512 or any(part in ("", ".", "..") for part in parts):
        raise UsageError(f"--regression {regression!r}: accepted: up to 512 printable characters, like demo/1")
    folder = outdir.resolve() / regression
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.glob("*.log")):
        raise UsageError(f"--regression {regression}: {folder} has the logs of an earlier run; accepted: another name")
    return folder


def next_free(outdir: Path, series: str = "fifo") -> str:
    """The next free SERIES/N; making its folder claims it."""
    (outdir / series).mkdir(parents=True, exist_ok=True)
    number = max((int(old.name) for old in (outdir / series).iterdir() if old.name.isdecimal()), default=0) + 1
    while True:
        try:
            (outdir / series / str(number)).mkdir()
        except FileExistsError:
            number += 1
        else:
            return f"{series}/{number}"


def make_plan(args: argparse.Namespace) -> tuple[Plan, str]:
    """The plan, and the first line to print."""
    check(args)
    where = target(args)
    simulator, first_line = choose_simulator(args.simulator)
    regression = args.regression or next_free(args.outdir)
    folder = make_folder(args.outdir, regression)
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    numbers = (args.pace, args.time_limit, args.grace)
    return Plan(regression, folder, seeds, args.jobs, where, simulator, *numbers, args.page), first_line


def main(argv: list[str] | None = None) -> int:
    try:
        plan, first_line = make_plan(parse(argv))
    except (UsageError, OSError) as error:
        print(f"regress.py: {error}", file=sys.stderr)
        return 2
    say(first_line)
    return run_regression(plan)


if __name__ == "__main__":
    sys.exit(main())
