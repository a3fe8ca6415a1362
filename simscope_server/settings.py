"""The configuration: every key, what it takes, and its default.

A file and an environment come in, a Config or a sentence about what is wrong goes out; the disk is looked at, and
nothing on it is made or changed. The manual of the keys is simscope.config.example, which the tests hold against the
table below.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import itertools
import json
import os
import re
import tomllib
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple


class ConfigError(Exception):
    """The configuration cannot be used; the text names the file, the line, the key, the value and what is accepted."""


@dataclasses.dataclass(frozen=True)
class Config:
    """The whole configuration, checked. Paths are absolute; durations are in the unit that their name says."""

    listen: str = "127.0.0.1:8040"
    db: Path = Path("var/simscope.db")
    token: str = ""
    public_url: str = ""
    allowed_hosts: tuple[str, ...] = ()
    file_roots: tuple[str, ...] = ()
    spool_dir: Path = Path("var/spool")
    done: str = "delete"
    keep_done_days: float = 7
    settle_ms: int = 2000
    poll_ms: int = 2000
    enablelivejobs: bool = False
    livetimeoutsignature: str = ""
    enableskip: bool = True
    prunelivedays: float = 7
    autotimeouthours: float = 24
    seriesseparator: str = "/"
    message_kib: int = 1024
    body_mib: int = 64
    log_lines: int = 10_000
    keep_events_days: float = 30
    keep_receipts_days: float = 14
    path: Path = Path("simscope.config")  # where it was read from
    places: Mapping[str, str] = dataclasses.field(default_factory=dict, compare=False)  # field -> FILE:LINE or variable

    @property
    def host(self) -> str:
        """The address listened on, without brackets."""
        return split_listen(self.listen)[0]

    @property
    def port(self) -> int:
        return split_listen(self.listen)[1]

    def place(self, field: str) -> str:
        """Where a value was said, for error messages: the file where it was not."""
        return self.places.get(field, str(self.path))


class Option(NamedTuple):
    """One key of the configuration file: where it stands, what it takes. The default is that of Config."""

    section: str
    key: str
    kind: str
    accepted: str
    field: str = ""  # the name in Config, where it is not the key


OPTIONS = (
    Option("server", "listen", "listen", 'text "ADDRESS:PORT", for example "127.0.0.1:8040" or "[::1]:8040"'),
    Option("server", "db", "path", "text: a path on a local disk"),
    Option("server", "token", "token", "printable ASCII text without blanks; empty for none"),
    Option("server", "public_url", "url", 'text: "http://…" or "https://…"; empty for none'),
    Option("server", "allowed_hosts", "hosts", "a list of host names, without ports"),
    Option("server", "file_roots", "paths", "a list of paths of folders"),
    Option("spool", "dir", "path", "text: a path of a folder", "spool_dir"),
    Option("spool", "done", "done", '"delete" or "keep"'),
    Option("spool", "keep_done_days", "days", "a number of days, 0 to 36500"),
    Option("spool", "settle_ms", "pause", "a whole number of milliseconds, 0 to 86400000"),
    Option("spool", "poll_ms", "interval", "a whole number of milliseconds, 1 to 86400000"),
    Option("sigs", "enablelivejobs", "flag", "true or false"),
    Option("sigs", "livetimeoutsignature", "text", "text; empty for none"),
    Option("sigs", "enableskip", "flag", "true or false"),
    Option("sigs", "prunelivedays", "days", "a number of days up to 36500, 0 for never"),
    Option("regr", "autotimeouthours", "hours", "a number of hours up to 876000, 0 for never"),
    Option("regr", "seriesseparator", "separator", 'one of "/", ".", "-", ":"'),
    Option("limits", "message_kib", "size", "a whole number of KiB, 1 to 1048576"),
    Option("limits", "body_mib", "size", "a whole number of MiB, 1 to 1048576"),
    Option("limits", "log_lines", "lines", "a whole number of lines, 1 to 1000000000"),
    Option("limits", "keep_events_days", "days", "a number of days, 0 to 36500"),
    Option("limits", "keep_receipts_days", "days", "a number of days, 0 to 36500"),
)


def load_config(path: Path, environ: Mapping[str, str]) -> Config:
    """Read and check a configuration file; the table above has the keys. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        hint = "--config FILE names another; simscope.config.example is one to begin with"
        raise ConfigError(f"{path}: there is no such configuration file; {hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    config = read_config(text, path, environ)
    for option, said, why in impossible_places(config):
        raise not_accepted(config.place(option.field or option.key), option, said, f": {why}")
    return config


def impossible_places(config: Config) -> Iterator[tuple[Option, str, str]]:
    """The paths that cannot be what they must be, as the disk is now, and why. Nothing is made or changed."""
    options = {option.key: option for option in OPTIONS}
    spool, db, roots = str(config.spool_dir), str(config.db), config.file_roots
    for key, place, why in (
        ("db", db, _no_file(db)),
        ("db", db, "that is this configuration" if _is_inside(str(config.path), db) else None),
        ("dir", spool, _no_folder(spool)),
        ("dir", spool, "that is [server] db" if _is_inside(spool, db) else None),
        *(("file_roots", root, _no_folder(root) if os.path.lexists(root) else None) for root in roots),
    ):
        if why:
            yield options[key], place, why


def _no_file(path: str) -> str | None:
    """Why a file cannot be there or be made, if so."""
    if os.path.exists(path) and not os.path.isfile(path):
        return "it is a folder" if os.path.isdir(path) else "it is not a regular file"
    return _no_folder(os.path.dirname(path))


def _no_folder(path: str) -> str | None:
    """Why a folder cannot be there or be made, if so: the nearest part of the path that is there is none."""
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return None if os.path.isdir(path) else f"{path} is not a folder"


def _is_inside(path: str, place: str) -> bool:
    """Is a path the place, or below it?"""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(place))


