"""Who may ask: no foreign host name, no foreign origin, and writes only with the token."""

from __future__ import annotations

import functools
import hmac
import ipaddress
import re
import socket
import urllib.parse

from aiohttp import web

from simscope_server.api.context import Context
from simscope_server.api.problems import Problem
from simscope_server.settings import Config


def admit(context: Context, request: web.Request) -> None:
    """Raises Problem for a request that must not be served."""
    host = request.headers.get("Host", "")
    if not is_own_host(host, context.hosts):
        raise Problem(403, "foreign-host", f"Host {host!r} is not this daemon's; see [server] allowed_hosts")
    origin = request.headers.get("Origin")
    if origin is not None and not _is_own_origin(context, origin.lower(), host.lower()):
        raise Problem(403, "foreign-origin", f"requests from pages of {origin!r} are refused")
    token = context.config.token
    if request.method not in ("GET", "HEAD") and token and not _has_token(request, token):
        raise Problem(401, "token", "this needs the header Authorization: Bearer TOKEN; see [server] token")


def own_hosts(config: Config) -> set[str]:
    """The names under which this daemon may be asked. Waits for the answer of a name server."""
    names = {"localhost", config.host, socket.gethostname(), socket.getfqdn(), *config.allowed_hosts}
    names.add(urllib.parse.urlsplit(config.public_url).hostname or "")
    return {name.casefold() for name in names if name}


@functools.lru_cache(maxsize=64)
def is_own_host(host: str, hosts: frozenset[str]) -> bool:
    """Is what a Host header says one of our names, or an address?"""
    name = host_name(host)
    return name in hosts or is_address(name)


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


def _is_own_origin(context: Context, origin: str, host: str) -> bool:
    return origin in (context.origin, f"http://{host}", f"https://{host}")


def _has_token(request: web.Request, token: str) -> bool:
    header = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
    scheme, _, given = header.partition(b" ")
    return scheme.lower() == b"bearer" and hmac.compare_digest(given.lstrip(b" "), token.encode())
