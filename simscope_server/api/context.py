"""What all handlers share: the configuration, the parts of the daemon, and what is kept between requests."""

from __future__ import annotations

import time
import urllib.parse
from collections.abc import Collection

from simscope_server.api.assets import read_assets
from simscope_server.api.declared import DeclaredFiles
from simscope_server.doors.intake import Intake
from simscope_server.doors.spool import Spool
from simscope_server.ledger.ledger import Ledger
from simscope_server.messages.times import DAY_MS, HOUR_MS
from simscope_server.reading import answers
from simscope_server.reading.feed import Feed
from simscope_server.reading.readers import Readers
from simscope_server.reading.slow import SlowJobs, UsualTimes
from simscope_server.settings import Config


class Context:
    """What each handler gets beside its request."""

    def __init__(
        self,
        config: Config,
        hosts: Collection[str],
        ledger: Ledger,
        readers: Readers,
        intake: Intake,
        feed: Feed,
        spool: Spool,
    ) -> None:
        self.config = config
        self.hosts = frozenset(hosts)  # the names under which this daemon may be asked
        self.ledger = ledger
        self.readers = readers
        self.intake = intake
        self.feed = feed
        self.spool = spool
        public = urllib.parse.urlsplit(config.public_url)
        self.origin = f"{public.scheme}://{public.netloc}".lower() if public.netloc else None
        self.base = config.public_url.rstrip("/")  # what links begin with
        self.assets = dict(read_assets(public.path.rstrip("/")))
        self.started = time.monotonic()
        self.usual = UsualTimes(readers)
        self.slow = SlowJobs(readers, self.usual)
        self.files = DeclaredFiles(config)

    def viewpoint(self) -> answers.Viewpoint:
        """This moment, from which rows are shown."""
        timeout, prune = round(self.config.autotimeouthours * HOUR_MS), round(self.config.prunelivedays * DAY_MS)
        return answers.Viewpoint(*self.ledger.clock.moment(), timeout, prune, self.base, self.slow.known)

    def tagged(self, version: int) -> dict[str, str]:
        """The headers of an object that has a version."""
        return {"ETag": f'"{self.ledger.epoch}-{version}"', "Cache-Control": "no-cache"}