def doubts_about(config: Config) -> list[str]:
    """What is allowed but has no effect."""
    if config.livetimeoutsignature and not config.enablelivejobs:
        return ["livetimeoutsignature has no effect without enablelivejobs = true"]
    return []


def read_config(text: str, path: Path, environ: Mapping[str, str]) -> Config:
    """Check a configuration file's text (TOML) and the three overriding environment variables.

    Raises ConfigError for bad TOML, an unknown section or key, a wrong type, an impossible value. `path` is where the
    text stands: relative paths are relative to it, and errors name it."""
    try:
        tree = tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError is one; a number of thousands of digits is another
        raise ConfigError(f"{path}: not TOML: {error}") from None
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    for option, value, place in itertools.chain(_options_in(path, text, tree), _overrides(environ)):
        values[option.field or option.key] = _checked(option, value, place)
        places[option.field or option.key] = place
    config = Config(**values, path=path.absolute(), places=places)
    base = config.path.parent
    config = dataclasses.replace(
        config,
        db=base / config.db,
        spool_dir=base / config.spool_dir,
        file_roots=tuple(str(base / root) for root in config.file_roots),
    )
    if not config.token and not is_loopback(config.host):
        raise ConfigError(
            f"{config.place('listen')}: [server] listen = {config.listen!r} can be reached from other machines; that "
            "needs a [server] token (or SIMSCOPE_TOKEN). Without a token only a loopback address is accepted, such as "
            "127.0.0.1:8040"
        )
    return config


def not_accepted(place: str, option: Option, value: object, why: str = "") -> ConfigError:
    """What is wrong with a value: where it was said, the key, the value, and what is accepted."""
    shown = json.dumps(value, default=str)
    key = f"[{option.section}] {option.key}"
    return ConfigError(f"{place}: {key} = {shown} is not accepted{why}; it takes {option.accepted}")


def _overrides(environ: Mapping[str, str]) -> Iterator[tuple[Option, Any, str]]:
    """What the environment says. A relative path there is relative to where the daemon is started."""
    for option in OPTIONS:
        name = f"SIMSCOPE_{option.key.upper()}"
        if option.section == "server" and option.key in ("listen", "db", "token") and environ.get(name):
            value = str(Path(environ[name]).absolute()) if option.kind == "path" else environ[name]
            yield option, value, f"environment variable {name}"


