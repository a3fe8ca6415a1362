"""Whose host names are ours: of what a request may name in its Host header."""

from __future__ import annotations

import ipaddress
import re
import socket
import urllib.parse

from simscope_server.settings import Config


def host_name(host: str) -> str:
    """The name in a Host header, without port and brackets, in lower case."""
    found = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(:\d*)?", host)
    return found[1].strip("[]").casefold() if found else ""


def is_address(name: str) -> bool:
    """True for a literal address: nobody can point a name of theirs at us with it."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def own_hosts(config: Config) -> set[str]:
    """The names under which this daemon may be asked. Waits for the answer of a name server."""
    names = {"localhost", config.host, socket.gethostname(), socket.getfqdn(), *config.allowed_hosts}
    names.add(urllib.parse.urlsplit(config.public_url).hostname or "")
    return {name.casefold() for name in names if name}
