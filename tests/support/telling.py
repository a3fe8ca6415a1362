"""Short words to tell the daemon things in the tests of what is shown, and to read a story's rows."""

from __future__ import annotations

from typing import Any

from support.asking import quoted
from support.daemons import Daemon, done, publish_job
from support.stories import Story


def failed(uniqueid: str, message: str, **fields: Any) -> dict[str, Any]:
    return done(uniqueid, "fail", fail_message=message, **fields)


def publish(daemon: Daemon, regression: str, *bodies: dict[str, Any]) -> list[int]:
    """-> the ids of the jobs."""
    return [publish_job(daemon, regression, body) for body in bodies]


def regr(daemon: Daemon, kind: str, regression: str, **fields: Any) -> None:
    status, told = daemon.post(f"/publish/{kind}?regression={quoted(regression)}", fields)
    assert status == 200, told


def found(story: Story, sql: str, named: dict[str, Any]) -> list[dict[str, Any]]:
    cursor = story.conn.execute(sql, named)
    return [dict(zip((column[0] for column in cursor.description), row, strict=True)) for row in cursor]
