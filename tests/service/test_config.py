"""The configuration: what a file may say, what it means if it says nothing, and how it is told what is wrong."""

import dataclasses
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from support.daemons import ROOT

from simscope_server.settings import OPTIONS, Config, ConfigError, Option, is_loopback, load_config, split_listen

EXAMPLE = ROOT / "simscope.config.example"
SWITCHED_ON = {"enablelivejobs", "livetimeoutsignature"}  # the example sets them, all others show their defaults


def load(tmp_path: Path, text: str, **environ: str) -> Config:
    path = tmp_path / "simscope.config"
    path.write_text(text, encoding="utf-8")
    return load_config(path, environ)


def complaint(tmp_path: Path, text: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, **environ)
    return str(caught.value)


def example_keys(text: str) -> dict[tuple[str, str], tuple[Any, bool]]:
    """(section, key) -> value, and whether it is only shown (commented out)."""
    found: dict[tuple[str, str], tuple[Any, bool]] = {}
    section = ""
    for line in text.splitlines():
        name, said, value = line.removeprefix("# ").partition(" = ")
        if line.startswith("["):
            section = line.strip("[]")
        elif said and name.isidentifier():
            assert (section, name) not in found
            found[section, name] = (tomllib.loads(f"x = {value}")["x"], line.startswith("#"))
    return found


def field(option: Option) -> str:
    return option.field or option.key


def default(option: Option) -> Any:
    value = getattr(Config(), field(option))
    return str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value


# The example.


def test_the_example_names_every_key_in_its_section_and_no_other() -> None:
    said = example_keys(EXAMPLE.read_text(encoding="utf-8"))

    assert said.keys() == {(option.section, option.key) for option in OPTIONS}


def test_every_option_has_a_field_of_its_own() -> None:
    assert sorted([*map(field, OPTIONS), "path", "places"]) == sorted(each.name for each in dataclasses.fields(Config))


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.key)
def test_the_example_shows_the_default(option: Option) -> None:
    value, shown_only = example_keys(EXAMPLE.read_text(encoding="utf-8"))[option.section, option.key]

    assert shown_only is (option.key not in SWITCHED_ON)
    if shown_only:
        assert value == default(option)
        assert type(value) is type(default(option))


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.key)
def test_the_example_explains_every_key_just_above_it(option: Option) -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    [place] = [n for n, line in enumerate(lines) if line.removeprefix("# ").startswith(f"{option.key} = ")]
    above = [line for line in lines[max(0, place - 6) : place] if line]

    assert above[-1].startswith("#") or above[-1].removeprefix("# ").partition(" = ")[1]
    assert any(line.startswith("# ") and line.endswith(".") for line in above)


def test_the_example_can_be_used_as_it_stands(tmp_path: Path) -> None:
    config = load(tmp_path, EXAMPLE.read_text(encoding="utf-8"))

    assert config.enablelivejobs is True
    assert config.livetimeoutsignature == "LIVE Job Timeout or Missing"


def test_the_example_with_every_shown_default_written_out_means_the_same_as_without(tmp_path: Path) -> None:
    keys = example_keys(EXAMPLE.read_text(encoding="utf-8"))
    sections = dict.fromkeys(section for section, _ in keys)
    text = ""
    for section in sections:
        shown = {key: value for (where, key), (value, shown_only) in keys.items() if where == section and shown_only}
        text += f"[{section}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in shown.items())

    assert load(tmp_path, text) == load(tmp_path, "")


# What the defaults are.


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    config = load(tmp_path, "")

    places: dict[str, Any] = {"db": tmp_path / "var/simscope.db", "spool_dir": tmp_path / "var/spool"}
    assert config == Config(**places, path=tmp_path / "simscope.config")
    assert (config.host, config.port) == ("127.0.0.1", 8040)
    assert (config.enablelivejobs, config.livetimeoutsignature, config.enableskip) == (False, "", True)
    assert (config.prunelivedays, config.autotimeouthours, config.seriesseparator) == (7, 24, "/")
    assert (config.done, config.keep_done_days, config.settle_ms, config.poll_ms) == ("delete", 7, 2000, 2000)
    assert (config.message_kib, config.body_mib) == (1024, 64)
    assert (config.keep_events_days, config.keep_receipts_days) == (30, 14)


