"""What the first era's API tells of a job, at once or live (behaviour reference, 20.4 and 20.5).

The live streams are read from real sockets: what happens at their ends is the point.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.api import histories
from tests.api.conftest import IDS, KEY, LIMITS, LiveApi, LiveEngine, live_api
from tunesmith.api.followers import FollowerLimits
from tunesmith.domain.errors import ErrorDetail
from tunesmith.domain.jobs import EventLevel, JobStatus, NewEvent

FINE_TUNES = "/v1/fine-tunes"
DONE = "[DONE]"
WAIT_S = 60.0


@pytest.fixture
def ft(api: LiveApi, http: httpx2.Client) -> Any:
    return new(api, http)


def new(api: LiveApi, http: httpx2.Client) -> Any:
    answer = http.post(FINE_TUNES, json={"training_file": histories.upload(api)})
    assert answer.status_code == 200
    return answer.json()


def job_id_of(ft: Any) -> str:
    return "ftjob-" + ft["id"].removeprefix("ft-")


def events_of(http: httpx2.Client, ft: Any) -> Any:
    answer = http.get(f"{FINE_TUNES}/{ft['id']}/events")
    assert answer.status_code == 200
    listed = answer.json()
    assert listed.keys() == {"object", "data"}
    assert listed["object"] == "list"
    return listed["data"]


def messages(events: Any) -> list[str]:
    return [event["message"] for event in events]


@contextmanager
def stream_of(client: httpx2.Client, ft: Any) -> Iterator[Iterator[str]]:
    """The `data` of the events of an open stream, as they come."""
    with client.stream("GET", f"{FINE_TUNES}/{ft['id']}/events?stream=true") as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield (
            line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: ")
        )


@pytest.fixture
def listener(api: LiveApi) -> Iterator[httpx2.Client]:
    """For streams that are left early, which nobody can check as a whole."""
    with client_of(api) as client:
        yield client


Special = Callable[..., AbstractContextManager[tuple[LiveApi, httpx2.Client]]]


@pytest.fixture
def special(base_folder: Path, tmp_path: Path, engine: LiveEngine) -> Special:
    """An API with other limits, and a client of it that isn't checked."""

    @contextmanager
    def live(
        followers: FollowerLimits, grace_s: int = 2
    ) -> Iterator[tuple[LiveApi, httpx2.Client]]:
        limits = replace(LIMITS, followers=followers)
        with (
            live_api(base_folder, tmp_path, engine.url, limits=limits, grace_s=grace_s) as api,
            client_of(api) as client,
        ):
            yield api, client

    return live


def client_of(api: LiveApi) -> httpx2.Client:
    headers = {"authorization": f"Bearer {KEY}"}
    return httpx2.Client(base_url=api.url, headers=headers, timeout=WAIT_S)


def wait_until(is_so: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.005)


def num_followers(api: LiveApi) -> int:
    return int(api.app.state.services.followers.count)


# At once


def test_the_whole_story_oldest_first(api: LiveApi, http: httpx2.Client, ft: Any) -> None:
    """Nothing of it is in today's words, and no step's metrics are in it."""
    histories.succeeded(api, job_id_of(ft), [IDS.adapter() for _ in range(3)])
    events = events_of(http, ft)
    shown = http.get(f"{FINE_TUNES}/{ft['id']}").json()
    assert shown["events"] == events
    place = next(message for message in messages(events) if "Queue" in message)
    assert place.startswith("Fine-tune enqueued. Queue number: ")
    assert messages(events) == [
        f"Created fine-tune: {ft['id']}",
        "Fine-tune costs $0.01",
        place,
        "Fine-tune started",
        "Completed epoch 1/3",
        "Completed epoch 2/3",
        "Completed epoch 3/3",
        f"Uploaded model: {shown['fine_tuned_model']}",
        f"Uploaded result file: {shown['result_files'][0]['id']}",
        "Fine-tune succeeded",
    ]
    for event in events:
        assert event.keys() == {"object", "level", "message", "created_at"}
        assert event["object"] == "fine-tune-event"
        assert event["level"] == "info"
    assert shown["updated_at"] == events[-1]["created_at"]


