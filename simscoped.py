#!/usr/bin/env python3
"""simscoped: watch simulation regressions live.

Publishers drop small JSON files into a spool folder, or POST them. This daemon matches live jobs to their finish, turns
what never finished into a timeout signature, keeps everything in one SQLite file, and shows it on one page.

    python simscoped.py serve --config simscope.config

The path of a message, from wing to wing of simscope_server/:

    spool file ─┐                                                  ┌─> stream, long poll (reading, api) ─> page, client
    HTTP POST ──┼─> decode ─> batch ─> ONE transaction ─> COMMIT ──┤
    (doors,api) │  (messages) (ledger: rules, rows, events)        └─> clear the file away (doors), answer (api)
        clock ──┴─────────────────────^ time limits, prune (deadlines), through the same door (ledger)

It runs in two processes: one writes, that is, applies batches and owns the database (ledger/writer.py), the other does
the rest.

The wings, each of which may import those below it, never those above (tests/test_shape.py)
    api          the HTTP interface: addresses, handlers, errors, streams, the page
    deadlines    the clock: time limits, pruning          commands   requeue, snapshot, receipt
    doors        what comes in: the spool folder, and the queue in front of the writer
    reading      what is asked of the database, and what it is shown as; cannot write
    ledger       what is true: database, rules, rows, effects, and the process that writes
    messages     every word of the protocol, and how bytes become messages; pure
    settings     the configuration: simscope.config -> Config

Promises
    A delivery takes effect exactly once, or is still where it was: wherever the daemon is killed.
    A bad message is refused with a named reason and a receipt; it never stops a good one, and nothing is thrown away.
    Messages may come in any order, any number of times: verdicts, counts and status come out the same.
    No verdict of death without its reason, and none that a late message cannot take back.

Commands (exit code 0 done, 1 the answer is no, or it cannot be done just now, 2 usage or configuration)
    serve           run the daemon; SIGTERM and SIGINT stop it within a second
    check-config    say what is wrong with the configuration, and where
    requeue [NAME]  put refused files back into the spool
    snapshot FILE   write a consistent copy of the database, and of its logs: FILE and FILE.logs
    receipt NAME    tell what became of a delivery

Files
    simscope.config    configuration (TOML); simscope.config.example explains every key
    schema.sql         the database: a paragraph a table, a comment a column
    static/            the page
    SPOOL/.work        files being taken    SPOOL/.bad   files refused, each with NAME.reason.json
    SPOOL/.done        files kept, by day   DB.lock      held while a daemon uses the database
    DB.logs            lines of jobs' output, apart from the database

Log, on stderr: "LEVEL part: what happened"
    service  start, stop, a part that failed      spool   files refused or not taken, folder troubles
    store    the disk does not let us write       intake  a batch that failed and was taken apart
    apply    our own mistake in one message       http    our own mistake in one request
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sqlite3
import sys
from collections.abc import Collection, Coroutine, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from simscope_server.api.access import own_hosts
from simscope_server.api.app import is_our_mistake, make_app
from simscope_server.api.context import Context
from simscope_server.commands import print_receipts, requeue, take_snapshot
from simscope_server.deadlines import watch_deadlines
from simscope_server.doors.intake import Intake
from simscope_server.doors.spool import Spool
from simscope_server.ledger.database import lock_file
from simscope_server.ledger.ledger import Ledger, cancel
from simscope_server.ledger.writer import WriterProcess, start_writer
from simscope_server.messages.protocol import NotNow, SimscopedError, decode_json, log
from simscope_server.program import __version__
from simscope_server.reading.feed import Feed
from simscope_server.reading.readers import Readers
from simscope_server.settings import Config, ConfigError, doubts_about, load_config


def notify(state: str) -> None:
    """Tell the service manager (sd_notify); nothing if there is none."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.sendto(state.encode(), address)


def _turns(conn: sqlite3.Connection) -> None:
    """Does nothing: that it is done is what counts."""


