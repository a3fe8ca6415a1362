"""Completions, in the shells themselves."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.hosts import SCRIPT

import simscope


def completed(words: list[str], folder: Path) -> list[str]:
    """What bash offers for the last of some words."""
    script = (
        'source <(simscope_completion); COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _simscope;'
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    define = f"simscope_completion() {{ {sys.executable} {SCRIPT} completion bash; }}; {script}"
    done = subprocess.run(
        ["bash", "-c", define, "bash", *words], cwd=folder, capture_output=True, text=True, timeout=20
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.process
def test_bash_completes_commands_options_values_and_files(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.json").touch()

    assert set(completed(["simscope", ""], tmp_path)) >= set(simscope.COMMANDS)
    assert completed(["simscope", "wa"], tmp_path) == ["wait", "watch"]
    assert completed(["simscope", "logs", "--fol"], tmp_path) == ["--follow"]
    assert completed(["simscope", "jobs", "--sort", "n"], tmp_path) == ["newest", "name"]
    assert completed(["simscope", "jobs", "--sort", "-r"], tmp_path) == ["-result", "-runtime"]
    assert completed(["simscope", "jobs", "--result", ""], tmp_path) == ["live", "pass", "fail", "skip"]
    assert completed(["simscope", "regressions", "--status", "t"], tmp_path) == ["tanked"]
    assert completed(["simscope", "publish", "job-l"], tmp_path) == ["job-live"]
    assert completed(["simscope", "publish", "--spool", "f"], tmp_path) == ["folder"]
    assert completed(["simscope", "publish", "job-live", "fi"], tmp_path) == ["file.json"]


def test_zsh_is_told_the_place_of_each_argument_and_only_a_repeated_one_has_all_the_rest() -> None:
    text = simscope.zsh_completion()
    cases = re.findall(r"^ {8}([a-z]+)\)\n(.*?) ;;$", text, re.M | re.S)
    places = {name: re.findall(r"'([0-9*]):([A-Z]+):", case) for name, case in cases}

    assert set(places) == set(simscope.COMMANDS)
    assert all([place for place, _ in each if place == "*"] in ([], ["*"]) for each in places.values())
    assert places["publish"] == [("1", "TYPE"), ("*", "FILE")]
    assert places["download"] == [("1", "JOB"), ("2", "NAME"), ("3", "DEST")]
    assert (places["extend"], places["wait"]) == ([("1", "JOB"), ("2", "TIME")], [("*", "REF")])


def read_until(controller: int, wanted: str, seconds: float = 20) -> str:
    """What a program on a terminal writes, up to and with the first match of an expression."""
    shown, end = "", time.monotonic() + seconds
    while time.monotonic() < end:
        if select.select([controller], [], [], 0.2)[0]:
            shown += os.read(controller, 65536).decode("utf-8", "replace")
        if found := re.search(wanted, shown):
            return found[0]
    raise AssertionError(f"no {wanted!r} in {shown!r}")


@pytest.mark.zsh
def test_a_real_zsh_completes_commands_options_values_and_files(tmp_path: Path) -> None:
    """The command is a function that tells with which words it was called: as the Tab key has left them."""
    (tmp_path / "made.json").touch()
    (tmp_path / "completion").write_text(simscope.zsh_completion())
    controller, terminal = pty.openpty()
    kept = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TERM": "dumb"}
    streams = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
    zsh = subprocess.Popen(["zsh", "-f", "-i"], cwd=tmp_path, env=kept, start_new_session=True, **streams)  # type: ignore[call-overload]
    os.close(terminal)
    got: list[str] = []
    try:
        setup = "autoload -Uz compinit; compinit -u -D; . ./completion; simscope() { echo told:$*:; }; PS1=re''ady"
        os.write(controller, setup.encode() + b"\n")
        read_until(controller, "ready")
        for typed in ("--ver", "publi", "publish job-f", "publish job-live ma", "download 1 cov ma", "extend 1 5m --un",
                      "jobs --result sk", "completion z"):  # fmt: skip
            os.write(controller, f"simscope {typed}\t\n".encode())
            got.append(read_until(controller, r"(?s)told:[^$\n]*:\r.*ready"))
    finally:
        zsh.kill()
        zsh.wait()
        os.close(controller)

    assert [told.partition("told:")[2].partition(":\r")[0] for told in got] == [
        "--version", "publish", "publish job-finish", "publish job-live made.json", "download 1 cov made.json",
        "extend 1 5m --until", "jobs --result skip", "completion zsh",
    ]  # fmt: skip


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_has_every_command_and_every_option(shell: str) -> None:
    text = simscope.SHELLS[shell]()

    for name in simscope.COMMANDS:
        assert name in text
        for action in simscope.parser_of(name)._actions:
            for option in action.option_strings:
                word = option.lstrip("-") if shell == "fish" else option
                assert re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text), (name, option)
