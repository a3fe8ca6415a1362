#!/usr/bin/env python3
"""screenshots.py - runs the example regression and photographs the page: the pictures in this folder.

    make screenshots          # about three minutes; needs Chromium (Debian's package chromium)

A daemon of its own on a free port, in a temporary folder; five short runs of the series first, so that there is
something to compare with, then one of 200 seeds. At 60 % of it the pictures are taken: overview.png, regression.png,
pictures.png, the last two in dark too, compare.png, and job.png, a job that failed and has run before. The daemon and
the runs are ended at the end, however it comes. With Icarus Verilog installed it is really simulated, else the stand-in
of the example runs.

Exit code: 0 the pictures are there, 1 they are not, 2 Chromium is missing.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
CONFIG = """
[server]
listen = "127.0.0.1:0"
db = "simscope.db"
[spool]
dir = "spool"
[sigs]
enablelivejobs = true
livetimeoutsignature = "LIVE Job Timeout or Missing"
"""
HOST = "simfarm-07"  # what the machine is called in the pictures, where we may say so
# name, first seed, seeds: none of these crashes, so that there is a bug that is new later
EARLIER = [("fifo/38", "30", "40"), ("fifo/39", "62", "30"), ("fifo/40", "40", "50"), ("fifo/41", "30", "48")]
EARLIER += [("fifo/42", "50", "64")]
SEEDS_BEFORE = range(50, 114)
RUN = "fifo/43"
SHARE = 0.6
WIDTH = 1280
LARGEST = 400_000
# --no-sandbox: Chromium refuses to run as root with it, and it is our own page that is shown
CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"]
CHROMIUM += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


class Trouble(Exception):
    """Why there are no pictures."""


def say(text: str) -> None:
    print(text, flush=True)


def wait_for(what: str, condition: Callable[[], Any], seconds: float = 30) -> Any:
    """Ask again and again until the answer is something. -> the answer."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise Trouble(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(0.1)
    return value