async def feed_watchdog(ledger: Ledger) -> None:
    """Tell the service manager that both the event loop and the writer still turn, twice per watchdog period."""
    period = int(os.environ.get("WATCHDOG_USEC", "0")) / 1e6
    while period:
        await ledger.look(_turns)
        notify("WATCHDOG=1")
        await asyncio.sleep(period / 2)


class Daemon:
    """All parts of a running daemon, started in order and stopped in reverse."""

    def __init__(self, config: Config, writer: WriterProcess, hosts: Collection[str]) -> None:
        self.config = config
        self.hosts = hosts
        self.ledger = Ledger(config, writer)
        self.readers = Readers(config)
        self.intake = Intake(self.ledger)
        self.feed = Feed(self.ledger, self.readers)
        self.spool = Spool(config, self.intake)
        self.stopping = asyncio.Event()
        self.failed = False
        self.address = ""
        self._parts = contextlib.AsyncExitStack()

    async def start(self) -> None:
        """Start everything; when this returns, requests are answered and the spool is being read."""
        folder = self.config.spool_dir
        lock_file(folder / ".work" / ".lock", f"{folder}: another simscoped reads this spool")
        self._parts.push_async_callback(self.ledger.close)
        await self.ledger.open()
        self.ledger.listener.add_done_callback(self._ended)
        self._parts.push_async_callback(self.readers.close)
        await self.readers.open()
        self._begin("feed", self.feed.run())
        self._begin("intake", self.intake.run())
        self._parts.push_async_callback(self.intake.drain)
        self._begin("watchdog", feed_watchdog(self.ledger))
        self._begin("deadlines", watch_deadlines(self.ledger, self.spool))
        settling = await self.readers.read("SELECT id, files FROM settling ORDER BY id")
        self._begin("spool", self.spool.run([(row["id"], row["files"]) for row in settling], self._refused_of))
        await self._listen()

    async def stop(self) -> None:
        """Stop in under a second: end the streams, take no more files, answer what was taken, close the database."""
        await self._parts.aclose()

    def _begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._ended)
        self._parts.push_async_callback(cancel, task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A part that ends by an error takes the daemon down: the service manager starts it afresh."""
        if not task.cancelled() and task.exception() is not None:
            log.critical("service: %s failed", task.get_name(), exc_info=task.exception())
            self.failed = True
            self.stopping.set()

    async def _refused_of(self, receipt: int) -> list[Any]:
        """What a receipt says was refused; the reasons of a file that is cleared away after a crash."""
        rows = await self.readers.read_surely("SELECT details FROM receipt WHERE id = ?", (receipt,))
        details = decode_json(rows[0]["details"] or "[]") if rows else []
        return [told for told in details if told["outcome"] == "rejected"] or [{"reason": "unknown"}]

    async def _listen(self) -> None:
        parts = (self.ledger, self.readers, self.intake, self.feed, self.spool)
        app = make_app(Context(self.config, self.hosts, *parts))
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.3)
        await runner.setup()
        self._parts.push_async_callback(runner.cleanup)
        try:
            await web.TCPSite(runner, self.config.host or None, self.config.port).start()
        except OSError as error:
            detail = f"{self.config.place('listen')}: [server] listen = {self.config.listen}: {error.strerror or error}"
            raise NotNow(f"{detail}; SIMSCOPE_LISTEN=ADDRESS:PORT takes another") from None
        host, port = runner.addresses[0][:2]
        self.address = f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def spare_the_collector() -> None:
    """Look for garbage in cycles less often: a batch makes some ten thousand objects, none of them in a cycle, and
    looking through them again and again took a quarter of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def tell_of_upgrade(how_far: str) -> None:
    """Say how far a database is on its way to this release, and ask the service manager for another minute."""
    log.info("service: %s", how_far)
    notify(f"EXTEND_TIMEOUT_USEC=60000000\nSTATUS={how_far}")


def serve(config: Config) -> int:
    """Run the daemon in its two processes. -> exit code."""
    spare_the_collector()
    return asyncio.run(run_daemon(config, start_writer(config, tell_of_upgrade), own_hosts(config)))


async def run_daemon(config: Config, writer: WriterProcess, hosts: Collection[str]) -> int:
    """Run the daemon until SIGTERM or SIGINT. -> exit code."""
    daemon = Daemon(config, writer, hosts)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, daemon.stopping.set)
    for doubt in doubts_about(config):
        log.warning("config: %s", doubt)
    try:
        await daemon.start()
        log.info("service: simscoped %s on %s", __version__, daemon.address)
        log.info("service: spool %s, database %s, SQLite %s", config.spool_dir, config.db, sqlite3.sqlite_version)
        notify(f"READY=1\nSTATUS=page at {daemon.address}")
        await daemon.stopping.wait()
        notify("STOPPING=1")
        log.info("service: stopping")
    finally:
        await daemon.stop()
    log.info("service: stopped")
    return 1 if daemon.failed else 0


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--config",
        type=Path,
        default=argparse.SUPPRESS,
        metavar="FILE",
        help="configuration (default: simscope.config)",
    )
    parser = argparse.ArgumentParser("simscoped", parents=[shared], description="Watch simulation regressions live.")
    parser.add_argument("--version", action="version", version=f"simscoped {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("serve", parents=[shared], help="run the daemon (also without a command)")
    commands.add_parser("check-config", parents=[shared], help="say what is wrong with the configuration, and where")
    again = commands.add_parser("requeue", parents=[shared], help="put refused files back into the spool")
    again.add_argument("names", nargs="*", metavar="NAME", help="path of a refused file, or its name; without any: all")
    copy = commands.add_parser("snapshot", parents=[shared], help="write a consistent copy: FILE and FILE.logs")
    copy.add_argument("file", type=Path, metavar="FILE")
    told = commands.add_parser("receipt", parents=[shared], help="tell what became of a delivery")
    told.add_argument("name", metavar="NAME", help="path below the spool, or file name, or the peer of a request")
    return parser.parse_args(argv)


def run_command(options: argparse.Namespace, config: Config) -> int:
    """Do what the command line says. -> exit code."""
    if options.command == "check-config":
        for doubt in doubts_about(config):
            print(f"{config_path(options)}: {doubt}")
        print(
            f"{config_path(options)}: good; listens on {config.listen}, spool {config.spool_dir}, database {config.db}"
        )
        return 0
    if options.command == "requeue":
        back, unknown = requeue(config, options.names)
        print("\n".join(back) if back else "nothing to put back")
        for name in unknown:
            print(f"simscoped: no refused file is named {name!r}", file=sys.stderr)
        return 1 if unknown else 0
    if options.command == "snapshot":
        print(*take_snapshot(config, options.file), sep="\n")
        return 0
    if options.command == "receipt":
        return print_receipts(config, options.name)
    return serve(config)


def config_path(options: argparse.Namespace) -> Path:
    return getattr(options, "config", Path("simscope.config"))


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. -> exit code: 0 done, 1 the answer is no or it cannot be done now, 2 usage or configuration."""
    options = parse_arguments(argv)
    form = "%(levelname)s %(message)s" if "JOURNAL_STREAM" in os.environ else "%(asctime)s %(levelname)s %(message)s"
    logging.basicConfig(level=logging.INFO, format=form, stream=sys.stderr)
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    logging.getLogger("aiohttp.server").addFilter(is_our_mistake)
    try:
        return run_command(options, load_config(config_path(options), os.environ))
    except (SimscopedError, ConfigError) as error:
        print(f"simscoped: {error}", file=sys.stderr)
        return error.code if isinstance(error, SimscopedError) else 2


if __name__ == "__main__":
    sys.exit(main())