GOOD = [
    ("server", "listen", '"[::1]:0"', "[::1]:0"),
    ("server", "listen", '"localhost:65535"', "localhost:65535"),
    ("server", "token", '"s3cret"', "s3cret"),
    ("server", "public_url", '"https://sim.lab.example/simscope"', "https://sim.lab.example/simscope"),
    ("server", "public_url", '"http://[::1]:65535"', "http://[::1]:65535"),
    ("server", "allowed_hosts", '["a.lab", "b.lab"]', ("a.lab", "b.lab")),
    ("spool", "done", '"keep"', "keep"),
    ("spool", "keep_done_days", "0.5", 0.5),
    ("spool", "settle_ms", "0", 0),
    ("spool", "poll_ms", "1", 1),
    ("sigs", "enablelivejobs", "true", True),
    ("sigs", "livetimeoutsignature", '"Gone"', "Gone"),
    ("sigs", "enableskip", "false", False),
    ("sigs", "prunelivedays", "0", 0),
    ("sigs", "prunelivedays", "0.25", 0.25),
    ("regr", "autotimeouthours", "0.01", 0.01),
    ("regr", "seriesseparator", '"."', "."),
    ("limits", "message_kib", "1", 1),
    ("limits", "body_mib", "1", 1),
    ("limits", "keep_events_days", "0", 0),
    ("limits", "keep_receipts_days", "400", 400),
]


@pytest.mark.parametrize(("section", "key", "text", "value"), GOOD)
def test_a_value_is_taken(tmp_path: Path, section: str, key: str, text: str, value: Any) -> None:
    config = load(tmp_path, f"[{section}]\n{key} = {text}\n")

    assert getattr(config, key) == value


# What is wrong is told with its place, and with what would be right.

WRONG_FOR_TEXT = ["5", "true", '["x"]']
WRONG_FOR_NUMBER = ['"7"', "true", "-1", "-0.5", "nan", "inf"]
WRONG_FOR_WHOLE = ['"7"', "true", "-1", "1.5", "2.0", "99999999999999999999"]
WRONG = {
    "listen": [
        *WRONG_FOR_TEXT,
        '""',
        '"8040"',
        '"127.0.0.1"',
        '"127.0.0.1:"',
        '"127.0.0.1:65536"',
        '"127.0.0.1:x"',
        '"::1:8040"',
        '"http://127.0.0.1:8040"',
    ],
    "path": [*WRONG_FOR_TEXT, '""'],
    "paths": ['"/runs"', "5", "[5]", '[""]', '["a", "b\\u0000"]'],
    "text": WRONG_FOR_TEXT,
    "token": [*WRONG_FOR_TEXT, '" "', '"a b"', '"a\\nb"', '"t\\u00f6k"', '"t\\u007f"'],
    "url": [
        *WRONG_FOR_TEXT,
        '"sim.lab"',
        '"ftp://sim.lab"',
        '"https://"',
        '"https://a/?q=1"',
        '"https://a b/"',
        '"https://a/\\n"',
        '"https://a:99999"',
        '"https://a:0"',
        '"https://a:b"',
        '"https://:80"',
        '"https://[::1"',
    ],
    "hosts": ['"a.lab"', "5", "[5]", '[""]', '["http://x"]', '["a b"]', '["a.lab", "b.lab:80"]', '["a/b"]'],
    "done": [*WRONG_FOR_TEXT, '"move"', '"Keep"', '""'],
    "days": WRONG_FOR_NUMBER,
    "hours": WRONG_FOR_NUMBER,
    "pause": [*WRONG_FOR_WHOLE, "86400001"],
    "interval": [*WRONG_FOR_WHOLE, "0", "86400001"],
    "size": [*WRONG_FOR_WHOLE, "0", "1048577"],
    "lines": [*WRONG_FOR_WHOLE, "0", "1000000001"],
    "flag": ['"true"', "1", "0"],
    "separator": [*WRONG_FOR_TEXT, '""', '"_"', '"//"'],
}
CASES = [(option, text) for option in OPTIONS for text in WRONG[option.kind]]


