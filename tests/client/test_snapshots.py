"""The Python client: snapshots, lists, and the errors of single questions."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import functools
import io
import json
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.clients import publish
from support.daemons import LIVE_SIGS, Daemon, done, live
from support.trackers import Tracker

import simscope
from simscope import Client

# ----------------------------------------------------------------------------------------------------------------------
# snapshots and lists
# ----------------------------------------------------------------------------------------------------------------------


def test_a_job_is_a_snapshot_with_the_names_of_the_interface(daemon: Daemon, client: Client) -> None:
    body = live(
        name="smoke", host="h1", config="c", seed=7, env={"A": "1"}, metadata=[["k", "v"]], results="r",
        progress={"done": 3, "total": 4, "unit": "tests"}, start_time="2030-01-01T01:00:00+01:00", odd=[1],
        files=[{"kind": "log", "name": "a.log", "path": "/x/a.log", "size": 3, "sha256": "ab" * 32}],
    )  # fmt: skip
    number = publish(daemon, body)

    job = client.job(number)

    assert job is not None
    assert (job.id, job.regression, job.uniqueid, job.result, job.done) == (number, "r/1", "a", "live", False)
    assert (job.name, job.host, job.seed, job.env, job.results) == ("smoke", "h1", "7", {"A": "1"}, "r")
    assert job.metadata == (("k", "v"),)
    assert job.start_time == datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
    assert job.submitted_at is not None and job.submitted_at.utcoffset() == datetime.timedelta(0)
    assert job.progress is not None and (job.progress.done, job.progress.unit) == (3, "tests")
    assert job.files[0].hash is not None and job.files[0].hash.hex() == "ab" * 32
    assert job.extra == job.raw["extra"] == {"odd": [1]}
    with pytest.raises(dataclasses.FrozenInstanceError):
        job.result = "pass"  # type: ignore[misc]
    publish(daemon, done())
    assert not client.is_done(job) and job.result == "live"
    assert client.is_done(client.job(job)) and client.status(str(number)).result == "pass"  # type: ignore[arg-type]
    assert len({job, client.job(number), client.job(number)}) == 2


def test_every_member_that_the_interface_promises_is_a_field(daemon: Daemon, client: Client) -> None:
    number = publish(daemon, live())
    job = (
        "id regression regression_id uniqueid name category result reason done phase progress host config seed build "
        "testgroup jobdir start_time finish_time submitted_at started_at finished_at last_seen_at due_at elapsed_ms "
        "compute_ms runtime_ms cycles exit_code fail_message signature metadata env results files extra version"
    )
    regression = (
        "id name series number status reason component project branch tag submitted running counts progress eta_at "
        "started_at finished_at last_activity_at due_at stats custom_metadata fields version"
    )

    for found, names in ((client.job(number), job), (client.regression("r/1"), regression)):
        assert found is not None
        assert set(names.split()) <= {field.name for field in dataclasses.fields(found)} & set(found.raw)
        assert found.links["self"]["href"] == found.raw["_links"]["self"]["href"]


def test_lists_are_newest_first_and_as_long_as_one_wants(daemon: Daemon, client: Client) -> None:
    daemon.post("/messages", [{"type": "job-live", "regression": "n/1", "body": live(str(n))} for n in range(45)])
    publish(daemon, done("x", "fail", host="h"), "n/2")

    assert [job.uniqueid for job in client.jobs()] == ["x", *(str(n) for n in range(44, 25, -1))]
    assert len(client.jobs(30)) == 30 and len(client.jobs(None)) == len(list(client.iter_jobs(7))) == 46
    assert [job.uniqueid for job in client.jobs(regression="n/$")] == ["x"]
    assert [job.uniqueid for job in client.jobs(result=["fail", "pass"])] == ["x"]
    assert [found.name for found in client.regressions()] == ["n/2", "n/1"]
    latest = client.regression("n/$")
    assert latest is not None and (latest.name, latest.number, latest.counts["fail"]) == ("n/2", 2, 1)
    assert [job.uniqueid for job in client.jobs(regression=latest)] == ["x"]


def test_a_list_is_filtered_in_the_language_of_the_page(daemon: Daemon, client: Client) -> None:
    numbers = [publish(daemon, done(str(n), runtime_ms=n)) for n in (3, 1, 2)]

    assert [job.id for job in client.jobs(filter="runtime>=2", sort="-runtime")] == [numbers[0], numbers[2]]
    assert [job.id for job in client.iter_jobs(1, regression="r/1", filter="runtime<3", sort="runtime")] == numbers[1:]
    for call in (functools.partial(client.jobs, filter="runtime>"), functools.partial(client.jobs, sort="colour")):
        with pytest.raises(simscope.UsageError) as caught:
            call()
        assert isinstance(caught.value, simscope.Refused) and caught.value.problem["reason"].startswith("bad-")


@pytest.mark.parametrize("limit", [0, -1, True, 2.5, "3", 10**30])
def test_a_limit_is_a_whole_number_above_zero(limit: Any) -> None:
    with pytest.raises(ValueError, match="limit="):
        Client("http://127.0.0.1:1").jobs(limit)


def test_wrong_arguments_are_told_before_anything_is_asked() -> None:
    client = Client("http://127.0.0.1:1")
    file = simscope.JobFile(job_id=1, kind="log", name="\ud800")
    wrong: list[Callable[[], Any]] = [
        lambda: client.jobs(colour="red"),
        lambda: client.jobs(q="\ud800"),
        lambda: client.jobs(result=["fail", "\ud800"]),
        lambda: client.regression("a\ud800"),
        lambda: client.wait("a\ud800", timeout=1),
        lambda: client.download(file, io.BytesIO()),
        lambda: client.events(after=10**18),
        lambda: client.job(True),
        lambda: client.job("r/1"),
        lambda: client.job(-1),
        lambda: client.regression(""),
        lambda: client.wait(1, timeout=-1),
        lambda: client.wait(1, interval=0),
        lambda: client.iter_logs(1, -1),
        lambda: client.logs(1, limit=0),
        lambda: client.events(after=-1),
        lambda: client.events("job.faild"),
        lambda: client.events(["job.failed", "regression.*x"]),
        lambda: client.extend(1),
        lambda: client.extend(1, 0),
        lambda: client.extend(1, float("nan")),
        lambda: client.extend(1, float("inf")),
        lambda: client.extend(1, True),
        lambda: client.extend(1, until=datetime.datetime(2030, 1, 1)),
        lambda: client.extend(1, datetime.timedelta(days=25)),
        *(functools.partial(Client, timeout=timeout) for timeout in (0, 1e6, 10**400, float("inf"), float("nan"))),
    ]
    for call in wrong:
        with pytest.raises(simscope.UsageError):
            call()


def test_an_argument_of_a_type_that_is_not_taken_is_a_type_error_too() -> None:
    make: Any = Client  # which forbids all of this to whoever checks types
    client = make("http://127.0.0.1:1")
    file = simscope.JobFile(job_id=1, kind="log", name="x")
    wrong: list[Callable[[], Any]] = [
        lambda: client.job(None),
        lambda: client.job(1.0),
        lambda: client.regression(None),
        lambda: client.jobs(limit=1.5),
        lambda: client.jobs(limit=True),
        lambda: client.wait(None),
        lambda: client.wait(1, timeout="5"),
        lambda: client.wait(1, interval="5"),
        lambda: client.logs(1, "1"),
        lambda: client.extend(1, "60"),
        lambda: client.extend(1, until="x"),
        lambda: next(client.as_completed(5)),
        lambda: next(client.as_completed("12")),
        lambda: next(client.as_completed(b"2")),
        lambda: next(client.as_completed(bytearray(b"2"))),
        lambda: client.events(types=5),
        lambda: client.events(types=["job.live", 5]),
        lambda: client.log_buffer(1, on_update=5),
        lambda: client.download("x", "/nowhere/x"),
        lambda: client.download(file, 5),
        lambda: make("http://127.0.0.1:1", timeout="5"),
    ]
    for call in wrong:
        with pytest.raises(TypeError) as caught:
            call()
        assert isinstance(caught.value, simscope.WrongType) and isinstance(caught.value, ValueError)


@pytest.fixture
def answer_with() -> Iterator[Callable[[Any], Client]]:
    """Lets a server answer every question with the same document, and gives a client of it."""
    tracker = Tracker()

    def answer(document: Any) -> Client:
        tracker.answer = lambda request: (200, document)
        return Client(tracker.url)

    yield answer
    tracker.close()


JOB = {"id": 1, "result": "live", "done": False, "regression": "r", "regression_id": 1, "version": 1}


@pytest.mark.parametrize(
    "document",
    [
        5, [], {}, {"items": 5}, {"items": [5], "next": None}, {"items": []}, {"lines": 5},
        {"seq": "x", "epoch": 1}, {"items": [JOB | {"submitted_at": "soon"}], "next": None},
        {"items": [JOB | {"files": 5}], "next": None}, {"items": [JOB | {"files": [{"name": "x"}], "id": None}]},
        {"items": [JOB | {"env": 5, "created": 7, "at": "x"}], "next": None},
    ],
)  # fmt: skip
def test_an_answer_that_simscoped_does_not_give_is_an_error_of_ours(
    answer_with: Callable[[Any], Client], document: Any
) -> None:
    client = answer_with(document)

    for call in (
        client.jobs, client.about, lambda: client.logs(1), lambda: next(client.events(after=0)),
        lambda: list(client.as_completed([1])),
    ):  # fmt: skip
        with pytest.raises(simscope.UsageError, match=r"the server .*answered "):
            call()


def test_a_wrong_time_in_a_job_is_an_error_of_ours(answer_with: Callable[[Any], Client]) -> None:
    for wrong in ({"submitted_at": "soon"}, {"submitted_at": 5}, {"env": 5}, {"metadata": 5}, {"files": "x"}):
        with pytest.raises(simscope.UsageError, match="the server answered "):
            answer_with(JOB | wrong).wait(1)


def test_a_snapshot_takes_no_changes_however_deep_and_is_still_a_dict(daemon: Daemon, client: Client) -> None:
    job: Any = client.job(publish(daemon, live(env={"A": "1"}, odd=[{"B": [2]}], log={"lines": ["x"]})))
    regression: Any = client.regression("r/1")
    about: Any = client.about()
    page: Any = client.log_page(job, 0, 1)
    wrong: list[Callable[[], Any]] = [
        lambda: job.env.update(A="x"),
        lambda: job.extra["odd"][0]["B"].append(3),
        lambda: job.raw["env"].clear(),
        lambda: job.raw.pop("id"),
        lambda: job.links.setdefault("x", 1),
        lambda: regression.counts.__setitem__("fail", 7),
        lambda: about.__delitem__("seq"),
        lambda: page.__delitem__("lines"),
        lambda: page["lines"].append("x"),
    ]
    for change in wrong:
        with pytest.raises(TypeError, match="a snapshot cannot be changed"):
            change()

    assert json.loads(json.dumps(job.raw)) == job.raw == dict(job.raw)
    for again in (pickle.loads(pickle.dumps(job)), copy.deepcopy(job), copy.copy(job)):
        assert (again, again.raw, again.extra) == (job, job.raw, {"odd": [{"B": [2]}]})
        with pytest.raises(TypeError):
            again.raw["extra"]["odd"].clear()
    assert dataclasses.asdict(job)["env"] == {"A": "1"}
    mine = dict(job.env)
    mine["A"] = "2"
    assert job.env == {"A": "1"}


def test_the_history_of_a_job_and_of_a_regression_is_told_oldest_first(daemon: Daemon, client: Client) -> None:
    number = publish(daemon, live(phase="queued"))
    publish(daemon, live(phase="running"))
    publish(daemon, done())
    daemon.post("/regressions/r%2F1/finish")

    entries = client.history(number)

    assert [entry.type for entry in entries] == ["job.live", "job.updated", "job.passed"]
    assert entries[1].changed == {"phase": "running"} or "phase" in entries[1].changed
    assert entries[0].created is not None and entries[0].created <= entries[2].created  # type: ignore[operator]
    assert [entry.type for entry in client.history("r/1")][-1] == "regression.finished"


# ----------------------------------------------------------------------------------------------------------------------
# errors
# ----------------------------------------------------------------------------------------------------------------------


def test_what_does_not_exist_is_a_lookup_error_or_none(daemon: Daemon, client: Client) -> None:
    for call in (client.job, client.status, client.wait, client.logs, client.files, client.history):
        with pytest.raises(LookupError) as caught:
            call(4711)
        assert isinstance(caught.value, simscope.NotFound) and caught.value.status == 404
        assert caught.value.problem["reason"] == "no-such-job"
    with pytest.raises(LookupError):
        client.regression("no/such")
    assert client.job(4711, missing_ok=True) is None
    assert client.regression("no/such", missing_ok=True) is None


def test_a_missing_token_is_a_permission_error(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(f"{LIVE_SIGS}[limits]\nlog_lines = 10\n")
    daemon.config.write_text(daemon.config.read_text().replace("[server]\n", '[server]\ntoken = "secret"\n'))
    daemon.start()

    for client in (Client(daemon.url, ""), Client(daemon.url, "wrong")):
        assert client.jobs() == []
        with pytest.raises(PermissionError):
            client.extend(1, 60)
    with pytest.raises(LookupError):
        Client(daemon.url, "secret").extend(1, 60)


def test_whether_something_is_over_is_asked_unless_a_snapshot_tells(daemon: Daemon, client: Client) -> None:
    number = publish(daemon, live())
    job = client.job(number)
    assert job is not None
    publish(daemon, done())

    assert [client.is_done(ref) for ref in (job, number, str(number), "r/1")] == [False, True, True, False]
    with pytest.raises(LookupError):
        client.is_done(4711)


def test_what_is_no_text_is_no_address_and_no_token() -> None:
    for given in ({"server": 5}, {"token": 7}):
        with pytest.raises(TypeError, match=r"must be a text, not int"):
            Client(**given)  # type: ignore[arg-type]


def test_an_address_that_is_none_is_a_value_error() -> None:
    for server in ("tracker:8040", "ftp://x", "http://"):
        with pytest.raises(ValueError, match="is not the address of a server"):
            Client(server)


def test_the_server_and_the_token_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMSCOPE_SERVER", "http://elsewhere:1")
    monkeypatch.setenv("SIMSCOPE_TOKEN", " t ")
    assert (Client().caller.address.url, Client().caller.address.token) == ("http://elsewhere:1", "t")
    monkeypatch.delenv("SIMSCOPE_SERVER")
    assert Client(token="").caller.address.url == "http://127.0.0.1:8040"