# ---- the daemon and the runs -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def ended(process: subprocess.Popen[bytes], number: signal.Signals) -> Iterator[subprocess.Popen[bytes]]:
    """A process that does not outlive us."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(number)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def daemon(folder: Path) -> Iterator[str]:
    """The daemon in a folder of its own. -> its address."""
    (folder / "simscope.config").write_text(CONFIG)
    command = [sys.executable, str(ROOT / "simscoped.py"), "serve", "--config", str(folder / "simscope.config")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    with ended(process, signal.SIGTERM):
        yield wait_for("the daemon, see its log", lambda: address(folder / "log")).rstrip("/")


def address(log: Path) -> str:
    told = [line.rpartition(" on ")[2] for line in log.read_text().splitlines() if " on http://" in line]
    return told[0] if told else ""


def set_up(folder: Path) -> None:
    """The example and the client, where they may be seen: pictures show the lines that run jobs again."""
    place = folder / "lab"
    shutil.copytree(ROOT / "examples", place / "examples")
    shutil.copy(ROOT / "simscope.py", place)
    (place / "python3").symlink_to(sys.executable)


def regress(folder: Path, name: str, *options: str) -> subprocess.Popen[bytes]:
    """Start a run of the example. Its name of the machine is ours to choose only where namespaces are allowed."""
    lab = folder / "lab"
    command = [str(lab / "python3"), "examples/fifo/regress.py", "--regression", name, "--outdir", str(folder / "runs")]
    names = ["unshare", "--map-root-user", "--uts"]
    if shutil.which(names[0]) and subprocess.run([*names, "hostname", HOST], capture_output=True).returncode == 0:
        command = [*names, "sh", "-c", f'hostname {HOST}; exec "$@"', "sh", *command]
    env = os.environ | {"SIMSCOPE_SPOOL": str(folder / "spool"), "SIMSCOPE_BACKLOG": str(folder / "backlog")}
    env |= {"LOGNAME": "nightly", "GIT_DIR": str(ROOT / ".git")}
    options = (*options, "--jobs", "12", "--pace", "6000")
    return subprocess.Popen([*command, *options], cwd=lab, env=env, stdout=subprocess.DEVNULL)


def run_to_the_end(folder: Path, name: str, first: str, seeds: str) -> None:
    say(f"run {name}: {seeds} seeds")
    options = ("--first-seed", first, "--seeds", seeds, "--time-limit", "6")
    with ended(regress(folder, name, *options), signal.SIGINT) as run:
        if run.wait(120) != 0:
            raise Trouble(f"{name} ended with {run.returncode}")


def ask(base: str, path: str) -> Any:
    with urllib.request.urlopen(f"{base}/api/v1/{path}", timeout=10) as answer:
        return json.load(answer)


def regression(base: str) -> str:
    return f"regressions/{RUN.replace('/', '%2F')}"


def has_come_far(base: str) -> bool:
    """Is the run where the pictures are to be taken?"""
    try:
        progress = ask(base, regression(base))["progress"]
    except OSError:
        return False
    return bool(progress["total"]) and progress["done"] >= SHARE * progress["total"]


def failed_job(base: str) -> int:
    """A job with a telling message, expected and got, whose seed was among those of the run before."""
    failed = ask(base, f"{regression(base)}/jobs?result=fail&limit=100")["items"]
    telling = [job for job in failed if "expected" in (job["fail_message"] or "")]
    known = [job for job in telling if int(job["seed"]) in SEEDS_BEFORE]
    return (known or telling or failed)[0]["id"]


# ---- the pictures ----------------------------------------------------------------------------------------------------

# Where the picture may end without cutting a line of text in half.
LAST_WHOLE = """most => {
  const ends = [...document.querySelectorAll("main tr, main dl, main pre, main li, main .panel, main nav")]
    .filter(node => node.getClientRects().length)
    .map(node => node.getBoundingClientRect().bottom);
  const last = Math.max(...ends);
  return last + 16 <= most ? last + 16 : Math.max(300, ...ends.filter(end => end <= most));
}"""


def photograph(browser: Browser, url: str, ready: str, picture: str, height: int, scheme: str = "light") -> None:
    """One picture of one view, as soon as `ready` is there and the stream is open."""
    context = browser.new_context(viewport={"width": WIDTH, "height": height}, color_scheme=scheme)
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector(ready)
    page.wait_for_selector("#connection[data-state=open]")
    save(page, DOCS / picture, height)
    context.close()


def save(page: Page, path: Path, height: int) -> None:
    bottom = int(min(height, page.evaluate(LAST_WHOLE, height)))
    page.screenshot(path=path, clip={"x": 0, "y": 0, "width": WIDTH, "height": bottom}, animations="disabled")
    size = path.stat().st_size
    say(f"{path.name}: {WIDTH} x {bottom}, {size // 1000} kB")
    if size > LARGEST:
        raise Trouble(f"{path.name} is larger than {LARGEST // 1000} kB")


def take_pictures(base: str, browser: Browser) -> None:
    run = f"{base}/r/{RUN.replace('/', '%2F')}"
    signatures = ".signatures tbody tr:nth-child(3)"
    photograph(browser, run, signatures, "regression.png", 1330)
    photograph(browser, base, ".regressions tbody tr:nth-child(3) .run", "overview.png", 560)
    photograph(browser, run, signatures, "regression-dark.png", 1330, "dark")
    photograph(browser, f"{run}?tab=pictures", ".hosts tbody tr", "pictures.png", 1560)
    photograph(browser, f"{run}?tab=pictures", ".hosts tbody tr", "pictures-dark.png", 1560, "dark")
    photograph(browser, f"{run}?tab=compare", "[data-section] tbody tr >> visible=true", "compare.png", 1100)
    photograph(browser, f"{base}/j/{failed_job(base)}", ".earlier tbody tr", "job.png", 1200)


@contextlib.contextmanager
def browser_of(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM)
        yield browser
        browser.close()


def main() -> int:
    chromium = shutil.which("chromium")
    if chromium is None:
        print("screenshots.py: chromium is missing: apt install chromium", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="simscoped-") as name, daemon(Path(name)) as base:
        folder = Path(name)
        set_up(folder)
        say(f"daemon: {base}")
        for earlier in EARLIER:
            run_to_the_end(folder, *earlier)
        say(f"run {RUN}: 200 seeds; pictures at {SHARE:.0%}")
        run = regress(folder, RUN, "--seeds", "200")
        with ended(run, signal.SIGINT), browser_of(chromium) as browser:
            wait_for(f"{RUN} to get to {SHARE:.0%}", lambda: has_come_far(base), 180)
            take_pictures(base, browser)
            say(f"enough seen, ending {RUN}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Trouble as trouble:
        print(f"screenshots.py: {trouble}", file=sys.stderr)
        sys.exit(1)