@pytest.mark.parametrize(("option", "text"), CASES, ids=lambda value: getattr(value, "key", value))
def test_a_wrong_value_is_told_with_file_line_key_value_and_what_is_accepted(
    tmp_path: Path, option: Option, text: str
) -> None:
    said = complaint(tmp_path, f"# a comment\n\n[{option.section}]\n{option.key} = {text}\n")

    assert said.startswith(f"{tmp_path / 'simscope.config'}:4: [{option.section}] {option.key} = ")
    shown = {"nan": "NaN", "inf": "Infinity"}.get(text, text)
    assert f" = {shown} " in said
    assert said.endswith(option.accepted)


def test_every_kind_of_option_has_wrong_values() -> None:
    assert {option.kind for option in OPTIONS} == WRONG.keys()


@pytest.mark.parametrize("option", [each for each in OPTIONS if each.kind in ("days", "hours")], ids=lambda o: o.key)
def test_a_number_that_no_clock_can_hold_is_impossible(tmp_path: Path, option: Option) -> None:
    assert "1e+300" in complaint(tmp_path, f"[{option.section}]\n{option.key} = 1e300\n")


@pytest.mark.parametrize("section", dict.fromkeys(option.section for option in OPTIONS))
def test_an_unknown_key_is_told_with_its_place_and_the_known_ones(tmp_path: Path, section: str) -> None:
    said = complaint(tmp_path, f"[{section}]\n\n  enable_live = true\n")

    assert said.startswith(f"{tmp_path / 'simscope.config'}:3: ")
    assert f"'enable_live' in [{section}]" in said
    assert all(option.key in said for option in OPTIONS if option.section == section)


def test_a_key_of_another_section_is_unknown(tmp_path: Path) -> None:
    said = complaint(tmp_path, "[server]\nenablelivejobs = true\n")

    assert ":2: unknown key 'enablelivejobs' in [server]" in said


def test_an_unknown_section_is_told_with_its_place_and_the_known_ones(tmp_path: Path) -> None:
    said = complaint(tmp_path, "[sigs]\n[signatures]\nenablelivejobs = true\n")

    assert ":2: unknown section [signatures]" in said
    assert all(f"[{option.section}]" in said for option in OPTIONS)


@pytest.mark.parametrize(
    ("text", "line", "key", "value"),
    [
        ("enablelivejobs = true\n", 1, "enablelivejobs", "true"),
        ('# ours\nlisten = "127.0.0.1:1"\n', 2, "listen", '"127.0.0.1:1"'),
        ("foo = 1\n[sigs]\n", 1, "foo", "1"),
        ("server = 5\n", 1, "server", "5"),
        ("[[sigs]]\nenableskip = true\n", 1, "sigs", '[{"enableskip": true}]'),
    ],
)
def test_a_key_outside_of_all_sections_is_told_with_its_value(
    tmp_path: Path, text: str, line: int, key: str, value: Any
) -> None:
    said = complaint(tmp_path, text)

    assert said.startswith(
        f"{tmp_path / 'simscope.config'}:{line}: unknown key '{key}' outside of a section, with the value {value}; "
    )
    assert "accepted are keys in [server], [spool], [sigs], [regr], [limits]" in said


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[server]\n# dir = 1\ndb = "dir"\nlisten = "x"\n[spool]\nlisten = 5\n', 4),
        ('[sigs]\n\n[server]\ndb = "a"\n\n[spool]\ndb = 5\n', 7),
        ('[ "spool" ]\n"dir" = 5\n', 2),
        ("server.db = 'a'\nspool.db = 5\n", 2),
        ("limits = {}\nspool = { db = 5 }\n", 2),
        ("[spool.db]\nx = 1\n", 1),
    ],
)
def test_the_line_is_that_of_the_key_in_its_section(tmp_path: Path, text: str, line: int) -> None:
    assert complaint(tmp_path, text).startswith(f"{tmp_path / 'simscope.config'}:{line}: ")


def test_a_number_with_more_digits_than_can_be_read_is_told(tmp_path: Path) -> None:
    assert "not TOML" in complaint(tmp_path, f"[spool]\nsettle_ms = {'9' * 5000}\n")


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    assert load(tmp_path, '\ufeff[server]\ntoken = "a"\n').token == "a"


