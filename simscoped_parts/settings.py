"""The configuration: every key, what it takes, and its default.

Pure: the text of a file and an environment in, a Config or a sentence about what is wrong out. The manual of the keys
is simscope.config.example, which the tests hold against this table.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple


class ConfigError(Exception):
    """The configuration cannot be used; the text names the file, the line, the key, the value and what is accepted."""


@dataclasses.dataclass(frozen=True)
class Config:
    """The whole configuration, checked. Paths are absolute; `retention` keys are in the unit that their name says."""

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

    @property
    def host(self) -> str:
        """The address listened on, without brackets."""
        return split_listen(self.listen)[0]

    @property
    def port(self) -> int:
        return split_listen(self.listen)[1]


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
    Option("server", "token", "text", "text; empty for none"),
    Option("server", "public_url", "url", 'text: "http://…" or "https://…"; empty for none'),
    Option("server", "allowed_hosts", "texts", "a list of host names"),
    Option("server", "file_roots", "texts", "a list of paths of folders"),
    Option("spool", "dir", "path", "text: a path", "spool_dir"),
    Option("spool", "done", "done", '"delete" or "keep"'),
    Option("spool", "keep_done_days", "days", "a number of days, 0 to 36500"),
    Option("spool", "settle_ms", "integer", "a whole number of milliseconds, 0 or more"),
    Option("spool", "poll_ms", "positive", "a whole number of milliseconds, 1 or more"),
    Option("sigs", "enablelivejobs", "flag", "true or false"),
    Option("sigs", "livetimeoutsignature", "text", "text; empty for none"),
    Option("sigs", "enableskip", "flag", "true or false"),
    Option("sigs", "prunelivedays", "days", "a number of days up to 36500, 0 for never"),
    Option("regr", "autotimeouthours", "hours", "a number of hours up to 876000, 0 for never"),
    Option("regr", "seriesseparator", "separator", 'one of "/", ".", "-", ":"'),
    Option("limits", "message_kib", "positive", "a whole number of KiB, 1 or more"),
    Option("limits", "body_mib", "positive", "a whole number of MiB, 1 or more"),
    Option("limits", "log_lines", "positive", "a whole number of lines, 1 or more"),
    Option("limits", "keep_events_days", "days", "a number of days, 0 to 36500"),
    Option("limits", "keep_receipts_days", "days", "a number of days, 0 to 36500"),
)


def _is_number(value: object, most: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_url(value: object) -> bool:
    return isinstance(value, str) and (value == "" or re.match(r"https?://[^/?#\s]+[^?#\s]*$", value) is not None)


CHECKS: dict[str, Callable[[Any], bool]] = {
    "listen": lambda value: isinstance(value, str) and split_listen(value)[1] >= 0,
    "path": lambda value: isinstance(value, str) and value != "" and "\0" not in value,
    "text": lambda value: isinstance(value, str),
    "url": _is_url,
    "texts": lambda value: isinstance(value, list) and all(isinstance(item, str) and item for item in value),
    "done": lambda value: value in ("delete", "keep"),
    "days": lambda value: _is_number(value, 36_500),
    "hours": lambda value: _is_number(value, 876_000),
    "integer": lambda value: _is_whole(value, 0),
    "positive": lambda value: _is_whole(value, 1),
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


def read_config(text: str, path: Path, environ: Mapping[str, str]) -> Config:
    """Check a configuration file's text (TOML) and the three overriding environment variables.

    Raises ConfigError for bad TOML, an unknown section or key, a wrong type, an impossible value. `path` is where the
    text stands: relative paths are relative to it, and errors name it."""
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    values = dict(_options_in(path, text, tree))
    for name, option in _overrides():
        if environ.get(name):
            values[option.key] = _checked(option, environ[name], f"environment variable {name}")
            if option.kind == "path":
                values[option.key] = Path(values[option.key]).absolute()
    config = Config(**values)
    base = path.absolute().parent
    config = dataclasses.replace(
        config,
        db=base / config.db,
        spool_dir=base / config.spool_dir,
        file_roots=tuple(str(base / root) for root in config.file_roots),
        path=path.absolute(),
    )
    if not config.token and not is_loopback(config.host):
        raise ConfigError(
            f"{path}: [server] listen = {config.listen!r} can be reached from other machines; that needs a [server] "
            "token (or SIMSCOPE_TOKEN). Without a token only a loopback address is accepted, such as 127.0.0.1:8040"
        )
    return config


def _overrides() -> Iterator[tuple[str, Option]]:
    for option in OPTIONS:
        if option.section == "server" and option.key in ("listen", "db", "token"):
            yield f"SIMSCOPE_{option.key.upper()}", option


def _options_in(path: Path, text: str, tree: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    known = {(option.section, option.key): option for option in OPTIONS}
    sections = list(dict.fromkeys(option.section for option in OPTIONS))
    for section, keys in tree.items():
        if section not in sections or not isinstance(keys, dict):
            accepted = ", ".join(f"[{name}]" for name in sections)
            raise ConfigError(f"{_place(path, text, section)}: unknown section [{section}]; accepted are {accepted}")
        for key, value in keys.items():
            option = known.get((section, key))
            if option is None:
                accepted = ", ".join(option.key for option in OPTIONS if option.section == section)
                where = _place(path, text, key)
                shown = json.dumps(value, default=str)
                told = f"{where}: unknown key {key!r} in [{section}] with the value {shown}; accepted are {accepted}"
                raise ConfigError(told)
            yield option.field or key, _checked(option, value, _place(path, text, key))


def _place(path: Path, text: str, word: str) -> str:
    """File and line of the first line that begins with a key or section name, for error messages."""
    begins = re.compile(rf"\s*\[?\s*\"?{re.escape(word)}\"?\s*[\].=]")
    lines = [number for number, line in enumerate(text.splitlines(), 1) if begins.match(line)]
    return f"{path}:{lines[0]}" if lines else str(path)


def _checked(option: Option, value: object, where: str) -> Any:
    if CHECKS[option.kind](value):
        return tuple(value) if isinstance(value, list) else value
    shown = json.dumps(value, default=str)
    raise ConfigError(f"{where}: [{option.section}] {option.key} = {shown} is not accepted; it takes {option.accepted}")
