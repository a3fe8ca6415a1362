"""The two files as they are copied: what each needs, tells and loads."""

from __future__ import annotations

import ast
import dataclasses
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from support.daemons import ROOT, Daemon, done, publish_job
from support.hosts import SCRIPT, Host, Inside, dead_url

import simscope
import simscope_client

pytestmark = pytest.mark.process

FILES = (simscope, simscope_client)
WATCHING = [name for name in simscope.COMMANDS if name not in ("publish", "run", "completion")]


def python(*arguments: object, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the interpreter in a folder, without what is installed beside it."""
    command = [sys.executable, "-S", "-B", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env={"PATH": "/bin:/usr/bin"} | env, capture_output=True, text=True)


def test_help_and_version(host: Host, inside: Inside) -> None:
    assert host("--version").stdout == f"simscope {simscope.__version__}\n"
    for command in simscope.COMMANDS:
        code, output, _ = inside(command, "--help")
        assert code == 0
        assert "examples:\n  " in output
    code, output, _ = inside("--help")
    assert (code, "exit codes:" in output) == (0, True)


@pytest.mark.parametrize("command", list(simscope.COMMANDS))
def test_every_option_is_explained(command: str) -> None:
    assert [action.dest for action in simscope.parser_of(command)._actions if not action.help] == []


def test_help_is_as_wide_as_columns_says(host: Host) -> None:
    widths = {}
    for columns in ("50", "200"):
        shown = host("run", "--help", COLUMNS=columns).stdout.partition("options:")[2].partition("examples:")[0]
        widths[columns] = max(len(line) for line in shown.splitlines() if line.startswith(" "))

    assert widths["50"] <= 48 < widths["200"]


# ----------------------------------------------------------------------------------------------------------------------
# one file alone
# ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def alone(tmp_path: Path) -> Path:
    """A folder with simscope.py only."""
    folder = tmp_path / "alone"
    folder.mkdir()
    shutil.copy(SCRIPT, folder)
    return folder


def test_the_first_file_publishes_and_runs_alone(alone: Path) -> None:
    spool = alone / "spool"
    spool.mkdir()
    where = ("--regression", "r", "--spool", spool)

    for command in (("publish", "regr-start", *where, "-"), ("run", *where, "--", "true"), ("completion", "zsh")):
        done = subprocess.run(
            [sys.executable, "-S", alone / "simscope.py", *command], input=b"{}", capture_output=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, b"")

    assert len(list(spool.iterdir())) == 3


@pytest.mark.parametrize("name", WATCHING)
def test_a_watching_command_says_which_file_is_missing(alone: Path, name: str) -> None:
    found = python(alone / "simscope.py", name, "1", folder=alone)

    told = f"simscope: error: {name} needs the file simscope_client.py: copy it to {alone}\n"
    assert (found.returncode, found.stdout, found.stderr) == (2, "", told)


def test_an_import_says_which_file_is_missing_and_other_names_are_missing_as_ever(alone: Path) -> None:
    found = python("-c", "from simscope import Client", folder=alone)
    assert found.stderr.endswith(f"ClientMissing: Client needs the file simscope_client.py: copy it to {alone}\n")
    code = (
        "import simscope\n"
        "try: simscope.Job\n"
        "except ImportError as error: print(isinstance(error, simscope.UsageError))\n"
        "print(hasattr(simscope, 'colour'), hasattr(simscope, '__path__'))\n"
    )
    assert python("-c", code, folder=alone).stdout == "True\nFalse False\n"


def test_help_lists_the_watching_commands_all_the_same_and_a_shell_is_offered_what_works(alone: Path) -> None:
    shown = python(alone / "simscope.py", "--help", folder=alone).stdout
    assert all(re.search(rf"^ +(COMMAND +)?{name} +\w", shown, re.M) for name in simscope.COMMANDS)
    for shell in simscope.SHELLS:
        offered = python(alone / "simscope.py", "completion", shell, folder=alone).stdout
        assert "publish" in offered and "regressions" not in offered


def test_files_of_two_versions_are_told_apart(alone: Path) -> None:
    (alone / "simscope_client.py").write_text("from simscope import something_newer\n")

    found = python(alone / "simscope.py", "jobs", folder=alone)

    assert (found.returncode, found.stderr.count("\n")) == (2, 1)
    assert "jobs needs simscope.py and simscope_client.py of the same version: copy both to" in found.stderr


# ----------------------------------------------------------------------------------------------------------------------
# both files
# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [(), ("-I",)])
def test_as_a_script_there_is_one_copy_of_each_error(daemon: Daemon, options: tuple[str, ...]) -> None:
    """The exit codes are those of errors that one file raises and the other one catches."""
    script = (sys.executable, *options, str(SCRIPT))
    job = publish_job(daemon, "r/1", done())

    for words, code in ((f"status {job}", 0), ("status 4711", 2), ("wait r/1 --timeout 0.1", 5)):
        found = subprocess.run([*script, *words.split(), "--server", daemon.url], capture_output=True, text=True)
        assert (found.returncode, "Traceback" in found.stderr) == (code, False)
    found = subprocess.run([*script, "jobs", "--server", dead_url()], capture_output=True, text=True)
    assert (found.returncode, found.stderr.count("\n")) == (3, 1)


def test_every_public_name_can_be_had_from_the_first_file() -> None:
    snapshots = {
        name
        for name, value in vars(simscope_client).items()
        if dataclasses.is_dataclass(value) or name in ("Client", "LogBuffer", "EVENT_TYPES")
    }
    assert set(simscope.CLIENT_NAMES) == snapshots
    for name in simscope.CLIENT_NAMES:
        assert getattr(simscope, name) is getattr(simscope_client, name)


def test_the_second_file_may_be_imported_first() -> None:
    code = "import simscope_client, simscope; print(simscope.Client is simscope_client.Client)"
    assert python("-c", code, folder=ROOT).stdout == "True\n"


@pytest.mark.parametrize("module", FILES, ids=lambda module: module.__name__)
def test_the_sections_are_those_of_the_contents(module: ModuleType) -> None:
    source = Path(str(module.__file__)).read_text()
    manual = module.__doc__ or ""

    banners = re.findall(r"^# -+\n# (\d+) ", source, re.MULTILINE)
    contents = re.findall(r"(?:^|\s)(\d+) \w", manual[manual.index("SECTIONS") :])

    assert banners == contents == [str(number) for number in range(1, len(banners) + 1)]


def test_each_variable_is_in_the_manual() -> None:
    source = SCRIPT.read_text()
    for variable in set(re.findall(r'"(SIMSCOPE_[A-Z_]+)"', source)) - {"SIMSCOPE_"}:
        assert variable in (simscope.__doc__ or ""), variable


def test_the_manual_of_the_client_tells_every_method_error_and_command() -> None:
    manual = (ROOT / "docs" / "client.md").read_text()
    public = {name for name in vars(simscope.Client) if not name.startswith("_")}
    errors = {
        name
        for name, value in vars(simscope).items()
        if isinstance(value, type) and issubclass(value, simscope.SimscopeError)
    }
    known = "jobs job isdone wait_job extend_job job_logs job_logs_buffered job_logs_older! job_logs_newer! hasfirst"
    known += " haslast interrupt! job_files job_file download_job_file Job JobStatus JobFile FileHash JobLogMessage"

    told = set(re.findall(r"[A-Za-z_!]+", manual))

    assert public - told <= {"about", "events_page", "log_page", "log_end", "log_is_over", "caller"}
    assert errors <= told and set(known.replace("!", "").split()) <= {word.replace("!", "") for word in told}
    assert {name for name in simscope.COMMANDS if name not in ("publish",)} <= told
    assert set(simscope.COMMANDS) <= set(re.findall(r"[a-z]+", simscope.__doc__ or ""))


@pytest.mark.parametrize("module", FILES, ids=lambda module: module.__name__)
def test_what_people_read_is_plain(module: ModuleType) -> None:
    """ "x is not a duration", never "x is no duration"; and 5s, never 5 s."""
    tree = ast.parse(Path(str(module.__file__)).read_text())
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]

    odd = re.compile(r"(?<![Tt]here )\b(?:is|are) no(?:ne)?\b|\b\d+ (?:s|m|h|min)\b")

    assert [text for text in texts if odd.search(text)] == []


@pytest.mark.parametrize("name", ["simscope.py", "simscope_client.py"])
def test_the_file_keeps_to_python_3_8(name: str) -> None:
    """vermin has no module to run by -m; its script lies beside the interpreter."""
    code = "import sys, vermin; sys.argv[0] = 'vermin'; vermin.main()"
    command = [sys.executable, "-c", code, "-t=3.8-", "--no-tips", str(ROOT / name)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def test_each_command_loads_only_what_it_uses(host: Host) -> None:
    """A farm starts it a million times a night. Names are those of modules that cost milliseconds."""
    heavy = "http email ssl socket urllib uuid tempfile typing asyncio dataclasses inspect shutil simscope_client"
    code = (
        f"import sys; before = set(sys.modules); sys.path.insert(0, {str(ROOT)!r}); import simscope;"
        "code = simscope.main(sys.argv[2:]);"
        "print(code, sorted({*sys.argv[1].split()} & (set(sys.modules) - before)))"
    )
    for forbidden, arguments in (
        (heavy + " subprocess", ("publish", "regr-finish", "--regression", "r", "--spool", "spool")),
        (heavy, ("run", "--regression", "r", "--spool", "spool", "--", "true")),
        ("typing dataclasses simscope_client", ("run", "--regression", "r", "--server", dead_url(), "--", "true")),
    ):
        command = [sys.executable, "-I", "-S", "-B", "-c", code, forbidden, *arguments]
        found = subprocess.run(command, cwd=host.folder, env=host.env, capture_output=True, text=True, check=False)
        assert found.stdout == "0 []\n", found.stdout + found.stderr