def test_what_is_no_toml_is_told_with_its_line(tmp_path: Path) -> None:
    said = complaint(tmp_path, "[sigs]\nenablelivejobs = yes\n")

    assert str(tmp_path / "simscope.config") in said
    assert "line 2" in said


def test_a_key_that_stands_twice_is_no_toml(tmp_path: Path) -> None:
    assert "not TOML" in complaint(tmp_path, "[sigs]\nenableskip = true\nenableskip = false\n")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.config: there is no such"):
        load_config(tmp_path / "nowhere.config", {})


def test_a_file_that_is_not_utf_8_is_told(tmp_path: Path) -> None:
    path = tmp_path / "simscope.config"
    path.write_bytes(b'[server]\ntoken = "\xff"\n')

    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(path, {})


# Paths and environment.


def test_relative_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    config = load(tmp_path / "etc", '[server]\ndb = "../data/s.db"\n[spool]\ndir = "in"\n')

    assert config.db == tmp_path / "etc/../data/s.db"
    assert config.spool_dir == tmp_path / "etc/in"


def test_a_file_that_is_named_relatively_gives_absolute_paths_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("simscope.config").write_text("")

    assert load_config(Path("simscope.config"), {}).db == tmp_path / "var/simscope.db"


def test_absolute_paths_stay(tmp_path: Path) -> None:
    config = load(tmp_path, '[server]\ndb = "/data/s.db"\n[spool]\ndir = "/data/in"\n')

    assert (config.db, config.spool_dir) == (Path("/data/s.db"), Path("/data/in"))


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    text = '[server]\nlisten = "127.0.0.1:1"\ndb = "a.db"\ntoken = "a"\n'

    config = load(
        tmp_path, text, SIMSCOPE_LISTEN="127.0.0.1:2", SIMSCOPE_DB="/b.db", SIMSCOPE_TOKEN="b", SIMSCOPE_SPOOL="c"
    )

    assert (config.listen, config.db, config.token) == ("127.0.0.1:2", Path("/b.db"), "b")
    assert config.spool_dir == tmp_path / "var/spool"


def test_a_relative_path_of_the_environment_is_relative_to_where_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")

    assert load(tmp_path, "", SIMSCOPE_DB="s.db").db == Path("/s.db")


def test_an_empty_variable_overrides_nothing(tmp_path: Path) -> None:
    assert load(tmp_path, '[server]\ntoken = "a"\n', SIMSCOPE_TOKEN="", SIMSCOPE_LISTEN="").token == "a"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SIMSCOPE_LISTEN", "8040"),
        ("SIMSCOPE_LISTEN", "0.0.0.0:8040"),
        ("SIMSCOPE_TOKEN", "a b"),
        ("SIMSCOPE_TOKEN", " "),
        ("SIMSCOPE_DB", "/proc"),
    ],
)
def test_a_wrong_variable_is_named(tmp_path: Path, name: str, value: Any) -> None:
    said = complaint(tmp_path, '[server]\nlisten = "127.0.0.1:1"\ndb = "a.db"\ntoken = ""\n', **{name: value})

    assert said.startswith(f"environment variable {name}: [server] {name.removeprefix('SIMSCOPE_').lower()} = ")
    assert value in said


# Places that cannot be.


