"""The page's files, health, metrics, and many at once."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.asking import unchanged
from support.daemons import LIVE_SIGS, Daemon, done, live, publish

from simscope_server.program import __version__

SPOOL = '[spool]\ndir = "spool"\nsettle_ms = 100\npoll_ms = 50\n'
CONFIG = f'file_roots = ["files"]\n{LIVE_SIGS}{SPOOL}[limits]\nbody_mib = 1\nmessage_kib = 64\n'


@pytest.mark.parametrize(
    "path", ["/", "/r/some%2Fname", "/r/some/name", "/j/17", "/static/page.js", "/static/page.css"]
)
def test_the_pages_files_are_served_with_strict_headers_and_an_etag(shared: Daemon, path: str) -> None:
    status, body, headers = shared.request("GET", path)

    assert status == 200
    assert body
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    for known in (headers["etag"], f"W/{headers['etag']}", f'"other", {headers["etag"]}', "*"):
        assert unchanged(shared, path, known), known
    assert not unchanged(shared, path, '"other"')
    assert not unchanged(shared, path, '"other"')


def test_every_file_that_the_page_names_is_there_with_its_type(shared: Daemon) -> None:
    page = shared.request("GET", "/")[1]
    named = {part.partition('"')[0] for part in page.split('="/static/')[1:]}

    for name in named:
        status, _, headers = shared.request("GET", f"/static/{name}")
        kinds = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
        assert status == 200
        assert headers["content-type"].startswith(kinds[name.rpartition(".")[2]])

    assert {"page.js", "page.css"} <= named
    assert "{{ROOT}}" not in page


def test_health_tells_of_the_spool_and_a_backlog_is_healthy(shared: Daemon) -> None:
    shared.drop("backlog/regr-finish.ndjson", b"{}" * 5)

    status, told, headers = shared.request("GET", "/healthz")

    assert (status, told["status"], told["reasons"]) == (200, "ok", [])
    assert told["version"] == __version__
    assert headers["content-type"].startswith("application/json")


def test_metrics_are_what_prometheus_reads(daemon: Daemon, run: str) -> None:
    def values() -> dict[str, float]:
        status, text, headers = daemon.request("GET", "/metrics")
        assert (status, headers["content-type"].partition(";")[0]) == (200, "text/plain")
        families = list(text_string_to_metric_families(text))
        assert all(family.documentation for family in families)
        assert all(set(sample.labels) <= {"outcome"} for family in families for sample in family.samples)
        return {
            sample.name + "".join(sample.labels.values()): sample.value
            for family in families
            for sample in family.samples
        }

    before = values()
    publish(daemon, "batch-job-live", run, [live("a"), live("b")])
    publish(daemon, "job-finish", run, [done("a", cycles="x")], 422)
    after = values()

    assert after["simscoped_messages_totalapplied"] - before["simscoped_messages_totalapplied"] == 2
    assert after["simscoped_messages_totalrejected"] - before["simscoped_messages_totalrejected"] == 1
    assert after["simscoped_jobs_live"] - before["simscoped_jobs_live"] == 2
    assert after["simscoped_regressions_live"] - before["simscoped_regressions_live"] == 1
    assert after["simscoped_event_seq"] > before["simscoped_event_seq"]
    assert after["simscoped_up_seconds"] > before["simscoped_up_seconds"]
    assert (after["simscoped_failing"], after["simscoped_streams"]) == (0, 0)


def test_many_writers_and_readers_at_once_are_all_answered(shared: Daemon, run: str) -> None:
    failures: list[Any] = []

    def write(writer: int) -> None:
        for number in range(20):
            status, told = shared.post(f"/publish/job-live?regression={run}", live(f"{writer}-{number}"))
            if status != 200 or told["applied"] != 1 or shared.get(f"/jobs/{told['details'][0]['job']}")["done"]:
                failures.append(told)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert shared.get(f"/regressions/{run}")["counts"]["live"] == 160
