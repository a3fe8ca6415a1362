"""Badges: the verdict of a series as an image."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest
from support.asking import quoted
from support.daemons import Daemon, done
from support.telling import failed, publish, regr

from simscope_server.reading import figures


def badge(daemon: Daemon, name: str, **headers: str) -> tuple[int, str, dict[str, str]]:
    return daemon.request("GET", f"/badge/{name}.svg", headers=headers)


def test_a_badge_shows_the_latest_run_of_a_series(shared: Daemon, run: str) -> None:
    publish(shared, f"{run}/1", failed("a", "x"))
    publish(shared, f"{run}/2", done("a"), done("b"), failed("c", "x"))
    live_now = badge(shared, run)
    regr(shared, "regr-finish", f"{run}/2")

    status, image, headers = badge(shared, run)

    assert (status, headers["content-type"].partition(";")[0]) == (200, "image/svg+xml")
    assert headers["cache-control"] == "max-age=30"
    root = ElementTree.fromstring(image)
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == [run, "66.7 % pass"]
    assert "live, 66.7 % pass" in live_now[1]
    for known in (headers["etag"], f"W/{headers['etag']}", f'"other", {headers["etag"]}', "*"):
        assert badge(shared, run, **{"If-None-Match": known})[0] == 304, known
    assert badge(shared, run, **{"If-None-Match": '"other"'})[0] == 200


def test_a_badge_passes_over_tanked_runs(shared: Daemon, run: str) -> None:
    publish(shared, f"{run}/1", done("a"))
    publish(shared, f"{run}/2", failed("a", "x"))
    before = badge(shared, run)[1]

    assert shared.post(f"/regressions/{run}%2F2/tank")[0] == 200

    assert ("0 % pass" in before, "100 % pass" in before) == (True, False)
    assert "100 % pass" in badge(shared, run)[1]


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", 'a"b&c', "x" * 300, "tab\tbed", "é/日本"])
def test_a_badge_of_any_name_is_an_image(shared: Daemon, name: str) -> None:
    publish(shared, f"{name.replace(chr(9), ' ')}/1", done())

    for shown in (name, name.replace("\t", " ")):
        _, image, _ = badge(shared, quoted(shown))

        root = ElementTree.fromstring(image)
        assert {element.tag.partition("}")[2] for element in root.iter()} == {"svg", "title", "rect", "g", "text"}


def test_a_badge_of_nobody_is_404_and_says_so(shared: Daemon) -> None:
    status, image, _ = badge(shared, "nobody")

    assert status == 404
    assert "unknown" in image


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"n_pass": 0, "n_fail": 0, "status": "complete"}, "no results"),
        ({"n_pass": 3, "n_fail": 0, "status": "complete"}, "100 % pass"),
        ({"n_pass": 9999, "n_fail": 1, "status": "complete"}, "99.9 % pass"),  # never rounded up to all
        ({"n_pass": 1, "n_fail": 1, "status": "aborted"}, "aborted, 50 % pass"),
    ],
)
def test_what_a_badge_says(row: dict[str, Any], text: str) -> None:
    assert figures.verdict_of(row)[0] == text


def test_a_badge_is_as_wide_as_its_letters() -> None:
    narrow, wide = (ElementTree.fromstring(figures.badge(label, "", figures.GREY)) for label in ("fifi", "WWWW"))

    assert int(narrow.attrib["width"]) < int(wide.attrib["width"])
    assert all("textLength" not in element.attrib for element in narrow.iter())