def _options_in(path: Path, text: str, tree: dict[str, Any]) -> Iterator[tuple[Option, Any, str]]:
    known = {(option.section, option.key): option for option in OPTIONS}
    sections = list(dict.fromkeys(option.section for option in OPTIONS))
    for section, keys in tree.items():
        if section not in sections or not isinstance(keys, dict):
            raise _unknown_at_the_top(_place(path, text, section), section, keys, sections)
        for key, value in keys.items():
            option, place = known.get((section, key)), _place(path, text, section, key)
            if option is None:
                accepted = ", ".join(option.key for option in OPTIONS if option.section == section)
                shown = json.dumps(value, default=str)
                told = f"{place}: unknown key {key!r} in [{section}] with the value {shown}; accepted are {accepted}"
                raise ConfigError(told)
            yield option, value, place


def _unknown_at_the_top(place: str, name: str, value: object, sections: list[str]) -> ConfigError:
    accepted = ", ".join(f"[{section}]" for section in sections)
    if isinstance(value, dict):
        return ConfigError(f"{place}: unknown section [{name}]; accepted are {accepted}")
    shown = json.dumps(value, default=str)
    told = f"unknown key {name!r} outside of a section, with the value {shown}; accepted are keys in {accepted}"
    return ConfigError(f"{place}: {told}")


def _place(path: Path, text: str, section: str, key: str = "") -> str:
    """File and line of a section, or of a key in it, for error messages."""
    name = rf"[\"']?{re.escape(section)}[\"']?[ \t]*"
    found = re.search(rf"^[ \t]*\[[ \t]*{name}[\].]", text, re.MULTILINE)
    found = found or re.search(rf"^[ \t]*\[*[ \t]*{name}[\].=]", text, re.MULTILINE)
    if found and key:
        own = rf"^[ \t]*(\[?[ \t]*{name}\.[ \t]*)?[\"']?{re.escape(key)}[\"']?[ \t]*[\].=]"
        found = re.compile(own, re.MULTILINE).search(text, found.start()) or found
    line = text.count("\n", 0, found.start()) + 1 if found else None
    return f"{path}:{line}" if line else str(path)


def _checked(option: Option, value: object, place: str) -> Any:
    if not CHECKS[option.kind](value):
        raise not_accepted(place, option, value)
    return tuple(value) if isinstance(value, list) else value


def _is_number(value: object, most: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most


def _is_whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_text(value: object, form: str) -> bool:
    return isinstance(value, str) and re.fullmatch(form, value) is not None


def _are_texts(value: object, form: str) -> bool:
    return isinstance(value, list) and all(_is_text(item, form) for item in value)


def _is_url(value: object) -> bool:
    if not isinstance(value, str) or not _is_text(value, r"(https?://[^/?#\s]+[^?#\s]*)?"):
        return False
    try:
        parts = urllib.parse.urlsplit(value)
        return value == "" or (parts.hostname is not None and parts.port != 0)
    except ValueError:  # what stands for the port is none, or a bracket is left open
        return False


DAY_MS = 86_400_000
PATH = r"[^\0]+"

CHECKS: dict[str, Callable[[Any], bool]] = {
    "listen": lambda value: isinstance(value, str) and split_listen(value)[1] >= 0,
    "path": lambda value: _is_text(value, PATH),
    "paths": lambda value: _are_texts(value, PATH),
    "text": lambda value: isinstance(value, str),
    "token": lambda value: _is_text(value, "[!-~]*"),
    "url": _is_url,
    "hosts": lambda value: _are_texts(value, r"[\w.-]+"),
    "done": lambda value: value in ("delete", "keep"),
    "days": lambda value: _is_number(value, 36_500),
    "hours": lambda value: _is_number(value, 876_000),
    "pause": lambda value: _is_whole(value, 0, DAY_MS),
    "interval": lambda value: _is_whole(value, 1, DAY_MS),
    "size": lambda value: _is_whole(value, 1, 1 << 20),
    "lines": lambda value: _is_whole(value, 1, 10**9),
    "flag": lambda value: isinstance(value, bool),
    "separator": lambda value: value in ("/", ".", "-", ":"),
}


def split_listen(listen: str) -> tuple[str, int]:
    """ "ADDRESS:PORT" -> address without brackets and port; ("", -1) if it is not of that form."""
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.%]+\]|[^\[\]:\s]*):(\d{1,5})", listen)
    if found is None or int(found[2]) > 65535:
        return "", -1
    return found[1].strip("[]"), int(found[2])


def is_loopback(host: str) -> bool:
    """True for names and addresses that only this machine can reach."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