def test_a_failure_s_reason_is_in_the_events(api: LiveApi, http: httpx2.Client, ft: Any) -> None:
    histories.failed(api, job_id_of(ft), ErrorDetail("bad", "Line 1 is bad.", None))
    last = events_of(http, ft)[-1]
    assert (last["level"], last["message"]) == ("error", "Fine-tune failed. Line 1 is bad.")


def test_what_both_eras_tell_is_told_in_both(api: LiveApi, http: httpx2.Client, ft: Any) -> None:
    lease = histories.started(api, job_id_of(ft))
    warning = NewEvent("1 example is cut", level=EventLevel.WARN, era=None)
    api.store.jobs.record(lease, [warning])
    (last,) = events_of(http, ft)[-1:]
    assert (last["level"], last["message"]) == ("warn", "1 example is cut")
    of_today = http.get(f"/v1/fine_tuning/jobs/{ft['id']}/events").json()["data"]
    assert of_today[0]["message"] == "1 example is cut"


@pytest.mark.parametrize("value", ["maybe", "2", ""])
def test_stream_is_true_or_false(http: httpx2.Client, ft: Any, value: str) -> None:
    answer = http.get(f"{FINE_TUNES}/{ft['id']}/events?stream={value}")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "stream"


# Live


def test_what_is_past_comes_at_once_and_then_the_end(
    api: LiveApi, http: httpx2.Client, ft: Any
) -> None:
    histories.succeeded(api, job_id_of(ft), [IDS.adapter()])
    with stream_of(http, ft) as stream:
        told = list(stream)
    assert told[-1] == DONE
    assert [json.loads(event) for event in told[:-1]] == events_of(http, ft)


@pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled"])
def test_what_happens_is_told_until_the_job_ends(
    api: LiveApi, http: httpx2.Client, ft: Any, end: str
) -> None:
    with stream_of(http, ft) as stream:
        assert json.loads(next(stream))["message"] == f"Created fine-tune: {ft['id']}"
        if end == "failed":
            histories.failed(api, job_id_of(ft), ErrorDetail("bad", "Line 1 is bad.", None))
        elif end == "cancelled":
            api.store.jobs.cancel(api.caller.scope, ft["id"])
        else:
            lease = histories.started(api, job_id_of(ft))
            started = ("costs", "enqueued", "started")
            assert all(word in next(stream) for word in started)
            histories.finished(api, lease, [IDS.adapter()])
        told = list(stream)
    assert told[-1] == DONE
    assert json.loads(told[-2])["message"].startswith(f"Fine-tune {end}")
    assert json.loads(told[-2]) == events_of(http, ft)[-1]


def test_a_trainer_s_end_is_not_the_job_s(api: LiveApi, http: httpx2.Client, ft: Any) -> None:
    """The next trainer goes on, and so does the story."""
    lease = histories.started(api, job_id_of(ft))
    with stream_of(http, ft) as stream:
        assert all(word in next(stream) for word in ("Created", "costs", "enqueued", "started"))
        api.store.jobs.release(lease)
        again = histories.claimed(api, job_id_of(ft), JobStatus.RUNNING)
        histories.finished(api, again, [IDS.adapter()])
        told = list(stream)
    assert told[-1] == DONE
    assert "Fine-tune succeeded" in told[-2]


def test_a_revoked_key_s_stream_says_so_and_ends(special: Special) -> None:
    """A job may take hours; whoever is no longer welcome doesn't listen until then."""
    with special(FollowerLimits(look_interval_s=0.01)) as (api, client):
        key = api.new_key("local")
        (key_id,) = {caller.key_id for caller in [api.store.tenants.find_caller(key)] if caller}
        with httpx2.Client(base_url=api.url, headers={"authorization": f"Bearer {key}"}) as guest:
            ft = new(api, client)
            with stream_of(guest, ft) as stream:
                assert "Created fine-tune" in next(stream)
                assert api.store.tenants.revoke_key(key_id)
                (last,) = [json.loads(event)["error"] for event in stream]
    assert (last["type"], last["code"]) == ("invalid_request_error", "invalid_api_key")
    assert last["message"].startswith("Your API key was revoked or has expired")
    assert num_followers(api) == 0