@pytest.mark.parametrize(
    ("section", "key", "value", "shown", "why"),
    [
        ("spool", "dir", "file", "HERE/file", "HERE/file is not a folder"),
        ("spool", "dir", "file/spool/deep", "HERE/file/spool/deep", "HERE/file is not a folder"),
        ("spool", "dir", "dangling", "HERE/dangling", "HERE/dangling is not a folder"),
        ("spool", "dir", "/dev/null", "/dev/null", "/dev/null is not a folder"),
        ("spool", "dir", "some.db", "HERE/some.db", "that is [server] db"),
        ("spool", "dir", "some.db/spool", "HERE/some.db/spool", "that is [server] db"),
        ("server", "db", ".", "HERE", "it is a folder"),
        ("server", "db", "folder", "HERE/folder", "it is a folder"),
        ("server", "db", "/dev/null", "/dev/null", "it is not a regular file"),
        ("server", "db", "file/x.db", "HERE/file/x.db", "HERE/file is not a folder"),
        ("server", "db", "folder/../simscope.config", "HERE/folder/../simscope.config", "that is this configuration"),
    ],
)
def test_a_place_that_cannot_be_is_told_as_any_other_value(
    tmp_path: Path, section: str, key: str, value: Any, shown: Any, why: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    db = '[server]\ndb = "some.db"\n' if section == "spool" else ""
    line = 2 + db.count("\n")
    [accepted] = [option.accepted for option in OPTIONS if (option.section, option.key) == (section, key)]

    said = complaint(tmp_path, f'{db}[{section}]\n{key} = "{value}"\n')

    told = f'[{section}] {key} = "{shown}" is not accepted: {why}; it takes {accepted}'.replace("HERE", str(tmp_path))
    assert said == f"{tmp_path / 'simscope.config'}:{line}: {told}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "file", "folder", "simscope.config"]


def test_a_root_of_files_that_is_no_folder_is_told_and_one_that_is_not_there_may_come(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    roots = '[server]\nfile_roots = ["later", "{}"]\n'

    said = complaint(tmp_path, roots.format("file"))

    assert f':2: [server] file_roots = "{tmp_path}/file" is not accepted: {tmp_path}/file is not a folder; ' in said
    assert load(tmp_path, roots.format(tmp_path)).file_roots == (f"{tmp_path}/later", str(tmp_path))


def test_a_database_and_a_spool_that_are_there_may_stay_and_may_be_links(tmp_path: Path) -> None:
    for name in ("spool", "data"):
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}.link").symlink_to(name)
    (tmp_path / "data" / "s.db").touch()

    config = load(tmp_path, '[server]\ndb = "data.link/s.db"\n[spool]\ndir = "spool.link"\n')

    assert (config.db, config.spool_dir) == (tmp_path / "data.link/s.db", tmp_path / "spool.link")


# Who can reach it.


@pytest.mark.parametrize("listen", ["0.0.0.0:8040", "[::]:8040", ":8040", "192.168.0.7:8040", "farm1.lab:8040"])
def test_without_a_token_only_loopback_is_listened_on(tmp_path: Path, listen: str) -> None:
    said = complaint(tmp_path, f'[server]\nlisten = "{listen}"\n')

    assert "simscope.config" in said
    assert f"listen = '{listen}'" in said
    assert "token" in said
    assert "127.0.0.1:8040" in said


@pytest.mark.parametrize("listen", ["127.0.0.1:8040", "127.9.9.9:1", "[::1]:8040", "localhost:8040"])
def test_loopback_needs_no_token(tmp_path: Path, listen: str) -> None:
    assert load(tmp_path, f'[server]\nlisten = "{listen}"\n').listen == listen


def test_with_a_token_any_address_is_listened_on(tmp_path: Path) -> None:
    assert load(tmp_path, '[server]\nlisten = "0.0.0.0:8040"\ntoken = "t"\n').host == "0.0.0.0"
    assert load(tmp_path, "", SIMSCOPE_LISTEN="0.0.0.0:1", SIMSCOPE_TOKEN="t").port == 1


def test_a_variable_cannot_open_the_door_without_a_token(tmp_path: Path) -> None:
    assert "token" in complaint(tmp_path, "", SIMSCOPE_LISTEN="0.0.0.0:8040")


@pytest.mark.parametrize(
    ("listen", "parts"),
    [
        ("127.0.0.1:8040", ("127.0.0.1", 8040)),
        ("[::1]:0", ("::1", 0)),
        ("[fe80::1%eth0]:1", ("", -1)),
        ("farm1.lab:65535", ("farm1.lab", 65535)),
        (":80", ("", 80)),
        ("a:65536", ("", -1)),
        ("a:123456", ("", -1)),
        ("a:-1", ("", -1)),
        ("a b:1", ("", -1)),
        ("a:1 ", ("", -1)),
        ("[a]:1\n", ("", -1)),
        ("", ("", -1)),
    ],
)
def test_an_address_is_split(listen: str, parts: tuple[str, int]) -> None:
    assert split_listen(listen) == parts


@pytest.mark.parametrize(
    ("host", "answer"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("", False),
        ("localhost.lab", False),
        ("127.0.0.1.lab", False),
    ],
)
def test_loopback_is_told_from_the_rest(host: str, answer: bool) -> None:
    assert is_loopback(host) is answer
