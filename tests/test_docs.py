"""The README and docs/ say what is so: their shell blocks are pasted into bash and zsh, their links are followed.

A document is read from top to bottom by a stranger in a fresh checkout, with the daemon of `make run` in another
terminal. Each `sh` block goes whole into a new interactive shell at a terminal, which stops at the first command that
fails. A block behind `<!-- not run: REASON -->` is only parsed.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from support.daemons import ROOT, wait_until

DOCUMENTS = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
SHELLS = ["bash", pytest.param("zsh", marks=pytest.mark.zsh)]
INTERACTIVE = {"bash": ["bash", "--norc", "--noprofile", "--noediting", "-i"], "zsh": ["zsh", "-f", "+Z", "-i"]}
BLOCK = re.compile(r"^(?:<!-- not run: (?P<why>[^>]+) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
START = "make run\n"


class Block(NamedTuple):
    """A code block: where it begins, its text, and why it is not run, if so."""

    place: str
    text: str
    why: str | None


def blocks_of(document: str, language: str) -> list[Block]:
    text = (ROOT / document).read_text()
    found = [match for match in BLOCK.finditer(text) if match["language"] == language]
    return [Block(f"{document}:{line_of(text, match.start('text'))}", match["text"], match["why"]) for match in found]


def line_of(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def every(language: str) -> list[Block]:
    return [block for document in DOCUMENTS for block in blocks_of(document, language)]


# ----------------------------------------------------------------------------------------------------------------------
# a shell at a terminal
# ----------------------------------------------------------------------------------------------------------------------


# What becomes the shell must own its terminal first, or Ctrl-C would not reach what runs in it.
OWNER = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"


class Terminal:
    """An interactive shell at a terminal of its own; what is pasted there is echoed into `seen`."""

    def __init__(self, shell: str, folder: Path, environ: dict[str, str]) -> None:
        self.seen = b""
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNER, *INTERACTIVE[shell]],
            stdin=slave, stdout=slave, stderr=slave, cwd=folder, env=environ, start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(self._master, 65536):
                self.seen += data

    def paste(self, text: str) -> None:
        os.write(self._master, text.encode())

    def run(self, text: str, seconds: float) -> int:
        """Paste a block; -> exit code of the shell, which ends with the block or with its first failure."""
        self.paste(f"set -e\n{text}exit 0\n")
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it has not ended after {seconds} s:\n{self.transcript()}") from None
        finally:
            self.close()

    def interrupt(self) -> None:
        """Press Ctrl-C, and leave the shell."""
        self.paste("\x03")
        self.paste("exit 0\n")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        self.close()

    def close(self) -> None:
        """Hang up: whoever still runs here is told."""
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGHUP)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join(2)
        with contextlib.suppress(OSError):
            os.close(self._master)

    def transcript(self) -> str:
        return self.seen.decode(errors="replace").replace("\r\n", "\n")


# ----------------------------------------------------------------------------------------------------------------------
# a stranger with a fresh checkout
# ----------------------------------------------------------------------------------------------------------------------


class Stranger:
    """Somebody in a fresh checkout, who pastes what a document says, one block after the other."""

    def __init__(self, shell: str, folder: Path) -> None:
        self.shell = shell
        self.folder = folder / "simscoped"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.terminals: list[Terminal] = []
        copy_checkout(self.folder)
        ours = ("SIMSCOPE_", "MAKE", "PYTHON")
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        self.environ |= {"SIMSCOPE_LISTEN": f"127.0.0.1:{self.port}", "SIMSCOPE_SERVER": self.url}
        self.environ |= {"HOME": str(folder), "TERM": "dumb"}

    def paste(self, block: str, seconds: float = 90) -> tuple[int, str]:
        """-> exit code and what the terminal showed. The daemon's port is not the usual one."""
        terminal = self._terminal()
        return terminal.run(block.replace("127.0.0.1:8040", f"127.0.0.1:{self.port}"), seconds), terminal.transcript()

    def begin(self, block: str, until: Callable[[], bool]) -> Terminal:
        """Paste what does not end by itself, and wait for a sign that it works."""
        terminal = self._terminal()
        terminal.paste(block)
        self.terminals.append(terminal)
        try:
            wait_until(until, 60, block)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{terminal.transcript()}") from None
        return terminal

    def _terminal(self) -> Terminal:
        return Terminal(self.shell, self.folder, self.environ)

    def get(self, path: str) -> Any:
        """What the daemon answers; None if it does not, or has no such thing."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as answer:
                return json.loads(answer.read())
        except OSError:
            return None

    def status_of(self, regression: str) -> tuple[str, int, int] | None:
        """Status, passes and fails of a regression."""
        told = self.get(f"/api/v1/regressions/{quote(regression, safe='')}")
        return told and (told["status"], told["counts"]["pass"], told["counts"]["fail"])

    def leave(self) -> None:
        while self.terminals:
            self.terminals.pop().interrupt()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def copy_checkout(folder: Path) -> None:
    """The files of a checkout, with the environment that these tests run in as its .venv: nothing is installed."""
    ignored = ".git .venv* var build dist tests *.egg-info __pycache__ .*_cache .hypothesis".split()
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*ignored))
    (folder / ".venv").mkdir()
    for entry in Path(sys.prefix).iterdir():
        if not entry.name.startswith("."):
            (folder / ".venv" / entry.name).symlink_to(entry)
    for stamp in re.findall(r"\$\(VENV\)/(\.\w+)", (ROOT / "Makefile").read_text()):
        (folder / ".venv" / stamp).touch()


@pytest.fixture
def stranger_with(tmp_path: Path) -> Iterator[Callable[[str], Stranger]]:
    strangers: list[Stranger] = []

    def make(shell: str) -> Stranger:
        strangers.append(Stranger(shell, tmp_path))
        return strangers[-1]

    yield make
    for stranger in strangers:
        stranger.leave()


# ----------------------------------------------------------------------------------------------------------------------
# the blocks
# ----------------------------------------------------------------------------------------------------------------------

# What a stranger finds afterwards: regression -> status, passes, fails.
FOUND = {
    "README.md": {
        "myrun/1": ("complete", 0, 1),
        "myrun/2": ("complete", 1, 1),
        "myrun/3": ("complete", 1, 0),
        "myrun/4": ("complete", 1, 0),
    },
    "docs/client.md": {"client/1": ("complete", 1, 0), "client/2": ("complete", 1, 1)},
    "docs/messages.md": {"broken/1": ("live", 1, 0)},
    "docs/http.md": {"http/1": ("live", 1, 1), "http/2": ("tanked", 0, 1)},
}

# What the terminal says where a command is meant to fail.
SHOWN = {
    "README.md": ["not clean: 1"],
    "docs/client.md": ["not clean: 1"],
    "docs/messages.md": ["it was refused: 1"],
}
PROBLEM = "urn:simscoped:"  # in every error of the daemon, which curl shows and takes for a success


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("document", [document for document in DOCUMENTS if blocks_of(document, "sh")])
def test_every_shell_block_can_be_pasted_and_works(
    document: str, shell: str, stranger_with: Callable[[str], Stranger], request: pytest.FixtureRequest
) -> None:
    blocks = [block for block in blocks_of(document, "sh") if block.why is None and block.text != START]
    if any("curl" in block.text for block in blocks) and not shutil.which("curl"):
        assert not request.config.option.everything, "curl is missing: apt install curl"
        pytest.skip("curl is missing: apt install curl")
    stranger = stranger_with(shell)
    stranger.begin(START, lambda: stranger.get("/healthz") is not None)

    shown = ""
    for block in blocks:
        if block.text == "make demo\n":
            stranger.begin(block.text, lambda: bool(stranger.get("/api/v1/jobs?result=pass")["items"])).interrupt()
            stranger.terminals.pop()
            continue
        code, transcript = stranger.paste(block.text)
        assert code == 0, f"{block.place}, pasted into {shell}, ended with {code}:\n{transcript}"
        assert PROBLEM not in transcript, f"{block.place}, pasted into {shell}, is refused:\n{transcript}"
        shown += transcript

    assert [sentence for sentence in SHOWN.get(document, []) if sentence not in shown] == []
    for name, found in FOUND.get(document, {}).items():
        wait_until(lambda: stranger.status_of(name) == found, 20, f"{name} to be {found}")  # noqa: B023 - waits here


@pytest.mark.parametrize("shell", SHELLS)
def test_blocks_that_are_not_run_can_be_parsed_and_are_few(shell: str) -> None:
    left_out = [block for block in every("sh") if block.why is not None]

    for block in left_out:
        done = subprocess.run([shell, "-n"], input=block.text, capture_output=True, text=True, timeout=20)
        assert (done.returncode, done.stderr) == (0, ""), block.place
    assert len(left_out) <= 3, "a block that is not run can rot: run it, or leave it out"


def test_no_shell_block_has_what_a_paste_does_not_bear() -> None:
    """A comment, which zsh takes as a command; a tab, which completes; an ellipsis or <NAME>, which nobody can run."""
    said = re.compile(r"(^|\s)#|\t|…|<[A-Z]|\$ ")

    assert [(block.place, line) for block in every("sh") for line in block.text.splitlines() if said.search(line)] == []


@pytest.mark.parametrize(
    ("shell", "block"),
    [
        ("bash", "false\ntrue\n"),
        ("bash", "ls <FOLDER>\n"),
        ("bash", "python3 simscope.py publish job-live --spool var/spool missing.json\n"),
        pytest.param("zsh", "sleep 0  # the simulation\n", marks=pytest.mark.zsh),
        pytest.param("zsh", "# a comment\ntrue\n", marks=pytest.mark.zsh),
        pytest.param("zsh", "echo missing*.json\ntrue\n", marks=pytest.mark.zsh),
        pytest.param("zsh", "false\ntrue\n", marks=pytest.mark.zsh),
    ],
)
def test_a_block_that_fails_is_seen(shell: str, block: str, stranger_with: Callable[[str], Stranger]) -> None:
    assert stranger_with(shell).paste(block)[0] != 0


def test_the_makefile_and_the_python_of_the_readme_work(stranger_with: Callable[[str], Stranger]) -> None:
    stranger = stranger_with("bash")
    stranger.begin(START, lambda: stranger.get("/healthz") is not None)
    (makefile,), (script,) = blocks_of("README.md", "make"), blocks_of("README.md", "python")
    (stranger.folder / "nightly.mk").write_text(makefile.text)
    ours = script.text.replace("8040", str(stranger.port)).replace("myrun", "nightly")
    (stranger.folder / "mine.py").write_text(ours)

    code, transcript = stranger.paste("make -f nightly.mk -j8\npython3 mine.py\n")

    assert code == 0, transcript
    wait_until(lambda: stranger.status_of("nightly/1") == ("complete", 3, 0), 20, "the regression to be complete")


def test_the_other_blocks_can_be_parsed() -> None:
    for block in every("python"):
        compile(block.text, block.place, "exec")
    for block in every("json"):
        json.loads(block.text)
    for block in every("toml"):
        tomllib.loads(block.text)

    languages = {found["language"] for document in DOCUMENTS for found in BLOCK.finditer((ROOT / document).read_text())}
    assert languages <= {"sh", "console", "make", "python", "json", "toml", "nginx", "ini", "text"}


# ----------------------------------------------------------------------------------------------------------------------
# the links
# ----------------------------------------------------------------------------------------------------------------------


FENCED = re.compile(r"^```.*?^```$", re.M | re.S)
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"")


def anchors_of(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a document."""
    anchors: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", FENCED.sub("", text), re.M):
        shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", shown).replace(" ", "-")
        anchors.add(next(name for name in (slug, *(f"{slug}-{n}" for n in range(1, 99))) if name not in anchors))
    return anchors