def test_followers_hold_no_thread(special: Special) -> None:
    """More of them than threads: other requests are answered all the same."""
    num = 45  # FastAPI has 40 threads
    with special(FollowerLimits(num, num)) as (api, client), ExitStack() as stack:
        ft = new(api, client)
        streams = [stack.enter_context(stream_of(client, ft)) for _ in range(num)]
        for stream in streams:
            assert "Created fine-tune" in next(stream)
        assert num_followers(api) == num
        assert client.get("/v1/models").status_code == 200
        client.post(f"{FINE_TUNES}/{ft['id']}/cancel")
        for stream in streams:
            assert list(stream)[-1] == DONE
        wait_until(lambda: num_followers(api) == 0, "ended streams keep their places")


@pytest.mark.parametrize(
    ("limits", "whose"),
    [(FollowerLimits(2, 1), "This project's"), (FollowerLimits(1, 2), "This service's")],
)
def test_too_many_followers_are_told_so(
    special: Special, limits: FollowerLimits, whose: str
) -> None:
    with special(limits) as (api, client):
        ft = new(api, client)
        with stream_of(client, ft) as stream:
            next(stream)
            answer = client.get(f"{FINE_TUNES}/{ft['id']}/events?stream=true")
            assert answer.status_code == 429
            error = answer.json()["error"]
            assert error["message"] == (
                f"{whose} open streams of events are as many as there may be at once, 1. Close "
                "one, or ask for the events without 'stream' now and then."
            )
            assert events_of(client, ft)
        wait_until(lambda: num_followers(api) == 0, "a client that went away keeps its place")
        client.post(f"{FINE_TUNES}/{ft['id']}/cancel")
        with stream_of(client, ft) as stream:
            assert list(stream)[-1] == DONE


def test_one_project_leaves_places_to_others(special: Special) -> None:
    with special(FollowerLimits(2, 1)) as (api, client):
        ft = new(api, client)
        key = api.new_key("local", project="other")
        headers = {"authorization": f"Bearer {key}"}
        with (
            stream_of(client, ft) as stream,
            httpx2.Client(base_url=api.url, headers=headers, timeout=WAIT_S) as other,
        ):
            next(stream)
            form: Any = {"data": {"purpose": "fine-tune"}, "files": {"file": ("a", b"{}")}}
            file_id = other.post("/v1/files", **form).json()["id"]
            ft = other.post(FINE_TUNES, json={"training_file": file_id}).json()
            with stream_of(other, ft) as its_stream:
                assert "Created" in next(its_stream)


def test_silence_is_broken_by_comments(special: Special) -> None:
    """Which the old library skips; proxies would hang up without them."""
    limits = FollowerLimits(look_interval_s=0.01, keep_alive_s=0.0)
    with special(limits) as (api, client):
        ft = new(api, client)
        with client.stream("GET", f"{FINE_TUNES}/{ft['id']}/events?stream=true") as answer:
            lines = answer.iter_lines()
            assert "Created" in next(lines)
            assert [next(lines) for _ in range(4)] == ["", ": keep-alive", "", ": keep-alive"]
            api.store.jobs.cancel(api.caller.scope, ft["id"])
            rest = [line for line in lines if line not in ("", ": keep-alive")]
    assert "Fine-tune cancelled" in rest[0]
    assert rest[1] == "data: [DONE]"


def test_a_job_that_has_nothing_to_tell_has_a_stream_too(
    api: LiveApi, listener: httpx2.Client
) -> None:
    """A job made before there were two faces; the answer must begin all the same."""
    job = histories.new_job(api)
    api.store.jobs.create(job, [])
    with listener.stream("GET", f"{FINE_TUNES}/{job.id}/events?stream=true") as answer:
        assert answer.status_code == 200
        assert next(answer.iter_lines()) == ": keep-alive"


def test_a_server_that_stops_hangs_up_at_once_and_never_says_done(special: Special) -> None:
    """It would wait for its answers' ends, and be killed for that in the end."""
    with special(FollowerLimits(), grace_s=int(2 * WAIT_S)) as (api, client):
        ft = new(api, client)
        with stream_of(client, ft) as stream:
            told = [next(stream)]
            api.server.should_exit = True
            with pytest.raises(httpx2.RemoteProtocolError):
                told += stream
    assert messages([json.loads(event) for event in told]) == [f"Created fine-tune: {ft['id']}"]
    assert num_followers(api) == 0
