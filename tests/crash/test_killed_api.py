"""The API is killed at any instant, and what a client was told of is there afterwards.

The client does what the official SDK does: a request that was not answered is sent again. It may
then find that the first one had been carried out after all; what it may never find is that
something it had an answer to is gone, or half of it.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.crash.parts import Launcher, wait_until
from tests.crash.strikes import Point
from tests.crash.test_killed_worker import IS_LONG, SEED, WHEN, kind
from tests.crash.training import IDS, Bench, examples, now
from tests.server import url_of
from tunesmith.store.store import open_store

CANCEL_EVENT = "Fine tuning process stopping due to job cancellation"


@dataclass
class Service:
    """An API that is started again whenever it dies, as the supervisor does it. Its socket stays
    open all the time."""

    launcher: Launcher
    url: str
    point: Point | None
    num_starts: int = 0
    _is_stopping: bool = False

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._supervise)
        self._thread.start()

    def _supervise(self) -> None:
        while not self._is_stopping:
            if not self.num_starts or not self.api.is_alive:
                self.api = self.launcher.start("api", None if self.num_starts else self.point)
                self.num_starts += 1
            time.sleep(0.01)

    def stop(self) -> None:
        self._is_stopping = True
        self._thread.join()
        self.api.stop()

    def key(self) -> str:
        path = self.launcher.data_dir / "api-key"
        wait_until(path.exists, "the first key")
        return path.read_text().strip()


@dataclass
class Client:
    """Does a bit of everything, and keeps what it was told."""

    service: Service
    files: dict[str, bytes] = field(default_factory=dict)
    jobs: dict[str, str] = field(default_factory=dict)  # id → status
    deleted: set[str] = field(default_factory=set)
    num_failures: int = 0

    def live(self) -> None:
        """A bit of everything that writes."""
        for number in range(2):
            self.upload(examples(number, 12))
        for file_id in list(self.files):
            self.create_job(file_id)
        first, second = self.jobs
        self.cancel(first)
        self.delete(next(iter(self.files)))
        self.cancel(second)  # its end takes its training data away

    def upload(self, content: bytes) -> None:
        answer = self.send(
            "POST", "/v1/files", files={"file": content}, data={"purpose": "fine-tune"}
        )
        self.files[answer.json()["id"]] = content

    def create_job(self, file_id: str) -> None:
        body = {"model": "tunesmith-tiny", "training_file": file_id}
        job = self.send("POST", "/v1/fine_tuning/jobs", json=body).json()
        self.jobs[job["id"]] = job["status"]

    def cancel(self, job_id: str) -> None:
        answer = self.send("POST", f"/v1/fine_tuning/jobs/{job_id}/cancel", accept=(200, 400))
        if answer.status_code == 400:
            assert 'already has status "cancelled"' in answer.json()["error"]["message"]
        self.jobs[job_id] = "cancelled"

    def delete(self, file_id: str) -> None:
        self.send("DELETE", f"/v1/files/{file_id}", accept=(200, 404))
        del self.files[file_id]
        self.deleted.add(file_id)

    def send(self, verb: str, path: str, accept: Any = (200,), **content: Any) -> httpx2.Response:
        """Until it is answered."""
        headers = {"authorization": f"Bearer {self.service.key()}"}
        while True:
            try:
                with httpx2.Client(base_url=self.service.url, timeout=60) as http:
                    answer = http.request(verb, path, headers=headers, **content)
            except httpx2.TransportError:
                self.num_failures += 1
                assert self.num_failures < 10
                continue
            assert answer.status_code in accept, answer.text
            return answer

    def check(self) -> None:
        for file_id, content in self.files.items():
            assert self.send("GET", f"/v1/files/{file_id}/content").content == content
        for job_id, status in self.jobs.items():
            told = self.events(job_id)
            assert told.count(f"Created fine-tuning job: {job_id}") == 1
            assert told.count(CANCEL_EVENT) == (self.job_status(job_id) == "cancelled")
            if status == "cancelled":
                assert self.job_status(job_id) == "cancelled"
        for file_id in self.deleted:
            self.send("GET", f"/v1/files/{file_id}", accept=(404,))

    def events(self, job_id: str) -> list[str]:
        answer = self.send("GET", f"/v1/fine_tuning/jobs/{job_id}/events")
        return [event["message"] for event in answer.json()["data"]]

    def job_status(self, job_id: str) -> str:
        return str(self.send("GET", f"/v1/fine_tuning/jobs/{job_id}").json()["status"])


@pytest.fixture
def start(parts: Launcher, tmp_path: Path) -> Iterator[Callable[[Point | None], Service]]:
    """Starts a new service whose first API dies at a point. One at a time: stop it before the
    next."""
    services: list[Service] = []

    def start_one(point: Point | None) -> Service:
        data_dir = tmp_path / f"data-{len(services)}"
        data_dir.mkdir()

        services.append(Service(parts.on(data_dir), url_of(parts.listener), point))
        return services[-1]

    yield start_one
    for service in services:
        service.stop()


def check_disk(service: Service) -> None:
    """With the service gone: the folder holds what clients can ask for, and nothing else."""
    service.stop()
    data_dir = service.launcher.data_dir
    with closing(open_store(data_dir, ids=IDS, clock=now)) as store:
        caller = store.tenants.find_caller(service.key())
        assert caller is not None
        Bench(service.launcher, store, caller.scope).check_nothing_is_left_over()
    assert not list(data_dir.glob("api-key.*"))


def test_death_at_any_write_loses_nothing_that_was_told(
    start: Callable[[Point | None], Service],
) -> None:
    undisturbed = start(None)
    client = Client(undisturbed)
    client.live()
    client.check()
    check_disk(undisturbed)
    labels = undisturbed.api.labels()
    draw = random.Random(SEED)
    points = [
        Point(label, draw.randrange(labels.count(label)) + 1, when)
        for label in {kind(label): label for label in labels}.values()
        for when in (WHEN if IS_LONG else [draw.choice(WHEN)])
    ]
    for point in points:
        print(point)
        service = start(point)
        client = Client(service)
        client.live()
        client.check()
        check_disk(service)
        assert service.num_starts == 2, "it was to die once"


def test_death_in_the_middle_of_an_upload_leaves_nothing(
    start: Callable[[Point | None], Service],
) -> None:
    service = start(None)
    client = Client(service)
    client.upload(examples(0, 12))
    head = (
        b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
        b'--b\r\ncontent-disposition: form-data; name="file"; filename="x"\r\n\r\n'
    )

    def body() -> Iterator[bytes]:
        yield head
        for _ in range(6):
            yield b"x" * 2**20
        service.api.kill()
        yield b"\r\n--b--\r\n"

    headers = {
        "authorization": f"Bearer {service.key()}",
        "content-type": "multipart/form-data; boundary=b",
    }
    with pytest.raises(httpx2.TransportError):
        httpx2.post(f"{service.url}/v1/files", headers=headers, content=body(), timeout=60)
    client.check()
    listed = client.send("GET", "/v1/files").json()["data"]
    assert [file["id"] for file in listed] == list(client.files)
    check_disk(service)