def links_of(text: str) -> list[str]:
    prose = re.sub(r"`[^`\n]+`", "", FENCED.sub("", text))
    return [found[1] or found[2] for found in LINK.finditer(prose)]


@pytest.mark.parametrize("document", [*DOCUMENTS, "CHANGELOG.md", "bench/README.md", "examples/fifo/README.md"])
def test_links_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text()
    dead = []
    for link in links_of(text):
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", path):
            continue
        target = (ROOT / document).parent / path if path else ROOT / document
        if not target.exists() or (anchor and anchor not in anchors_of(target.read_text())):
            dead.append(link)

    assert dead == []


def test_the_readme_leads_to_every_document() -> None:
    readme = (ROOT / "README.md").read_text()

    assert {document for document in DOCUMENTS[1:] if f"({document}" not in readme} == set()


def test_files_that_the_design_names_are_there() -> None:
    """Paths in code marks, of any wing."""
    named = set(re.findall(r"`((?:[\w.-]+/)+[\w.-]*|\w+\.(?:py|sql|md))`", (ROOT / "docs/design.md").read_text()))
    places = [ROOT, ROOT / "static", *(path for path in ROOT.glob("simscope_server/**/") if path.is_dir())]

    ours = {path for path in named if not path.startswith("SPOOL/")}
    missing = {path for path in ours if not any((place / path).exists() for place in places)}

    assert missing == set()
